//! Archives of every producer, ours read back, and damaged ones.

mod damaged;
mod foreign;
mod ours;

use std::fs;
use std::path::PathBuf;

use oci::{Compression, Descriptor, DiffId, Digest, Document, ImageConfig, MediaType, RootFs};

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

/// A tar whose members may have any name, also such as no careful writer would write.
#[derive(Clone, Default)]
struct RawTar(Vec<u8>);

impl RawTar {
    fn file(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        self.header(name, content.len() as u64, b'0', "");
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn folder(mut self, name: &str) -> Self {
        self.header(name, 0, b'5', "");
        self
    }

    fn symlink(mut self, name: &str, target: &str) -> Self {
        self.header(name, 0, b'2', target);
        self
    }

    fn hard_link(mut self, name: &str, target: &str) -> Self {
        self.header(name, 0, b'1', target);
        self
    }

    fn header(&mut self, name: &str, size: u64, kind: u8, link: &str) {
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0000644");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[148..156].fill(b' ');
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend(block);
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

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
