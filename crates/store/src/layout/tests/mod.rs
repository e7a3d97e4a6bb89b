//! What others rely on in the local store.

mod content;
mod names;

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;

use oci::{Descriptor, ImageIndex, ImageManifest, MediaType, Tag};

use super::*;
use crate::{Blob, BlobStore, ImageStore, Put, Source};

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> LayoutStore {
        LayoutStore::open(&self.folder.path().join("store")).unwrap()
    }
}

fn name(text: &str) -> Repository {
    text.parse().unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn put(store: &impl BlobStore, media_type: MediaType, content: &'static [u8]) -> Descriptor {
    let descriptor = Descriptor::of(media_type, content);
    store.put_blob(&descriptor, Blob::from_bytes(content)).unwrap();
    descriptor
}

fn image(store: &impl BlobStore, layer: &'static [u8]) -> Document {
    let config = put(store, MediaType::OciConfig, b"{}");
    let layer = put(store, MediaType::OciLayer, layer);
    Document::from_manifest(ImageManifest::new(config, vec![layer]))
}

fn read(blob: Blob) -> Vec<u8> {
    let mut content = Vec::new();
    blob.take(u64::MAX).read_to_end(&mut content).unwrap();
    content
}

#[track_caller]
fn check_not_found<T: std::fmt::Debug>(result: Result<T, StoreError>, named: &str) {
    match result {
        Err(StoreError::NotFound { what }) => assert!(what.contains(named), "{what}"),
        other => panic!("expected NotFound, found {other:?}"),
    }
}
