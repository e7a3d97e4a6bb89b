//! Suites run on the very digests, and what does not pass holds the moving tags.

use serde_json::Value;

use crate::shop::Shop;

const SERVICES: &str = r#"
[[identity.tag]]
on = "branch:main"
tags = ["main", "main-{sha}"]
immutable = ["main-{sha}"]
[service.app]
"#;

fn shop(suites: &str) -> Option<Shop> {
    let configuration = format!("{SERVICES}{suites}");
    let dockerfile = "FROM local/base:1\nRUN echo built >/built\nCMD [\"/bin/sh\"]\n";
    Shop::open(&[("plimsoll.toml", &configuration), ("Dockerfile", dockerfile)])
}

fn suite<'a>(ledger: &'a Value, name: &str) -> &'a Value {
    &ledger["services"]["app"]["suites"][name]
}

#[test]
fn a_suite_that_fails_holds_the_moving_tags() {
    let Some(shop) = shop(
        "[suite.fine]\nimage = \"app\"\nrun = \"cat /built\"\n\
         [suite.wrong]\nimage = \"app\"\nrun = \"echo what went wrong; exit 9\"\n",
    ) else {
        return;
    };
    let seen = shop.call("run --format json").exits(1).says("suite wrong").says("9").says("no moving tag");
    let ledger = seen.json();
    assert_eq!(suite(&ledger, "fine")["status"], "passed", "{seen}");
    assert_eq!(suite(&ledger, "wrong")["status"], "failed", "{seen}");
    let log = std::fs::read_to_string(suite(&ledger, "wrong")["log"].as_str().unwrap()).unwrap();
    assert_eq!(log, "what went wrong\n");
    assert_eq!(shop.tagged("app:main"), None);
    let immutable = format!("app:main-{}", &shop.git.head()[..7]);
    assert_eq!(shop.tagged(&immutable).as_deref(), ledger["services"]["app"]["digest"].as_str());
    shop.check_root();
}

#[test]
fn a_suite_that_hangs_is_ended() {
    let Some(shop) = shop(
        "[suite.inside]\nimage = \"app\"\nrun = \"echo begun; sleep 100000\"\ntimeout = \"1s\"\n\
         [suite.beside]\nservices = [\"app\"]\nhost = \"echo begun; (sleep 100000 & wait)\"\ntimeout = \"1s\"\n",
    ) else {
        return;
    };
    let seen = shop.call("run --format json").exits(1).says("longer than 1 s");
    let ledger = seen.json();
    for name in ["inside", "beside"] {
        assert_eq!(suite(&ledger, name)["status"], "timed-out", "{seen}");
        let log = std::fs::read_to_string(suite(&ledger, name)["log"].as_str().unwrap()).unwrap();
        assert_eq!(log, "begun\n");
    }
    assert_eq!(shop.tagged("app:main"), None);
}

#[test]
fn commands_are_told_the_digest_and_never_a_tag() {
    let Some(shop) = shop(
        "[suite.beside]\nservices = [\"app\"]\nhost = \"echo $PLIMSOLL_IMAGE_APP >told\"\n\
         [suite.inside]\nimage = \"app\"\nrun = \"echo $PLIMSOLL_IMAGE_APP\"\n",
    ) else {
        return;
    };
    let ledger = shop.ledger("run", 0);
    let digest = ledger["services"]["app"]["digest"].as_str().unwrap();
    let told = std::fs::read_to_string(shop.path("told")).unwrap();
    assert!(told.trim_end().ends_with(&format!("/app@{digest}")), "{told}");
    let log = std::fs::read_to_string(suite(&ledger, "inside")["log"].as_str().unwrap()).unwrap();
    assert_eq!(log, told, "both are told the same");
}

#[test]
fn what_a_suite_writes_into_the_image_is_seen_by_no_other() {
    let Some(shop) = shop(
        "[suite.one]\nimage = \"app\"\nrun = \"rm /built && echo mine >/mine\"\n\
         [suite.two]\nimage = \"app\"\nrun = \"test -f /built && ! test -e /mine\"\nneeds = [\"one\"]\n",
    ) else {
        return;
    };
    shop.ledger("run", 0);
    shop.ledger("run", 0);
    shop.check_root();
}

#[test]
fn a_suite_whose_need_failed_is_skipped() {
    let Some(shop) = shop(
        "[suite.first]\nimage = \"app\"\nrun = [\"/bin/false\"]\n\
         [suite.second]\nimage = \"app\"\nrun = [\"/bin/true\"]\nneeds = [\"first\"]\n",
    ) else {
        return;
    };
    let ledger = shop.ledger("run", 1);
    assert_eq!(suite(&ledger, "second")["status"], "skipped", "{ledger}");
}

#[test]
fn a_service_that_does_not_come_up_fails_its_suite() {
    let start = "start = \"app\"\nhost = [\"/bin/true\"]\ntimeout = \"2s\"\n";
    let Some(shop) = shop(&format!("[suite.no-port]\n{start}")) else { return };
    shop.call("run").exits(1).says("suite no-port").says("EXPOSE");
    let Some(shop) = self::shop(&format!("[suite.ends]\nport = 80\n{start}")) else { return };
    shop.call("run").exits(1).says("suite ends").says("did not come up");
    shop.check_root();
}

#[test]
fn a_daemon_that_is_named_and_does_not_answer_is_told() {
    let suites = "[suite.daemon]\nservices = [\"app\"]\nhost = \"touch was-here\"\nneeds-daemon = true\n";
    let Some(shop) = shop(suites) else { return };
    let socket = format!("unix://{}", shop.beside("no.sock").display());
    let seen = shop.call_with("run", &[("DOCKER_HOST", socket.as_ref())]);
    assert_ne!(seen.code, Some(0), "{seen}");
    seen.says("no container daemon answers at").says("no.sock");
    assert!(!shop.path("was-here").exists());
}

#[test]
fn a_suite_that_needs_a_daemon_says_that_there_is_none() {
    let sockets = ["/var/run/docker.sock", "/run/podman/podman.sock"];
    if let Some(socket) = sockets.iter().find(|socket| std::path::Path::new(socket).exists()) {
        return crate::shop::skip::<()>(&format!("there is a daemon at {socket}")).unwrap_or_default();
    }
    let suites = "[suite.daemon]\nservices = [\"app\"]\nhost = \"touch was-here\"\nneeds-daemon = true\n";
    let Some(shop) = shop(suites) else { return };
    let seen = shop.call("run --format json");
    let ledger = seen.json();
    assert_eq!(suite(&ledger, "daemon")["status"], "skipped", "{ledger}");
    seen.says("it needs a container daemon and none is reachable").says("DOCKER_HOST");
    assert!(!shop.path("was-here").exists());
}
