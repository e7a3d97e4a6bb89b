//! What an event plans is what is tagged; immutable tags never move; what did not change is promoted.

use serde_json::{Value, json};

use crate::shop::Shop;

const DOCKERFILE: &str = "FROM scratch\nCOPY content /\n";

/// Images that need neither a base image nor a sandbox.
fn shop(configuration: &str) -> Shop {
    let files = [("plimsoll.toml", configuration), ("Dockerfile", DOCKERFILE), ("content", "one")];
    Shop::without_base(&files)
}

fn app(ledger: &Value) -> &Value {
    &ledger["services"]["app"]
}

fn digest(ledger: &Value) -> String {
    app(ledger)["digest"].as_str().unwrap().to_owned()
}

const IMMUTABLE: &str = "[[identity.tag]]\non = \"branch:main\"\ntags = [\"main\", \"fixed\"]\nimmutable = [\"fixed\"]\n[service.app]\n";

#[test]
fn an_immutable_tag_never_moves() {
    let shop = shop(IMMUTABLE);
    let first = digest(&shop.ledger("run", 0));
    shop.ledger("run", 0);
    shop.git.write("content", "two");
    shop.git.commit("second");
    let seen = shop.call("run --format json");
    let second = digest(&seen.json());
    assert_ne!(first, second);
    assert!(matches!(seen.code, Some(6 | 7)), "{seen}");
    let seen = seen.says("fixed").says(&first).says(&second).says("no moving tag was moved");
    assert_eq!(app(&seen.json())["tags"]["moved"], json!([]), "{seen}");
    for tag in ["main", "fixed"] {
        assert_eq!(shop.tagged(&format!("app:{tag}")).as_ref(), Some(&first), "{tag}");
    }
}

#[test]
fn an_immutable_tag_of_an_image_that_is_not_pushed_never_moves_either() {
    let shop = shop(&format!("[defaults.push]\nevents = [\"tag\"]\n{IMMUTABLE}"));
    let first = digest(&shop.ledger("run", 0));
    shop.git.write("content", "two");
    shop.git.commit("second");
    let seen = shop.call("run --format json");
    assert!(matches!(seen.code, Some(6 | 7)), "{seen}");
    seen.says("fixed").says(&first);
    assert_eq!(shop.tagged("app:fixed"), Some(first));
}

#[test]
fn a_pull_request_is_pushed_under_its_number() {
    let shop = shop("[service.app]\n");
    let seen = shop.call("run --as pr:42 --format json").exits(0).says("push to");
    let ledger = seen.json();
    assert_eq!(ledger["event"]["number"], 42);
    assert_eq!(shop.tagged("app:pr-42"), Some(digest(&ledger)));
    let tags = &app(&ledger)["tags"];
    assert_eq!(tags["moved"].as_array().unwrap().len(), tags["planned"].as_array().unwrap().len(), "{seen}");
    assert_eq!(shop.tagged("app:main"), None);
    assert_eq!(shop.tagged("app:latest"), None);
}

#[test]
fn a_version_tag_names_the_version() {
    let shop = shop("[service.app]\n");
    shop.git.tag("v1.2.3");
    let ledger = shop.ledger("run --as tag:v1.2.3", 0);
    assert_eq!(ledger["event"]["tag"], "v1.2.3");
    for tag in ["1.2.3", "1.2"] {
        assert_eq!(shop.tagged(&format!("app:{tag}")), Some(digest(&ledger)), "{ledger}");
    }
}

#[test]
fn what_did_not_change_is_promoted() {
    let shop = shop("[service.app]\npaths = [\"content\"]\n");
    let first = shop.ledger("run", 0);
    shop.git.write("README.md", "words");
    let revision = shop.git.commit("docs: words");
    let second = shop.ledger("run", 0);
    assert_eq!((app(&second)["status"].as_str(), digest(&second)), (Some("promoted"), digest(&first)));
    assert_eq!(second["revision"], revision.as_str());
    for tag in app(&second)["tags"]["planned"].as_array().unwrap() {
        assert_eq!(shop.tagged(&format!("app:{}", tag.as_str().unwrap())), Some(digest(&first)));
    }
    shop.git.write("content", "two");
    shop.git.commit("second");
    let third = shop.ledger("run", 0);
    assert_eq!(app(&third)["status"], "built");
    assert_ne!(digest(&third), digest(&first));
}

#[test]
fn an_image_to_be_promoted_that_is_gone_is_made_again() {
    let shop = shop("[service.app]\npaths = [\"content\"]\n");
    let first = digest(&shop.ledger("run", 0));
    std::fs::remove_dir_all(shop.root("store")).unwrap();
    shop.git.write("README.md", "words");
    shop.git.commit("docs: words");
    shop.call("run").exits(0).says("app is built: its last image").says(&first);
}

#[test]
fn commits_of_some_kinds_are_skipped() {
    let shop = shop("[skip]\ncommits = [\"^chore:\"]\n[service.app]\n");
    shop.git.commit("chore: nothing of note");
    let ledger = shop.ledger("run", 0);
    assert_eq!(app(&ledger)["status"], "skipped");
    assert!(app(&ledger)["reason"].as_str().unwrap().contains("chore: nothing of note"), "{ledger}");
    assert_eq!(app(&ledger)["tags"]["moved"], json!([]));
    let ledger = shop.ledger("run --as tag:v1.0.0", 0);
    assert_eq!(app(&ledger)["status"], "built", "somebody asked for this one");
}
