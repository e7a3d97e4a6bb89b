//! `serve registry`, and everything that goes through a registry.

use std::io::{BufRead, BufReader, Read as _, Write};
use std::process::{Child, Command, Stdio};

use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};
use testkit::tar::TarBuilder;

use crate::run::Scene;

/// A registry in a process of its own; killed when dropped.
pub struct Registry {
    /// Its folder and its root.
    pub scene: Scene,
    /// The process.
    pub child: Child,
    /// Where it listens.
    pub address: String,
}

impl Registry {
    /// Starts one on a free port of the loopback address.
    pub fn start(flags: &str) -> Self {
        Self::start_in(Scene::new(), &format!("--listen 127.0.0.1:0 {flags}"))
    }

    /// Starts one in a folder that may have a plimsoll.toml.
    pub fn start_in(scene: Scene, flags: &str) -> Self {
        let mut command = scene.command(&format!("serve registry {flags}"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("registry at ").and_then(|rest| rest.split(',').next());
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { scene, child, address }
    }

    /// Sends a signal and returns the exit code.
    fn stop(mut self, signal: Signal) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("root.tar", TarBuilder::new().directory("etc").file("etc/a", b"1").finish());
    scene.see("import root.tar local/base:1 --platform linux/amd64");
    scene
}

#[test]
fn signals_end_it_in_good_order() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let registry = Registry::start("");
        assert_eq!(registry.stop(signal), Some(code));
    }
}

#[test]
fn a_cache_serves_what_another_registry_had() {
    let upstream = Registry::start("");
    let scene = scene();
    let digest = scene.see_raw("digest local/base:1");
    scene.see(&format!("copy local/base:1 {}/acme/api:main", upstream.address));
    let cache = Registry::start(&format!("--proxy up={}", upstream.address));
    let there = format!("{}/up/acme/api:main", cache.address);
    std::fs::remove_dir_all(scene.root()).unwrap();
    scene.see(&format!("pull {there}"));
    assert_eq!(scene.see_raw(&format!("digest {there}")), digest);
    let refused = scene.see(&format!("copy {there} {}/up/other:1", cache.address));
    assert!(refused.contains("is a cache of"), "{refused}");

    drop(upstream);
    std::fs::remove_dir_all(scene.root()).unwrap();
    let seen = scene.see(&format!("pull {there}"));
    assert!(seen.starts_with("exit code: 0"), "{seen}");
}

/// Answers one message after the other with 204 and hands them on, head and body.
fn receiver() -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, taken) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let (mut text, mut length) = (String::new(), 0);
            while reader.read_line(&mut text).unwrap() > 2 {
                let last = text.lines().last().unwrap().to_ascii_lowercase();
                length = last.strip_prefix("content-length: ").map_or(length, |n| n.parse().unwrap());
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            sender.send(text + &String::from_utf8(body).unwrap()).unwrap();
            reader.get_mut().write_all(b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n").unwrap();
        }
    });
    (address, taken)
}

#[test]
fn events_are_told() {
    let (address, taken) = receiver();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let flags = format!("--webhook {address} --webhook-secret {} --webhook-only acme/*", secret.display());
    let registry = Registry::start(&flags);
    let scene = scene();
    scene.see(&format!("copy local/base:1 {}/other:1", registry.address));
    scene.see(&format!("copy local/base:1 {}/acme/api:main", registry.address));
    let pushed = taken.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    assert!(pushed.to_ascii_lowercase().contains("webhook-signature: v1,"), "{pushed}");
    assert!(pushed.contains(r#""type":"manifest.pushed""#) && pushed.contains("acme/api"), "{pushed}");
    let moved = taken.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    assert!(moved.contains(r#""type":"tag.moved""#) && moved.contains(r#""tag":"main""#), "{moved}");

    let see = |flags: &str| scene.see(&format!("serve registry {flags}"));
    let unset = see("--webhook https://a.example/ --webhook-secret env:NOT_THERE");
    assert!(unset.starts_with("exit code: 2") && unset.contains("NOT_THERE"), "{unset}");
    let plain = see(&format!("--webhook http://a.example/?key=x --webhook-secret {}", secret.display()));
    assert!(plain.starts_with("exit code: 2") && plain.contains("only https"), "{plain}");
    assert!(!plain.contains("key=x"), "{plain}");
    std::fs::write(&secret, "hunter2").unwrap();
    let wrong = see(&format!("--webhook https://a.example/ --webhook-secret {}", secret.display()));
    assert!(wrong.starts_with("exit code: 2") && !wrong.contains("hunter2"), "{wrong}");
}

#[test]
fn a_cache_of_what_cannot_be_asked_is_refused() {
    let scene = Scene::new();
    let see = |flags: &str| scene.see(&format!("serve registry {flags}"));
    let itself = see("--listen 127.0.0.1:5000 --proxy 127.0.0.1:5000");
    assert!(itself.starts_with("exit code: 2") && itself.contains("this registry itself"), "{itself}");
    let offline = see("--proxy docker.io --offline");
    assert!(offline.starts_with("exit code: 2") && offline.contains("--offline"), "{offline}");
    let wrong = see("--proxy Hub=docker.io");
    assert!(wrong.starts_with("exit code: 2") && wrong.contains("[PREFIX=]REGISTRY[/PATH]"), "{wrong}");
}

#[test]
fn an_image_goes_out_and_comes_back() {
    let registry = Registry::start("");
    let (scene, address) = (scene(), registry.address.clone());
    let digest = scene.see_raw("digest local/base:1");
    let see = |line: &str| scene.see(line).replace(&address, "[REGISTRY]");
    let seen = see(&format!("copy local/base:1 {address}/acme/api:main"));
    assert!(
        seen.contains("[REGISTRY]/acme/api:main is [DIGEST]: 2 blobs copied, 395 B; 0 were there"),
        "{seen}"
    );
    assert_eq!(seen.matches(" copied, ").count(), 3, "one line for each blob and the result: {seen}");
    assert_snapshot!(see(&format!("-q copy local/base:1 {address}/acme/api:other")), @"
    exit code: 0
    --- stdout
    [REGISTRY]/acme/api:other is [DIGEST]: 0 blobs copied, 0 B; 2 were there
    ");
    assert_eq!(scene.see_raw(&format!("digest {address}/acme/api:main")), digest);
    assert_eq!(registry.scene.see_raw("digest local/acme/api:main"), digest);
    std::fs::remove_dir_all(scene.root()).unwrap();
    assert_snapshot!(see(&format!("-q pull {address}/acme/api:main --platform linux/amd64")), @"
    exit code: 0
    --- stdout
    [REGISTRY]/acme/api:main is [DIGEST]: 2 blobs copied, 395 B; 0 were there
    ");
    assert_snapshot!(see(&format!("ls {address}/acme/api --format json")), @r#"
    exit code: 0
    --- stdout
    {
      "schema": "plimsoll.images/1",
      "images": [
        {
          "repository": "[REGISTRY]/acme/api",
          "tag": "main",
          "digest": "[DIGEST]",
          "platforms": [
            "linux/amd64"
          ],
          "size": 395
        }
      ]
    }
    "#);
    assert_snapshot!(see(&format!("push {address}/acme/api:main -q")), @"
    exit code: 0
    --- stdout
    [REGISTRY]/acme/api:main is [DIGEST]: 0 blobs copied, 0 B; 2 were there
    ");
    assert_snapshot!(see(&format!("tag {address}/acme/api@{digest} v1 v2")), @"
    exit code: 0
    --- stdout
    [REGISTRY]/acme/api:v1 -> [DIGEST]
    [REGISTRY]/acme/api:v2 -> [DIGEST]
    ");
    let listed = see(&format!("ls {address}/acme/api --remote"));
    let names: Vec<&str> = listed.lines().skip(3).map(str::trim).collect();
    let tag = |tag: &str| format!("[REGISTRY]/acme/api:{tag}");
    assert_eq!(names, ["main", "other", "v1", "v2"].map(tag));
    assert_snapshot!(see(&format!("pull {address}/acme/none")), @"
    exit code: 1
    --- stderr
    error: manifest [REGISTRY]/acme/none:latest does not exist
    ");
}

#[test]
fn tags_that_never_move() {
    let registry = Registry::start("--immutable-tag v*");
    let (scene, address) = (scene(), registry.address.clone());
    scene.see("import root.tar local/base:2 --platform linux/arm64");
    scene.see_raw(&format!("copy local/base:1 {address}/api:v1"));
    let seen = scene.see(&format!("-q copy local/base:2 {address}/api:v1"));
    assert_snapshot!(seen.replace(&address, "[REGISTRY]"), @"
    exit code: 6
    --- stderr
    error: manifest [REGISTRY]/api:v1 was refused: status 409 Conflict: DENIED: tag v1 does not move: it is immutable and points to [DIGEST], not [DIGEST]
    ");
}

#[test]
fn an_address_that_is_taken() {
    let registry = Registry::start("");
    let seen = Scene::new().see(&format!("serve registry --listen {}", registry.address));
    assert_snapshot!(seen.replace(&registry.address, "[REGISTRY]"), @"
    exit code: 1
    --- stderr
    error: cannot listen on [REGISTRY]
      cause: Address already in use (os error 98)
    hint: choose another address with --listen; port 0 takes a free one
    ");
}

#[test]
fn a_registry_that_is_down_is_tried_again() {
    let retry = "--set defaults.push.retry.wait=0s --set defaults.push.retry.attempts=2";
    assert_snapshot!(Scene::new().see(&format!("digest 127.0.0.1:1/api:1 {retry}")), @"
    exit code: 5
    --- stderr
    warning: pull of manifest 1 from 127.0.0.1:1/api: attempt 1 of 2 failed: no connection to 127.0.0.1:1: client error (Connect): tcp connect error: Connection refused (os error 111); next one in 0 ms
    error: cannot resolve manifest 127.0.0.1:1/api:1
      cause: no connection to 127.0.0.1:1 (gave up after 2 attempts over 0 s)
      cause: client error (Connect)
      cause: tcp connect error
      cause: Connection refused (os error 111)
    ");
}

#[test]
fn login_checks_what_it_keeps() {
    let registry = Registry::start("");
    let (scene, address) = (scene(), registry.address.clone());
    let mut command = scene.command(&format!("login {address} --username me --password-stdin"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"secret\n").unwrap();
    let seen = scene.shown(&child.wait_with_output().unwrap());
    assert_snapshot!(seen.replace(&address, "[REGISTRY]"), @"
    exit code: 0
    --- stdout
    logged in to [REGISTRY] as me; kept in [DIR]/home/.docker/config.json
    ");
    assert_snapshot!(scene.see(&format!("logout {address}")).replace(&address, "[REGISTRY]"), @"
    exit code: 0
    --- stdout
    logged out of [REGISTRY]
    ");
}

/// skopeo pushes to us and pulls from us.
#[test]
fn skopeo_is_a_client() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        eprintln!("skipped: skopeo is not installed");
        return;
    }
    let registry = Registry::start("");
    let (scene, address) = (scene(), registry.address.clone());
    scene.see_raw("save local/base:1 -o base.tar");
    let skopeo = |arguments: &[&str]| {
        let output = Command::new("skopeo").args(arguments).current_dir(scene.path("")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let name = format!("docker://{address}/skopeo:1");
    skopeo(&["copy", "--preserve-digests", "--dest-tls-verify=false", "oci-archive:base.tar", &name]);
    assert_eq!(scene.see_raw(&format!("digest {address}/skopeo:1")), scene.see_raw("digest local/base:1"));
    skopeo(&["copy", "--src-tls-verify=false", &name, "oci-archive:back.tar:1"]);
    assert_eq!(scene.see_raw("digest oci-archive:back.tar"), scene.see_raw("digest local/base:1"));
}

/// `htpasswd -nbB -C 4 ann secret`
pub const ACCOUNT: &str = "ann:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";

/// Sends a request and returns the whole answer.
pub fn ask(address: &str, method: &str, path: &str, headers: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

pub fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn accounts_of_a_file() {
    let files = tempfile::tempdir().unwrap();
    let users = files.path().join("users");
    std::fs::write(&users, ACCOUNT).unwrap();
    let registry = Registry::start(&format!("--htpasswd {} --anonymous-pull", users.display()));
    let ann = "Authorization: Basic YW5uOnNlY3JldA==\r\n";
    let push = |headers: &str| ask(&registry.address, "POST", "/v2/a/blobs/uploads/", headers);
    assert_eq!(status(&push("")), "401");
    assert_eq!(status(&push(ann)), "202");
    assert_eq!(status(&push("Authorization: Basic YW5uOndyb25n\r\n")), "401");
    assert_eq!(status(&ask(&registry.address, "GET", "/v2/a/manifests/x", "")), "404");
}

#[test]
fn rules_of_an_access_file() {
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(files.path().join(name), text).unwrap();
    write("users", ACCOUNT);
    let access = files.path().join("access.toml");
    // The digest of `t0ken`.
    write(
        "access.toml",
        r#"schema = 1
htpasswd = "users"
immutable = ["acme/*:v*"]

[[rule]]
who = ["ann"]
repositories = ["acme/*"]
allow = ["pull", "push"]

[[token]]
name = "deploy"
sha256 = "b46c09677343261f0b439a472422225e3a230c9c094d6ab16762e2036b597053"
repositories = ["acme/api"]
allow = ["pull"]

[[issuer]]
url = "https://ci.example"
audience = "registry.example"
keys = "keys.json"
[[issuer.rule]]
claims = { repository = "acme/*" }
repositories = ["{repository}"]
allow = ["push"]

[[quota]]
repositories = ["acme/*"]
size = "1GiB"
"#,
    );
    let registry = Registry::start(&format!("--access {}", access.display()));
    let status = |method: &str, path: &str, headers: &str| {
        status(&ask(&registry.address, method, path, headers)).to_owned()
    };
    let ann = "Authorization: Basic YW5uOnNlY3JldA==\r\n";
    assert_eq!(status("POST", "/v2/acme/api/blobs/uploads/", ann), "202");
    assert_eq!(status("POST", "/v2/other/blobs/uploads/", ann), "403");
    assert_eq!(status("GET", "/v2/acme/api/manifests/x", "Authorization: Bearer t0ken\r\n"), "404");
    assert_eq!(status("POST", "/v2/acme/api/blobs/uploads/", "Authorization: Bearer t0ken\r\n"), "403");

    let scene = Scene::new();
    let refused = |text: &str| {
        write("access.toml", text);
        let seen = scene.see(&format!("serve registry --listen 127.0.0.1:0 --access {}", access.display()));
        assert!(seen.starts_with("exit code: 2\n"), "{seen}");
        seen
    };
    assert!(refused("schema = 2").contains("schema = 2 is not known here"));
    assert!(refused("schema = 1\nfoo = 1").contains("unknown field `foo`"));
    let open = "schema = 1\n[[issuer]]\nurl = \"i\"\naudience = \"a\"\nkeys = \"k\"\n[[issuer.rule]]\nclaims = {}\nrepositories = [\"*\"]\nallow = [\"push\"]";
    assert!(refused(open).contains("names no claim"));
    let fly = "schema = 1\n[[rule]]\nwho = [\"a\"]\nrepositories = [\"*\"]\nallow = [\"fly\"]";
    assert!(refused(fly).contains("\"fly\" is not an action"));
}

#[test]
fn a_certificate_of_its_own_is_kept() {
    let start = |registry: &Registry| registry.scene.root().join("registry/certificate.pem");
    let registry = Registry::start("--tls-self-signed localhost --tls-self-signed 127.0.0.1");
    let certificate = std::fs::read_to_string(start(&registry)).unwrap();
    assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----\n"));
    let key = registry.scene.root().join("registry/key.pem");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(key).unwrap()) & 0o777, 0o600);
    let answer = ask_raw(&registry.address);
    assert!(!answer.starts_with(b"HTTP"), "plain HTTP is not answered");
}

fn ask_raw(address: &str) -> Vec<u8> {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn what_no_image_needs_is_collected() {
    let scene = scene();
    let digest = scene.see_raw("digest local/base:1");
    scene.see("rm local/base:1");
    assert_snapshot!(scene.see("serve collect --dry-run"), @"
    exit code: 0
    --- stdout
    0 blobs would be removed, 0 B
    ");
    assert!(scene.see("serve collect --after 0s").starts_with("exit code: 0\n"));
    assert!(!digest.is_empty());
}

#[test]
fn requests_are_logged_as_json() {
    let mut registry = Registry::start("--access-log json --metrics --collect-every 1h");
    ask(&registry.address, "GET", "/v2/a/tags/list", "");
    assert!(ask(&registry.address, "GET", "/metrics", "").contains("plimsoll_registry_requests_total"));
    assert!(ask(&registry.address, "GET", "/healthz", "").ends_with("ok\n"));
    let mut line = String::new();
    BufReader::new(registry.child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    let start = line.find('{').unwrap_or_else(|| panic!("{line}"));
    let parsed: serde_json::Value = serde_json::from_str(&line[start..]).unwrap();
    assert_eq!(parsed["schema"], "plimsoll.registry-request/1");
    assert_eq!(
        (&parsed["method"], &parsed["path"], &parsed["status"]),
        (&"GET".into(), &"/v2/a/tags/list".into(), &404.into())
    );
}
