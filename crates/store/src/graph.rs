//! Everything an image consists of, found by following links from its manifest or index.

use std::collections::{BTreeMap, BTreeSet};

use oci::{Descriptor, Digest, Document, Platform, Tag};

use crate::children::{Child, ChildKind, children};
use crate::copy::Platforms;
use crate::referrer::{COSIGN_SUFFIXES, cosign_tag, fallback_tag};
use crate::{ImageStore, StoreError};

/// How deep indexes may lie in indexes.
const MAX_DEPTH: usize = 8;

/// How many documents one image may consist of.
const MAX_DOCUMENTS: usize = 10_000;

/// How many bytes these may have together: they are all in memory.
const MAX_BYTES: usize = 64 << 20;

/// The annotation by which BuildKit's attestation manifests name the image they speak of.
pub(crate) const ATTESTED: &str = "vnd.docker.reference.digest";

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
pub(crate) struct Graph {
    /// Children before parents.
    pub documents: Vec<Document>,
    seen: BTreeSet<Digest>,
    /// How many the documents have together.
    bytes: usize,
    /// Each once.
    pub blobs: BTreeMap<Digest, Part>,
}

/// A blob of an image.
pub(crate) struct Part {
    pub descriptor: Descriptor,
    /// Whether it may be absent.
    pub optional: bool,
    /// Whether registries are not to hand it on.
    pub foreign: bool,
}

impl Graph {
    /// Walks from `descriptor` down to the blobs.
    pub fn of(
        source: &dyn ImageStore,
        descriptor: &Descriptor,
        platforms: &Platforms,
    ) -> Result<Self, StoreError> {
        let mut graph = Self::default();
        graph.add(source, descriptor, platforms, 0)?;
        Ok(graph)
    }

    /// Adds what refers to the documents that are here, and what refers to that. Returns the tags,
    /// made of digests, under which some of it is found.
    pub fn add_company(&mut self, source: &dyn ImageStore) -> Result<Vec<(Tag, Document)>, StoreError> {
        let tags: BTreeSet<Tag> = source.tags()?.into_iter().collect();
        let mut tagged = Vec::new();
        let mut asked = 0;
        while asked < self.documents.len() {
            let subject = self.documents[asked].digest();
            asked += 1;
            for referrer in source.referrers(&subject)? {
                self.add(source, &referrer, &Platforms::All, 0)?;
            }
            self.add_list(source, &tags, &subject)?;
            for tag in COSIGN_SUFFIXES.map(|suffix| cosign_tag(&subject, suffix)) {
                if !tags.contains(&tag) {
                    continue;
                }
                let target = source.resolve(&tag)?;
                self.add(source, &target, &Platforms::All, 0)?;
                tagged.push((tag, source.document(&target.digest)?));
            }
        }
        Ok(tagged)
    }

    /// Adds what a list under the fallback tag names. The list itself stays: who stores a referrer
    /// where there is no other list keeps one.
    fn add_list(
        &mut self,
        source: &dyn ImageStore,
        tags: &BTreeSet<Tag>,
        subject: &Digest,
    ) -> Result<(), StoreError> {
        let tag = fallback_tag(subject);
        if !tags.contains(&tag) {
            return Ok(());
        }
        let list = source.document(&source.resolve(&tag)?.digest)?;
        for entry in list.as_index().map(|index| index.manifests.as_slice()).unwrap_or_default() {
            match self.add(source, entry, &Platforms::All, 0) {
                // Lists keep entries of what was deleted.
                Err(StoreError::NotFound { .. }) => {
                    self.seen.remove(&entry.digest);
                }
                added => added?,
            }
        }
        Ok(())
    }

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
        self.bytes += document.raw().len();
        if self.bytes > MAX_BYTES {
            return Err(too_deep(descriptor));
        }
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
                    let Child { optional, foreign, .. } = child;
                    let part = Part { descriptor: child.descriptor.clone(), optional, foreign };
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

fn no_platform(index: &Document, platform: &Platform) -> StoreError {
    let manifests = index.as_index().map(|index| index.manifests.as_slice()).unwrap_or_default();
    let there: Vec<String> =
        manifests.iter().filter_map(|child| child.platform.as_ref()).map(Platform::to_string).collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    StoreError::NotFound { what: format!("platform {platform} in index {} (it has {there})", index.digest()) }
}

fn too_deep(descriptor: &Descriptor) -> StoreError {
    let reason = format!(
        "its indexes are nested deeper than {MAX_DEPTH}, or lead to over {MAX_DOCUMENTS} manifests or {MAX_BYTES} bytes of them"
    );
    StoreError::Corrupt { what: format!("manifest {}", descriptor.digest), reason }
}
