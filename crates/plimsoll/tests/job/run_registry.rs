//! Registries that are not there, fail, break off and lie.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::seen::Seen;
use crate::shop::Shop;
use crate::unreliable::{Fault, Unreliable};

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

/// A project whose image has a layer of a megabyte and a half that does not compress.
fn large() -> Shop {
    let files = [("plimsoll.toml", "[service.app]\n"), ("Dockerfile", "FROM scratch\nCOPY noise /noise\n")];
    let shop = Shop::without_base(&files);
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    });
    shop.write("noise", noise.take(1_500_000).collect::<Vec<u8>>());
    shop.git.commit("noise");
    shop
}

const TRIES: &str = "--set defaults.push.retry.attempts=3 --set defaults.push.retry.wait=1ms";

/// The shop, and a registry that does as it is told.
fn unreliable() -> (Shop, Unreliable) {
    let shop = large();
    let registry = Unreliable::start(&shop.beside("registry"));
    (shop, registry)
}

fn run(shop: &Shop, registry: &Unreliable) -> Seen {
    shop.call(&format!("run --set registry={}/acme {TRIES}", registry.address))
}

#[test]
fn a_registry_that_fails_twice_gets_the_image_at_the_third_attempt() {
    let (shop, registry) = unreliable();
    registry.does_at_first(2, "PUT /v2/acme/app/manifests/", || Fault::Answer(500, ""));
    let seen = run(&shop, &registry).exits(0);
    let seen = seen.says("push of manifest").says("attempt 1 of 3 failed: status 500");
    seen.says("attempt 2 of 3 failed: status 500").says("next one in").says_not("attempt 3 of 3");
    registry.does(|_| Fault::None);
    shop.call(&format!("digest {}/acme/app:main", registry.address)).exits(0);
}

#[test]
fn a_registry_that_goes_on_failing_is_given_up() {
    let (shop, registry) = unreliable();
    registry.does(|line| if line.starts_with("PUT") { Fault::Answer(500, "") } else { Fault::None });
    run(&shop, &registry).exits(5).says("push of blob").says("attempt 2 of 3 failed: status 500");
    registry.does(|_| Fault::None);
    run(&shop, &registry).exits(0);
}

#[test]
fn a_registry_that_is_busy_says_for_how_long() {
    let (shop, registry) = unreliable();
    // The first asks for all blobs at once, and is no more than an occasion.
    registry.does_at_first(2, "POST", || Fault::Answer(429, "Retry-After: 0\r\n"));
    run(&shop, &registry).exits(0).says("start of the push of blob").says("failed: status 429").says("in 0");
}

#[test]
fn a_registry_that_asks_for_an_hour_is_not_waited_for() {
    let (shop, registry) = unreliable();
    registry.does_at_first(100, "POST", || Fault::Answer(429, "Retry-After: 3600\r\n"));
    run(&shop, &registry).exits(5).says("asks for a wait of 3600 s").says_not("attempt 1 of 3");
}

#[test]
fn a_registry_that_stores_something_else_is_the_wrong_image() {
    let (shop, registry) = unreliable();
    const OTHER: &str = "Docker-Content-Digest: \
        sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n";
    registry.does_at_first(100, "PUT /v2/acme/app/manifests/", || Fault::Answer(201, OTHER));
    run(&shop, &registry).exits(4).says("stored it as sha256:e3b0c442").says_not("attempt 1 of 3");
}

/// Pulls the image that was pushed into a root of its own.
fn pull(shop: &Shop, registry: &Unreliable) -> Seen {
    let root = shop.beside("other-root");
    let line = format!("pull {}/acme/app:main {TRIES}", registry.address);
    shop.call_with(&line, &[("PLIMSOLL_ROOT", root.as_ref())])
}

#[test]
fn an_answer_that_breaks_off_goes_on_where_it_was() {
    let (shop, registry) = unreliable();
    run(&shop, &registry).exits(0);
    registry.does_at_first(2, "GET /v2/acme/app/blobs/", || Fault::Truncate(500_000));
    pull(&shop, &registry).exits(0).says("attempt 1 of 3").says("pull of blob");
}

#[test]
fn an_answer_that_always_breaks_off_is_a_remote_that_failed() {
    let (shop, registry) = unreliable();
    run(&shop, &registry).exits(0);
    registry.does(|line| if line.contains("/blobs/") { Fault::Truncate(0) } else { Fault::None });
    pull(&shop, &registry).exits(5).says("attempt 2 of 3");
    registry.does(|_| Fault::None);
    pull(&shop, &registry).exits(0);
}

#[test]
fn content_with_another_digest_is_the_wrong_image_and_nothing_of_it_stays() {
    let (shop, registry) = unreliable();
    run(&shop, &registry).exits(0);
    registry.does(
        |line| if line.starts_with("GET") && line.contains("/blobs/") { Fault::Lie } else { Fault::None },
    );
    pull(&shop, &registry).exits(4).says("digest").says_not("attempt 1 of 3");
    registry.does(|line| if line.contains("GET /v2/acme/app/manifests/") { Fault::Lie } else { Fault::None });
    pull(&shop, &registry).exits(4);
    registry.does(|_| Fault::None);
    pull(&shop, &registry).exits(0);
}

#[test]
fn an_image_that_is_there_costs_one_request() {
    let (shop, registry) = unreliable();
    run(&shop, &registry).exits(0);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    registry.does(move |line| {
        log.lock().unwrap().push(line.to_owned());
        Fault::None
    });
    shop.call(&format!("push {}/acme/app:main", registry.address)).exits(0);
    assert_eq!(*asked.lock().unwrap(), ["HEAD /v2/acme/app/manifests/main"]);
}
