//! Images in an S3-compatible object store: many machines and servers share one bucket.
//!
//! | key under the prefix | what |
//! |---|---|
//! | `plimsoll.json` | version of this format |
//! | `blobs/ALGORITHM/HEX` | content, of manifests too |
//! | `repositories/REGISTRY/PATH/_tags/TAG` | descriptor of what the tag points to |
//! | `repositories/REGISTRY/PATH/_manifests/ALGORITHM-HEX` | descriptor of a manifest the repository has |
//! | `repositories/REGISTRY/PATH/_blobs/ALGORITHM-HEX` | size in bytes: the blob was put into this repository |
//! | `repositories/REGISTRY/PATH/_referrers/SUBJECT/ALGORITHM-HEX` | descriptor of a manifest about the subject |
//! | `temporary/clock` | written to learn the bucket's time |
//!
//! One object is one fact, as one file is in `layout`. An object appears whole or not at all, so no
//! order of requests leaves half of one: content is written before the facts about it and goes
//! after them. Digests are checked before content is sent and again while it is read, since a
//! bucket promises neither. `collect` says what may be removed.
//!
//! The library for object stores is written as futures; `wait` blocks for them, and the transport
//! it sends requests with is an argument. Nothing here reads the environment or a home folder.

mod bucket;
mod collect;
mod content;
mod keys;
mod repository;
mod s3;
mod wait;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Duration;

use oci::manifest::MAX_DOCUMENT_BYTES;
use oci::{Digest, Registry, Repository};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::layout::RepositoryOptions;
use bucket::Depth;

pub use bucket::Bucket;
pub use collect::ObjectCollection;
pub use content::ObjectRange;
pub use repository::ObjectRepository;
pub use s3::{InvalidS3Place, NoCredentials, S3Credentials, S3Place, S3Settings};

/// The version of the keys that this program reads and writes.
const SCHEMA: &str = "plimsoll.objects/1";
/// The largest fact that is read: a descriptor with its annotations.
const MAX_FACT_BYTES: u64 = 1 << 20;
/// How many requests one operation makes at once.
const PARALLEL: usize = 8;

/// Images in a bucket. Clones share one state; other processes may use the same bucket.
#[derive(Clone)]
pub struct ObjectStore(Arc<Inner>);

struct Inner {
    bucket: Bucket,
    /// Whether `plimsoll.json` is known to be there.
    has_format: AtomicBool,
    /// Held shared while a manifest is put, alone for a turn of a collection.
    turn: RwLock<()>,
}

#[derive(Serialize, Deserialize)]
struct Format {
    schema: String,
}

impl ObjectStore {
    /// Opens the store in the bucket; nothing is written before the first image is.
    ///
    /// # Errors
    /// `NotFound` where there is no such bucket, `Denied` where it cannot be read or a newer program
    /// made the store, `Unreachable`.
    pub fn open(bucket: Bucket) -> Result<Self, StoreError> {
        let format = bucket.get(keys::FORMAT, MAX_FACT_BYTES)?;
        let what = || format!("the store at {}", bucket.name());
        if let Some(raw) = &format {
            let found: Format = serde_json::from_slice(raw).map_err(|error| StoreError::Corrupt {
                what: what(),
                reason: format!("{}: {error}", keys::FORMAT),
            })?;
            if found.schema != SCHEMA {
                let reason = format!("its format is {}, this program knows {SCHEMA}", found.schema);
                return Err(StoreError::Denied { what: what(), reason });
            }
        }
        let has_format = AtomicBool::new(format.is_some());
        Ok(Self(Arc::new(Inner { bucket, has_format, turn: RwLock::default() })))
    }

    /// Returns how errors call the bucket: `s3://bucket/prefix`.
    pub fn name(&self) -> &str {
        self.0.bucket.name()
    }

    /// Returns the view of one repository in which blobs of all repositories count as present.
    pub fn repository(&self, repository: &Repository) -> ObjectRepository {
        self.repository_with(repository, RepositoryOptions::default())
    }

    /// Returns the view of one repository.
    pub fn repository_with(&self, repository: &Repository, options: RepositoryOptions) -> ObjectRepository {
        ObjectRepository::new(self.clone(), repository.clone(), options)
    }

    /// Returns all repositories of `registry` that have a tag or a manifest, in ascending order. It
    /// takes a request for each of them.
    ///
    /// # Errors
    /// `Denied` or `Unreachable`.
    pub fn repositories(&self, registry: &Registry) -> Result<Vec<Repository>, StoreError> {
        let mut found = Vec::new();
        self.walk(registry, &mut |repository, facts| {
            if facts.iter().any(|fact| fact == "_tags/" || fact == "_manifests/") {
                found.push(repository);
            }
        })?;
        found.sort();
        Ok(found)
    }

    /// Returns the repositories of `registry` that blobs were put or mounted into, in ascending order. It
    /// takes a request for each of all repositories.
    ///
    /// # Errors
    /// `Denied` or `Unreachable`.
    pub fn repositories_with_blobs(&self, registry: &Registry) -> Result<Vec<Repository>, StoreError> {
        let mut with_blobs = Vec::new();
        self.walk(registry, &mut |repository, facts| {
            if facts.iter().any(|fact| fact == "_blobs/") {
                with_blobs.push(repository);
            }
        })?;
        with_blobs.sort();
        Ok(with_blobs)
    }

    /// Whether the bucket answers.
    ///
    /// # Errors
    /// `NotFound`, `Denied` or `Unreachable` where it does not.
    pub fn check(&self) -> Result<(), StoreError> {
        self.0.bucket.get(keys::FORMAT, MAX_FACT_BYTES).map(|_| ())
    }

    /// Returns an address under which the blob's content is to be had for so long without
    /// credentials; `None` where the bucket has no such addresses.
    ///
    /// # Errors
    /// The credentials cannot sign.
    pub fn presign_blob(&self, digest: &Digest, valid: Duration) -> Result<Option<String>, StoreError> {
        self.0.bucket.presign(&keys::blob(digest), valid)
    }

    /// Keeps a collection of this process away until what is returned is dropped.
    pub fn hold(&self) -> RwLockReadGuard<'_, ()> {
        // A panic elsewhere leaves no fact half written.
        self.0.turn.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Calls `see` with each repository below a registry and the first parts of its keys.
    fn walk(
        &self,
        registry: &Registry,
        see: &mut dyn FnMut(Repository, &[String]),
    ) -> Result<(), StoreError> {
        let root = format!("{}{}/", keys::REPOSITORIES, registry.as_str());
        let mut paths = vec![String::new()];
        while let Some(path) = paths.pop() {
            let names = self.0.bucket.list(&format!("{root}{path}"), Depth::One)?;
            let (facts, deeper): (Vec<String>, Vec<String>) =
                names.into_iter().map(|entry| entry.name).partition(|name| name.starts_with('_'));
            paths
                .extend(deeper.iter().filter(|name| name.ends_with('/')).map(|name| format!("{path}{name}")));
            if let Ok(repository) = Repository::new(registry.clone(), path.trim_end_matches('/')) {
                see(repository, &facts);
            }
        }
        Ok(())
    }

    /// Says what the store is, before anything else is written into the bucket.
    fn ensure_format(&self) -> Result<(), StoreError> {
        if self.0.has_format.load(Ordering::Relaxed) {
            return Ok(());
        }
        let format = serde_json::to_vec(&Format { schema: SCHEMA.to_owned() }).expect("it has only strings");
        self.0.bucket.put(keys::FORMAT, format)?;
        self.0.has_format.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Returns how errors call the blob.
    fn what(&self, digest: &Digest) -> String {
        format!("blob {digest} in the store at {}", self.name())
    }

    /// Returns the content of a manifest, checked; `None` where it is not there.
    fn read_document(&self, digest: &Digest) -> Result<Option<bytes::Bytes>, StoreError> {
        let Some(raw) = self.0.bucket.get(&keys::blob(digest), MAX_DOCUMENT_BYTES)? else { return Ok(None) };
        let found = Digest::with(digest.algorithm(), &raw);
        if found == *digest {
            return Ok(Some(raw));
        }
        let mismatch = crate::check::Mismatch::Digest { expected: *digest, found };
        Err(StoreError::Corrupt { what: self.what(digest), reason: mismatch.to_string() })
    }
}

impl std::fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ObjectStore({})", self.name())
    }
}

/// Does work for each item, some of it at once, and returns the results in the order of the items.
fn parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, StoreError> + Sync,
) -> Result<Vec<R>, StoreError> {
    let share = items.len().div_ceil(PARALLEL).max(1);
    if items.len() <= 1 {
        return items.iter().map(work).collect();
    }
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = items
            .chunks(share)
            .map(|chunk| scope.spawn(move || chunk.iter().map(work).collect::<Result<Vec<R>, _>>()))
            .collect();
        let mut results = Vec::with_capacity(items.len());
        for thread in threads {
            match thread.join() {
                Ok(done) => results.extend(done?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(results)
    })
}

#[cfg(test)]
mod tests;
