//! What the tests of this crate share: stores, images, clients whose clock only counts.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "only tests use it")]

pub mod bucket;
pub mod encrypted;
pub mod peer;
pub mod scripted;
pub mod served;
pub mod small;
pub mod spec;
pub mod wire;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use oci::{Descriptor, Document, ImageManifest, MediaType, Repository};
use registry::client::{Client, ClientOptions, Clock, Notice, RetryPolicy};
use registry::server::{Server, ServerHandle, ServerOptions};
use store::{Blob, ImageStore, LayoutStore};
use tempfile::TempDir;

/// The time it is in all tests.
pub const NOW: &str = "2026-11-20T12:00:00Z";

/// A client with what it told and how long it would have slept.
pub struct TestClient {
    pub client: Client,
    pub notices: Arc<Mutex<Vec<Notice>>>,
    pub slept: Arc<Mutex<Vec<Duration>>>,
    _scratch: TempDir,
}

impl TestClient {
    pub fn new(change: impl FnOnce(&mut ClientOptions)) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let (notices, slept) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let (told, sleeps) = (notices.clone(), slept.clone());
        let now: Timestamp = NOW.parse().unwrap();
        // Time goes on only while somebody sleeps.
        let passed = slept.clone();
        let clock = Clock::new(move || now + passed.lock().unwrap().iter().sum::<Duration>())
            .sleeping(move |wait| sleeps.lock().unwrap().push(wait));
        let mut options = ClientOptions::new(clock, scratch.path());
        options.notice = Arc::new(move |notice: &Notice| told.lock().unwrap().push(notice.clone()));
        options.retry = RetryPolicy { timeout: Duration::from_secs(60), ..RetryPolicy::default() };
        change(&mut options);
        Self { client: Client::new(options).unwrap(), notices, slept, _scratch: scratch }
    }

    pub fn slept(&self) -> Vec<Duration> {
        self.slept.lock().unwrap().clone()
    }

    pub fn notices(&self) -> Vec<Notice> {
        self.notices.lock().unwrap().clone()
    }
}

/// A server over a store in a folder of its own.
pub struct TestServer {
    pub handle: ServerHandle,
    pub store: LayoutStore,
    pub folder: TempDir,
}

impl TestServer {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = LayoutStore::open(folder.path()).unwrap();
        let mut options = ServerOptions::new("127.0.0.1:0".parse().unwrap(), store.clone());
        change(&mut options);
        Self { handle: Server::start(options).unwrap(), store, folder }
    }

    pub fn repository(&self, path: &str) -> Repository {
        Repository::new(self.handle.registry(), path).unwrap()
    }

    /// The files that uploads under way have in the store.
    pub fn temporary_files(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("temporary")).unwrap().count()
    }
}

/// Content that looks random and is the same every time.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut content = Vec::with_capacity(length + 8);
    while content.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(length);
    content
}

/// Noise that begins like gzip. skopeo compresses layers that do not, which changes their digests.
pub fn layer(seed: u64, length: usize) -> Vec<u8> {
    let mut content = noise(seed, length);
    content[..3].copy_from_slice(&[0x1f, 0x8b, 0x08]);
    content
}

pub fn descriptor(content: &[u8]) -> Descriptor {
    Descriptor::of(MediaType::OciLayerGzip, content)
}

/// Puts an image of these layers into a store and returns its manifest.
pub fn put_image(store: &dyn ImageStore, layers: &[Vec<u8>]) -> Document {
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}},"n":{}}}"#,
        layers.len()
    );
    let config_descriptor = Descriptor::of(MediaType::OciConfig, config.as_bytes());
    store.put_blob(&config_descriptor, Blob::from_bytes(config)).unwrap();
    let mut descriptors = Vec::new();
    for layer in layers {
        store.put_blob(&descriptor(layer), Blob::from_bytes(layer.clone())).unwrap();
        descriptors.push(descriptor(layer));
    }
    let document = Document::from_manifest(ImageManifest::new(config_descriptor, descriptors));
    store.put_document(&document).unwrap();
    document
}

pub fn read(blob: Blob) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut { blob }, &mut content)?;
    Ok(content)
}

pub fn tag(text: &str) -> oci::Tag {
    text.parse().unwrap()
}
