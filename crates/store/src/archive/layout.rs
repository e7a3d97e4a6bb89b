//! What an `index.json` lists, in an archive as in a folder.

use std::collections::HashMap;

use oci::{Descriptor, Document, ImageConfig, ImageIndex, Platform};

use super::name::{ArchivedName, without_repetitions};
use super::reader::ArchivedImage;
use crate::{BlobStore, ImageStore, StoreError, referrer};

/// More bytes than this in `index.json` or `manifest.json` are refused.
pub(crate) const MAX_LIST_BYTES: u64 = 8 << 20;
/// More bytes than this in a configuration are not read to learn the platform.
const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// Returns the images of an index, each once with all its names.
pub(crate) fn images(index: &ImageIndex) -> Vec<ArchivedImage> {
    let mut images: Vec<ArchivedImage> = Vec::new();
    let mut positions = HashMap::new();
    for entry in index.manifests.iter().filter(|entry| is_image(entry)) {
        let position = *positions.entry(entry.digest).or_insert(images.len());
        if position == images.len() {
            images.push(image(entry));
        }
        images[position].names.extend(ArchivedName::from_annotations(&entry.annotations));
    }
    for image in &mut images {
        image.names = without_repetitions(std::mem::take(&mut image.names));
    }
    images
}

/// Returns the images of a list that were put there for themselves: without those that only say something about others
/// of the store, which have no name or one that is made of a digest. All where there are no others.
///
/// # Errors
/// What the store says of a manifest.
pub fn principal<'a>(
    store: &dyn ImageStore,
    images: &'a [ArchivedImage],
) -> Result<Vec<&'a ArchivedImage>, StoreError> {
    let mut found = Vec::new();
    for image in images {
        if !is_company(store, image)? {
            found.push(image);
        }
    }
    Ok(if found.is_empty() { images.iter().collect() } else { found })
}

fn is_company(store: &dyn ImageStore, image: &ArchivedImage) -> Result<bool, StoreError> {
    let is_made = |name: &ArchivedName| name.tag().is_some_and(|tag| referrer::is_digest_tag(&tag));
    if !image.names.iter().all(is_made) {
        return Ok(false);
    }
    if !image.names.is_empty() {
        return Ok(true);
    }
    match store.document(&image.descriptor.digest)?.subject() {
        Some(subject) => Ok(store.blob_size(&subject.digest)?.is_some()),
        None => Ok(false),
    }
}

/// Returns what an image runs on: by its index, else by its configuration; empty where neither says.
pub(crate) fn platforms(document: &Document, blobs: &dyn BlobStore) -> Vec<Platform> {
    if let Some(index) = document.as_index() {
        let platforms = index.manifests.iter().filter_map(|child| child.platform.as_ref());
        return platforms.filter(|own| own.os != "unknown").map(Platform::normalized).collect();
    }
    let config = document.as_image().map(|manifest| &manifest.config);
    config.and_then(|config| platform(config, blobs)).into_iter().collect()
}

fn platform(config: &Descriptor, blobs: &dyn BlobStore) -> Option<Platform> {
    let size = blobs.blob_size(&config.digest).ok()??;
    let raw = (size <= MAX_CONFIG_BYTES).then(|| blobs.open_blob(&config.digest).ok())??;
    let config: ImageConfig = serde_json::from_reader(std::io::BufReader::new(raw)).ok()?;
    (!config.os.is_empty()).then(|| config.platform())
}

/// Returns the image without names and without the annotations, which belong to the list.
fn image(entry: &Descriptor) -> ArchivedImage {
    let descriptor = Descriptor::new(entry.media_type.clone(), entry.digest, entry.size);
    let platforms = entry.platform.as_ref().map(Platform::normalized).into_iter().collect();
    ArchivedImage { descriptor, names: Vec::new(), platforms }
}

fn is_image(entry: &Descriptor) -> bool {
    entry.media_type.is_manifest() || entry.media_type.is_index()
}
