//! `plan`, `meta`, `schema`, and what is wrong with configurations.

use insta::assert_snapshot;

use crate::run::Scene;

const CONFIGURATION: &str = r#"
project = "acme/shop"
registry = "ghcr.io/acme"
[defaults]
platforms = ["linux/amd64"]
[service.api]
context = "api"
[service.web]
context = "web"
needs = { base = "api" }
[suite.smoke]
image = "api"
run = ["/bin/true"]
"#;

fn scene() -> Scene {
    let dockerfile = "FROM scratch\n";
    Scene::with_files(&[
        ("plimsoll.toml", CONFIGURATION),
        ("api/Dockerfile", dockerfile),
        ("web/Dockerfile", dockerfile),
    ])
}

#[test]
fn a_plan_for_people() {
    assert_snapshot!(scene().see("plan"), @"
    exit code: 0
    --- stdout
    event     branch:main
    revision  24e451d90bdd333ba3b90dd96099e16be6c3f6bf
    version   main
    push      to the registry

    SERVICE  ACTION  IMAGE             PLATFORMS    REASON
    api      build   ghcr.io/acme/api  linux/amd64  it has no `paths`
    web      build   ghcr.io/acme/web  linux/amd64  it has no `paths`

    tags of api: main, main-24e451d, sha-24e451d90bdd333ba3b90dd96099e16be6c3f6bf, 20260102, 20260102-030405
    tags of web: main, main-24e451d, sha-24e451d90bdd333ba3b90dd96099e16be6c3f6bf, 20260102, 20260102-030405
    suite smoke: tests api
    ");
}

#[test]
fn a_plan_for_programs() {
    assert_snapshot!(scene().see("plan api --as tag:v1.2.3 --format json"), @r#"
    exit code: 0
    --- stdout
    {
      "schema": "plimsoll.plan/1",
      "event": {
        "kind": "tag",
        "tag": "v1.2.3",
        "revision": "24e451d90bdd333ba3b90dd96099e16be6c3f6bf",
        "committed": "2026-01-02T03:04:05Z",
        "default_branch": "main",
        "source": {}
      },
      "revision": "24e451d90bdd333ba3b90dd96099e16be6c3f6bf",
      "version": "1.2.3",
      "push": {
        "to": "registry"
      },
      "services": {
        "api": {
          "image": "ghcr.io/acme/api",
          "tags": [
            "v1.2.3",
            "1.2.3",
            "1.2",
            "1",
            "latest"
          ],
          "immutable": [],
          "moving": [
            "v1.2.3",
            "1.2.3",
            "1.2",
            "1",
            "latest"
          ],
          "labels": {
            "org.opencontainers.image.created": "2026-01-02T03:04:05Z",
            "org.opencontainers.image.revision": "24e451d90bdd333ba3b90dd96099e16be6c3f6bf",
            "org.opencontainers.image.title": "api",
            "org.opencontainers.image.version": "1.2.3"
          },
          "annotations": {
            "org.opencontainers.image.created": "2026-01-02T03:04:05Z",
            "org.opencontainers.image.revision": "24e451d90bdd333ba3b90dd96099e16be6c3f6bf",
            "org.opencontainers.image.title": "api",
            "org.opencontainers.image.version": "1.2.3"
          },
          "annotation_levels": [
            "manifest",
            "index"
          ],
          "platforms": [
            "linux/amd64"
          ],
          "action": "build",
          "reason": "it has no `paths`",
          "needs": {},
          "context": "api",
          "dockerfile": "api/Dockerfile",
          "args": {}
        }
      },
      "order": [
        [
          "api"
        ]
      ],
      "suites": {
        "smoke": {
          "services": [
            "api"
          ],
          "needs": [],
          "shards": 1,
          "needs_daemon": false
        }
      },
      "matrix": [
        {
          "service": "api",
          "platform": "linux/amd64"
        }
      ],
      "explained": {
        "api": [
          {
            "template": "v{version}",
            "rule": "tag:v*, tag:[0-9]*",
            "tag": "v1.2.3",
            "movement": "moving"
          },
          {
            "template": "{version}",
            "rule": "tag:v*, tag:[0-9]*",
            "tag": "1.2.3",
            "movement": "moving"
          },
          {
            "template": "{major}.{minor}",
            "rule": "tag:v*, tag:[0-9]*",
            "tag": "1.2",
            "movement": "moving"
          },
          {
            "template": "{major}",
            "rule": "tag:v*, tag:[0-9]*",
            "tag": "1",
            "movement": "moving"
          },
          {
            "template": "latest",
            "rule": "latest = \"highest-semver\"",
            "tag": "latest",
            "movement": "moving"
          },
          {
            "template": "",
            "rule": "tag:**",
            "dropped": "the rule tag:v*, tag:[0-9]* comes first and names the image"
          }
        ]
      }
    }
    "#);
}

#[test]
fn other_events() {
    let scene = scene();
    assert_snapshot!(scene.see("plan api --as pr:42"), @"
    exit code: 0
    --- stdout
    event     pr:42
    revision  24e451d90bdd333ba3b90dd96099e16be6c3f6bf
    version   pr-42
    push      to the registry

    SERVICE  ACTION  IMAGE             PLATFORMS    REASON
    api      build   ghcr.io/acme/api  linux/amd64  it has no `paths`

    tags of api: pr-42, pr-42-24e451d
    suite smoke: tests api
    ");
    assert_snapshot!(scene.see("plan --as pr:x"), @r#"
    exit code: 2
    --- stderr
    error: invalid value 'pr:x' for '--as <EVENT>': "pr:x" is not an event: pr: takes the number of a pull request, such as pr:42

    For more information, try '--help'.
    "#);
    scene.repository().branch("feature/Ugly__näme/#1");
    assert_snapshot!(scene.see("meta api"), @"
    exit code: 0
    --- stdout
    event     branch:feature/Ugly__näme/#1
    revision  24e451d90bdd333ba3b90dd96099e16be6c3f6bf
    version   feature-ugly-n-me-1-24e451d

    api
      tag    ghcr.io/acme/api:feature-ugly-n-me-1-24e451d
      label  acme.shop.feature.branch=feature/Ugly__näme/#1
      label  org.opencontainers.image.created=2026-01-02T03:04:05Z
      label  org.opencontainers.image.revision=24e451d90bdd333ba3b90dd96099e16be6c3f6bf
      label  org.opencontainers.image.title=api
      label  org.opencontainers.image.version=feature-ugly-n-me-1-24e451d
    ");
    let head = scene.repository().head();
    scene.repository().checkout(&head);
    assert!(scene.see_raw("meta api").contains("version   sha-24e451d\n"));
}

#[test]
fn metadata_for_a_shell() {
    assert_snapshot!(scene().see("meta web --env --as tag:v1.2.3"), @"
    exit code: 0
    --- stdout
    PLIMSOLL_VERSION='1.2.3'
    PLIMSOLL_REVISION='24e451d90bdd333ba3b90dd96099e16be6c3f6bf'
    PLIMSOLL_IMAGE_API='ghcr.io/acme/api'
    PLIMSOLL_TAGS_API='ghcr.io/acme/api:v1.2.3 ghcr.io/acme/api:1.2.3 ghcr.io/acme/api:1.2 ghcr.io/acme/api:1 ghcr.io/acme/api:latest'
    PLIMSOLL_IMAGE_WEB='ghcr.io/acme/web'
    PLIMSOLL_TAGS_WEB='ghcr.io/acme/web:v1.2.3 ghcr.io/acme/web:1.2.3 ghcr.io/acme/web:1.2 ghcr.io/acme/web:1 ghcr.io/acme/web:latest'
    ");
}

#[test]
fn names_that_do_not_exist() {
    let scene = scene();
    assert_snapshot!(scene.see("plan aip"), @r#"
    exit code: 2
    --- stderr
    error: there is no service "aip": did you mean "api"?
    "#);
    scene.write("plimsoll.toml", "[service.api]\ncontxt = \"api\"\n");
    assert_snapshot!(scene.see("plan"), @r#"
    exit code: 2
    --- stderr
    error: unknown key `contxt` in [service.api]
     --> plimsoll.toml:2:1
      |
    2 | contxt = "api"
      | ^^^^^^
      = did you mean `context`?
    "#);
    assert_snapshot!(scene.see("plan --config other.toml"), @"
    exit code: 2
    --- stderr
    error: cannot read the configuration other.toml
      cause: No such file or directory (os error 2)
    ");
}

#[test]
fn settings_win_over_the_file() {
    let scene = scene();
    assert!(scene.see("plan --set registry=localhost:5000/x").contains("localhost:5000/x/api"));
    assert_snapshot!(scene.see("plan --set registyr=x"), @r#"
    exit code: 2
    --- stderr
    error: unknown key `registyr`
     --> plimsoll.toml with --set registyr=x:4:1
      |
    4 | registyr = "x"
      | ^^^^^^^^
      = did you mean `registry`?
    "#);
    assert_snapshot!(scene.see("plan --set registry"), @r#"
    exit code: 2
    --- stderr
    error: --set "registry" is not an override: expected KEY=VALUE, such as identity.short-sha=8
    "#);
}

#[test]
fn projects_without_what_a_plan_needs() {
    let scene = Scene::new();
    scene.write("Dockerfile", "FROM scratch\n");
    assert_snapshot!(scene.see("plan"), @"
    exit code: 2
    --- stderr
    error: [PROJECT] is not in a git repository; images are named after commits: run `git init` and commit, or use -C to name the clone
    ");
    let scene = Scene::with_files(&[("README", "")]);
    assert_snapshot!(scene.see("plan"), @"
    exit code: 2
    --- stderr
    error: there is no service in plimsoll.toml and no Dockerfile in [PROJECT]: add a Dockerfile, or [service.NAME] with its `context`
    ");
}

#[test]
fn a_ci_host_gets_the_plan_as_outputs() {
    let scene = scene();
    let head = scene.repository().head();
    scene.write("event.json", "{}");
    scene.write("outputs", "");
    let run = |line: &str| {
        let mut command = scene.command(line);
        command.env("GITHUB_ACTIONS", "true").env("GITHUB_EVENT_NAME", "push");
        command
            .env("GITHUB_EVENT_PATH", scene.path("event.json"))
            .env("GITHUB_OUTPUT", scene.path("outputs"));
        command
            .env("GITHUB_REF", "refs/heads/main")
            .env("GITHUB_SHA", &head)
            .env("GITHUB_WORKSPACE", scene.path(""));
        scene.shown(&command.output().unwrap())
    };
    let seen = run("plan api");
    assert!(seen.contains("event     branch:main"), "{seen}");
    let outputs = scene.read("outputs");
    assert!(
        outputs.contains("version") && outputs.contains(r#"[{"service":"api","platform":"linux/amd64"}]"#),
        "{outputs}"
    );
    scene.write("outputs", "");
    run("plan api --ci none");
    assert_eq!(scene.read("outputs"), "");
}

#[test]
fn a_job_of_gitlab_is_read_and_gets_a_dotenv_report() {
    let scene = scene();
    let head = scene.repository().head();
    let mut command = scene.command("plan api");
    command
        .env("GITLAB_CI", "true")
        .env("CI_PIPELINE_SOURCE", "merge_request_event")
        .env("CI_COMMIT_SHA", head);
    command.env("CI_MERGE_REQUEST_IID", "42").env("CI_PROJECT_DIR", scene.path(""));
    command.env("CI_MERGE_REQUEST_PROJECT_ID", "1").env("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "1");
    let seen = scene.shown(&command.output().unwrap());
    assert!(seen.contains("event     pr:42") && seen.contains("PLIMSOLL_MATRIX"), "{seen}");
    assert_eq!(scene.read(".plimsoll/outputs.env"), "PLIMSOLL_VERSION=pr-42\nPLIMSOLL_SKIPPED=false\n");
}

#[test]
fn an_event_is_replayed_from_a_file() {
    let scene = scene();
    let payload = r#"{ "ref": "refs/tags/v1.2.3", "before": "0000000000000000000000000000000000000000",
        "after": "1111111111111111111111111111111111111111", "repository": { "default_branch": "trunk" } }"#;
    scene.write("push.json", payload);
    let seen = scene.see("plan api --event push.json");
    assert!(
        seen.contains("event     tag:v1.2.3") && seen.contains("tags of api: v1.2.3, 1.2.3, 1.2, 1"),
        "{seen}"
    );
    assert!(seen.contains("push.json does not say the time of the commit"), "{seen}");
    // What a plan says of its event is one itself.
    scene.write("plan.json", scene.see_raw("plan api --event push.json --format json"));
    assert!(scene.see("meta api --event plan.json").contains("event     tag:v1.2.3"));
    scene.write("odd.json", "{}");
    assert_snapshot!(scene.see("plan --event odd.json"), @"
    exit code: 2
    --- stderr
    error: odd.json is no event: none of its keys shows which event it is: say it with --event-name, such as push, pull_request or workflow_dispatch
    ");
    assert!(scene.see("plan api --event odd.json --event-name schedule").contains("event     schedule"));
    assert!(scene.see("plan --event-name push").contains("exit code: 2"));
    let missing = scene.see("plan --event nowhere.json");
    assert!(missing.contains("exit code: 2") && missing.contains("cannot read nowhere.json"), "{missing}");
}

#[test]
fn what_init_writes_is_a_configuration() {
    let scene = Scene::with_files(&[("api/Dockerfile", "FROM scratch\n")]);
    scene.see("init --registry ghcr.io/acme");
    assert!(scene.see("plan").contains("ghcr.io/acme/api"), "{}", scene.see("plan"));
}

#[test]
fn schemas_are_json() {
    for document in ["config", "plan", "ledger"] {
        let text = Scene::new().see_raw(&format!("schema {document}"));
        let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(schema["$id"], format!("plimsoll.{document}/1"));
    }
    assert_snapshot!(Scene::new().see("schema confg"), @"
    exit code: 2
    --- stderr
    error: invalid value 'confg' for '<DOCUMENT>'
      [possible values: config, plan, ledger]

      tip: a similar value exists: 'config'

    For more information, try '--help'.
    ");
}
