//! `run` and `build` when something goes wrong: what is said, what is kept, and that the next run works.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use insta::assert_snapshot;

use crate::run::{SHOP, Scene};

#[test]
fn one_service_that_fails_does_not_stop_the_others() {
    let scene = Scene::with_files(SHOP);
    scene.write("plimsoll.toml", "[service.api]\ncontext = \"api\"\n[service.bad]\ncontext = \"bad\"\n");
    scene.write("bad/Dockerfile", "FROM scratch\nCOPY missing /\n");
    scene.repository().commit("bad");
    let seen = scene.see("run --progress none");
    assert!(seen.starts_with("exit code: 7\n"), "{seen}");
    assert!(seen.contains("bad/Dockerfile:2"), "{seen}");
    assert!(seen.contains("no moving tag was moved: a service failed"), "{seen}");
    let ledger = scene.ledger();
    assert_eq!(
        (&ledger["services"]["api"]["status"], &ledger["services"]["bad"]["status"]),
        (&"built".into(), &"failed".into())
    );
    let moved = ledger["services"]["api"]["tags"]["moved"].as_array().unwrap();
    assert!(moved.iter().all(|tag| tag != "main"), "only tags with the commit are set: {moved:?}");
}

#[test]
fn what_is_wrong_with_a_dockerfile() {
    let scene = Scene::with_files(SHOP);
    scene.write("api/Dockerfile", "FROM scratch\nCOYP a b\n");
    assert_snapshot!(scene.see("build api --progress none"), @"
    exit code: 2
    --- stderr
    error: service api failed: unknown instruction COYP
     --> api/Dockerfile:2:1
      |
    2 | COYP a b
      | ^^^^
      = help: did you mean COPY?
    ");
    std::fs::remove_file(scene.path("api/Dockerfile")).unwrap();
    assert_snapshot!(scene.see("build api --progress none"), @"
    exit code: 2
    --- stderr
    error: service api failed: there is no Dockerfile at api/Dockerfile
    hint: set `dockerfile` of the service, or use -f FILE
    ");
    scene.write("api/Dockerfile", "FROM local/nowhere\n");
    assert_snapshot!(scene.see("build api --progress none"), @"
    exit code: 1
    --- stderr
    error: service api failed: api/Dockerfile:1: cannot use the image local/nowhere
      cause: local/nowhere in the local store at [DIR]/root/store does not exist
    ");
    scene.write("api/Dockerfile", "FROM scratch\nCOPY ../web/index.html /\nCOPY hello /\n");
    assert_snapshot!(scene.see("build api --progress none"), @"
    exit code: 1
    --- stderr
    error: service api failed: api/Dockerfile:2: ../web/index.html is not in the context [PROJECT]/api
    ");
}

#[test]
fn a_failed_suite_holds_the_moving_tags() {
    let scene = Scene::with_files(SHOP);
    scene.write("plimsoll.toml", scene.read("plimsoll.toml").replace("echo $PLIMSOLL_IMAGE_WEB", "exit 3"));
    scene.repository().commit("failing suite");
    let seen = scene.see("run --progress none");
    assert!(seen.starts_with("exit code: 1\n"), "{seen}");
    assert!(seen.contains("no moving tag was moved: suite names did not pass"), "{seen}");
    assert_snapshot!(scene.see("digest local/repository/web:main"), @"
    exit code: 1
    --- stderr
    error: local/repository/web:main in the local store at [DIR]/root/store does not exist
    ");
}

#[test]
fn a_step_that_fails_shows_its_last_lines() {
    let scene = Scene::with_files(SHOP);
    if !scene.has_shell() {
        return;
    }
    scene.write("api/Dockerfile", "FROM local/busybox\nRUN echo one && echo two >&2 && exit 3\n");
    assert_snapshot!(scene.see("build api --progress none"), @"
    exit code: 1
    --- stderr
    error: service api failed: api/Dockerfile:2: RUN echo one && echo two >&2 && exit 3 exited with code 3
      | one
      | two
    ");
    scene.write("api/Dockerfile", "FROM local/busybox\nRUN sleep 60\n");
    let seen = scene.see("build api --progress none --step-timeout 300ms");
    assert!(seen.starts_with("exit code: 1\n") && seen.contains("api/Dockerfile:2"), "{seen}");
}

#[test]
fn two_runs_share_one_store() {
    let scene = Scene::with_files(SHOP);
    let start = || {
        let mut command = scene.command("run -q --no-suites");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (first, second) = (start(), start());
    for child in [first, second] {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", scene.shown(&output));
    }
    assert!(scene.see("run --progress none").starts_with("exit code: 0\n"));
    assert_eq!(scene.ledger()["services"]["web"]["status"], "cached");
}

#[test]
fn a_build_that_was_killed_is_simply_made_again() {
    let scene = Scene::with_files(&[(
        "Dockerfile",
        "FROM local/busybox\nRUN echo running && test -e /gate || sleep 600\n",
    )]);
    if !scene.has_shell() {
        return;
    }
    let mut command = scene.command("build --progress plain");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.by_ref().map(Result::unwrap).any(|line| line.ends_with("| running")));
    child.kill().unwrap();
    child.wait().unwrap();
    // Whatever the sandbox held open is gone with it.
    lines.for_each(drop);
    scene.write("Dockerfile", "FROM local/busybox\nRUN echo again\n");
    assert!(scene.see("build --progress none").starts_with("exit code: 0\n"));
    assert_eq!(std::fs::read_dir(scene.root().join("store/temporary")).unwrap().count(), 0);
}

#[test]
fn a_registry_that_is_down_moves_no_tag() {
    let scene = Scene::with_files(SHOP);
    let retry = "--set defaults.push.retry.attempts=2 --set defaults.push.retry.wait=0s";
    let seen = scene.see(&format!("run --progress none --set registry=127.0.0.1:1/acme {retry}"));
    assert!(seen.starts_with("exit code: 5\n"), "{seen}");
    assert!(seen.contains("attempt 1 of 2 failed: no connection to 127.0.0.1:1"), "{seen}");
    assert!(seen.contains("no moving tag was moved: an image was not pushed"), "{seen}");
    let ledger = scene.ledger();
    assert_eq!(ledger["services"]["api"]["status"], "built");
    assert_eq!(ledger["services"]["api"]["tags"]["moved"], serde_json::json!([]));
}
