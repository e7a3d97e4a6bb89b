//! The cache against a service in this process: what comes back, who sees it, and what goes wrong.

use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::store::{Blob, BlobStore as _, ImageStore as _, Put, Source, StoreError};
use jiff::Timestamp;
use oci::{Descriptor, Digest, Document, ImageManifest, MediaType, Tag};
use registry::client::{Client, ClientOptions, Clock};
use testkit::cache_service::{CacheServiceFake, Failure, TOKEN};

use super::*;

struct Job {
    service: CacheServiceFake,
    client: Client,
    slept: Arc<Mutex<Vec<Duration>>>,
    _scratch: tempfile::TempDir,
}

impl Job {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let slept = Arc::new(Mutex::new(Vec::new()));
        let sleeps = slept.clone();
        let clock =
            Clock::new(|| Timestamp::UNIX_EPOCH).sleeping(move |wait| sleeps.lock().unwrap().push(wait));
        let client = Client::new(ClientOptions::new(clock, scratch.path())).unwrap();
        Self { service: CacheServiceFake::start(), client, slept, _scratch: scratch }
    }

    /// Returns the cache `main` as run number `run` sees it.
    fn cache(&self, run: u32) -> CiCache {
        let run = run.to_string();
        let environment = environment(&[
            ("ACTIONS_RESULTS_URL", self.service.address()),
            ("ACTIONS_RUNTIME_TOKEN", TOKEN),
            ("ACTIONS_CACHE_SERVICE_V2", "True"),
            ("GITHUB_RUN_ID", &run),
            ("GITHUB_RUN_ATTEMPT", "1"),
        ]);
        CacheService::find(&self.client, &environment).unwrap().cache("main")
    }
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    let own = |pair: &(&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
    [("GITHUB_ACTIONS", "true")].iter().chain(pairs).map(own).collect()
}

fn noise(seed: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|number| (number as u8).wrapping_mul(31).wrapping_add((number >> 8) as u8) ^ seed)
        .collect()
}

fn tag() -> Tag {
    "cache".parse().unwrap()
}

/// Puts layers and the document that names them; returns it.
fn put(cache: &CiCache, layers: &[Vec<u8>]) -> Document {
    let put = |media_type, content: &[u8]| {
        let descriptor = Descriptor::of(media_type, content);
        cache.put_blob(&descriptor, Blob::from_bytes(content.to_vec())).unwrap();
        descriptor
    };
    let config = put(MediaType::OciConfig, b"{\"records\":[]}");
    let layers = layers.iter().map(|layer| put(MediaType::OciLayer, layer)).collect();
    let document = Document::from_manifest(ImageManifest::new(config, layers));
    cache.tag(&tag(), &document).unwrap();
    document
}

fn content(blob: Blob) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    { blob }.read_to_end(&mut content)?;
    Ok(content)
}

#[test]
fn another_run_finds_what_one_wrote_and_small_things_go_together() {
    let job = Job::new();
    let layers = [noise(1, 100), noise(2, 5000), noise(3, (17 << 20) + 5)];
    let document = put(&job.cache(1), &layers);
    let keys = job.service.keys();
    assert_eq!(keys.len(), 2, "one large blob, and all the rest: {keys:?}");
    assert_eq!(keys[0], format!("plimsoll/blob/sha256-{}", Digest::of(&layers[2]).hex()));
    assert_eq!(keys[1], format!("plimsoll/main@cache:1-1-{}", &document.digest().hex()[..16]));
    assert!(job.service.lines().iter().filter(|line| line.starts_with("PUT")).count() <= 5);

    let other = job.cache(2);
    assert_eq!(other.resolve(&tag()).unwrap().digest, document.digest());
    assert_eq!(other.document(&document.digest()).unwrap(), document);
    for layer in &layers {
        let digest = Digest::of(layer);
        assert_eq!(other.blob_size(&digest).unwrap(), Some(layer.len() as u64));
        assert!(content(other.open_blob(&digest).unwrap()).unwrap() == *layer);
    }
    assert_eq!(other.blob_size(&Digest::of(b"nothing")).unwrap(), None);
}

#[test]
fn the_newest_entry_counts_and_carries_on_what_it_needs() {
    let job = Job::new();
    put(&job.cache(1), &[noise(1, 100)]);
    let second = job.cache(2);
    second.resolve(&tag()).unwrap();
    let layer = Descriptor::of(MediaType::OciLayer, &noise(1, 100));
    assert_eq!(second.put_blob(&layer, Blob::from_bytes(noise(1, 100))).unwrap(), Put::Present);
    let newer = put(&second, &[noise(1, 100), noise(2, 100)]);
    let third = job.cache(3);
    assert_eq!(third.resolve(&tag()).unwrap().digest, newer.digest());
    assert_eq!(content(third.open_blob(&layer.digest).unwrap()).unwrap(), noise(1, 100));
    // The same again in the same run is no error, and in another run a new entry.
    put(&second, &[noise(1, 100), noise(2, 100)]);
    put(&third, &[noise(1, 100), noise(2, 100)]);
    assert_eq!(job.service.keys().len(), 3);
}

#[test]
fn branches_see_their_own_entries_and_those_of_the_default_branch() {
    let job = Job::new();
    let of_main = put(&job.cache(1), &[noise(1, 2 << 20)]);
    job.service.act_as(&["feature", "main"], true);
    assert_eq!(job.cache(2).resolve(&tag()).unwrap().digest, of_main.digest());
    let of_feature = put(&job.cache(2), &[noise(2, 10)]);
    assert_eq!(job.cache(3).resolve(&tag()).unwrap().digest, of_feature.digest());
    job.service.act_as(&["main"], true);
    assert_eq!(job.cache(4).resolve(&tag()).unwrap().digest, of_main.digest());
    // The token of a fork reads and does not write.
    job.service.act_as(&["fork", "main"], false);
    let cache = job.cache(5);
    let found = cache.resolve(&tag()).unwrap();
    let error = cache.tag(&tag(), &cache.document(&found.digest).unwrap()).unwrap_err();
    assert!(
        matches!(&error, StoreError::Denied { reason, .. } if reason.contains("no writable scopes")),
        "{error}"
    );
}

#[test]
fn what_is_wrong_is_never_used() {
    let job = Job::new();
    let large = noise(1, 2 << 20);
    let document = put(&job.cache(1), std::slice::from_ref(&large));
    job.service.spoil("blob/", |content| content[7] ^= 1);
    let cache = job.cache(2);
    cache.resolve(&tag()).unwrap();
    let error = content(cache.open_blob(&Digest::of(&large)).unwrap()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    job.service.spoil("main@", |content| content.truncate(content.len() - 1));
    assert!(matches!(job.cache(3).resolve(&tag()), Err(StoreError::Corrupt { .. })));
    job.service.evict("main@");
    assert!(matches!(job.cache(3).resolve(&tag()), Err(StoreError::NotFound { .. })));
    // A large blob that went by age is missed before a tag names it.
    job.service.evict("blob/");
    let cache = job.cache(4);
    cache.put_blob(&document.as_image().unwrap().config, Blob::from_bytes("{\"records\":[]}")).unwrap();
    assert!(matches!(cache.tag(&tag(), &document), Err(StoreError::NotFound { .. })));
}

#[test]
fn an_upload_that_fails_or_lies_leaves_no_entry() {
    let job = Job::new();
    let large = noise(1, 9 << 20);
    let descriptor = Descriptor::of(MediaType::OciLayer, &large);
    let mut wrong = large.clone();
    wrong[9] ^= 1;
    let cache = job.cache(1);
    let error = cache.put_blob(&descriptor, Blob::from_bytes(wrong)).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(matches!(
        cache.put_blob(&descriptor, Blob::from_bytes("short")),
        Err(StoreError::Corrupt { .. })
    ));
    assert!(job.service.keys().is_empty());

    let job = Job::new();
    let stream = || Blob::new(descriptor.size, Source::Stream(Box::new(std::io::Cursor::new(large.clone()))));
    job.service.fail_next(Failure { of: "comp=blocklist", status: 403, header: "" });
    let error = job.cache(1).put_blob(&descriptor, stream()).unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    assert!(job.service.keys().is_empty());
}

#[test]
fn the_service_is_obeyed_when_it_asks_for_a_pause() {
    let job = Job::new();
    job.service.fail_next(Failure { of: "CreateCacheEntry", status: 429, header: "retry-after: 17" });
    job.service.fail_next(Failure { of: "/content/0", status: 500, header: "" });
    job.service.fail_next(Failure { of: "/content/0", status: 503, header: "" });
    put(&job.cache(1), &[noise(1, 10)]);
    let slept: Vec<u64> = job.slept.lock().unwrap().iter().map(Duration::as_secs).collect();
    assert_eq!(slept, [17, 10, 10]);
    for _ in 0..3 {
        job.service.fail_next(Failure { of: "GetCacheEntry", status: 500, header: "" });
    }
    assert!(job.cache(2).resolve(&tag()).unwrap_err().is_transient());
    let token = job.cache(2).resolve(&tag()).map(|_| format!("{:?}", job.cache(2)));
    assert!(!token.unwrap().contains(TOKEN));
}

#[test]
fn what_a_service_cannot_do_is_said() {
    let job = Job::new();
    let cache = job.cache(1);
    for error in [
        cache.tags().unwrap_err(),
        cache.untag(&tag()).unwrap_err(),
        cache.delete_document(&Digest::of(b"")).unwrap_err(),
    ] {
        assert!(error.to_string().contains("the CI cache main was refused: the cache service"), "{error}");
    }
    assert!(cache.referrers(&Digest::of(b"")).unwrap().is_empty());
}

#[track_caller]
fn check_none(pairs: &[(&str, &str)], words: &str) {
    let job = Job::new();
    let mut found = environment(pairs);
    if pairs.is_empty() {
        found.clear();
    }
    let error = CacheService::find(&job.client, &found).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn jobs_without_a_service_are_told_why() {
    let url = ("ACTIONS_RESULTS_URL", "https://results.example/");
    let token = ("ACTIONS_RUNTIME_TOKEN", TOKEN);
    check_none(&[], "no job of it");
    check_none(&[token, ("GITHUB_SERVER_URL", "https://github.com")], "ACTIONS_RESULTS_URL is not set");
    check_none(&[url], "ghaction-github-runtime");
    check_none(&[url, token, ("FORGEJO_ACTIONS", "true")], "version 1 of the cache service only");
    check_none(&[url, token, ("GITHUB_SERVER_URL", "https://ghe.acme.example")], "version 1");
    check_none(
        &[("ACTIONS_RESULTS_URL", "http://10.0.0.1/"), token, ("ACTIONS_CACHE_SERVICE_V2", "1")],
        "neither HTTPS",
    );
}
