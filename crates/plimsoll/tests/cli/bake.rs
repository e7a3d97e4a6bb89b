//! `bake --print` and `bake --list`.

use insta::assert_snapshot;

use crate::run::Scene;

const DEFINITION: &str = r#"variable "TAG" {
  default = "dev"
  description = "Which one"
}
group "default" { targets = ["app"] }
target "base" { args = { MODE = "debug" } }
target "app" {
  inherits = ["base"]
  context = "./app"
  tags = ["local/app:${TAG}"]
  platform = ["linux/amd64"]
}
"#;

#[test]
fn prints_what_would_be_built() {
    let scene = Scene::new();
    scene.write("docker-bake.hcl", DEFINITION);
    assert_snapshot!(scene.see("bake --print --set app.args.MODE=release --var TAG=1"), @r#"
    exit code: 0
    --- stdout
    {
      "group": {
        "default": {
          "targets": [
            "app"
          ]
        }
      },
      "target": {
        "app": {
          "context": "app",
          "dockerfile": "Dockerfile",
          "args": {
            "MODE": "release"
          },
          "tags": [
            "local/app:1"
          ]
        }
      }
    }
    --- stderr
    warning: docker-bake.hcl:11: the key platform of target app has no effect; did you mean platforms?
    "#);
}

#[test]
fn later_files_go_over_earlier_ones() {
    let scene = Scene::new();
    scene.write("docker-bake.hcl", DEFINITION);
    scene.write("docker-bake.override.json", r#"{"target":{"app":{"context":"other"}}}"#);
    scene.write("compose.yaml", "services:\n  web:\n    build: web\n");
    let printed = scene.see_raw("bake -q --print app web");
    assert!(
        printed.contains("\"context\": \"other\"") && printed.contains("\"context\": \"web\""),
        "{printed}"
    );
}

#[test]
fn lists_targets_and_variables() {
    let scene = Scene::new();
    scene.write("docker-bake.hcl", DEFINITION);
    assert_snapshot!(scene.see("bake -q --list targets"), @r#"
    exit code: 0
    --- stdout
    default  app
    app
    base
    "#);
    assert_snapshot!(scene.see("bake -q --list variables --format json"), @r#"
    exit code: 0
    --- stdout
    {
      "schema": "plimsoll.bake-list/1",
      "variables": [
        {
          "name": "TAG",
          "value": "dev",
          "description": "Which one"
        }
      ]
    }
    "#);
}

#[test]
fn mistakes_point_at_their_place() {
    let scene = Scene::new();
    assert_snapshot!(scene.see("bake --print"), @r#"
    exit code: 2
    --- stderr
    error: there is no bake or compose file in [PROJECT]
    hint: name one with -f FILE; by default these are read: compose.yaml, compose.yml, docker-compose.yml, docker-compose.yaml, docker-bake.json, docker-bake.hcl, docker-bake.override.json, docker-bake.override.hcl
    "#);
    scene.write("docker-bake.hcl", "target \"default\" {\n  secret = [\"id=k,src=nowhere\"]\n}\n");
    assert_snapshot!(scene.see("bake --print"), @r#"
    exit code: 2
    --- stderr
    error: Unusable value: target default, secret: failed to stat nowhere: No such file or directory (os error 2)
     --> docker-bake.hcl:2:3
      |
    2 |   secret = ["id=k,src=nowhere"]
      |   ^^^^^^
    "#);
    scene.write("docker-bake.hcl", "target \"default\" {\n  ssh = [\"default\"]\n  tags = [MISSING]\n}\n");
    assert_snapshot!(scene.see("bake --print"), @r#"
    exit code: 2
    --- stderr
    error: Unknown variable: There is no variable named "MISSING"
     --> docker-bake.hcl:3:11
      |
    3 |   tags = [MISSING]
      |           ^^^^^^^
      = define it: variable "MISSING" { default = ... }
    "#);
    assert_snapshot!(scene.see("bake --print https://github.com/a/b.git"), @r#"
    exit code: 2
    --- stderr
    error: https://github.com/a/b.git is an address; definitions are read from files of this machine
    hint: clone the repository and work there, with -C DIR
    "#);
}

/// A target that is linked to another, which has its Dockerfile in the definition.
const LINKED: &str = r#"group "default" { targets = ["app"] }
target "base" {
  context = "base"
  dockerfile-inline = <<-EOT
    FROM scratch
    COPY b /b
  EOT
}
target "app" {
  context = "app"
  contexts = { base = "target:base" }
  args = { MODE = "x" }
  labels = { a = "b" }
  tags = ["ghcr.io/acme/app:dev", "local/app:dev"]
  output = ["type=oci,dest=out.tar", "type=docker,dest=docker.tar"]
}
"#;

fn linked() -> Scene {
    let scene = Scene::new();
    scene.write("docker-bake.hcl", LINKED);
    scene.write("base/b", "b\n");
    scene.write("app/f", "f\n");
    scene.write("app/Dockerfile", "FROM base\nARG MODE\nCOPY f /f\nLABEL mode=$MODE\n");
    scene
}

#[test]
fn builds_what_is_linked_first() {
    let scene = linked();
    let first = scene.see_raw("bake -q --metadata-file meta.json");
    let metadata: serde_json::Value = serde_json::from_str(&scene.read("meta.json")).unwrap();
    assert_eq!(metadata["app"]["containerimage.digest"], first.trim());
    assert_eq!(metadata["app"]["image.name"], "ghcr.io/acme/app:dev,local/app:dev");
    assert!(metadata.get("base").is_none(), "nobody asked for base");
    let answer: serde_json::Value = serde_json::from_str(&scene.see_raw("bake -q --format json")).unwrap();
    assert_eq!(answer["targets"]["app"]["status"], "cached");
    assert_eq!(answer["targets"]["app"]["digest"], first.trim());
    let inspected = scene.see_raw("inspect --format json local/app:dev");
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["digest"], first.trim());
    assert_eq!((&inspected["labels"]["a"], &inspected["labels"]["mode"]), (&"b".into(), &"x".into()));
    assert_eq!(inspected["layers"].as_array().unwrap().len(), 2);
    assert_eq!(scene.see_raw("digest oci-archive:out.tar").trim(), first.trim());
    assert!(scene.path("docker.tar").exists());
}

#[test]
fn several_platforms_make_an_index() {
    let scene = linked();
    scene.see_raw("bake -q --set base.platform=linux/amd64 --set base.platform=linux/arm64 --set base.tags=local/base:1 base");
    let inspected: serde_json::Value =
        serde_json::from_str(&scene.see_raw("inspect --format json local/base:1")).unwrap();
    assert_eq!(inspected["platforms"].as_array().unwrap().len(), 2);
}

#[test]
fn a_failure_takes_what_is_linked_to_it() {
    let scene = linked();
    scene.write("docker-bake.hcl", LINKED.replace("COPY b /b", "COPY missing /b") + "target \"other\" {\n  context = \"base\"\n  dockerfile-inline = \"FROM scratch\\nCOPY b /\\n\"\n}\n");
    let shown = scene.see("bake -q app other");
    assert!(shown.contains("exit code: 7"), "{shown}");
    assert!(
        shown.contains("target base failed")
            && shown.contains("linked to the target base, which was not built"),
        "{shown}"
    );
    assert!(!scene.path("out.tar").exists());
}

#[test]
fn what_the_engine_does_not_do_is_said_at_its_place() {
    let scene = linked();
    let cases = [
        ("network = \"overlay\"", "network: overlay is not known"),
        ("extra-hosts = { h = \"x\" }", "extra-hosts: h: \"x\" is not an address"),
        ("attest = [\"type=sbom\"]", "attest: attestations are not made by bake"),
        ("contexts = { x = \"ftp://a/b\" }", "contexts: x = \"ftp://a/b\" is not known"),
        ("dockerfile = \"https://a/b\"", "dockerfile: https://a/b is an address"),
        ("output = [\"type=registry\"]", "output: a tag is needed to push"),
        ("output = [\"type=oci,dest=x,compression=zstd\"]", "output: compression is said by --compression"),
        ("output = [\"type=image,squash=true\"]", "output: squash=true is not known"),
        ("cache-from = [\"type=inline\"]", "cache-from: type=inline is not done here"),
        ("cache-to = [{ type = \"gha\", ghtoken = \"x\" }]", "cache-to: ghtoken is not taken here"),
    ];
    for (line, expected) in cases {
        scene.write("docker-bake.hcl", format!("target \"default\" {{\n  {line}\n}}\n"));
        let shown = scene.see("bake");
        assert!(
            shown.contains("exit code: 2") && shown.contains(&format!("target default, {expected}")),
            "{shown}"
        );
        assert!(shown.contains("docker-bake.hcl:2:3"), "{shown}");
    }
}

#[test]
fn becomes_a_configuration_that_plans() {
    let scene = linked();
    assert_snapshot!(scene.see("init --from bake docker-bake.hcl --dry-run"), @r#"
    exit code: 0
    --- stdout
    # What `plimsoll run` builds, tests and ships, as the bake or compose file had it.
    # `plimsoll schema config` prints all keys, `plimsoll plan` shows what would happen.
    schema = 1

    # Images go to {registry}/{service}.
    registry = "ghcr.io/acme"

    [[identity.tag]]
    on = "default-branch"
    tags = ["dev"]

    [service.app]
    context = "app"
    dockerfile = "app/Dockerfile"
    args = { "MODE" = "x" }
    needs = { "base" = "base" }

    [service.base]
    context = "base"
    dockerfile = "base/Dockerfile"
    --- stderr
    tags are given on the default branch; other events have no rule yet ([[identity.tag]])
    warning: docker-bake.hcl:4: the key dockerfile-inline of base is not taken over: write it into a file
    warning: docker-bake.hcl:13: the key labels of app is not taken over: labels follow from the commit; further ones go under [identity.labels]
    warning: docker-bake.hcl:14: the name local/app of app is not taken over: a service has one repository; copy the image there after the run
    warning: docker-bake.hcl:15: the key output of app is not taken over: images go to the registry; see [handoff] for archives
    "#);
}

#[test]
fn a_compose_file_becomes_a_configuration() {
    let scene = Scene::new();
    scene.write(
        "compose.yaml",
        "services:\n  web_ui:\n    image: ghcr.io/acme/shop-web:1\n    build:\n      context: ./web\n      target: run\n      args: [A=1]\n      secrets: [npm]\n      additional_contexts: {api: service:api}\n  api:\n    image: ghcr.io/acme/api:2\n    build: ./api\n  db:\n    image: postgres:17\nsecrets:\n  npm:\n    environment: NPM_TOKEN\n",
    );
    assert_snapshot!(scene.see("init --from compose compose.yaml --dry-run"), @r#"
    exit code: 0
    --- stdout
    # What `plimsoll run` builds, tests and ships, as the bake or compose file had it.
    # `plimsoll schema config` prints all keys, `plimsoll plan` shows what would happen.
    schema = 1

    # Images go to {registry}/{service}.
    registry = "ghcr.io/acme"

    [service.api]
    context = "api"
    dockerfile = "api/Dockerfile"

    [service.web-ui]
    context = "web"
    dockerfile = "web/Dockerfile"
    target = "run"
    image = "ghcr.io/acme/shop-web"
    args = { "A" = "1" }
    needs = { "api" = "api" }
    secrets = { "npm" = { env = "NPM_TOKEN" } }
    --- stderr
    warning: compose.yaml:3: the tags 1 of web_ui is not taken over: services have different ones; tags follow from the event, see [[identity.tag]]
    warning: compose.yaml:11: the tags 2 of api is not taken over: services have different ones; tags follow from the event, see [[identity.tag]]
    "#);
}

#[test]
fn further_contexts_may_be_folders() {
    let scene = Scene::new();
    scene.write(
        "docker-bake.hcl",
        "target \"default\" {\n  contexts = { more = \"other\" }\n  tags = [\"local/t:1\"]\n  platforms = [\"amd64\"]\n}\n",
    );
    scene.write("Dockerfile", "FROM scratch\nCOPY --from=more x /x\n");
    scene.write("other/x", "x\n");
    scene.see_raw("bake -q");
    let inspected: serde_json::Value =
        serde_json::from_str(&scene.see_raw("inspect --format json local/t:1")).unwrap();
    assert_eq!(inspected["layers"].as_array().unwrap().len(), 1);
}
