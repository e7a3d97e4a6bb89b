//! `serve registry` as its administrator meets it: a file of settings with flags over it, and files that
//! change while it runs.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use insta::assert_snapshot;

use crate::run::Scene;
use crate::serve::{ACCOUNT, Registry, ask, status};

/// What takes so long does not come.
const LONG: Duration = Duration::from_secs(60);
/// The token `t0ken`.
const TOKEN: &str = r#"
[[token]]
name = "deploy"
sha256 = "b46c09677343261f0b439a472422225e3a230c9c094d6ab16762e2036b597053"
repositories = ["acme/*"]
allow = ["pull"]
"#;

const ANN: &str = "Authorization: Basic YW5uOnNlY3JldA==\r\n";
const DEPLOY: &str = "Authorization: Bearer t0ken\r\n";

/// Asks until the status is as it should be.
fn until(expected: &str, question: impl Fn() -> String) {
    let begun = Instant::now();
    loop {
        let answer = question();
        if status(&answer) == expected {
            return;
        }
        assert!(begun.elapsed() < LONG, "not {expected}, but {answer}");
        std::thread::yield_now();
    }
}

#[test]
fn a_file_of_settings_with_flags_over_it() {
    let scene = Scene::new();
    scene.write("users", ACCOUNT);
    scene.write("access.toml", format!("schema = 1\n{TOKEN}"));
    scene.write(
        "plimsoll.toml",
        r#"
[serve.registry]
listen = "127.0.0.1:1"
htpasswd = "users"
immutable-tag = ["v*"]
max-blob-size = "1MiB"
metrics = true
access-log = "json"
"#,
    );
    let flags = "--listen 127.0.0.1:0 --access access.toml --immutable-tag main";
    assert_snapshot!(scene.see(&format!("serve registry {flags} --dry-run")), @r#"
    exit code: 0
    --- stdout
    [serve.registry]
    listen = "127.0.0.1:0"
    immutable-tag = ["main"]
    read-only = false
    access = "access.toml"
    anonymous-pull = false
    tls-self-signed = []
    proxy = []
    webhook = []
    collect-after = "1d"
    metrics = true
    access-log = "json"
    max-blob-size = "1MiB"
    whole-images = false
    "#);
    let mut registry = Registry::start_in(scene, flags);
    let ask = |method: &str, path: &str, headers: &str| ask(&registry.address, method, path, headers);
    let path = "/v2/acme/api/manifests/x";
    assert_eq!(status(&ask("GET", path, DEPLOY)), "404");
    assert_eq!(status(&ask("GET", path, ANN)), "401", "the flag takes the place of the file's accounts");
    let metrics = ask("GET", "/metrics", "");
    assert!(metrics.contains("plimsoll_registry_requests_total"), "{metrics}");
    let mut line = String::new();
    BufReader::new(registry.child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains(r#""who":"deploy""#), "{line}");

    let scene = &registry.scene;
    let refused = |flags: &str| {
        let seen = scene.see(&format!("serve registry {flags} --dry-run"));
        assert!(seen.starts_with("exit code: 2\n"), "{seen}");
        seen
    };
    assert!(refused("--tls-key k.pem").contains("tls-certificate"));
    scene.write("plimsoll.toml", "[serve.registry]\nmetric = true\n");
    let seen = refused("");
    assert!(seen.contains("plimsoll.toml") && seen.contains("did you mean `metrics`"), "{seen}");
}

/// Reads lines of the log until one holds `words`.
fn logged(log: &mut impl std::io::BufRead, words: &str) {
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "the log ended without {words:?}");
    }
}

#[test]
fn rules_that_change_count_without_a_restart() {
    let scene = Scene::new();
    scene.write("users", ACCOUNT);
    let rules = "schema = 1\nhtpasswd = \"users\"\n[[rule]]\nwho = [\"ann\"]\nrepositories = [\"acme/*\"]\nallow = [\"pull\"]\n";
    scene.write("access.toml", rules);
    let mut registry = Registry::start_in(scene, "--listen 127.0.0.1:0 --access access.toml");
    let mut log = BufReader::new(registry.child.stderr.take().unwrap());
    let (address, scene) = (registry.address.clone(), &registry.scene);
    let read = |headers: &str| ask(&address, "GET", "/v2/acme/api/manifests/x", headers);
    assert_eq!((status(&read(DEPLOY)), status(&read(ANN))), ("401", "404"));

    scene.write("access.toml", format!("{rules}{TOKEN}"));
    until("404", || read(DEPLOY));
    assert_eq!(status(&read(ANN)), "404");
    logged(&mut log, "access.toml or ");

    scene.write("access.toml", "schema = 1\nrules = 7\n");
    logged(&mut log, "what was in force stays");
    assert_eq!((status(&read(DEPLOY)), status(&read(ANN))), ("404", "404"));

    scene.write("access.toml", rules);
    until("401", || read(DEPLOY));
    scene.write("users", ACCOUNT.replace("ann:", "bob:"));
    until("401", || read(ANN));
    until("403", || read("Authorization: Basic Ym9iOnNlY3JldA==\r\n"));
}
