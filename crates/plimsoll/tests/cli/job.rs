//! `run`, `build`, `test`, `handoff`, `exec`: the main job when all goes well. Steps and suites need a
//! sandbox and a shell; where the machine has none, those tests say so and are skipped.

use insta::assert_snapshot;

use crate::run::{SHOP, Scene};

#[test]
fn the_main_job_and_its_repetition() {
    let scene = Scene::with_files(SHOP);
    let first = scene.see("run --progress none");
    assert!(first.starts_with("exit code: 0\n"), "{first}");
    assert!(first.contains("names passed"), "{first}");
    let before = scene.ledger();
    let digest = |ledger: &serde_json::Value, name: &str| ledger["services"][name]["digest"].clone();
    assert_eq!(before["services"]["web"]["status"], "built");
    let moved = before["services"]["api"]["tags"]["moved"].as_array().unwrap();
    let main = moved.iter().position(|tag| tag == "main").unwrap();
    let commit = moved.iter().position(|tag| tag.as_str().unwrap().starts_with("main-")).unwrap();
    assert!(commit < main, "tags with the commit come first: {moved:?}");
    assert_eq!(scene.read(".plimsoll/.gitignore"), "*\n");
    let again = scene.see("run --progress none --format json");
    assert!(again.contains("\"schema\": \"plimsoll.ledger/1\""), "{again}");
    let after = scene.ledger();
    assert_eq!(after["services"]["web"]["status"], "cached");
    assert_eq!(after["services"]["web"]["steps"]["cached"], after["services"]["web"]["steps"]["total"]);
    for name in ["api", "web"] {
        assert_eq!(digest(&before, name), digest(&after, name));
    }
    std::fs::remove_dir_all(scene.root()).unwrap();
    std::fs::remove_dir_all(scene.path(".plimsoll")).unwrap();
    scene.see_raw("run -q");
    assert_eq!(digest(&scene.ledger(), "web"), digest(&before, "web"), "a clean store gives the same digest");
}

#[test]
fn a_dry_run_builds_nothing() {
    let scene = Scene::with_files(SHOP);
    assert_eq!(scene.see_raw("run --dry-run --as pr:7"), scene.see_raw("plan --as pr:7"));
    assert!(!scene.path(".plimsoll").exists());
    assert_snapshot!(scene.see("ls"), @"
    exit code: 0
    --- stdout
    no images
    ");
}

#[test]
fn one_dockerfile_without_a_configuration() {
    let scene = Scene::new();
    scene.write("Dockerfile", "ARG WHO=nobody\nFROM scratch AS first\nCOPY a /a\nFROM scratch\nARG WHO\nLABEL who=$WHO\nCOPY a /b\n");
    scene.write("a", "1");
    let digest = scene.see_raw("build -q -t local/one:1 --build-arg WHO=me --platform linux/amd64 .");
    assert_eq!(scene.see_raw("digest local/one:1"), digest);
    let seen = scene.see_raw("inspect local/one:1 --format json");
    let image: serde_json::Value = serde_json::from_str(&seen).unwrap();
    assert_eq!(image["labels"]["who"], "me");
    assert_snapshot!(scene.see("build -t local/one:1 --target thrid ."), @r#"
    exit code: 2
    --- stderr
    error: the build failed: no stage has the name "thrid"
     --> Dockerfile:4:1
      |
    4 | FROM scratch
      | ^^^^^^^^^^^^
      = help: the stages are first
    "#);
    assert_snapshot!(scene.see("build -f nowhere -t local/one:1 ."), @"
    exit code: 2
    --- stderr
    error: the build failed: there is no Dockerfile at nowhere
    hint: set `dockerfile` of the service, or use -f FILE
    ");
}

#[test]
fn images_travel_in_a_folder() {
    let scene = Scene::with_files(SHOP);
    scene.see_raw("run -q");
    let digest = scene.ledger()["services"]["web"]["digest"].as_str().unwrap().to_owned();
    let seen = scene.see("handoff put --archive oci-archive");
    assert!(seen.contains(".plimsoll/images/web.tar"), "{seen}");
    let other = Scene::new();
    std::fs::create_dir_all(other.path("")).unwrap();
    std::fs::rename(scene.path(".plimsoll"), other.path("in")).unwrap();
    let seen = other.see("handoff get --ledger in/ledger.json");
    assert!(seen.starts_with("exit code: 0\n") && seen.contains("in/images/web.tar"), "{seen}");
    assert_eq!(other.see_raw(&format!("digest local/repository/web@{digest}")).trim(), digest);
    assert!(other.see("handoff check --ledger in/ledger.json").starts_with("exit code: 0\n"));
    let wrong = "0123456789012345678901234567890123456789";
    let seen = other.see(&format!("handoff check web --ledger in/ledger.json --revision {wrong}"));
    assert!(seen.starts_with("exit code: 4\n") && seen.contains(wrong), "{seen}");
    assert_snapshot!(other.see("handoff get wbe --ledger in/ledger.json"), @"
    exit code: 2
    --- stderr
    error: the ledger has no service wbe; it has api, web
    ");
    assert_snapshot!(other.see("handoff get"), @"
    exit code: 2
    --- stderr
    error: cannot read the ledger [PROJECT]/.plimsoll/ledger.json
      cause: No such file or directory (os error 2)
    ");
}

/// Two services that have nothing to do with each other.
const APART: &[(&str, &str)] = &[
    (
        "plimsoll.toml",
        "[service.a]\ncontext = \"a\"\npaths = [\"a/**\"]\n[service.b]\ncontext = \"b\"\npaths = [\"b/**\"]\n",
    ),
    ("a/Dockerfile", "FROM scratch\nCOPY f /f\n"),
    ("a/f", "1"),
    ("b/Dockerfile", "FROM scratch\nCOPY f /f\n"),
    ("b/f", "b"),
];

/// A promoted image carries the label of an earlier commit; that used to count as stale.
#[test]
fn a_promoted_image_is_of_the_commit_it_was_built_from() {
    let scene = Scene::with_files(APART);
    scene.see_raw("run -q");
    let first = scene.ledger()["revision"].as_str().unwrap().to_owned();
    scene.write("a/f", "2");
    scene.repository().commit("a changes");
    scene.see_raw("run -q");
    assert_eq!(scene.ledger()["services"]["b"]["status"], "promoted");
    assert_eq!(scene.ledger()["services"]["b"]["built_from"], *first);
    let seen = scene.see("handoff check");
    assert!(seen.starts_with("exit code: 0\n") && seen.contains(&format!("built from {first}")), "{seen}");
    scene.write("a/f", "3");
    scene.repository().commit("a changes again");
    let seen = scene.see("handoff check b");
    assert!(seen.starts_with("exit code: 4\n") && seen.contains(&first), "{seen}");
}

#[test]
fn a_promoted_image_that_is_gone_is_made_again() {
    let scene = Scene::with_files(APART);
    scene.see_raw("run -q");
    let before = scene.ledger();
    std::fs::remove_dir_all(scene.root()).unwrap();
    let seen = scene.see("run --progress plain");
    assert!(seen.starts_with("exit code: 0\n") && seen.contains("b is built: its last image"), "{seen}");
    assert_eq!(scene.ledger()["services"]["b"]["status"], "built");
    assert_eq!(scene.ledger()["services"]["b"]["digest"], before["services"]["b"]["digest"]);
}

#[test]
fn suites_run_on_the_images_of_the_ledger() {
    let scene = Scene::with_files(SHOP);
    scene.see_raw("run -q --no-suites");
    let seen = scene.see("test --progress none");
    assert!(seen.starts_with("exit code: 0\n") && seen.contains("names"), "{seen}");
    assert_eq!(scene.ledger()["services"]["web"]["suites"]["names"]["status"], "passed");
    let log = scene.read(".plimsoll/logs/suite-names.log");
    let digest = scene.ledger()["services"]["web"]["digest"].as_str().unwrap().to_owned();
    assert!(log.contains(&format!("/repository/web@{digest}")), "{log}");
    assert_snapshot!(scene.see("test nmaes"), @r#"
    exit code: 2
    --- stderr
    error: there is no suite "nmaes"; there are names
    "#);
    let failing = scene.read("plimsoll.toml").replace("echo $PLIMSOLL_IMAGE_WEB", "exit 3");
    scene.write("plimsoll.toml", failing);
    let seen = scene.see("test --progress none");
    assert!(seen.starts_with("exit code: 1\n") && seen.contains("suite names: "), "{seen}");
    assert_eq!(scene.ledger()["services"]["web"]["suites"]["names"]["status"], "failed");
}

#[test]
fn plain_progress_and_events() {
    let scene = Scene::with_files(SHOP);
    if !scene.has_shell() {
        return;
    }
    scene.write("api/Dockerfile", "FROM local/busybox\nRUN echo one\n");
    let seen = scene.see("build api --progress plain");
    for line in ["api | 1 step", "api 1/1 | RUN echo one", "api 1 | one", "api 1 | done in ", "api: built "] {
        assert!(seen.contains(line), "{line}: {seen}");
    }
    let output = scene.command("build api --progress json").output().unwrap();
    let events = String::from_utf8(output.stderr).unwrap();
    let events: Vec<serde_json::Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    assert!(events.iter().all(|event| event["schema"] == "plimsoll.progress/1"), "{events:?}");
    assert!(events.iter().any(|event| event["progress"] == "step_cached"), "{events:?}");
    let quiet = scene.see("build api -q");
    assert_eq!(quiet.lines().count(), 3, "nothing but the digest: {quiet}");
}

#[test]
fn commands_in_an_image() {
    let scene = Scene::new();
    if !scene.has_shell() {
        return;
    }
    assert_snapshot!(scene.see("exec local/busybox -- cat /proc/sys/kernel/hostname"), @"
    exit code: 0
    --- stdout
    plimsoll
    ");
    assert_snapshot!(scene.see("exec local/busybox --env A=b --user 7:8 -- sh -c env;id"), @"
    exit code: 0
    --- stdout
    SHLVL=1
    HOME=/
    A=b
    PATH=/bin
    PWD=/
    uid=7 gid=8 groups=8
    ");
    assert_snapshot!(scene.see("exec local/busybox -- false"), @"
    exit code: 1
    --- stderr
    error: the command ended with exit code 1
    ");
    assert_snapshot!(scene.see("exec local/busybox"), @"
    exit code: 2
    --- stderr
    error: the image has neither ENTRYPOINT nor CMD: name a command after --
    ");
    let seen = scene.see("exec local/busybox -- nothing");
    assert!(seen.starts_with("exit code: ") && seen.contains("nothing"), "{seen}");
    assert!(scene.see("exec local/busybox --timeout 200ms -- sleep 60").starts_with("exit code: 1\n"));
}

#[test]
fn a_ci_host_is_told_what_became_of_a_run() {
    let scene = Scene::with_files(SHOP);
    let head = scene.repository().head();
    let host = |line: &str| {
        for name in ["outputs", "summary"] {
            scene.write(name, "");
        }
        scene.write("event.json", "{}");
        let mut command = scene.command(line);
        command.env("GITHUB_ACTIONS", "true").env("GITHUB_EVENT_NAME", "push").env("GITHUB_SHA", &head);
        command.env("GITHUB_EVENT_PATH", scene.path("event.json")).env("GITHUB_REF", "refs/heads/main");
        command.env("GITHUB_OUTPUT", scene.path("outputs")).env("GITHUB_STEP_SUMMARY", scene.path("summary"));
        scene.shown(&command.env("GITHUB_WORKSPACE", scene.path("")).output().unwrap())
    };
    let seen = host("run --progress none");
    assert!(seen.starts_with("exit code: 0\n"), "{seen}");
    let digest = scene.ledger()["services"]["web"]["digest"].as_str().unwrap().to_owned();
    let outputs = scene.read("outputs");
    for part in ["digest-web", "image-web", "tags-web", "version", "ledger", "matrix", "skipped", &digest] {
        assert!(outputs.contains(part), "{part}: {outputs}");
    }
    assert!(scene.read("summary").contains("web"), "{}", scene.read("summary"));
    scene.write("api/Dockerfile", "FROM scratch\nCOPY missing /\n");
    let seen = host("run --progress none");
    assert!(
        seen.contains("::error ") && seen.contains("file=api/Dockerfile") && seen.contains("line=2"),
        "{seen}"
    );
}

#[test]
fn steps_that_change_nothing_stack_up() {
    let scene = Scene::new();
    if !scene.has_shell() {
        return;
    }
    scene.write("Dockerfile", "FROM local/busybox\nRUN true 1\nRUN true 2\nWORKDIR /\nRUN true 3\nRUN echo x >/y\nRUN true 4\nRUN cat /y\n");
    let seen = scene.see("build -t local/stacked . --progress plain");
    assert!(seen.starts_with("exit code: 0\n") && seen.contains("| x"), "{seen}");
}
