//! How much a plan would move, asked of both sides without moving anything.

use std::collections::{BTreeMap, BTreeSet};

use oci::{Descriptor, Digest};
use serde::Serialize;
use store::StoreError;
use store::copy::{Parts, parts};

use super::{Action, Move, Plan, QUESTIONS, RepositoryError, Wish};
use crate::place::Places;
use crate::side_by_side::side_by_side;

/// What the images of a plan consist of that are not at the destination yet. Sizes are in bytes, each blob counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Images that have to be copied.
    pub images: usize,
    /// Their manifests and indexes, with those that come along, each once.
    pub documents: usize,
    /// Their blobs.
    pub blobs: usize,
    /// The sizes of those together.
    pub bytes: u64,
    /// Blobs that the destination lacks.
    pub blobs_missing: usize,
    /// The sizes of those together: what would be moved, or linked where both sides are one registry.
    pub bytes_missing: u64,
}

/// Counts what a plan would move.
///
/// # Errors
/// What the places say.
pub fn estimate(places: &Places, wish: &Wish, plan: &Plan) -> Result<Estimate, RepositoryError> {
    let source = wish.source.reader(places)?;
    let moving: BTreeMap<Digest, &Move> =
        plan.tags.iter().filter(|one| one.action != Action::Keep).map(|one| (one.digest, one)).collect();
    let moving: Vec<&Move> = moving.into_values().collect();
    let found = side_by_side(&moving, QUESTIONS, |one| {
        parts(&*source, &one.descriptor, wish.company, wish.options().foreign)
    });
    let mut estimate = Estimate { images: moving.len(), ..Estimate::default() };
    let mut manifests = BTreeSet::new();
    let mut blobs: BTreeMap<Digest, Descriptor> = BTreeMap::new();
    for found in found {
        let Parts { documents, blobs: more } = found?;
        manifests.extend(documents);
        blobs.extend(more.into_iter().map(|blob| (blob.digest, blob)));
    }
    estimate.documents = manifests.len();
    let blobs: Vec<Descriptor> = blobs.into_values().collect();
    let there = wish.destination.before(places)?;
    let is_there = |blob: &Descriptor| -> Result<bool, StoreError> {
        let size = there.as_deref().map_or(Ok(None), |there| there.blob_size(&blob.digest))?;
        Ok(size == Some(blob.size))
    };
    let found = side_by_side(&blobs, QUESTIONS, is_there);
    for (blob, is_there) in blobs.iter().zip(found) {
        estimate.blobs += 1;
        estimate.bytes += blob.size;
        if !is_there? {
            estimate.blobs_missing += 1;
            estimate.bytes_missing += blob.size;
        }
    }
    Ok(estimate)
}
