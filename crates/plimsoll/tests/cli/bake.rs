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
