//! Manifests that are asked for again and again, kept in memory.
//!
//! A manifest is the same for ever under its digest, so only two things have to be looked up for
//! each request: whether it is still in the repository, and what the tag points to. Both are facts
//! in files that other programs may change, and are asked of the file system each time, by a look
//! at the file's number and time instead of its content.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use oci::{Digest, Document, MediaType, Repository, Tag};
use store::{FactVersion, ImageStore as _, LayoutRepository, ObjectRepository, StoreError};

use super::storage::StoredRepository;
use crate::protocol::ManifestName;

/// How many bytes of manifests are kept at most.
const MAX_BYTES: usize = 4 << 20;
/// Larger manifests are read each time.
const MAX_MANIFEST_BYTES: usize = 256 << 10;
/// How many tags are kept at most.
const MAX_TAGS: usize = 10_000;

/// A manifest as it is sent.
#[derive(Clone)]
pub(super) struct Shelved {
    pub raw: Bytes,
    pub media_type: MediaType,
    pub digest: Digest,
}

/// The manifests and tags.
#[derive(Default)]
pub(super) struct Shelf {
    manifests: Mutex<Manifests>,
    tags: Mutex<HashMap<(Repository, Tag), (FactVersion, Digest)>>,
}

#[derive(Default)]
struct Manifests {
    by_digest: HashMap<Digest, Shelved>,
    bytes: usize,
}

impl Shelf {
    /// Returns the manifest where it is here and still what the name stands for; `None` where the
    /// store has to be asked. Does not wait for the disk, but for looks at two files.
    pub fn find(&self, repository: &StoredRepository, wanted: &ManifestName) -> Option<Shelved> {
        // What is in a bucket is asked of the bucket.
        let StoredRepository::Folder(repository) = repository else { return None };
        let digest = match wanted {
            ManifestName::Digest(digest) => *digest,
            ManifestName::Tag(tag) => {
                let key = (repository.name().clone(), tag.clone());
                let (version, digest) =
                    *self.tags.lock().unwrap_or_else(PoisonError::into_inner).get(&key)?;
                (repository.tag_version(tag) == Some(version)).then_some(digest)?
            }
        };
        let shelved = self.kept(&digest)?;
        repository.has_manifest(&digest).then_some(shelved)
    }

    fn kept(&self, digest: &Digest) -> Option<Shelved> {
        let manifests = self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        manifests.by_digest.get(digest).cloned()
    }

    /// Reads the manifest from the store and keeps it.
    pub fn read(&self, repository: &StoredRepository, wanted: &ManifestName) -> Result<Shelved, StoreError> {
        match repository {
            StoredRepository::Folder(repository) => self.read_folder(repository, wanted),
            StoredRepository::Bucket(repository) => self.read_bucket(repository, wanted),
        }
    }

    fn read_folder(
        &self,
        repository: &LayoutRepository,
        wanted: &ManifestName,
    ) -> Result<Shelved, StoreError> {
        let digest = match wanted {
            ManifestName::Digest(digest) => *digest,
            ManifestName::Tag(tag) => {
                // The version first: a change in between makes the next request look again.
                let version = repository.tag_version(tag);
                let digest = repository.resolve(tag)?.digest;
                if let Some(version) = version {
                    let mut tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
                    if tags.len() >= MAX_TAGS {
                        tags.clear();
                    }
                    tags.insert((repository.name().clone(), tag.clone()), (version, digest));
                }
                digest
            }
        };
        let document = repository.document(&digest)?;
        let shelved = shelve(&document);
        self.keep(&shelved);
        Ok(shelved)
    }

    fn read_bucket(
        &self,
        repository: &ObjectRepository,
        wanted: &ManifestName,
    ) -> Result<Shelved, StoreError> {
        let digest = match wanted {
            ManifestName::Digest(digest) => *digest,
            ManifestName::Tag(tag) => repository.resolve(tag)?.digest,
        };
        if let Some(kept) = self.kept(&digest)
            && repository.has_manifest(&digest)?
        {
            return Ok(kept);
        }
        let shelved = shelve(&repository.document(&digest)?);
        self.keep(&shelved);
        Ok(shelved)
    }

    fn keep(&self, shelved: &Shelved) {
        let size = shelved.raw.len();
        if size > MAX_MANIFEST_BYTES {
            return;
        }
        let mut manifests = self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        if manifests.bytes + size > MAX_BYTES {
            manifests.by_digest.clear();
            manifests.bytes = 0;
        }
        if manifests.by_digest.insert(shelved.digest, shelved.clone()).is_none() {
            manifests.bytes += size;
        }
    }
}

pub(super) fn shelve(document: &Document) -> Shelved {
    let descriptor = document.descriptor();
    Shelved {
        raw: document.raw().clone(),
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest,
    }
}
