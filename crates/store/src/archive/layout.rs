//! Images that an archive lists in `index.json`.

use std::collections::HashMap;

use oci::{Descriptor, ImageIndex, Platform};

use super::members::Members;
use super::name::{ArchivedName, without_repetitions};
use super::reader::ArchivedImage;
use crate::StoreError;

/// More bytes than this in `index.json` or `manifest.json` are refused.
pub(super) const MAX_LIST_BYTES: u64 = 8 << 20;

/// Returns what `index.json` lists, each image once with all its names; empty where there is no
/// such member. Which platforms an image is for is left open.
pub(super) fn images(members: &Members) -> Result<Vec<ArchivedImage>, StoreError> {
    let Some(raw) = members.read("index.json", MAX_LIST_BYTES)? else { return Ok(Vec::new()) };
    let index: ImageIndex = serde_json::from_slice(&raw)
        .map_err(|error| members.corrupt("index.json", &format!("it is not an image index: {error}")))?;
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
    Ok(images)
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
