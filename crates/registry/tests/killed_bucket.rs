//! Servers over one bucket that are killed at any moment, while clients push and delete and they collect
//! garbage: every image that has a name in the bucket is whole afterwards, and the next collection takes
//! what the killed ones left.
//!
//! The test starts this very program again to get processes that can be killed. PLIMSOLL_KILLS says
//! how often; a hundred times where it does not, in lanes beside each other, each with a bucket of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(
    clippy::disallowed_methods,
    reason = "the environment says how often to kill, and a bucket has a clock"
)]

mod support;

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use oci::{Descriptor, Document, ImageManifest, MediaType, Registry, Repository};
use registry::client::RetryPolicy;
use registry::server::{Collection, InBucket, Server, ServerOptions};
use store::object::S3Credentials;
use store::{
    Blob, BlobStore as _, Children, CollectOptions, ImageStore as _, LayoutStore, ObjectStore, S3Place,
    S3Settings, StoreError,
};
use support::bucket::FakeBucket;
use support::served::Served;
use support::{TestClient, noise, read, tag};

const STORE: &str = "store-of-the-test";
/// Holds where the bucket is.
const BUCKET: &str = "bucket-of-the-test";
/// How long content stays that nothing names yet; longer than a push here takes.
const GRACE: Duration = Duration::from_secs(4);

fn open(endpoint: &str, client: &TestClient) -> ObjectStore {
    let place: S3Place = "s3:acme/images?region=r".parse().unwrap();
    let credentials = S3Credentials { key: "k".into(), secret: "s".into(), session: None };
    let settings =
        S3Settings { credentials: Some(credentials), region: None, endpoint: Some(endpoint.to_owned()) };
    ObjectStore::open(place.open(&settings, client.client.object_transport()).unwrap()).unwrap()
}

/// Serves the bucket that the working folder names until nobody listens any more.
#[test]
fn part_serving() {
    let Ok(endpoint) = std::fs::read_to_string(BUCKET) else { return };
    let client = TestClient::new(|_| {});
    let store = LayoutStore::open(Path::new(STORE)).unwrap();
    let mut options = ServerOptions::new("127.0.0.1:0".parse().unwrap(), store);
    options.bucket = Some(InBucket { store: open(&endpoint, &client), redirect: None });
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
    let server = Server::start(options).unwrap();
    println!("\naddress {}", server.address());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// How many buckets are worked on side by side.
const LANES: u64 = 4;

/// Pushes an image, copies every second into another repository, and removes every third again. What fails
/// fails because the server was killed.
fn push(registry: &Registry, number: u64) -> Result<(), StoreError> {
    let client = TestClient::new(|options| {
        options.retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    });
    let repository = Repository::new(registry.clone(), &format!("acme/r{}", number % 3)).unwrap();
    let remote = client.client.repository(&repository);
    // Blobs come to the copy by mounting.
    let copies = Repository::new(registry.clone(), "acme/copies").unwrap();
    let copies = client.client.repository(&copies).mount_from(&repository);
    let is_copied = number.is_multiple_of(2);
    let put = |media_type: MediaType, content: Vec<u8>| {
        let descriptor = Descriptor::of(media_type, &content);
        remote.put_blob(&descriptor, Blob::from_bytes(content.clone()))?;
        if is_copied {
            copies.put_blob(&descriptor, Blob::from_bytes(content))?;
        }
        Ok::<_, StoreError>(descriptor)
    };
    let config = put(MediaType::OciConfig, format!("{{\"n\":{number}}}").into_bytes())?;
    // One layer is new, and sometimes so long that it goes in parts; one comes again and again.
    let length = if number.is_multiple_of(11) { 9 << 20 } else { 200_000 };
    let layers = vec![
        put(MediaType::OciLayerGzip, noise(number, length))?,
        put(MediaType::OciLayerGzip, noise(number % 5, 50_000))?,
    ];
    let document = Document::from_manifest(ImageManifest::new(config, layers));
    remote.tag(&tag(&format!("t{}", number % 7)), &document)?;
    if is_copied {
        copies.tag(&tag(&format!("t{}", number % 7)), &document)?;
    }
    if number.is_multiple_of(3) {
        remote.delete_document(&document.digest())?;
    }
    Ok(())
}

/// Every named image is whole. Returns how many there are.
fn check(store: &ObjectStore) -> usize {
    let mut images = 0;
    for name in store.repositories(&Registry::local()).unwrap() {
        let repository = store.repository(&name);
        for tag in repository.tags().unwrap() {
            let document = repository.document(&repository.resolve(&tag).unwrap().digest).unwrap();
            for blob in document.as_image().unwrap().blobs() {
                let content = read(repository.open_blob(&blob.digest).unwrap()).unwrap();
                assert_eq!(content.len() as u64, blob.size, "{name}:{tag}");
            }
            images += 1;
        }
    }
    images
}

#[test]
fn killed_servers_leave_no_broken_image_in_a_bucket() {
    let kills = std::env::var("PLIMSOLL_KILLS").map_or(104, |text| text.parse().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| lane(kills / LANES));
        }
    });
}

/// Kills the servers of one bucket, one after the other.
fn lane(kills: u64) {
    let bucket = FakeBucket::start();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(BUCKET), bucket.endpoint()).unwrap();
    let client = TestClient::new(|_| {});
    let store = open(&bucket.endpoint(), &client);
    // Of the first images nobody takes anything away.
    let first = Served::start(folder.path());
    for number in [1, 2] {
        push(&first.registry, number).unwrap();
    }
    drop(first);
    let numbers = AtomicU64::new(3);
    let mut images = 0;
    for _ in 0..kills {
        kill(folder.path(), &numbers);
        images = check(&store);
        assert!(images >= 2, "images that have a name are there");
    }
    let options = CollectOptions { grace: Duration::ZERO, patience: Duration::ZERO };
    let plan = store.plan_collection(&options, &|_| false).unwrap();
    assert!(plan.unreadable.is_empty(), "{:?}", plan.unreadable);
    let collected = store.apply_collection(plan, &options).unwrap();
    assert_eq!(check(&store), images);
    let again = store.plan_collection(&options, &|_| false).unwrap();
    assert!(again.blobs.is_empty(), "one collection takes all that is left");
    let (pushes, blobs) = (numbers.into_inner(), collected.blobs);
    eprintln!("{kills} kills, {pushes} pushes begun, {images} images whole, {blobs} blobs left behind");
}

/// Starts a server, has images pushed to it, and kills it in the middle of that.
fn kill(folder: &Path, numbers: &AtomicU64) {
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    let served = Served::start(folder);
    let registry = served.registry.clone();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = push(&registry, numbers.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
        std::thread::sleep(Duration::from_millis(5 + u64::from_le_bytes(random) % 250));
        drop(served);
        done.store(true, Ordering::Relaxed);
    });
}
