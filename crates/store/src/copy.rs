//! Copying an image from one store to another.
//!
//! This module owns the order (content, then manifests from the leaves up) and the bounded
//! parallelism. Retrying single requests is the registry client's, tags are the caller's: they move
//! last, when everything else is where it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use oci::{Descriptor, Digest, Document, Platform};

use crate::children::{ChildKind, children};
use crate::{ImageStore, Put, StoreError};

/// How deep indexes may lie in indexes.
const MAX_DEPTH: usize = 8;

/// How many documents one image may consist of.
const MAX_DOCUMENTS: usize = 10_000;

/// The annotation by which BuildKit's attestation manifests name the image they speak of.
const ATTESTED: &str = "vnd.docker.reference.digest";

/// What to copy and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// Which children of an index to copy.
    pub platforms: Platforms,
    /// How many blobs are under way at the same time; 0 counts as 1.
    pub concurrency: usize,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self { platforms: Platforms::All, concurrency: 4 }
    }
}

/// Which children of an index to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// All.
    All,
    /// Those for these platforms, with what BuildKit attests about them. The index itself is copied
    /// unchanged, so that it keeps its digest; the destination must take one without all children.
    Only(Vec<Platform>),
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Sum of the sizes of the blobs that were transferred.
    pub bytes_moved: u64,
    /// Blobs that were transferred.
    pub blobs_moved: u64,
    /// Blobs that were there already.
    pub blobs_present: u64,
    /// Blobs that were linked without moving bytes.
    pub blobs_mounted: u64,
    /// Manifests and indexes that were stored.
    pub documents: u64,
}

/// A step of a copy, for whoever shows progress. Blobs come from several threads.
#[derive(Clone, Copy, Debug)]
pub enum CopyEvent<'a> {
    /// Everything the image consists of is known.
    Planned {
        /// Number of blobs, each counted once.
        blobs: usize,
        /// Sum of their sizes.
        bytes: u64,
    },
    /// The destination does not have the blob; it is being transferred.
    BlobStarted(&'a Descriptor),
    /// The destination has the blob.
    BlobDone {
        /// The blob.
        blob: &'a Descriptor,
        /// Whether bytes had to be moved.
        put: Put,
    },
    /// The destination has the manifest or index.
    DocumentDone(&'a Descriptor),
}

/// Copies the image `descriptor` from `source` to `destination`. Content that is there is not
/// moved, and the same content never moves twice.
///
/// # Errors
/// What the stores say. Blobs that arrived before an error stay, so that the next try is shorter.
pub fn copy_image(
    source: &dyn ImageStore,
    destination: &dyn ImageStore,
    descriptor: &Descriptor,
    options: &CopyOptions,
    observe: &(dyn Fn(CopyEvent<'_>) + Sync),
) -> Result<Copied, StoreError> {
    let mut graph = Graph::default();
    graph.add(source, descriptor, &options.platforms, 0)?;
    let mut blobs: Vec<Part> = graph.blobs.into_values().collect();
    // The largest first: the end of a copy is then many small blobs side by side, not one large one.
    blobs.sort_by_key(|part| std::cmp::Reverse(part.descriptor.size));
    let bytes = blobs.iter().map(|part| part.descriptor.size).sum();
    observe(CopyEvent::Planned { blobs: blobs.len(), bytes });

    let mut copied = copy_blobs(source, destination, &blobs, options.concurrency, observe)?;
    for document in &graph.documents {
        destination.put_document(document)?;
        copied.documents += 1;
        observe(CopyEvent::DocumentDone(document.descriptor()));
    }
    Ok(copied)
}

/// Returns the manifest for `platform` that `descriptor` leads to: the child of an index, or the
/// manifest itself where it is one.
///
/// # Errors
/// `NotFound`, naming the platforms there are, where the index has none for `platform`.
pub fn image_for_platform(
    source: &dyn ImageStore,
    descriptor: &Descriptor,
    platform: &Platform,
) -> Result<Document, StoreError> {
    let mut document = source.document(&descriptor.digest)?;
    for _ in 0..MAX_DEPTH {
        let Some(index) = document.as_index() else { return Ok(document) };
        let Some(child) = index.for_platform(platform) else { return Err(no_platform(&document, platform)) };
        document = source.document(&child.digest)?;
    }
    Err(too_deep(descriptor))
}

/// The documents and blobs of an image.
#[derive(Default)]
struct Graph {
    /// Children before parents.
    documents: Vec<Document>,
    seen: BTreeSet<Digest>,
    blobs: BTreeMap<Digest, Part>,
}

struct Part {
    descriptor: Descriptor,
    optional: bool,
}

impl Graph {
    fn add(
        &mut self,
        source: &dyn ImageStore,
        descriptor: &Descriptor,
        platforms: &Platforms,
        depth: usize,
    ) -> Result<(), StoreError> {
        if depth > MAX_DEPTH || self.seen.len() >= MAX_DOCUMENTS {
            return Err(too_deep(descriptor));
        }
        if !self.seen.insert(descriptor.digest) {
            return Ok(());
        }
        let document = source.document(&descriptor.digest)?;
        let wanted = wanted(&document, platforms)?;
        for child in children(&document) {
            match child.kind {
                ChildKind::Document
                    if wanted.as_ref().is_none_or(|set| set.contains(&child.descriptor.digest)) =>
                {
                    self.add(source, child.descriptor, platforms, depth + 1)?;
                }
                ChildKind::Document => {}
                ChildKind::Blob => {
                    let part = Part { descriptor: child.descriptor.clone(), optional: child.optional };
                    self.blobs.entry(part.descriptor.digest).or_insert(part);
                }
            }
        }
        self.documents.push(document);
        Ok(())
    }
}

/// Returns the children of an index that the platforms ask for; `None` where all are wanted.
fn wanted(document: &Document, platforms: &Platforms) -> Result<Option<BTreeSet<Digest>>, StoreError> {
    let (Some(index), Platforms::Only(platforms)) = (document.as_index(), platforms) else { return Ok(None) };
    let mut wanted = BTreeSet::new();
    for platform in platforms {
        let child = index.for_platform(platform).ok_or_else(|| no_platform(document, platform))?;
        wanted.insert(child.digest);
    }
    let attested = |child: &&Descriptor| {
        let about = child.annotations.get(ATTESTED).and_then(|text| text.parse().ok());
        about.is_some_and(|digest: Digest| wanted.contains(&digest))
    };
    let attestations: Vec<Digest> =
        index.manifests.iter().filter(attested).map(|child| child.digest).collect();
    wanted.extend(attestations);
    Ok(Some(wanted))
}

fn copy_blobs(
    source: &dyn ImageStore,
    destination: &dyn ImageStore,
    blobs: &[Part],
    concurrency: usize,
    observe: &(dyn Fn(CopyEvent<'_>) + Sync),
) -> Result<Copied, StoreError> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let outcome: Mutex<(Copied, Option<StoreError>)> = Mutex::default();
    let work = || {
        while let Some(part) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let result = copy_blob(source, destination, part, observe);
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(put) => outcome.0.count(part.descriptor.size, put),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    outcome.1.get_or_insert(error);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..concurrency.min(blobs.len()) {
            scope.spawn(work);
        }
        work();
    });
    match outcome.into_inner().unwrap_or_else(PoisonError::into_inner) {
        (copied, None) => Ok(copied),
        (_, Some(error)) => Err(error),
    }
}

/// Copies one blob; `None` where it may be absent and is.
fn copy_blob(
    source: &dyn ImageStore,
    destination: &dyn ImageStore,
    part: &Part,
    observe: &(dyn Fn(CopyEvent<'_>) + Sync),
) -> Result<Option<Put>, StoreError> {
    let blob = &part.descriptor;
    if destination.blob_size(&blob.digest)? == Some(blob.size) {
        observe(CopyEvent::BlobDone { blob, put: Put::Present });
        return Ok(Some(Put::Present));
    }
    let content = match source.open_blob(&blob.digest) {
        Err(StoreError::NotFound { .. }) if part.optional => return Ok(None),
        other => other?,
    };
    observe(CopyEvent::BlobStarted(blob));
    let put = destination.put_blob(blob, content)?;
    observe(CopyEvent::BlobDone { blob, put });
    Ok(Some(put))
}

impl Copied {
    fn count(&mut self, size: u64, put: Option<Put>) {
        match put {
            Some(Put::Written) => {
                self.blobs_moved += 1;
                self.bytes_moved += size;
            }
            Some(Put::Present) => self.blobs_present += 1,
            Some(Put::Mounted) => self.blobs_mounted += 1,
            None => {}
        }
    }
}

fn no_platform(index: &Document, platform: &Platform) -> StoreError {
    let manifests = index.as_index().map(|index| index.manifests.as_slice()).unwrap_or_default();
    let there: Vec<String> =
        manifests.iter().filter_map(|child| child.platform.as_ref()).map(Platform::to_string).collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    StoreError::NotFound { what: format!("platform {platform} in index {} (it has {there})", index.digest()) }
}

fn too_deep(descriptor: &Descriptor) -> StoreError {
    let reason =
        format!("its indexes are nested deeper than {MAX_DEPTH} or list over {MAX_DOCUMENTS} manifests");
    StoreError::Corrupt { what: format!("manifest {}", descriptor.digest), reason }
}

#[cfg(test)]
mod tests;
