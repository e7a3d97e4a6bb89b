//! Copying an image from one store to another.
//!
//! This module owns the order (content, then manifests from the leaves up) and the bounded
//! parallelism. Retrying single requests is the registry client's, tags are the caller's: they move
//! last, when everything else is where it should be.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use oci::{Descriptor, Digest, Document, Platform};

use crate::graph::{Graph, Part};
use crate::{ImageStore, Put, StoreError};

/// What takes longer to ask for than to send.
const SMALL_BYTES: u64 = 512 << 10;
/// How many small blobs are under way for each large one that may be.
const SMALL_FOR_EACH: usize = 3;

/// What to copy and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// Which children of an index to copy.
    pub platforms: Platforms,
    /// What else comes along.
    pub company: Company,
    /// What becomes of layers that registries are not to hand on.
    pub foreign: Foreign,
    /// Who stores the manifest or index itself.
    pub top: Top,
    /// How many large blobs are under way at the same time; 0 counts as 1. Of small ones, three times as many
    /// are under way beside them, unless it is 1.
    pub concurrency: usize,
}

/// What becomes of the content of layers that registries are not to hand on (Docker's foreign layers, the OCI's
/// non-distributable ones). Their descriptors stay in any case: no digest changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Foreign {
    /// It is left out, whether or not the source has it: for places from which others pull.
    #[default]
    LeftOut,
    /// It is copied as every layer is, and the copy fails where it cannot be had: for places of one's own.
    Copied,
}

/// Who stores the manifest or index that an image is called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Top {
    /// The copy, as the last of what belongs to the image.
    Copied,
    /// The caller, who gives it a tag next and so stores it with the same request.
    LeftToTag,
}

/// What comes along with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// Nothing but what it consists of.
    Alone,
    /// What refers to the image or any part of it, what refers to that, and what other tools keep
    /// under tags that are made of a digest: lists of referrers, cosign's `.sig`, `.att` and `.sbom`.
    Referrers,
}

impl CopyOptions {
    /// Returns options for a place of one's own, such as the local store: it gets all of an image.
    pub fn whole() -> Self {
        Self { foreign: Foreign::Copied, ..Self::default() }
    }
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            platforms: Platforms::All,
            company: Company::Alone,
            foreign: Foreign::LeftOut,
            top: Top::Copied,
            concurrency: 4,
        }
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// Those of them that came along because they refer to the image or a part of it.
    pub referrers: u64,
    /// Blobs that were not copied, ascending by digest: they are not to be distributed, or the source does not have
    /// them and names other places where they are.
    pub left_out: Vec<Descriptor>,
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
    /// The blob is not copied: it is to be had elsewhere or not to be distributed.
    BlobLeftOut(&'a Descriptor),
    /// The destination has the manifest or index.
    DocumentDone(&'a Descriptor),
}

/// Copies the image `descriptor` from `source` to `destination`, with the company that is asked for.
/// Tags that are made of a digest are part of that; all others are the caller's. Content that is there is not
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
    let mut graph = Graph::of(source, descriptor, &options.platforms)?;
    let own = graph.documents.len();
    let tagged = match options.company {
        Company::Alone => Vec::new(),
        Company::Referrers => graph.add_company(source)?,
    };
    let (left_out, mut blobs): (Vec<Part>, Vec<Part>) =
        graph.blobs.into_values().partition(|part| part.foreign && options.foreign == Foreign::LeftOut);
    // The largest first: the end of a copy is then many small blobs side by side, not one large one.
    blobs.sort_by_key(|part| std::cmp::Reverse(part.descriptor.size));
    let bytes = blobs.iter().map(|part| part.descriptor.size).sum();
    observe(CopyEvent::Planned { blobs: blobs.len(), bytes });

    left_out.iter().for_each(|part| observe(CopyEvent::BlobLeftOut(&part.descriptor)));

    destination.expect_blobs(&blobs.iter().map(|part| &part.descriptor).collect::<Vec<_>>());
    let mut copied = copy_blobs(source, destination, &blobs, options.concurrency, observe)?;
    copied.left_out.extend(left_out.into_iter().map(|part| part.descriptor));
    copied.left_out.sort_by_key(|blob| blob.digest);
    let is_left =
        |document: &Document| options.top == Top::LeftToTag && document.digest() == descriptor.digest;
    for document in graph.documents.iter().filter(|document| !is_left(document)) {
        destination.put_document(document)?;
        copied.documents += 1;
        observe(CopyEvent::DocumentDone(document.descriptor()));
    }
    for (tag, document) in &tagged {
        destination.tag(tag, document)?;
    }
    copied.referrers = (graph.documents.len() - own) as u64;
    Ok(copied)
}

/// What an image consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Its manifests and indexes, with those of its company, children before parents.
    pub documents: Vec<Digest>,
    /// Its blobs, each once, ascending by digest.
    pub blobs: Vec<Descriptor>,
}

/// Returns what [`copy_image`] would copy, with what it would leave out because it is not to be distributed only where
/// `foreign` says so.
///
/// # Errors
/// What the store says.
pub fn parts(
    source: &dyn ImageStore,
    descriptor: &Descriptor,
    company: Company,
    foreign: Foreign,
) -> Result<Parts, StoreError> {
    let mut graph = Graph::of(source, descriptor, &Platforms::All)?;
    if company == Company::Referrers {
        graph.add_company(source)?;
    }
    let blobs = graph.blobs.into_values().filter(|part| !part.foreign || foreign == Foreign::Copied);
    let blobs = blobs.map(|part| part.descriptor).collect();
    Ok(Parts { documents: graph.documents.iter().map(Document::digest).collect(), blobs })
}

/// Returns the blobs of an image that `store` does not have, as far as they are not optional; layers that registries
/// do not hand on are where `foreign` says so.
///
/// # Errors
/// `NotFound`, naming it, where a manifest is missing; what the store says.
pub fn missing_parts(
    store: &dyn ImageStore,
    descriptor: &Descriptor,
    foreign: Foreign,
) -> Result<Vec<Descriptor>, StoreError> {
    let graph = Graph::of(store, descriptor, &Platforms::All)?;
    let mut missing = Vec::new();
    let is_wanted = |part: &Part| if part.foreign { foreign == Foreign::Copied } else { !part.optional };
    for part in graph.blobs.into_values().filter(is_wanted) {
        if store.blob_size(&part.descriptor.digest)? != Some(part.descriptor.size) {
            missing.push(part.descriptor);
        }
    }
    Ok(missing)
}

fn copy_blobs(
    source: &dyn ImageStore,
    destination: &dyn ImageStore,
    blobs: &[Part],
    concurrency: usize,
    observe: &(dyn Fn(CopyEvent<'_>) + Sync),
) -> Result<Copied, StoreError> {
    let stop = AtomicBool::new(false);
    let outcome: Mutex<(Copied, Option<StoreError>)> = Mutex::default();
    let work = |(blobs, next): &(&[Part], AtomicUsize)| {
        while let Some(part) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let result = copy_blob(source, destination, part, observe);
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(put) => outcome.0.count(&part.descriptor, put),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    outcome.1.get_or_insert(error);
                }
            }
        }
    };
    // Small ones do not wait for the large ones before them: a request for each is most of their time.
    let large = blobs.partition_point(|part| part.descriptor.size > SMALL_BYTES || concurrency <= 1);
    let (large, small) = blobs.split_at(large);
    let queues = [(large, AtomicUsize::new(0)), (small, AtomicUsize::new(0))];
    let workers = [concurrency.max(1).min(large.len()), (concurrency * SMALL_FOR_EACH).min(small.len())];
    std::thread::scope(|scope| {
        let all = queues.iter().zip(workers).flat_map(|(queue, count)| std::iter::repeat_n(queue, count));
        let mut all = all.peekable();
        while let Some(queue) = all.next() {
            // The last of them is this thread.
            match all.peek() {
                Some(_) => drop(scope.spawn(|| work(queue))),
                None => work(queue),
            }
        }
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
    if let Some(put) = destination.have_blob(blob)? {
        observe(CopyEvent::BlobDone { blob, put });
        return Ok(Some(put));
    }
    let content = match source.open_blob(&blob.digest) {
        Err(StoreError::NotFound { what }) if part.foreign => return Err(no_foreign(blob, &what)),
        Err(StoreError::NotFound { .. }) if part.optional => {
            observe(CopyEvent::BlobLeftOut(blob));
            return Ok(None);
        }
        other => other?,
    };
    if content.size() != blob.size {
        // A source that announces more than there is to come is not read to its end, which may never be.
        let reason = format!("expected {} bytes, found {}", blob.size, content.size());
        return Err(StoreError::Corrupt { what: format!("blob {}", blob.digest), reason });
    }
    observe(CopyEvent::BlobStarted(blob));
    let put = destination.put_blob(blob, content)?;
    observe(CopyEvent::BlobDone { blob, put });
    Ok(Some(put))
}

/// Says that a layer that registries do not hand on is not to be had.
fn no_foreign(blob: &Descriptor, what: &str) -> StoreError {
    let named = match blob.urls.first() {
        Some(url) if !what.contains(" or at ") => format!(" (its manifest names {url} for it)"),
        _ => String::new(),
    };
    let what =
        format!("{what}, a non-distributable layer that only a copy to a registry does without{named},");
    StoreError::NotFound { what }
}

impl Copied {
    /// Adds what another copy moved.
    pub fn add(&mut self, other: &Self) {
        self.bytes_moved += other.bytes_moved;
        self.blobs_moved += other.blobs_moved;
        self.blobs_present += other.blobs_present;
        self.blobs_mounted += other.blobs_mounted;
        self.documents += other.documents;
        self.referrers += other.referrers;
        for blob in &other.left_out {
            if let Err(at) = self.left_out.binary_search_by_key(&blob.digest, |known| known.digest) {
                self.left_out.insert(at, blob.clone());
            }
        }
    }

    fn count(&mut self, blob: &Descriptor, put: Option<Put>) {
        match put {
            Some(Put::Written) => {
                self.blobs_moved += 1;
                self.bytes_moved += blob.size;
            }
            Some(Put::Present) => self.blobs_present += 1,
            Some(Put::Mounted) => self.blobs_mounted += 1,
            None => self.left_out.push(blob.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
