//! `init --from workflow` over workflows of the sorts that people have: what is written, what is told,
//! and that the configuration reads.
//!
//! `workflows/NAME.yml` is what is taken over and `workflows/NAME.txt` what a user sees of a dry run. After a
//! change that is meant, write the new answers with `PLIMSOLL_ACCEPT=1 cargo nextest run moving_in`.

use std::path::Path;

use crate::run::Scene;

/// Returns a project with the workflow and a remote that says what it is called.
fn scene(name: &str, workflow: &str) -> Scene {
    let file = format!(".github/workflows/{name}.yml");
    let scene = Scene::with_files(&[(&file, workflow), ("Dockerfile", "FROM scratch\n")]);
    scene.repository().git(&["remote", "add", "origin", "https://github.com/acme/shop.git"]);
    scene
}

fn fixtures() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/workflows");
    let mut fixtures: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml"))
        .map(|path| {
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap())
        })
        .collect();
    fixtures.sort();
    fixtures
}

fn expected(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cli/workflows/{name}.txt"))
}

#[test]
fn every_workflow_becomes_what_is_written_beside_it() {
    let fixtures = fixtures();
    assert!(fixtures.len() >= 12, "{}", fixtures.len());
    for (name, workflow) in fixtures {
        let scene = scene(&name, &workflow);
        let seen = scene.see(&format!("init --dry-run --from workflow .github/workflows/{name}.yml"));
        #[allow(clippy::disallowed_methods, reason = "a test that writes its own answers when asked")]
        if std::env::var_os("PLIMSOLL_ACCEPT").is_some() {
            std::fs::write(expected(&name), &seen).unwrap();
        }
        let answer = std::fs::read_to_string(expected(&name)).unwrap_or_default();
        assert_eq!(seen, answer, "{name}: this is what is seen:\n{seen}");
    }
}

#[test]
fn what_is_written_is_a_configuration_that_plans() {
    for (name, workflow) in fixtures() {
        let scene = scene(&name, &workflow);
        let file = format!(".github/workflows/{name}.yml");
        let written = scene.see(&format!("init --from workflow {file} --format json"));
        if name == "bake" {
            continue;
        }
        assert!(written.starts_with("exit code: 0"), "{name}: {written}");
        assert!(written.contains("\"replay\""), "{written}");
        for event in ["branch:main", "tag:v1.2.3", "pr:7", "schedule"] {
            let seen = scene.see(&format!("plan --as {event}"));
            assert!(seen.starts_with("exit code: 0"), "{name} as {event}: {seen}");
        }
    }
}

#[test]
fn what_is_there_is_kept_and_what_is_no_workflow_is_said() {
    let scene = scene("ci", "on: push\njobs:\n  a:\n    steps: [\n");
    let seen = scene.see("init --from workflow .github/workflows/ci.yml");
    assert!(seen.starts_with("exit code: 2"), "{seen}");
    assert!(
        seen.contains(".github/workflows/ci.yml cannot be taken over") && seen.contains("line 5"),
        "{seen}"
    );
    let seen = scene.see("init --from workflow nowhere.yml");
    assert!(seen.starts_with("exit code: 2") && seen.contains("cannot read nowhere.yml"), "{seen}");
    assert!(scene.see("init --from workflow").starts_with("exit code: 2"));
    scene.write(
        "ok.yml",
        "on: push\njobs: {a: {steps: [{uses: docker/build-push-action@v6, with: {tags: 'a/b:1'}}]}}\n",
    );
    scene.write("plimsoll.toml", "# mine\n");
    let seen = scene.see("init --from workflow ok.yml");
    assert!(seen.contains("plimsoll.toml is there already"), "{seen}");
    assert_eq!(scene.read("plimsoll.toml"), "# mine\n");
    assert!(scene.see("init --from workflow ok.yml --force").starts_with("exit code: 0"));
    assert!(scene.read("plimsoll.toml").contains("[service.b]"));
}
