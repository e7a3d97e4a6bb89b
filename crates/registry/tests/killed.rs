//! A server that is killed at any moment, while clients push and delete and it collects garbage:
//! every image that has a name is whole afterwards, and whoever is told of events was told of it.
//!
//! The test starts this very program again to get a process that can be killed. PLIMSOLL_KILLS says
//! how often; a few dozen times where it does not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "how often to kill is told by the environment")]

mod support;

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use oci::{Descriptor, Digest, Document, ImageManifest, MediaType, Registry, Repository};
use registry::client::RetryPolicy;
use registry::server::webhook::{Webhook, WebhookOptions};
use registry::server::{Collection, Server, ServerOptions};
use store::{Blob, BlobStore as _, Children, ImageStore as _, LayoutStore, StoreError};
use support::scripted::{Answer, Asked, Scripted};
use support::served::Served;
use support::{TestClient, noise, tag, wire};

const STORE: &str = "store-of-the-test";
/// Holds the address of whoever is told of events; not there where nobody is.
const HOOK: &str = "hook-of-the-test";
/// How long content stays that nothing names yet; longer than a push here takes.
const GRACE: Duration = Duration::from_secs(2);

/// Serves the store in the working folder until nobody listens any more.
#[test]
fn part_serving() {
    if !Path::new(STORE).exists() {
        return;
    }
    let store = LayoutStore::open(Path::new(STORE)).unwrap();
    let mut options = ServerOptions::new("127.0.0.1:0".parse().unwrap(), store);
    options.children = Children::Required;
    options.collection = Some(Collection {
        every: Duration::from_millis(20),
        grace: GRACE,
        keep: Arc::new(|| Box::new(|_| false)),
        report: Arc::new(|result| {
            if let Err(error) = result {
                eprintln!("collection: {error}");
            }
        }),
    });
    let client = TestClient::new(|_| {});
    if let Ok(url) = std::fs::read_to_string(HOOK) {
        options.webhooks = Some(webhooks(url, &client));
        options.metrics = true;
    }
    let server = Server::start(options).unwrap();
    println!("\naddress {}", server.address());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn webhooks(url: String, client: &TestClient) -> WebhookOptions {
    let secrets = vec!["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap()];
    WebhookOptions {
        hooks: vec![Webhook { url, secrets, repositories: Vec::new(), types: Vec::new() }],
        folder: "webhooks-of-the-test".into(),
        client: client.client.clone(),
        now: Arc::new(|| support::NOW.parse().unwrap()),
        waits: vec![Duration::from_millis(5); 100],
        max_waiting: 100_000,
        report: Arc::new(|trouble| assert!(!trouble.is_lost, "{trouble:?}")),
    }
}

/// Pushes images, and removes every third again, until the server is gone.
fn push_until_it_ends(registry: &Registry, worker: u64, numbers: &AtomicU64, done: &AtomicBool) {
    let client = TestClient::new(|options| {
        options.retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    });
    let repository = Repository::new(registry.clone(), &format!("acme/worker{worker}")).unwrap();
    let remote = client.client.repository(&repository);
    while !done.load(Ordering::Relaxed) {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let push = || -> Result<(), StoreError> {
            let put = |media_type: MediaType, content: Vec<u8>| {
                let descriptor = Descriptor::of(media_type, &content);
                remote.put_blob(&descriptor, Blob::from_bytes(content)).map(|_| descriptor)
            };
            let config = put(MediaType::OciConfig, format!("{{\"n\":{number}}}").into_bytes())?;
            // One layer is new, one comes again and again.
            let layers = vec![
                put(MediaType::OciLayerGzip, noise(number, 200_000))?,
                put(MediaType::OciLayerGzip, noise(number % 5, 50_000))?,
            ];
            let document = Document::from_manifest(ImageManifest::new(config, layers));
            remote.tag(&tag(&format!("t{}", number % 7)), &document)?;
            if number.is_multiple_of(3) {
                remote.delete_document(&document.digest())?;
            }
            Ok(())
        };
        // What fails fails because the server was killed.
        let _ = push();
    }
}

/// Every named image is whole, and nothing is left of what was under way. Returns how many there are.
fn check(folder: &Path) -> usize {
    let store = LayoutStore::open(&folder.join(STORE)).unwrap();
    let mut images = 0;
    for name in store.repositories().unwrap() {
        let repository = store.repository(&name);
        for tag in repository.tags().unwrap() {
            let document = repository.document(&repository.resolve(&tag).unwrap().digest).unwrap();
            for blob in document.as_image().unwrap().blobs() {
                assert_eq!(store.verify_blob(&blob.digest).unwrap(), blob.size, "{name}:{tag}");
            }
            images += 1;
        }
    }
    assert_eq!(std::fs::read_dir(folder.join(STORE).join("temporary")).unwrap().count(), 0);
    assert!(!folder.join(STORE).join("quarantine").exists(), "nothing was corrupt");
    images
}

fn kills() -> u64 {
    std::env::var("PLIMSOLL_KILLS").map_or(24, |text| text.parse().unwrap())
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(STORE)).unwrap();
    folder
}

#[test]
fn a_killed_server_leaves_no_broken_image() {
    let folder = folder();
    let images = kill_and_check(folder.path(), kills());
    assert!(images > 0, "some pushes got through");
}

#[test]
fn a_killed_server_loses_no_event() {
    let folder = folder();
    let told = Scripted::start_after(|_: &Asked| Answer::status(204));
    std::fs::write(folder.path().join(HOOK), told.url("/")).unwrap();
    let images = kill_and_check(folder.path(), kills() / 2);
    assert!(images > 0, "some pushes got through");
    // Nobody kills this one, so that it tells what is left.
    let served = Served::start(folder.path());
    let address = served.registry.as_str().parse().unwrap();
    let waits = || !wire::ask(address, "GET", "/metrics", &[], b"").text().contains("webhook_waiting 0\n");
    while waits() {
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(served);
    let events: Vec<serde_json::Value> =
        told.asked().iter().map(|asked| serde_json::from_slice(&asked.body).unwrap()).collect();
    let is_told = |kind: &str, key: &str, value: &str, digest: &Digest| {
        events.iter().any(|event| {
            let data = &event["data"];
            event["type"] == kind
                && data["digest"] == digest.to_string()
                && (key.is_empty() || data[key] == value)
        })
    };
    let store = LayoutStore::open(&folder.path().join(STORE)).unwrap();
    let mut count = 0;
    for name in store.repositories().unwrap() {
        let repository = store.repository(&name);
        for manifest in repository.manifests().unwrap() {
            assert!(is_told("manifest.pushed", "", "", &manifest.digest), "{name}@{}", manifest.digest);
            count += 1;
        }
        for tag in repository.tags().unwrap() {
            let digest = repository.resolve(&tag).unwrap().digest;
            assert!(is_told("tag.moved", "tag", tag.as_str(), &digest), "{name}:{tag}");
        }
    }
    eprintln!("{} events told, {count} manifests there", events.len());
}

/// Returns how many images are whole after all kills.
fn kill_and_check(folder: &Path, kills: u64) -> usize {
    let numbers = AtomicU64::new(0);
    let mut images = 0;
    for _ in 0..kills {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let served = Served::start(folder);
        let registry = served.registry.clone();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for worker in 0..3 {
                let (registry, numbers, done) = (&registry, &numbers, &done);
                scope.spawn(move || push_until_it_ends(registry, worker, numbers, done));
            }
            // Some are killed before the first image is whole, some after the first collections.
            std::thread::sleep(Duration::from_millis(5 + u64::from_le_bytes(random) % 400));
            drop(served);
            done.store(true, Ordering::Relaxed);
        });
        images = check(folder);
    }
    eprintln!("{kills} kills, {} pushes begun, {images} images whole", numbers.load(Ordering::Relaxed));
    images
}
