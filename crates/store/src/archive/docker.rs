//! Images that an archive lists in Docker's `manifest.json`.
//!
//! Such an archive has a configuration and layers but no manifest. One is made, the same every time:
//! the configuration's bytes as they are, and each layer as it lies there, plain or gzip. A plain
//! layer's digest is its diff id; a compressed one is hashed in both forms, in one pass.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use layer::compress::Format;
use oci::{Algorithm, Descriptor, DiffId, Digest, Document, Hasher, ImageConfig, ImageManifest, MediaType};
use serde::Deserialize;

use super::layout::MAX_LIST_BYTES;
use super::members::{Content, Located, Members};
use super::name::{ArchivedName, without_repetitions};
use crate::StoreError;

/// More bytes than this in a configuration are refused.
const MAX_CONFIG_BYTES: u64 = 8 << 20;
/// How many compressed layers are hashed at the same time.
const HASH_THREADS: usize = 4;

/// One entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Listed {
    /// Member that is the configuration.
    pub config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Listed {
    /// Returns the image's names.
    pub fn names(&self) -> Vec<ArchivedName> {
        let names = self.repo_tags.iter().flatten();
        without_repetitions(names.map(|text| ArchivedName::from_repo_tag(text)).collect())
    }
}

/// An image with the manifest that was made for it.
pub(super) struct MadeImage {
    pub document: Document,
    pub config: ImageConfig,
    pub names: Vec<ArchivedName>,
    /// The blobs of the manifest and the members they are.
    pub blobs: Vec<(Digest, Located)>,
    /// Those whose digest was computed on the way.
    pub hashed: Vec<Digest>,
}

/// Reads `manifest.json`; empty where there is no such member.
pub(super) fn list(members: &Members) -> Result<Vec<Listed>, StoreError> {
    let Some(raw) = members.read("manifest.json", MAX_LIST_BYTES)? else { return Ok(Vec::new()) };
    serde_json::from_slice(&raw)
        .map_err(|error| members.corrupt("manifest.json", &format!("it is not a list of images: {error}")))
}

/// Makes the manifests of all listed images.
pub(super) fn images(members: &Members, listed: &[Listed]) -> Result<Vec<MadeImage>, StoreError> {
    let configs = listed.iter().map(|image| config(members, image)).collect::<Result<Vec<_>, _>>()?;
    let layers = layers(members, listed, &configs)?;
    let made =
        listed.iter().zip(configs).map(|(image, (raw, config))| make(members, image, raw, config, &layers));
    made.collect()
}

fn config(members: &Members, image: &Listed) -> Result<(Bytes, ImageConfig), StoreError> {
    members.require(&image.config, "manifest.json")?;
    let raw = members.read(&image.config, MAX_CONFIG_BYTES)?.unwrap_or_default();
    let config: ImageConfig = serde_json::from_slice(&raw).map_err(|error| {
        members.corrupt(&image.config, &format!("it is not the configuration of an image: {error}"))
    })?;
    let (named, needed) = (image.layers.iter().flatten().count(), config.rootfs.diff_ids.len());
    if named != needed {
        let reason = format!("manifest.json names {named} layers for it, it has {needed} diff ids");
        return Err(members.corrupt(&image.config, &reason));
    }
    Ok((raw, config))
}

/// What is known about a layer as it lies in the archive.
#[derive(Clone)]
struct Layer {
    descriptor: Descriptor,
    content: Content,
    hashed: bool,
}

type Layers = BTreeMap<(String, DiffId), Layer>;

/// Learns type and digest of every layer, each once, however many images share it.
fn layers(
    members: &Members,
    listed: &[Listed],
    configs: &[(Bytes, ImageConfig)],
) -> Result<Layers, StoreError> {
    let mut wanted: Vec<(String, DiffId)> = Vec::new();
    for (image, (_, config)) in listed.iter().zip(configs) {
        let names = image.layers.iter().flatten().cloned();
        wanted.extend(names.zip(config.rootfs.diff_ids.iter().copied()));
    }
    wanted.sort();
    wanted.dedup();
    let next = AtomicUsize::new(0);
    let found = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some((name, diff_id)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let layer = layer(members, name, *diff_id);
            found.lock().unwrap_or_else(PoisonError::into_inner).insert((name.clone(), *diff_id), layer);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..HASH_THREADS.min(wanted.len()) {
            scope.spawn(work);
        }
        work();
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.into_iter().map(|(key, layer)| Ok((key, layer?))).collect()
}

fn layer(members: &Members, name: &str, diff_id: DiffId) -> Result<Layer, StoreError> {
    let content = members.require(name, "manifest.json")?;
    let head = members.head(content, Format::HEAD_BYTES)?;
    let media_type = match Format::of(&head) {
        Format::Plain => {
            let descriptor = Descriptor::new(MediaType::OciLayer, diff_id.0, content.size);
            return Ok(Layer { descriptor, content, hashed: false });
        }
        Format::Gzip | Format::OwnGzip => MediaType::OciLayerGzip,
        Format::Zstd => MediaType::OciLayerZstd,
        Format::Xz | Format::Bzip2 => {
            let reason = "layers compressed by xz or bzip2 are not supported: no media type names them";
            return Err(members.corrupt(name, reason));
        }
    };
    let digest = hash_both(members, name, content, diff_id)?;
    Ok(Layer { descriptor: Descriptor::new(media_type, digest, content.size), content, hashed: true })
}

/// Returns the digest of a compressed layer after checking that it holds what its diff id says.
fn hash_both(members: &Members, name: &str, content: Content, diff_id: DiffId) -> Result<Digest, StoreError> {
    let outer = Arc::new(Mutex::new((Hasher::default(), 0)));
    let tee = Tee { inner: members.reader(content), seen: Arc::clone(&outer) };
    let damaged = |error: io::Error| members.corrupt(name, &format!("it cannot be uncompressed: {error}"));
    let mut plain = layer::decompress(tee).map_err(damaged)?;
    let mut inner = Hasher::new(diff_id.0.algorithm());
    let mut buffer = vec![0; 256 << 10];
    loop {
        match plain.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => inner.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(damaged(error)),
        }
    }
    drop(plain);
    let found = inner.finish();
    if found != diff_id.0 {
        return Err(members.corrupt(name, &format!("expected diff id {diff_id}, found {found}")));
    }
    // What follows the compressed stream belongs to the blob but is read by no decompressor.
    match Arc::into_inner(outer).map(|seen| seen.into_inner().unwrap_or_else(PoisonError::into_inner)) {
        Some((hasher, count)) if count == content.size => Ok(hasher.finish()),
        _ => members.hash(content, Algorithm::Sha256),
    }
}

/// Hashes and counts what is read through it.
struct Tee<R> {
    inner: R,
    seen: Arc<Mutex<(Hasher, u64)>>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0.update(&buffer[..count]);
        seen.1 += count as u64;
        Ok(count)
    }
}

fn make(
    members: &Members,
    image: &Listed,
    raw: Bytes,
    config: ImageConfig,
    layers: &Layers,
) -> Result<MadeImage, StoreError> {
    let about = Descriptor::of(MediaType::OciConfig, &raw);
    let located = |member: &str, content| Located { member: member.to_owned(), content };
    let place = members.require(&image.config, "manifest.json")?;
    let mut blobs = vec![(about.digest, located(&image.config, place))];
    let mut hashed = vec![about.digest];
    let mut descriptors = Vec::new();
    for (name, diff_id) in image.layers.iter().flatten().zip(&config.rootfs.diff_ids) {
        let layer = &layers[&(name.clone(), *diff_id)];
        blobs.push((layer.descriptor.digest, located(name, layer.content)));
        hashed.extend(layer.hashed.then_some(layer.descriptor.digest));
        descriptors.push(layer.descriptor.clone());
    }
    let document = Document::from_manifest(ImageManifest::new(about, descriptors));
    Ok(MadeImage { document, config, names: image.names(), blobs, hashed })
}
