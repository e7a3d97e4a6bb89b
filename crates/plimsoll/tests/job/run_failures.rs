//! One service of several fails: the others are built and pushed, and no moving tag moves.

use serde_json::Value;

use crate::shop::Shop;

const CONFIGURATION: &str = r#"
[[identity.tag]]
on = "branch:main"
tags = ["main", "main-{sha}"]
immutable = ["main-{sha}"]
[service.bad]
dockerfile = "bad"
[service.good]
dockerfile = "good"
[service.other]
dockerfile = "other"
[service.worker]
dockerfile = "worker"
needs = { base = "bad" }
"#;

const GOOD: &str = "FROM local/base:1\nRUN echo good >/good\n";
const BAD: &str = "FROM local/base:1\nRUN exit 3\n";

fn shop(bad: &str) -> Option<Shop> {
    Shop::open(&[
        ("plimsoll.toml", CONFIGURATION),
        ("bad", bad),
        ("good", GOOD),
        ("other", "FROM scratch\nCOPY good /\n"),
        ("worker", "FROM base\nRUN echo worker\n"),
    ])
}

fn status(ledger: &Value, service: &str) -> String {
    ledger["services"][service]["status"].as_str().unwrap().to_owned()
}

#[test]
fn the_others_are_built_and_pushed() {
    let Some(shop) = shop(BAD) else { return };
    let immutable = format!("main-{}", &shop.git.head()[..7]);
    let seen = shop.call("run --format json").exits(7).says("bad:2").says("no moving tag was moved");
    let seen = seen.says("service worker failed").says("it needs bad");
    let ledger = seen.json();
    for (service, expected) in
        [("bad", "failed"), ("worker", "failed"), ("good", "built"), ("other", "built")]
    {
        assert_eq!(status(&ledger, service), expected, "{seen}");
    }
    for service in ["good", "other"] {
        let tags = &ledger["services"][service]["tags"];
        assert_eq!(tags["moved"], serde_json::json!([immutable]), "{seen}");
        assert!(shop.tagged(&format!("{service}:{immutable}")).is_some());
        assert_eq!(shop.tagged(&format!("{service}:main")), None);
        assert!(ledger["services"][service]["archive"].is_string(), "{seen}");
    }
    assert_eq!(shop.tagged(&format!("bad:{immutable}")), None);
    shop.check_root();
}

#[test]
fn tags_move_together_once_all_is_well() {
    let Some(shop) = shop(GOOD) else { return };
    shop.ledger("run", 0);
    let first = shop.tagged("other:main").unwrap();
    shop.git.write("bad", BAD);
    shop.git.write("other", "FROM scratch\nCOPY bad /\n");
    shop.git.commit("breaks bad");
    shop.ledger("run", 7);
    assert_eq!(shop.tagged("other:main").as_ref(), Some(&first));
    shop.git.write("bad", GOOD);
    shop.git.commit("mends bad");
    shop.ledger("run", 0);
    assert_ne!(shop.tagged("other:main"), Some(first));
}

#[test]
fn fail_fast_starts_nothing_more() {
    let Some(shop) = shop(BAD) else { return };
    let seen = shop.call("run worker --fail-fast --format json");
    assert!(matches!(seen.code, Some(1)), "{seen}");
    assert_eq!(status(&seen.json(), "worker"), "failed");
    let seen = shop.call("run --fail-fast --format json");
    assert!(matches!(seen.code, Some(1 | 7)), "{seen}");
    assert_eq!(status(&seen.json(), "bad"), "failed");
    assert_eq!(shop.tagged("good:main"), None);
    assert!(!seen.stderr.contains("push to"), "nothing is pushed after a failure\n{seen}");
}

#[test]
fn a_single_service_that_fails_is_a_failure() {
    let Some(shop) = shop(BAD) else { return };
    let ledger = shop.ledger("run bad", 1);
    assert_eq!(ledger["services"].as_object().unwrap().keys().collect::<Vec<_>>(), ["bad"]);
    let reason = ledger["services"]["bad"]["reason"].as_str().unwrap();
    assert!(reason.contains("bad:2") && reason.contains('3'), "{reason}");
    shop.call("build bad").exits(1);
    shop.call("build").exits(7).says("bad:2");
}

#[test]
fn different_kinds_of_failure_are_told_apart() {
    let Some(shop) = shop("FROM local/base:1\nRUM x\n") else { return };
    shop.call("run bad").exits(2).says("bad:2");
    std::fs::remove_file(shop.path("bad")).unwrap();
    shop.call("run bad").exits(2).says("there is no Dockerfile at");
    shop.call("run").exits(7).says("there is no Dockerfile at");
}
