//! Events told over HTTP: what is told, how it is signed, and what happens where nobody listens.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use oci::Digest;
use registry::server::webhook::{Webhook, WebhookOptions, WebhookSecret, WebhookTrouble};
use registry::server::{Pattern, Server, ServerHandle, ServerOptions};
use serde_json::Value;
use store::{ImageStore as _, LayoutStore};
use support::scripted::{Act, Answer, Asked, Scripted};
use support::{TestClient, layer, put_image, tag, wire};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A server with receivers, over a folder that outlives it.
struct Told {
    handle: ServerHandle,
    trouble: Arc<Mutex<Vec<WebhookTrouble>>>,
    client: TestClient,
}

fn hook(url: String) -> Webhook {
    Webhook { url, secrets: vec![SECRET.parse().unwrap()], repositories: Vec::new(), types: Vec::new() }
}

fn options(folder: &Path, hooks: Vec<Webhook>, client: &TestClient) -> WebhookOptions {
    WebhookOptions {
        hooks,
        folder: folder.join("webhooks"),
        client: client.client.clone(),
        now: Arc::new(|| support::NOW.parse().unwrap()),
        waits: vec![Duration::from_millis(20); 2],
        max_waiting: 100,
        report: Arc::new(|_| {}),
    }
}

impl Told {
    fn start(folder: &Path, hooks: Vec<Webhook>, change: impl FnOnce(&mut WebhookOptions)) -> Self {
        let client = TestClient::new(|_| {});
        let trouble = Arc::new(Mutex::new(Vec::new()));
        let told = trouble.clone();
        let mut webhooks = options(folder, hooks, &client);
        webhooks.report = Arc::new(move |trouble| told.lock().unwrap().push(trouble.clone()));
        change(&mut webhooks);
        let store = LayoutStore::open(&folder.join("store")).unwrap();
        let mut options = ServerOptions::new("127.0.0.1:0".parse().unwrap(), store);
        options.webhooks = Some(webhooks);
        options.metrics = true;
        Self { handle: Server::start(options).unwrap(), trouble, client }
    }

    #[track_caller]
    fn check(&self, method: &str, path: &str, body: &[u8], status: u16) {
        let response = wire::ask(self.handle.address(), method, path, &[], body);
        assert_eq!(response.status, status, "{method} {path}: {}", response.text());
    }

    fn metrics(&self) -> String {
        wire::ask(self.handle.address(), "GET", "/metrics", &[], b"").text()
    }

    #[track_caller]
    fn check_count(&self, name: &str, expected: u64) {
        let line = format!("plimsoll_registry_webhook_{name} {expected}");
        let text = self.metrics();
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }

    /// Pushes an image and returns its digest.
    fn push(&self, name: &str, seed: u64, tags: &[&str]) -> Digest {
        let repository = oci::Repository::new(self.handle.registry(), name).unwrap();
        let remote = self.client.client.repository(&repository);
        let image = put_image(&remote, &[layer(seed, 100)]);
        tags.iter().for_each(|one| remote.tag(&tag(one), &image).unwrap());
        image.digest()
    }
}

/// A receiver that answers as it is told and hands on what it took.
fn receiver(mut answer: impl FnMut(&Asked) -> Act + Send + 'static) -> (Scripted, mpsc::Receiver<Asked>) {
    let (sender, taken) = mpsc::channel();
    let sender = Mutex::new(sender);
    let server = Scripted::start_after(move |asked: &Asked| {
        let act = answer(asked);
        sender.lock().unwrap().send(asked.clone()).unwrap();
        act
    });
    (server, taken)
}

fn next(taken: &mpsc::Receiver<Asked>) -> (Value, Asked) {
    let asked = taken.recv_timeout(Duration::from_secs(30)).unwrap();
    (serde_json::from_slice(&asked.body).unwrap(), asked)
}

fn kind(event: &Value) -> &str {
    event["type"].as_str().unwrap()
}

#[test]
fn pushes_moves_and_deletions_are_told_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (server, taken) = receiver(|_| Answer::status(204).into());
    let told = Told::start(folder.path(), vec![hook(server.url("/hook?token=x"))], |_| {});
    let first = told.push("acme/api", 1, &["v1"]).to_string();
    let second = told.push("acme/api", 2, &["v1"]).to_string();
    told.push("acme/api", 2, &["v1"]);
    told.check("DELETE", "/v2/acme/api/manifests/v1", b"", 202);
    told.push("acme/api", 2, &["main"]);
    told.check("DELETE", &format!("/v2/acme/api/manifests/{second}"), b"", 202);
    // Nothing happens, so nothing is told.
    told.check("DELETE", &format!("/v2/acme/api/manifests/{second}"), b"", 404);
    told.check("PUT", "/v2/acme/api/manifests/bad", b"{", 400);

    let mut seen = Vec::new();
    for _ in 0..13 {
        let (event, asked) = next(&taken);
        assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/hook?token=x"));
        assert_eq!(asked.header("content-type"), Some("application/json"));
        assert_eq!(event["schema"], "plimsoll.registry-event/1");
        assert_eq!(event["data"]["repository"], "acme/api");
        seen.push((kind(&event).to_owned(), event["data"].clone()));
    }
    let kinds: Vec<&str> = seen.iter().map(|(kind, _)| kind.as_str()).collect();
    let pushed = "manifest.pushed";
    assert_eq!(
        kinds,
        [
            pushed,
            pushed,
            "tag.moved",
            pushed,
            pushed,
            "tag.moved",
            pushed,
            pushed,
            "tag.deleted",
            pushed,
            pushed,
            "tag.moved",
            "tag.deleted"
        ]
    );
    assert_eq!(seen[1].1["tags"], serde_json::json!(["v1"]));
    assert_eq!(seen[2].1["digest"], first);
    assert_eq!(seen[2].1.get("previous"), None);
    assert_eq!((&seen[5].1["digest"], &seen[5].1["previous"]), (&second.clone().into(), &first.into()));
    assert_eq!(kind(&next(&taken).0), "manifest.deleted");
    assert!(taken.recv_timeout(Duration::from_millis(50)).is_err());
}

#[test]
fn messages_are_signed_with_every_secret() {
    let folder = tempfile::tempdir().unwrap();
    let (server, taken) = receiver(|_| Answer::status(200).into());
    let other = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    let hook =
        Webhook { secrets: vec![SECRET.parse().unwrap(), other.parse().unwrap()], ..hook(server.url("/")) };
    let told = Told::start(folder.path(), vec![hook], |_| {});
    told.push("a", 1, &[]);
    let (_, asked) = next(&taken);
    let (id, body) = (asked.header("webhook-id").unwrap(), String::from_utf8(asked.body.clone()).unwrap());
    let seconds: i64 = asked.header("webhook-timestamp").unwrap().parse().unwrap();
    assert_eq!(seconds, support::NOW.parse::<jiff::Timestamp>().unwrap().as_second());
    let expected: Vec<String> = [SECRET, other]
        .iter()
        .map(|text| text.parse::<WebhookSecret>().unwrap().sign(id, seconds, &body))
        .collect();
    assert_eq!(asked.header("webhook-signature"), Some(expected.join(" ").as_str()));
}

#[test]
fn only_what_is_wanted_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (server, taken) = receiver(|_| Answer::status(200).into());
    let hook = Webhook {
        repositories: vec![Pattern::new("acme/*")],
        types: vec![Pattern::new("tag.*")],
        ..hook(server.url("/"))
    };
    let told = Told::start(folder.path(), vec![hook], |_| {});
    told.push("other/api", 1, &["v1"]);
    told.push("acme/api", 1, &["v2"]);
    let (event, _) = next(&taken);
    assert_eq!((kind(&event), &event["data"]["tag"]), ("tag.moved", &"v2".into()));
    assert!(taken.recv_timeout(Duration::from_millis(50)).is_err());
}

#[test]
fn a_receiver_that_fails_is_tried_again_with_the_same_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    let (server, taken) = receiver(move |_| {
        count += 1;
        match count {
            1 => Act::BreakAfter(10),
            2 => Answer::status(503).header("Retry-After", 0).into(),
            _ => Answer::status(200).into(),
        }
    });
    let told = Told::start(folder.path(), vec![hook(server.url("/"))], |_| {});
    told.push("a", 1, &[]);
    told.push("b", 1, &[]);
    let asked: Vec<Asked> = (0..4).map(|_| taken.recv_timeout(Duration::from_secs(30)).unwrap()).collect();
    let mut ids: Vec<&str> = asked.iter().map(|asked| asked.header("webhook-id").unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 2);
    wait_for(|| told.metrics().contains("webhook_delivered_total 2"));
    told.check_count("failures_total", 2);
    told.check_count("waiting", 0);
    assert!(told.trouble.lock().unwrap().iter().all(|trouble| !trouble.is_lost));
}

#[test]
fn what_nobody_takes_is_kept_aside_and_does_not_hold_up_others() {
    let folder = tempfile::tempdir().unwrap();
    let (server, taken) = receiver(|asked| {
        let is_poison = asked.body.windows(6).any(|part| part == b"poison");
        Answer::status(if is_poison { 400 } else { 200 }).into()
    });
    let told = Told::start(folder.path(), vec![hook(server.url("/"))], |_| {});
    told.push("poison", 1, &[]);
    told.push("good", 1, &[]);
    let has_counted = |what: &str| told.metrics().contains(what);
    // Either may be first.
    wait_for(|| has_counted("webhook_dead_total 1") && has_counted("webhook_delivered_total 1"));
    told.check_count("delivered_total", 1);
    told.check_count("failures_total", 3);
    assert_eq!(taken.try_iter().count(), 4);
    let trouble = told.trouble.lock().unwrap();
    assert!(trouble.last().unwrap().is_lost && trouble.last().unwrap().reason.contains("dead letter msg_"));
    let hook = std::fs::read_dir(folder.path().join("webhooks")).unwrap().next().unwrap().unwrap();
    assert_eq!(std::fs::read_dir(hook.path().join("dead")).unwrap().count(), 1);
}

#[test]
fn what_was_not_told_is_told_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens there.
    let nobody = "http://127.0.0.1:1/".to_owned();
    let told = Told::start(folder.path(), vec![hook(nobody.clone())], |options| {
        options.waits = vec![Duration::from_secs(3600); 3];
    });
    told.push("a", 1, &["v1"]);
    wait_for(|| told.metrics().contains("webhook_failures_total 1"));
    told.check_count("waiting", 3);
    drop(told);

    let (server, taken) = receiver(|_| Answer::status(200).into());
    // The same receiver, which has another port after its own restart.
    let waiting = std::fs::read_dir(folder.path().join("webhooks")).unwrap().next().unwrap().unwrap();
    let now = Digest::of(server.url("/").as_bytes()).hex()[..16].to_owned();
    std::fs::rename(waiting.path(), waiting.path().with_file_name(now)).unwrap();
    let _told = Told::start(folder.path(), vec![hook(server.url("/"))], |_| {});
    let kinds: Vec<String> = (0..3).map(|_| kind(&next(&taken).0).to_owned()).collect();
    assert_eq!(kinds, ["manifest.pushed", "manifest.pushed", "tag.moved"]);
}

#[test]
fn a_push_waits_for_no_receiver_and_a_full_queue_refuses_none() {
    let folder = tempfile::tempdir().unwrap();
    let (open, gate) = mpsc::channel::<()>();
    let (server, _taken) = receiver(move |_| {
        // Answers only when the test is over.
        let _ = gate.recv();
        Answer::status(200).into()
    });
    let told = Told::start(folder.path(), vec![hook(server.url("/"))], |options| options.max_waiting = 2);
    for seed in 0..4 {
        told.push("a", seed, &[]);
    }
    told.check_count("waiting", 2);
    told.check_count("lost_total", 2);
    let trouble = told.trouble.lock().unwrap();
    assert!(trouble.iter().any(|trouble| trouble.is_lost && trouble.reason.contains("2 events wait")));
    drop(open);
}

/// Looks until it is so; the test runner has the patience.
fn wait_for(is_so: impl Fn() -> bool) {
    while !is_so() {
        std::thread::yield_now();
    }
}
