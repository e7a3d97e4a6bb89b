//! Ledgers written and read back, and what is not believed.

use super::*;
use crate::event::tests::{COMMIT, assumed};

fn ledger() -> Ledger {
    let mut ledger = Ledger::new(assumed("branch:main"), COMMIT.parse().unwrap(), "main".to_owned());
    let mut api = ServiceRecord::new("ghcr.io/acme/api".parse().unwrap(), Status::Built);
    api.set_digest(Digest::of(b"api"));
    api.platforms.insert(Text("linux/amd64".parse().unwrap()), PlatformRecord { digest: Digest::of(b"api") });
    api.steps = Steps { total: 5, cached: 2 };
    api.tags.planned = vec!["main".parse().unwrap()];
    api.suites.insert(
        "smoke".parse().unwrap(),
        SuiteRecord { status: SuiteStatus::Passed, seconds: 0.5, log: None },
    );
    ledger.services.insert("api".parse().unwrap(), api);
    let web = ServiceRecord::new("ghcr.io/acme/web".parse().unwrap(), Status::Failed);
    ledger.services.insert("web".parse().unwrap(), web);
    ledger
}

#[test]
fn is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".plimsoll/ledger.json");
    ledger().write(&path).unwrap();
    assert_eq!(Ledger::read(&path).unwrap(), ledger());
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn has_the_fields_that_outside_checks_read() {
    let json = serde_json::to_value(ledger()).unwrap();
    let digest = Digest::of(b"api").to_string();
    let api = &json["services"]["api"];
    assert_eq!(json["schema"], "plimsoll.ledger/1");
    assert_eq!(json["revision"], COMMIT);
    assert_eq!(json["event"]["kind"], "branch");
    assert_eq!(api["image"], format!("ghcr.io/acme/api@{digest}"));
    assert_eq!(api["digest"], digest);
    assert_eq!(api["platforms"]["linux/amd64"]["digest"], digest);
    assert_eq!(api["tags"]["planned"][0], "main");
    assert_eq!(api["steps"]["cached"], 2);
    assert_eq!(api["suites"]["smoke"]["status"], "passed");
    assert_eq!(json["services"]["web"]["image"], "ghcr.io/acme/web");
    assert_eq!(json["services"]["web"]["status"], "failed");
}

#[track_caller]
fn check_refused(json: &str, message: &str) {
    let error = Ledger::parse(json.as_bytes(), "ledger.json").unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn what_cannot_be_trusted_is_refused() {
    let json = serde_json::to_string(&ledger()).unwrap();
    check_refused(&json[..json.len() / 2], "cut short");
    check_refused("", "cut short");
    check_refused("3", "cut short");
    check_refused("{}", "has the schema \"\"");
    check_refused(&json.replace("ledger/1", "ledger/2"), "plimsoll.ledger/2");
    check_refused(&json.replace(COMMIT, "abc1234"), "cut short");
    let other = Digest::of(b"other").to_string();
    let own = Digest::of(b"api").to_string();
    check_refused(&json.replacen(&format!("@{own}"), &format!("@{other}"), 1), "service api");
}

#[test]
fn later_stages_get_a_pinned_reference_or_nothing() {
    let ledger = ledger();
    let pinned = ledger.services["api"].pinned().unwrap();
    assert_eq!((pinned.repository().path(), pinned.digest()), ("acme/api", Digest::of(b"api")));
    assert_eq!(ledger.services["web"].pinned(), None);
}
