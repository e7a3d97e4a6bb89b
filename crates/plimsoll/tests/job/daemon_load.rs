//! `load --daemon`, `copy ... docker-daemon:` against a daemon that is played: what it is sent, and
//! what is said where it refuses, lies or goes away.

use std::ffi::OsStr;

use crate::played::{Manner, Played};
use crate::seen::Seen;
use crate::shop::Shop;

/// A project whose image has a layer of 1.6 MB below a small one, saved as `app.tar`.
fn saved() -> Shop {
    saved_with(400_000)
}

/// The same with a layer that is worth a way of its own.
fn saved_large() -> Shop {
    saved_with(3_000_000)
}

fn saved_with(numbers: u32) -> Shop {
    let dockerfile = "FROM scratch\nCOPY noise /noise\nCOPY small /small\n";
    let shop = Shop::without_base(&[("Dockerfile", dockerfile), ("small", "1")]);
    shop.write(
        "noise",
        (0..numbers).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect::<Vec<u8>>(),
    );
    save(&shop);
    shop
}

fn save(shop: &Shop) {
    shop.call("build -q -t local/app:1 .").exits(0);
    shop.call("save local/app:1 -o app.tar").exits(0);
}

fn call(shop: &Shop, line: &str, daemon: &Played) -> Seen {
    shop.call_with(line, &[("DOCKER_HOST", daemon.host().as_os_str())])
}

#[test]
fn a_changed_top_layer_is_all_that_is_sent() {
    let (shop, daemon) = (saved(), Played::start(Manner::Takes));
    let seen = call(&shop, "load app.tar --daemon --format json", &daemon).exits(0);
    let first = seen.json()["images"][0]["bytes_to_daemon"].as_u64().unwrap();
    assert_eq!(daemon.archives(), [usize::try_from(first).unwrap()]);
    shop.write("small", "2");
    save(&shop);
    let seen = call(&shop, "load app.tar --daemon --format json", &daemon).exits(0);
    let second = seen.json()["images"][0]["bytes_to_daemon"].as_u64().unwrap();
    assert!(second < 20_000 && second < first / 10, "{first} bytes, then {second}");
    let seen = call(&shop, "load app.tar --daemon", &daemon).exits(0);
    assert!(seen.stdout.contains("is in the container daemon, 0 B sent"), "{seen}");
    assert_eq!(daemon.archives().len(), 2, "what is there is not sent again");
}

#[test]
fn a_daemon_that_has_nothing_afterwards_is_the_wrong_image() {
    let (shop, daemon) = (saved(), Played::start(Manner::Lies));
    let seen = call(&shop, "load app.tar --daemon", &daemon).exits(4);
    seen.says("has nothing instead of sha256:");
}

#[test]
fn a_daemon_that_refuses_is_quoted() {
    let (shop, daemon) = (saved(), Played::start(Manner::Refuses));
    let seen = call(&shop, "load app.tar --daemon", &daemon);
    assert_ne!(seen.code, Some(0), "{seen}");
    seen.says("no space left on device");
    shop.call("digest local/app:1").exits(0);
}

#[test]
fn a_daemon_that_goes_away_is_a_remote_that_failed() {
    let (shop, daemon) = (saved(), Played::start(Manner::GoesAway));
    call(&shop, "load app.tar --daemon", &daemon).exits(5).says("docker.sock");
}

#[test]
fn without_a_daemon_load_says_so() {
    let shop = saved();
    let nowhere = format!("unix://{}", shop.beside("no.sock").display());
    let seen = shop.call_with("load app.tar --daemon", &[("DOCKER_HOST", OsStr::new(&nowhere))]);
    assert_ne!(seen.code, Some(0), "{seen}");
    seen.says("no container daemon answers at").says("no.sock");
}

#[test]
fn copy_into_a_daemon_sends_this_machines_platform() {
    let configuration = "[defaults]\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n[service.app]\n";
    let files = [
        ("plimsoll.toml", configuration),
        ("Dockerfile", "FROM scratch\nCOPY small /small\n"),
        ("small", "1"),
    ];
    let shop = Shop::without_base(&files);
    shop.call("run").exits(0);
    let daemon = Played::start(Manner::Takes);
    let copy = "copy local/repository/app:main docker-daemon:app:local";
    call(&shop, copy, &daemon).exits(0);
    let seen = shop.call("inspect local/repository/app:main --format json").exits(0).json();
    assert_eq!(seen["platforms"].as_array().unwrap().len(), 2, "the rest stays in the store");
    assert_eq!(daemon.archives().len(), 1);
    call(&shop, copy, &daemon).exits(0);
    assert_eq!(daemon.archives().len(), 1, "what is there is not sent again");
}

#[test]
fn a_daemon_with_a_store_of_its_own_gets_plain_layers_and_the_lowest_without_an_archive() {
    let (shop, daemon) = (saved_large(), Played::start(Manner::Takes));
    let seen = call(&shop, "load app.tar --daemon --format json", &daemon).exits(0);
    let sent = seen.json()["images"][0]["bytes_to_daemon"].as_u64().unwrap();
    let ([import], [archive]) = (&daemon.imports()[..], &daemon.archives()[..]) else {
        panic!("{:?}, {:?}", daemon.imports(), daemon.archives())
    };
    assert!(*import > 12_000_000 && *archive < 20_000, "{import} bytes alone, {archive} in the archive");
    assert_eq!(sent, (import + archive) as u64);
    assert_eq!(daemon.images(), 1, "what the layer came in is gone");
    shop.write("small", "2");
    save(&shop);
    call(&shop, "load app.tar --daemon", &daemon).exits(0);
    assert_eq!(daemon.imports().len(), 1, "of one that has a part, the rest is sent");
}

#[test]
fn a_daemon_that_imports_nothing_gets_the_archive() {
    let (shop, daemon) = (saved_large(), Played::start(Manner::TakesArchives));
    call(&shop, "load app.tar --daemon", &daemon).exits(0);
    let whole = daemon.archives().into_iter().max();
    assert!(whole.is_some_and(|bytes| bytes > 5_000_000), "{:?}", daemon.archives());
    assert_eq!(daemon.images(), 1);
}

#[test]
fn containerds_store_unpacks_plain_layers_while_it_gets_the_archive() {
    for (manner, pulled) in [(Manner::Pulls, true), (Manner::ReachesNobody, false)] {
        let (shop, daemon) = (saved_large(), Played::start(manner));
        let seen = call(&shop, "load app.tar --daemon --format json", &daemon).exits(0);
        let sent = seen.json()["images"][0]["bytes_to_daemon"].as_u64().unwrap();
        let [archive] = daemon.archives()[..] else { panic!("{:?}", daemon.archives()) };
        assert_eq!(daemon.pulls(), 1);
        assert_eq!(sent > archive as u64 + 12_000_000, pulled, "{sent} bytes, {archive} in the archive");
        assert_eq!(daemon.images(), 1, "the twin is gone");
    }
}

#[test]
fn a_daemon_elsewhere_is_not_replaced_by_one_that_is_here() {
    let shop = saved();
    for (host, hint) in [("tcp://10.0.0.1:2376", "docker load"), ("ssh://me@build", "ssh -nNT -L")] {
        let seen = shop.call_with("load app.tar --daemon", &[("DOCKER_HOST", OsStr::new(host))]).exits(2);
        seen.says("DOCKER_HOST names the container daemon at").says(host).says(hint);
    }
}

#[test]
fn the_daemon_of_a_context_is_the_one_that_is_meant() {
    let (shop, daemon) = (saved(), Played::start(Manner::Takes));
    let context = |name: &str, host: &str| {
        let folder = format!("docker/contexts/meta/{}", oci::Digest::of(name.as_bytes()).hex());
        let host = serde_json::json!({"Name": name, "Endpoints": {"docker": {"Host": host}}});
        shop.write(&format!("{folder}/meta.json"), host.to_string());
    };
    context("here", daemon.host().to_str().unwrap());
    context("there", "tcp://10.0.0.1:2376");
    shop.write("docker/config.json", r#"{"currentContext": "here"}"#);
    let config = [("DOCKER_CONFIG", OsStr::new("docker"))];
    shop.call_with("load app.tar --daemon", &config).exits(0);
    assert_eq!(daemon.archives().len(), 1);
    for (name, words) in [("there", "Docker's context there names"), ("lost", "Docker has no context lost")] {
        let context = ("DOCKER_CONTEXT", OsStr::new(name));
        shop.call_with("load app.tar --daemon", &[config[0], context]).exits(2).says(words);
    }
}
