//! Configurations, branch names and clones as they come.

use testkit::git::GitRepository;

use crate::shop::Shop;

const DOCKERFILE: (&str, &str) = ("Dockerfile", "FROM scratch\nLABEL a=b\n");

/// Images that need neither a base image nor a sandbox.
fn shop(configuration: &str) -> Shop {
    Shop::without_base(&[("plimsoll.toml", configuration), DOCKERFILE])
}

#[test]
fn an_unknown_key_gets_a_suggestion() {
    let shop = shop("[service.app]\ncontxt = \".\"\n");
    for line in ["run", "build"] {
        shop.call(line).exits(2).says("plimsoll.toml").says("contxt").says("`context`");
    }
    shop.call("run --set service.app.contxt=x").exits(2).says("contxt");
    shop.call("run --set service.app.contxt").exits(2).says("--set");
    assert!(!shop.path(".plimsoll").exists(), "nothing was begun");
}

#[test]
fn an_unknown_service_is_named_with_those_there_are() {
    let shop = shop("[service.app]\n");
    for line in ["run web", "build web", "run app web"] {
        shop.call(line).exits(2).says("web").says("app");
    }
}

#[test]
fn an_owner_in_capitals_is_lower_case_in_the_reference() {
    let shop = shop("project = \"Acme/Shop\"\n[service.app]\n");
    let ledger = shop.ledger("run", 0);
    assert_eq!(
        ledger["services"]["app"]["image"].as_str().unwrap().split('@').next(),
        Some("local/acme/shop/app")
    );
    let plan = shop.ledger("plan --set registry=ghcr.io/Acme", 0);
    assert_eq!(plan["services"]["app"]["image"], "ghcr.io/acme/app");
}

#[test]
fn branches_may_be_as_ugly_as_git_allows() {
    let shop = shop("[service.app]\n");
    let mut seen = std::collections::BTreeSet::new();
    let long = "x".repeat(250);
    let branches = [
        "feature/Add_New-Feature",
        "feature/fix-#123",
        "feature/ünïcödé/日本",
        "UPPER/..x",
        "a'b\"c$(id)",
        "--",
        "dependabot/npm_and_yarn/@types/node-20.1.0",
        &long,
        "日本",
    ];
    for branch in branches {
        let ledger = shop.call(&format!("run --as branch:{branch} --format json")).exits(0).json();
        let app = &ledger["services"]["app"];
        let tags = app["tags"]["planned"].as_array().unwrap();
        assert_eq!(app["tags"]["moved"].as_array().unwrap().len(), tags.len(), "{branch}: {ledger}");
        for tag in tags {
            let tag: oci::Tag = tag.as_str().unwrap().parse().unwrap();
            seen.insert(tag.to_string());
            assert!(shop.tagged(&format!("app:{tag}")).is_some(), "{branch}: {tag}");
        }
    }
    assert!(seen.len() > branches.len() / 2, "{seen:?}");
}

#[test]
fn a_repository_without_a_commit_and_none_at_all() {
    let mut shop = shop("[service.app]\n");
    shop.git = GitRepository::empty();
    shop.write("Dockerfile", DOCKERFILE.1);
    for line in ["run", "build"] {
        shop.call(line).exits(2).says("no commit yet");
    }
    std::fs::remove_dir_all(shop.path(".git")).unwrap();
    for line in ["run", "build"] {
        shop.call(line).exits(2).says("not in a git repository").says("git init");
    }
    shop.call("build -q -t local/app:1 .").exits(0);
}

#[test]
fn a_detached_head_is_built_under_its_commit() {
    let shop = shop("[service.app]\n");
    let revision = shop.git.head();
    shop.git.checkout(&revision);
    let ledger = shop.ledger("run", 0);
    assert_eq!(ledger["revision"], revision.as_str());
    assert_eq!(ledger["event"]["kind"], "detached");
    assert_eq!(ledger["services"]["app"]["tags"]["moved"], ledger["services"]["app"]["tags"]["planned"]);
    let planned = ledger["services"]["app"]["tags"]["planned"].to_string();
    assert!(!planned.contains("main") && !planned.contains("latest"), "{planned}");
}

#[test]
fn a_shallow_clone_builds_what_it_cannot_compare() {
    let mut shop = shop("[service.app]\npaths = [\"Dockerfile\"]\n");
    shop.ledger("run", 0);
    let ledger = std::fs::read(shop.path(".plimsoll/ledger.json")).unwrap();
    shop.git.write("notes", "x");
    shop.git.commit("second");
    shop.git.write("notes", "y");
    shop.git.commit("third");
    shop.git = shop.git.shallow_clone(1);
    shop.write(".plimsoll/ledger.json", ledger);
    let ledger = shop.ledger("run", 0);
    assert_ne!(ledger["services"]["app"]["status"], "promoted", "{ledger}");
    shop.call("plan").exits(0);
}

#[test]
fn a_damaged_ledger_of_the_last_run_is_told_and_not_believed() {
    let shop = shop("[service.app]\npaths = [\"Dockerfile\"]\n");
    shop.ledger("run", 0);
    shop.write(".plimsoll/ledger.json", "{\"schema\": \"plimsoll.ledger/1\", \"serv");
    let seen = shop.call("run --format json").exits(0).says("warning").says("ledger.json");
    assert_eq!(seen.json()["services"]["app"]["status"], "cached");
}

#[test]
fn an_empty_configuration_beside_a_dockerfile_is_enough() {
    let shop = shop("");
    let ledger = shop.ledger("run", 0);
    assert_eq!(ledger["services"].as_object().unwrap().len(), 1, "{ledger}");
    assert!(ledger["services"]["repository"]["digest"].is_string(), "{ledger}");
}
