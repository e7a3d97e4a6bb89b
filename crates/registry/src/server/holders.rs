//! Which repositories have a blob, for mounts that do not say from where.
//!
//! Who asks must hear nothing of repositories that he may not pull from, and a question must not cost a
//! look into every repository there is: what was put or mounted through this server is remembered by
//! digest, and the list of repositories for a moment. Whoever is not found has to send the blob, which
//! the specification allows at any time, so nothing here needs to be complete.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use oci::{Digest, Registry, Repository};
use store::StoreError;

use super::storage::Storage;

/// How many blobs are remembered, and how many repositories of each.
const MAX_BLOBS: usize = 20_000;
const MAX_OF_BLOB: usize = 4;
/// How long the list of repositories counts.
const LIST_AGE: Duration = Duration::from_secs(10);
/// How many repositories of a bucket are asked for one mount: each costs a request there.
const MAX_ASKED_IN_BUCKET: usize = 32;

/// Returns how many of the list are asked for one mount.
pub(super) fn most_asked(storage: Storage<'_>) -> usize {
    match storage {
        Storage::Folder(_) => usize::MAX,
        Storage::Bucket(_) => MAX_ASKED_IN_BUCKET,
    }
}

/// What is known.
#[derive(Default)]
pub(super) struct Holders {
    by_blob: Mutex<HashMap<Digest, Vec<Repository>>>,
    list: Mutex<Option<(Instant, Arc<Vec<Repository>>)>>,
}

impl Holders {
    /// Notes that a repository has a blob.
    pub fn remember(&self, digest: &Digest, repository: &Repository) {
        let mut by_blob = self.by_blob.lock().unwrap_or_else(PoisonError::into_inner);
        if by_blob.len() >= MAX_BLOBS && !by_blob.contains_key(digest) {
            by_blob.clear();
        }
        let known = by_blob.entry(*digest).or_default();
        known.retain(|one| one != repository);
        // The latest first: it is the least likely to be gone.
        known.insert(0, repository.clone());
        known.truncate(MAX_OF_BLOB);
    }

    /// Returns repositories that had the blob, the latest first.
    pub fn remembered(&self, digest: &Digest) -> Vec<Repository> {
        let by_blob = self.by_blob.lock().unwrap_or_else(PoisonError::into_inner);
        by_blob.get(digest).cloned().unwrap_or_default()
    }

    /// Returns all repositories with blobs, as they were a moment ago.
    pub fn list(
        &self,
        storage: Storage<'_>,
        registry: &Registry,
    ) -> Result<Arc<Vec<Repository>>, StoreError> {
        // Held while it is read, so that it is read once for all who wait.
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, names)) = &*list
            && read.elapsed() < LIST_AGE
        {
            return Ok(names.clone());
        }
        let names = Arc::new(storage.repositories_with_blobs(registry)?);
        *list = Some((Instant::now(), names.clone()));
        Ok(names)
    }
}
