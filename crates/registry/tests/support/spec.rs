//! A server that is asked request by request.

use std::net::SocketAddr;

use oci::{Descriptor, Digest, Document, ImageManifest, MediaType};
use registry::server::{InBucket, ServerOptions};

use super::bucket::FakeBucket;
use super::wire::{self, Response};
use super::{TestServer, noise};

/// A server and the repository `a` of it.
pub struct Spec(pub TestServer);

impl Spec {
    pub fn start() -> Self {
        Self(TestServer::start())
    }

    /// One over each kind of storage: a folder, and a bucket that is reached over HTTP. A bucket in memory
    /// never waits, so it does not show what must not wait where other requests would have to as well.
    pub fn of_each_storage() -> [Self; 2] {
        Self::of_each_with(|_| {})
    }

    pub fn of_each_with(change: impl Fn(&mut ServerOptions)) -> [Self; 2] {
        let bucket = Some(InBucket { store: FakeBucket::store(), redirect: None });
        [None, bucket].map(|bucket| {
            Self(TestServer::with(|options| {
                options.bucket = bucket;
                change(options);
            }))
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.0.handle.address()
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        wire::ask(self.address(), method, path, headers, body)
    }

    pub fn get(&self, path: &str) -> Response {
        self.ask("GET", path, &[], b"")
    }

    #[track_caller]
    pub fn check(&self, method: &str, path: &str, body: &[u8], status: u16) -> Response {
        let response = self.ask(method, path, &[], body);
        assert_eq!(response.status, status, "{method} {path}: {}", response.text());
        response
    }

    pub fn session(&self) -> String {
        self.check("POST", "/v2/a/blobs/uploads/", b"", 202).header("location").to_owned()
    }

    pub fn blob(&self, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        self.check("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), content, 201);
        digest
    }

    pub fn manifest(&self, document: &Document, name: &str) -> Response {
        let media_type = document.descriptor().media_type.as_str();
        self.ask("PUT", &format!("/v2/a/manifests/{name}"), &[("Content-Type", media_type)], document.raw())
    }

    /// An image that is there.
    pub fn image(&self, seed: u64) -> Document {
        let layer = noise(seed, 100);
        self.blob(b"{}");
        self.blob(&layer);
        Document::from_manifest(ImageManifest::new(
            Descriptor::of(MediaType::OciConfig, b"{}"),
            vec![Descriptor::of(MediaType::OciLayerGzip, &layer)],
        ))
    }
}
