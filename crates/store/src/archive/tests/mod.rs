//! Archives of every producer, ours read back, and damaged ones.

mod damaged;
mod foreign;
mod ours;

use std::fs;
use std::path::PathBuf;

use oci::{Compression, Descriptor, DiffId, Digest, Document, ImageConfig, MediaType, RootFs};
use testkit::tar::{Header, TarBuilder};

use super::*;
use crate::{Blob, BlobStore, ImageStore, MemoryStore, StoreError, copy_image};

/// A folder for one test's archives.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        let path = self.path("archive.tar");
        fs::write(&path, bytes).unwrap();
        path
    }

    fn open(&self, bytes: &[u8]) -> Result<ArchiveStore, StoreError> {
        ArchiveStore::open(&self.write(bytes), self.folder.path())
    }
}

/// A tar in the making that can be taken as it is, without its end.
#[derive(Clone, Default)]
struct RawTar(Vec<u8>);

impl RawTar {
    fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(&Header::file(name), content.as_ref())
    }

    fn folder(self, name: &str) -> Self {
        self.entry(&Header::directory(name), &[])
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(&Header::symlink(name, target), &[])
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(&Header::hardlink(name, target), &[])
    }

    fn entry(mut self, header: &Header, content: &[u8]) -> Self {
        let archive = TarBuilder::new().entry(header, content).finish();
        self.0.extend(&archive[..archive.len() - END_BYTES]);
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + END_BYTES, 0);
        self.0
    }
}

/// Two blocks of zeros.
const END_BYTES: usize = 1024;

/// The tar of a layer with one file.
fn layer_tar(text: &str) -> Vec<u8> {
    RawTar::default().file("file", text).end()
}

fn compress(format: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut compressor = layer::compressor(layer::Settings::new(format), Vec::new()).unwrap();
    std::io::Write::write_all(&mut compressor, bytes).unwrap();
    compressor.finish().unwrap()
}

/// The configuration of an image with these layers.
fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids = layers.iter().map(|layer| DiffId(Digest::of(layer))).collect();
    let rootfs = RootFs { diff_ids, ..RootFs::default() };
    let (architecture, os) = ("amd64".to_owned(), "linux".to_owned());
    serde_json::to_vec(&ImageConfig { architecture, os, rootfs, ..ImageConfig::default() }).unwrap()
}

fn put(store: &dyn ImageStore, media_type: MediaType, content: Vec<u8>) -> Descriptor {
    let descriptor = Descriptor::of(media_type, &content);
    store.put_blob(&descriptor, Blob::from_bytes(content)).unwrap();
    descriptor
}

/// Stores an image of one gzip layer.
fn image(store: &dyn ImageStore, text: &str) -> Document {
    let tar = layer_tar(text);
    let config = put(store, MediaType::OciConfig, config(&[&tar]));
    let layer = put(store, MediaType::OciLayerGzip, compress(Compression::Gzip, &tar));
    let document = Document::from_manifest(oci::ImageManifest::new(config, vec![layer]));
    store.put_document(&document).unwrap();
    document
}

/// Reads the whole image and checks every digest on the way.
fn load(archive: &ArchiveStore, image: &ArchivedImage) -> Result<(MemoryStore, Document), StoreError> {
    let target = MemoryStore::new();
    copy_image(archive, &target, &image.descriptor, &crate::CopyOptions::default(), &|_| {})?;
    let document = target.document(&image.descriptor.digest)?;
    Ok((target, document))
}

fn names(image: &ArchivedImage) -> Vec<String> {
    image.names.iter().map(ToString::to_string).collect()
}
