//! A registry that is not there.

use std::net::TcpListener;

use crate::shop::Shop;

const RETRY: &str = "--set defaults.push.retry.attempts=2 --set defaults.push.retry.wait=1ms";

fn shop() -> Shop {
    let configuration = "[service.app]\n[suite.never]\nservices = [\"app\"]\nhost = \"touch was-here\"\n";
    Shop::without_base(&[("plimsoll.toml", configuration), ("Dockerfile", "FROM scratch\nLABEL a=b\n")])
}

/// An address where nobody listens: the port was free a moment ago.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn a_registry_that_is_down_is_told_with_every_attempt() {
    let (shop, registry) = (shop(), nobody());
    let seen = shop.call(&format!("run --set registry={registry}/acme {RETRY} --format json")).exits(5);
    let seen = seen.says("warning").says("attempt 1 of 2").says(&registry).says("push failed");
    let seen = seen.says(&format!("cannot push app to {registry}/acme/app")).says("refused");
    let ledger = seen.json();
    assert_eq!(ledger["services"]["app"]["status"], "cached", "what has no steps\n{seen}");
    assert_eq!(ledger["services"]["app"]["tags"]["moved"], serde_json::json!([]), "{seen}");
    assert!(ledger["services"]["app"]["archive"].is_string(), "the hand-over is there all the same\n{seen}");
    assert!(!shop.path("was-here").exists(), "suites run on images that were pushed");
}

#[test]
fn the_next_run_pushes_what_could_not_be_pushed() {
    let shop = shop();
    shop.call(&format!("run --set registry={}/acme {RETRY}", nobody())).exits(5);
    let ledger = shop.ledger("run", 0);
    let app = &ledger["services"]["app"];
    assert_eq!(shop.tagged("app:main").as_deref(), app["digest"].as_str());
    assert!(shop.path("was-here").exists());
}

#[test]
fn a_registry_that_answers_no_http_is_a_remote_that_failed() {
    let shop = shop();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let registry = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            use std::io::Write as _;
            let _ = (&stream).write_all(b"\0\0not http\r\n\r\n");
        }
    });
    shop.call(&format!("run --set registry={registry}/acme {RETRY}")).exits(5).says(&registry);
}

#[test]
fn offline_names_what_it_would_have_needed() {
    let shop = shop();
    let seen = shop.call("run --offline --set registry=registry.invalid/acme");
    assert_ne!(seen.code, Some(0), "{seen}");
    seen.says("--offline");
}

#[test]
fn a_base_in_a_registry_that_is_down_is_a_remote_that_failed() {
    let (shop, registry) = (shop(), nobody());
    shop.write("Dockerfile", format!("FROM {registry}/base:1\n"));
    shop.call(&format!("build {RETRY}")).exits(5).says("Dockerfile:1").says(&registry).says("attempt 1 of 2");
}
