//! The local store: an OCI image layout that several processes use at once.
//!
//! The root folder is a valid image layout, so `skopeo inspect oci:ROOT:REPOSITORY:TAG` works on
//! it. Beside the layout's own files lie facts, one small file each, so that two processes never
//! fight over one file:
//!
//! | path under the root | what |
//! |---|---|
//! | `plimsoll.json` | version of this format |
//! | `oci-layout`, `blobs/ALGORITHM/HEX` | the image layout; blobs have mode 0444 and a verified stamp (`stamp`) |
//! | `index.json` | derived from the tags, one entry for each (`index`) |
//! | `repositories/REGISTRY/PATH/_tags/TAG` | descriptor of what the tag points to |
//! | `repositories/REGISTRY/PATH/_manifests/ALGORITHM-HEX` | descriptor of a manifest the repository has |
//! | `repositories/REGISTRY/PATH/_blobs/ALGORITHM-HEX` | empty: the blob was put into this repository |
//! | `temporary/` | files being written; locked by their writer (`temporary`) |
//! | `partial/ALGORITHM-HEX` | what arrived so far of a blob from elsewhere; locked by its writer (`partial`) |
//! | `quarantine/` | blobs that were found corrupt |
//! | `locks/` | advisory locks |
//!
//! This module owns files and their order of durability; `collect` says which blobs may be removed,
//! and takes [`LayoutStore::try_lock_exclusive`] to do it.
//!
//! Source: image-spec v1.1, image-layout.md.

mod collect;
mod content;
mod durable;
mod follower;
mod funnel;
mod index;
mod ingest;
mod inventory;
mod kernel_copy;
mod lock;
mod names;
mod partial;
mod repository;
mod stamp;
mod temporary;
mod usage;
mod write_back;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use oci::manifest::MAX_DOCUMENT_BYTES;
use oci::{Digest, Document, Registry, Repository};
use serde::{Deserialize, Serialize};

use crate::StoreError;

pub use self::collect::{CollectOptions, Collected, CollectionPlan};
pub use self::follower::Follower;
pub use self::funnel::Funnel;
pub use self::ingest::{Ingest, IngestError};
pub use self::inventory::StoredBlob;
pub use self::lock::StoreLock;
pub use self::repository::{Children, FactVersion, LayoutRepository, Reach, RepositoryOptions, TagRule};
pub use self::usage::UsedDocument;

pub(crate) use self::kernel_copy::copy_in_kernel;
pub(crate) use self::stamp::Stamp;
pub(crate) use self::temporary::{TemporaryFile, sweep};

/// The version of the folder structure that this program reads and writes.
const SCHEMA: &str = "plimsoll.store/1";

/// What image-spec wants `oci-layout` to hold.
const LAYOUT_VERSION: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// A local store. Clones share one state; other processes may use the same folder at the same time.
#[derive(Clone)]
pub struct LayoutStore(Arc<Inner>);

struct Inner {
    root: PathBuf,
    /// Stamps of blobs this process hashed where the file system has no extended attributes.
    hashed: Mutex<HashMap<Digest, Arc<Mutex<Option<Stamp>>>>>,
    /// Blobs this process wrote and did not sync yet.
    written: Mutex<HashSet<Digest>>,
    /// Blobs known to survive a crash.
    synced: Mutex<HashSet<Digest>>,
    /// Folders of repositories known to survive a crash.
    settled: Mutex<HashSet<PathBuf>>,
    /// Waits for the disk while blobs are written.
    crew: Arc<write_back::Crew>,
}

#[derive(Serialize, Deserialize)]
struct Format {
    schema: String,
}

impl LayoutStore {
    /// Opens the store in the folder `root` and makes it where it is not there. What a killed
    /// process left is cleared away; what a running one is writing is left alone.
    ///
    /// # Errors
    /// `Unreachable` where the folder cannot be made or read; `Denied` where a newer program made it.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let root = std::path::absolute(root)
            .map_err(|source| StoreError::io("open", root.display().to_string(), source))?;
        let store = Self(Arc::new(Inner {
            root,
            hashed: Mutex::default(),
            written: Mutex::default(),
            synced: Mutex::default(),
            settled: Mutex::default(),
            crew: Arc::default(),
        }));
        for folder in ["blobs/sha256", "repositories", "temporary", "partial", "locks"] {
            durable::make_folder(&store.path(folder))?;
        }
        store.check_format()?;
        sweep(&store.path("temporary"))?;
        store.forget_old_parts()?;
        store.ensure_file("oci-layout", LAYOUT_VERSION)?;
        index::repair(&store)?;
        Ok(store)
    }

    /// Returns the root folder, absolute.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Returns the view of one repository in which blobs of all repositories count as present.
    pub fn repository(&self, repository: &Repository) -> LayoutRepository {
        self.repository_with(repository, RepositoryOptions::default())
    }

    /// Returns the view of one repository.
    pub fn repository_with(&self, repository: &Repository, options: RepositoryOptions) -> LayoutRepository {
        LayoutRepository::new(self.clone(), repository.clone(), options)
    }

    /// Returns all repositories that have a tag or a manifest, in ascending order.
    ///
    /// # Errors
    /// `Unreachable` where a folder cannot be read.
    pub fn repositories(&self) -> Result<Vec<Repository>, StoreError> {
        names::repositories(&self.path("repositories"))
    }

    /// Returns the repositories of `registry` that blobs were put or mounted into, in ascending order,
    /// also those without a tag or a manifest.
    ///
    /// # Errors
    /// `Unreachable` where a folder cannot be read.
    pub fn repositories_with_blobs(&self, registry: &Registry) -> Result<Vec<Repository>, StoreError> {
        names::with_blobs(&self.path("repositories"), registry)
    }

    /// Returns the manifest or index with `digest`, whichever repository it is in; `None` where the
    /// store does not have it or it is neither.
    ///
    /// # Errors
    /// `Corrupt` where the bytes do not have the digest.
    pub fn find(&self, digest: &Digest) -> Result<Option<Document>, StoreError> {
        match self.blob_size(digest)? {
            Some(size) if size <= MAX_DOCUMENT_BYTES => {}
            _ => return Ok(None),
        }
        let raw = self.read_blob(digest, MAX_DOCUMENT_BYTES)?;
        Ok(Document::parse(raw, None).ok().map(|document| document.known_by(digest.algorithm())))
    }

    fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Bytes, StoreError> {
        use std::io::Read as _;

        let blob = self.open_blob(digest)?;
        let size = blob.size();
        let what = self.what(digest);
        if size > limit {
            let reason = format!("it has {size} bytes, more than the {limit} allowed here");
            return Err(StoreError::Corrupt { what, reason });
        }
        let mut raw = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        blob.take(size).read_to_end(&mut raw).map_err(|source| StoreError::io("read", what, source))?;
        Ok(raw.into())
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let format = serde_json::to_vec(&Format { schema: SCHEMA.to_owned() }).expect("it has only strings");
        self.ensure_file("plimsoll.json", &format)?;
        let path = self.path("plimsoll.json");
        let raw =
            fs::read(&path).map_err(|source| StoreError::io("read", path.display().to_string(), source))?;
        let what = format!("the store at {}", self.root().display());
        match serde_json::from_slice::<Format>(&raw) {
            Ok(found) if found.schema == SCHEMA => Ok(()),
            Ok(found) => {
                let reason = format!("its format is {}, this program knows {SCHEMA}", found.schema);
                Err(StoreError::Denied { what, reason })
            }
            Err(error) => Err(StoreError::Corrupt { what, reason: format!("plimsoll.json: {error}") }),
        }
    }

    fn ensure_file(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name);
        match path.try_exists() {
            Ok(true) => Ok(()),
            _ => self.write_file(&path, content),
        }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.0.root.join(relative)
    }

    fn blob_folder(&self, digest: &Digest) -> PathBuf {
        self.0.root.join("blobs").join(digest.algorithm().as_str())
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blob_folder(digest).join(digest.hex())
    }

    /// Returns how errors call the blob.
    fn what(&self, digest: &Digest) -> String {
        format!("blob {digest} in the store at {}", self.root().display())
    }
}

impl std::fmt::Debug for LayoutStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LayoutStore({})", self.root().display())
    }
}

#[cfg(test)]
mod tests;
