//! Names of images as a user sees them: explained, of one service of several, from bad input.

use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use insta::assert_snapshot;
use serde_json::Value;
use testkit::tar::TarBuilder;

use crate::run::{SHOP as SMALL_SHOP, Scene};
use crate::serve::Registry;

const SHOP: &str = r#"
project = "acme/shop"
registry = "ghcr.io/acme"
[defaults]
platforms = ["linux/amd64"]
[identity.labels]
"org.opencontainers.image.vendor" = "Acme"
"org.opencontainers.image.documentation" = "https://docs/{tag}"
[service.api]
context = "api"
[service.web]
context = "web"
needs = { base = "api" }
[service.worker]
context = "worker"
"#;

fn scene() -> Scene {
    let dockerfile = "FROM scratch\n";
    Scene::with_files(&[
        ("plimsoll.toml", SHOP),
        ("README.md", "# Shop\n\nSells **things**.\n"),
        ("LICENSE", "Permission is hereby granted, free of charge, ... without restriction"),
        ("api/Dockerfile", dockerfile),
        ("api/README.md", "# The API\n"),
        ("web/Dockerfile", dockerfile),
        ("web/package.json", "{\"description\": \"Storefront\"}"),
        ("worker/Dockerfile", dockerfile),
    ])
}

fn json(scene: &Scene, line: &str) -> Value {
    serde_json::from_str(&scene.see_raw(&format!("{line} --format json"))).unwrap()
}

fn tags(document: &Value, service: &str) -> String {
    let tags = document["services"][service]["tags"].as_array().unwrap();
    tags.iter().map(|tag| tag.as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_tag_and_label_is_explained() {
    let scene = scene();
    scene.repository().tag("v1.3.0");
    assert_snapshot!(scene.see("meta api --as tag:v1.2.9 --explain"), @r##"
    exit code: 0
    --- stdout
    event     tag:v1.2.9
    revision  3a448389dc02833dee6745af566ed1a62056a5c1
    version   1.2.9

    api
      tag    ghcr.io/acme/api:v1.2.9
      tag    ghcr.io/acme/api:1.2.9
      tag    ghcr.io/acme/api:1.2
      label  org.opencontainers.image.created=2026-01-02T03:04:05Z
      label  org.opencontainers.image.description=Sells things.
      label  org.opencontainers.image.documentation=https://docs/v1.2.9
      label  org.opencontainers.image.licenses=MIT
      label  org.opencontainers.image.revision=3a448389dc02833dee6745af566ed1a62056a5c1
      label  org.opencontainers.image.title=The API
      label  org.opencontainers.image.vendor=Acme
      label  org.opencontainers.image.version=1.2.9

      TEMPLATE         TAG     RULE                       WHY
      v{version}       v1.2.9  tag:v*, tag:[0-9]*         moves when everything is green
      {version}        1.2.9   tag:v*, tag:[0-9]*         moves when everything is green
      {major}.{minor}  1.2     tag:v*, tag:[0-9]*         moves when everything is green
      {major}          -       tag:v*, tag:[0-9]*         1.3.0 is there, and it is higher than 1.2.9
      latest           -       latest = "highest-semver"  1.3.0 is there, and it is higher than 1.2.9
      -                -       tag:**                     the rule tag:v*, tag:[0-9]* comes first and names the image

      LABEL                                   SOURCE             VALUE
      org.opencontainers.image.created        commit             2026-01-02T03:04:05Z
      org.opencontainers.image.description    README.md          Sells things.
      org.opencontainers.image.documentation  [identity.labels]  https://docs/v1.2.9
      org.opencontainers.image.licenses       LICENSE            MIT
      org.opencontainers.image.revision       commit             3a448389dc02833dee6745af566ed1a62056a5c1
      org.opencontainers.image.title          api/README.md      The API
      org.opencontainers.image.vendor         [identity.labels]  Acme
      org.opencontainers.image.version        git tag            1.2.9
    "##);
}

#[test]
fn explanations_for_programs() {
    let scene = scene();
    let document = json(&scene, "meta web --as branch:feature/x --explain");
    let web = &document["services"]["web"];
    assert_eq!(web["explained"][0]["movement"], "commit");
    let label = |key: &str| {
        let labels = web["explained_labels"].as_array().unwrap();
        labels.iter().find(|label| label["key"].as_str().unwrap().ends_with(key)).unwrap().clone()
    };
    assert_eq!(label("description")["source"], "web/package.json");
    assert_eq!(label("licenses")["source"], "LICENSE");
    assert_eq!(label("feature.branch")["value"], "feature/x");
    assert!(label("documentation")["dropped"].as_str().unwrap().contains("no git tag"));
    assert_eq!(web["annotations"]["org.opencontainers.image.description"], "Storefront");
}

#[test]
fn a_git_tag_of_one_service_releases_it_and_what_it_needs() {
    let scene = scene();
    scene.repository().tag("web/v2.0.0");
    assert_snapshot!(scene.see("plan --as tag:web/v1.2.3"), @r##"
    exit code: 0
    --- stdout
    event     tag:web/v1.2.3
    revision  3a448389dc02833dee6745af566ed1a62056a5c1
    version   1.2.3
    push      to the registry

    SERVICE  ACTION  IMAGE                PLATFORMS    REASON
    api      build   ghcr.io/acme/api     linux/amd64  git tag "web/v1.2.3" releases web alone, and it needs this
    worker   skip    ghcr.io/acme/worker  linux/amd64  git tag "web/v1.2.3" releases web alone
    web      build   ghcr.io/acme/web     linux/amd64  it has no `paths`

    tags of api: none
    tags of worker: none
    tags of web: v1.2.3, 1.2.3, 1.2, 1
    "##);
    let meta = json(&scene, "meta --as tag:web/v1.2.3");
    assert_eq!(meta["version"], "1.2.3");
    assert_eq!(tags(&meta, "api"), "");
}

#[test]
fn two_services_in_one_repository_need_tags_of_their_own() {
    let scene = scene();
    let text = |tag: &str| {
        format!(
            "registry = \"ghcr.io/acme\"\n[[identity.tag]]\non = \"branch:**\"\ntags = [\"{tag}\"]\n[service.api]\nimage = \"ghcr.io/acme/all\"\ncontext = \"api\"\n[service.web]\nimage = \"ghcr.io/acme/all\"\ncontext = \"web\"\n"
        )
    };
    scene.write("plimsoll.toml", text("{branch}"));
    assert_snapshot!(scene.see("plan"), @r##"
    exit code: 2
    --- stderr
    error: services api and web both claim ghcr.io/acme/all:main: put {service} into the tags, or give one of them its own `image`
    "##);
    scene.write("plimsoll.toml", text("{service}-{branch}"));
    let plan = json(&scene, "plan");
    assert_eq!((tags(&plan, "api"), tags(&plan, "web")), ("api-main".to_owned(), "web-main".to_owned()));
}

#[test]
fn the_time_of_images_can_be_asked_for() {
    let scene = scene();
    let output = scene.command("meta --format json").env("SOURCE_DATE_EPOCH", "86400").output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        document["services"]["api"]["labels"]["org.opencontainers.image.created"],
        "1970-01-02T00:00:00Z"
    );
    let output = scene.command("meta").env("SOURCE_DATE_EPOCH", "yesterday").output().unwrap();
    assert!(scene.shown(&output).starts_with("exit code: 2"));
}

#[test]
fn a_shallow_clone_asks_the_registry_and_says_where_it_cannot() {
    let scene = scene();
    scene.repository().commit("second");
    let clone = scene.repository().shallow_clone(1);
    let see = |line: &str, registry: &str| {
        let mut command = scene.command(line);
        command.current_dir(clone.path()).arg("--set").arg(format!("registry={registry}"));
        scene.shown(&command.output().unwrap())
    };
    let offline = see("--offline meta api --as tag:v1.2.3", "ghcr.io/acme");
    assert!(offline.starts_with("exit code: 0"), "{offline}");
    assert!(
        offline.contains(
            "whether there is a higher version is not known: the clone is shallow, and ghcr.io was not asked"
        ),
        "{offline}"
    );
    let explained = see("--offline meta api --as tag:v1.2.3 --explain", "ghcr.io/acme");
    assert!(explained.contains("higher versions are not known: the clone is shallow"), "{explained}");
    // Nobody listens on port 1.
    let closed = see("meta api --as tag:v1.2.3", "127.0.0.1:1/acme");
    assert!(closed.starts_with("exit code: 0") && closed.contains("127.0.0.1:1 was not asked"), "{closed}");
    let known = see("meta api --as branch:main", "127.0.0.1:1/acme");
    assert!(!known.contains("not known"), "{known}");
}

#[test]
fn a_shallow_clone_finds_higher_versions_in_the_registry() {
    let registry = Registry::start("");
    let address = &registry.address;
    let scene = scene();
    scene.write("root.tar", TarBuilder::new().directory("etc").finish());
    scene.see_raw("import root.tar local/base:1 --platform linux/amd64");
    scene.see_raw(&format!("copy local/base:1 {address}/acme/api:v1.3.0"));
    scene.repository().commit("second");
    let clone = scene.repository().shallow_clone(1);
    let tags_of = |tag: &str| {
        let mut command = scene.command(&format!("meta api --as tag:{tag} --set registry={address}/acme"));
        let output = command.current_dir(clone.path()).output().unwrap();
        assert!(output.stderr.is_empty(), "{}", scene.shown(&output));
        let shown = String::from_utf8(output.stdout).unwrap();
        let tags = shown.lines().filter_map(|line| line.strip_prefix("  tag    "));
        tags.map(|tag| tag.rsplit(':').next().unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(tags_of("v1.2.9"), "v1.2.9 1.2.9 1.2");
    assert_eq!(tags_of("v1.4.0"), "v1.4.0 1.4.0 1.4 1 latest");
}

/// Returns a manifest, index or configuration of the scene's store.
fn document(scene: &Scene, digest: &Value) -> Value {
    let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
    let blob = scene.root().join("store/blobs/sha256").join(hex);
    serde_json::from_slice(&std::fs::read(blob).unwrap()).unwrap()
}

#[test]
fn images_say_what_they_are_and_what_they_are_based_on() {
    let scene = Scene::with_files(SMALL_SHOP);
    scene.write("README.md", "# Shop\n\nSells things.\n");
    let built = json(&scene, "build --set defaults.platforms=[\"linux/amd64\",\"linux/arm64\"]");
    let (api, web) = (&built["services"]["api"], &built["services"]["web"]);
    let index = document(&scene, &web["digest"]);
    let base = "org.opencontainers.image.base";
    assert_eq!(index["annotations"]["org.opencontainers.image.description"], "Sells things.");
    assert_eq!(index["annotations"][format!("{base}.digest")], api["digest"]);
    for child in index["manifests"].as_array().unwrap() {
        let manifest = document(&scene, &child["digest"]);
        let labels = &document(&scene, &manifest["config"]["digest"])["config"]["Labels"];
        for values in [&manifest["annotations"], labels] {
            assert_eq!(values["org.opencontainers.image.description"], "Sells things.");
            assert_eq!(values[format!("{base}.digest")], api["digest"]);
            assert!(values[format!("{base}.name")].as_str().unwrap().ends_with("/api"), "{values}");
        }
        assert!(child["annotations"].is_null());
    }
    let of_api = document(&scene, &api["digest"]);
    assert!(of_api["annotations"][format!("{base}.name")].is_null(), "FROM scratch is based on nothing");
}

#[test]
fn annotations_go_where_they_are_wanted() {
    let scene = Scene::with_files(SMALL_SHOP);
    let platforms = "--set defaults.platforms=[\"linux/amd64\",\"linux/arm64\"]";
    let levels = "--set identity.annotation-levels=[\"manifest-descriptor\"]";
    let built = json(&scene, &format!("build api {platforms} {levels}"));
    let index = document(&scene, &built["services"]["api"]["digest"]);
    assert!(index["annotations"].is_null(), "{index}");
    let child = &index["manifests"][0];
    assert_eq!(child["annotations"]["org.opencontainers.image.title"], "api");
    assert!(document(&scene, &child["digest"])["annotations"].is_null());
}

#[track_caller]
fn check_refused(text: &str, words: &[&str]) {
    let scene = scene();
    scene.write("plimsoll.toml", text);
    let seen = scene.see("meta");
    assert!(seen.starts_with("exit code: 2"), "{seen}");
    words.iter().for_each(|word| assert!(seen.contains(word), "{word:?} is not in {seen}"));
}

#[test]
fn mistakes_in_rules_are_shown_with_their_line() {
    let rule = |body: &str| format!("[service.api]\n[[identity.tag]]\non = \"tag:**\"\n{body}\n");
    check_refused(&rule("tags = [\"{branch\"]"), &["a { has no }", "plimsoll.toml:4:"]);
    check_refused(&rule("tags = []\nparse = \"semvr\""), &["did you mean semver?", "plimsoll.toml:5:9"]);
    check_refused(
        &rule("tags = []\nparse = \"(?<a\""),
        &["is not a regular expression", "plimsoll.toml:5:9"],
    );
    check_refused(
        &rule("tags = []\nparse = { regex = \"((a{1000}){1000}){1000}\" }"),
        &["is not a regular expression", "size limit", "plimsoll.toml:5:"],
    );
    check_refused(
        &rule("tags = []\nparse = { regx = \"a\" }"),
        &["unknown key `regx`", "did you mean `regex`?", "plimsoll.toml:5:11"],
    );
    check_refused(
        &rule("tags = [\"{match:flavor}\"]\nparse = \"(?<flavour>.*)\""),
        &[
            "no regular expression has a group \"flavor\"",
            "did you mean {match:flavour}?",
            "plimsoll.toml:4:",
        ],
    );
    check_refused(&rule("tags = [\"{event:}\"]"), &["takes a dotted path"]);
    check_refused(
        "[service.api]\n[[identity.tag]]\non = \"relese\"\ntags = []\n",
        &["did you mean release?"],
    );
    check_refused("[service.api]\n[identity]\nlabel-prefix = \"A b\"\n", &["cannot start the keys"]);
    check_refused("[service.api.identity]\ntag-prefix = \"\"\n", &["every git tag starts with nothing"]);
    check_refused("[service.api.identity]\ntag-prefx = \"\"\n", &["did you mean `tag-prefix`?"]);
    check_refused("[identity]\nannotation-levels = [\"image\"]\n[service.api]\n", &["manifest-descriptor"]);
}

#[test]
fn refs_that_are_no_text_have_names_or_reasons() {
    let scene = scene();
    let head = scene.repository().head();
    let name = std::ffi::OsStr::from_bytes(b"refs/heads/caf\xe9\xff");
    let updated =
        Command::new("git").arg("update-ref").arg(name).arg(&head).current_dir(scene.path("")).status();
    assert!(updated.unwrap().success());
    let checkout =
        Command::new("git").args(["symbolic-ref", "HEAD"]).arg(name).current_dir(scene.path("")).status();
    assert!(checkout.unwrap().success());
    let document = json(&scene, "meta api");
    assert!(tags(&document, "api").starts_with("ghcr.io/acme/api:caf-"), "{document}");
    let event = format!(
        r#"{{"ref":"refs/heads/a\u0000b\n::error::x","after":"{head}","repository":{{"description":"one\n::error::two"}}}}"#
    );
    scene.write("event.json", event);
    let shown = scene.see_raw("meta api --event event.json --event-name push");
    assert!(shown.contains("ghcr.io/acme/api:a-b-error-x-"), "{shown}");
    assert!(shown.lines().all(|line| !line.starts_with("::") && !line.contains('\0')), "{shown}");
    for name in ["a\nb", "a:b@c d", &"x/".repeat(5000), "-", "日本語", "\u{202e}x"] {
        let output =
            scene.command("meta --format json").arg("--as").arg(format!("branch:{name}")).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", scene.shown(&output));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        for reference in document["services"]["api"]["tags"].as_array().unwrap() {
            reference.as_str().unwrap().parse::<oci::Reference>().unwrap();
        }
    }
}
