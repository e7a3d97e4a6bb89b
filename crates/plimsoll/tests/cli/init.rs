//! `init`.

use insta::assert_snapshot;

use crate::run::Scene;

fn scene(dockerfiles: &[&str]) -> Scene {
    let scene = Scene::new();
    for dockerfile in dockerfiles {
        scene.write(dockerfile, "FROM scratch\n");
    }
    scene
}

#[test]
fn writes_a_service_for_each_dockerfile() {
    let scene = scene(&["api/Dockerfile", "web/Dockerfile", "node_modules/x/Dockerfile", ".git/Dockerfile"]);
    assert_snapshot!(scene.see("init --registry ghcr.io/acme"), @"
    exit code: 0
    --- stdout
    wrote plimsoll.toml with the services api, web
    ");
    assert_snapshot!(scene.read("plimsoll.toml"), @r#"
    # What `plimsoll run` builds, tests and ships. Every key has a default;
    # `plimsoll schema config` prints all of them, `plimsoll plan` shows what would happen.
    schema = 1

    # Images go to {registry}/{service}.
    registry = "ghcr.io/acme"

    [service.api]
    context = "api"
    dockerfile = "api/Dockerfile"

    [service.web]
    context = "web"
    dockerfile = "web/Dockerfile"

    # A suite tests the very digest that was built; `run` is started inside the image.
    # [suite.smoke]
    # image = "api"
    # run = ["/bin/true"]
    "#);
}

#[test]
fn a_dry_run_prints_and_writes_nothing() {
    let scene = scene(&["api/Dockerfile"]);
    assert_snapshot!(scene.see("init --dry-run"), @r#"
    exit code: 0
    --- stdout
    # What `plimsoll run` builds, tests and ships. Every key has a default;
    # `plimsoll schema config` prints all of them, `plimsoll plan` shows what would happen.
    schema = 1

    # Images go to {registry}/{service}; without it to a registry inside the local store.
    # registry = "ghcr.io/acme"

    [service.api]
    context = "api"
    dockerfile = "api/Dockerfile"

    # A suite tests the very digest that was built; `run` is started inside the image.
    # [suite.smoke]
    # image = "api"
    # run = ["/bin/true"]
    "#);
    assert!(!scene.path("plimsoll.toml").exists());
}

#[test]
fn a_file_that_is_there_is_kept() {
    let scene = scene(&["api/Dockerfile"]);
    scene.write("plimsoll.toml", "# mine\n");
    assert_snapshot!(scene.see("init"), @"
    exit code: 2
    --- stderr
    error: plimsoll.toml is there already
    hint: replace it with --force, or look at what would be written with --dry-run
    ");
    assert_eq!(scene.read("plimsoll.toml"), "# mine\n");
    assert!(scene.see("init --force --format json").contains("\"schema\": \"plimsoll.init/1\""));
    assert!(scene.read("plimsoll.toml").contains("[service.api]"));
}

#[test]
fn a_project_without_dockerfile() {
    assert_snapshot!(scene(&[]).see("init"), @"
    exit code: 2
    --- stderr
    error: there is no Dockerfile in [PROJECT] or below
    hint: write one first, or name the folder with -C DIR
    ");
}
