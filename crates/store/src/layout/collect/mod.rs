//! Garbage collection: removing content that no repository needs, while others work on the store.
//!
//! | is | stays |
//! |---|---|
//! | a manifest in a repository, tagged or not | always; taking manifests away is a matter of retention |
//! | what such a manifest is made of | always |
//! | a blob that was put or mounted into a repository, or asked for there | for the grace time |
//! | what arrived so far of a blob from elsewhere | for the grace time |
//! | any other blob | for the grace time, and as long as the caller wants to keep it |
//!
//! A plan is made without a lock. It is carried out in short turns under the store's exclusive lock;
//! each turn first looks at what was put meanwhile. Notes go before content, so a collection that is
//! killed leaves blobs that the next one takes, and never an image without its blobs. Whoever puts a
//! manifest holds the shared lock from the look at the blobs to the manifest's name.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use oci::manifest::MAX_DOCUMENT_BYTES;
use oci::{Algorithm, Digest, Document};

use super::names::{self, RepositoryFolder};
use super::{LayoutStore, TemporaryFile};
use crate::StoreError;
use crate::children::children;

/// How many files are removed in one turn: others wait for the lock that long.
const TURN: usize = 256;
/// How long is waited between two looks whether the lock is free.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What to collect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectOptions {
    /// How long content stays that nothing needs yet, from when it was put, mounted or asked for.
    pub grace: Duration,
    /// How long is waited for a moment in which nobody else holds the store.
    pub patience: Duration,
}

/// What a collection would remove. Making it removes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectionPlan {
    /// Blobs that nothing needs, with their sizes in bytes, ascending by digest.
    pub blobs: Vec<(Digest, u64)>,
    /// What arrived of blobs whose rest nobody fetched, with the sizes in bytes.
    parts: Vec<(PathBuf, u64)>,
    /// Notes that a blob belongs to a repository whose manifests do not need it.
    notes: Vec<(PathBuf, Digest)>,
    /// Manifests of repositories whose content is not there; they need what nobody knows.
    pub unreadable: Vec<String>,
    seen: HashSet<PathBuf>,
    needed: HashSet<Digest>,
}

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// How many blobs.
    pub blobs: u64,
    /// The sum of their sizes, with that of parts of blobs that never became whole.
    pub bytes: u64,
    /// Whether it ended early because somebody else held the store all the time.
    pub interrupted: bool,
}

impl CollectionPlan {
    /// Returns the sum of the sizes of the blobs and of parts of some, in bytes.
    pub fn bytes(&self) -> u64 {
        let parts = self.parts.iter().map(|(_, size)| size).sum::<u64>();
        self.blobs.iter().map(|(_, size)| size).sum::<u64>() + parts
    }
}

impl LayoutStore {
    /// Finds what nothing needs; `keep` names blobs that stay although no image needs them.
    ///
    /// # Errors
    /// `Corrupt` where a manifest's bytes are wrong: what it needs is not known, so nothing is
    /// removed. `Unreachable` where a folder cannot be read.
    pub fn plan_collection(
        &self,
        options: &CollectOptions,
        keep: &dyn Fn(&Digest) -> bool,
    ) -> Result<CollectionPlan, StoreError> {
        let before = self.now()? - i64::try_from(options.grace.as_secs()).unwrap_or(i64::MAX / 2);
        let mut plan = CollectionPlan::default();
        self.see_manifests(&mut plan)?;
        let mut noted = HashSet::new();
        for folder in self.repository_folders()? {
            let needed = self.needed_in(&folder)?;
            for digest in folder.blobs()? {
                let path = folder.blob(&digest);
                if needed.contains(&digest) || is_younger(&path, before) {
                    noted.insert(digest);
                } else {
                    plan.notes.push((path, digest));
                }
            }
        }
        for (digest, size) in self.old_blobs(before)? {
            if !plan.needed.contains(&digest) && !noted.contains(&digest) && !keep(&digest) {
                plan.blobs.push((digest, size));
            }
        }
        plan.blobs.sort();
        plan.parts = self.old_parts(before)?;
        Ok(plan)
    }

    /// Removes what the plan names and what still nothing needs.
    ///
    /// # Errors
    /// As for [`LayoutStore::plan_collection`]. What was removed before stays removed.
    pub fn apply_collection(
        &self,
        mut plan: CollectionPlan,
        options: &CollectOptions,
    ) -> Result<Collected, StoreError> {
        let mut collected = Collected::default();
        let before = self.now()? - i64::try_from(options.grace.as_secs()).unwrap_or(i64::MAX / 2);
        // Each has a lock of its own.
        for (path, size) in std::mem::take(&mut plan.parts) {
            collected.bytes += if self.remove_part(&path)? { size } else { 0 };
        }
        let (notes, blobs) = (std::mem::take(&mut plan.notes), std::mem::take(&mut plan.blobs));
        for turn in notes.chunks(TURN) {
            let Some(_lock) = self.patient_lock(options.patience)? else {
                return Ok(Collected { interrupted: true, ..collected });
            };
            self.see_manifests(&mut plan)?;
            for (path, digest) in turn {
                if !plan.needed.contains(digest) && !is_younger(path, before) {
                    names::remove(path)?;
                }
            }
        }
        for turn in blobs.chunks(TURN) {
            let Some(_lock) = self.patient_lock(options.patience)? else {
                return Ok(Collected { interrupted: true, ..collected });
            };
            self.see_manifests(&mut plan)?;
            let noted = self.noted(turn)?;
            for (digest, size) in turn {
                let path = self.blob_path(digest);
                if plan.needed.contains(digest) || noted.contains(digest) || is_younger(&path, before) {
                    continue;
                }
                self.0.synced.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
                if names::remove(&path)? {
                    collected.blobs += 1;
                    collected.bytes += size;
                }
            }
        }
        Ok(collected)
    }

    /// Reads the manifests of all repositories that were not seen before.
    fn see_manifests(&self, plan: &mut CollectionPlan) -> Result<(), StoreError> {
        for folder in self.repository_folders()? {
            for digest in folder.manifests()? {
                let path = folder.manifest(&digest);
                if plan.seen.contains(&path) {
                    continue;
                }
                plan.needed.insert(digest);
                match self.document_of(&digest)? {
                    Some(document) => {
                        plan.needed.extend(children(&document).iter().map(|child| child.descriptor.digest));
                    }
                    None => plan.unreadable.push(digest.to_string()),
                }
                plan.seen.insert(path);
            }
        }
        Ok(())
    }

    fn needed_in(&self, folder: &RepositoryFolder) -> Result<HashSet<Digest>, StoreError> {
        let mut needed = HashSet::new();
        for digest in folder.manifests()? {
            needed.insert(digest);
            if let Some(document) = self.document_of(&digest)? {
                needed.extend(children(&document).iter().map(|child| child.descriptor.digest));
            }
        }
        Ok(needed)
    }

    /// Returns a manifest; `None` where its content is not there.
    fn document_of(&self, digest: &Digest) -> Result<Option<Document>, StoreError> {
        let raw = match self.read_blob(digest, MAX_DOCUMENT_BYTES) {
            Err(StoreError::NotFound { .. }) => return Ok(None),
            raw => raw?,
        };
        let parsed = Document::parse(raw, None);
        parsed
            .map(Some)
            .map_err(|error| StoreError::Corrupt { what: self.what(digest), reason: error.to_string() })
    }

    /// Returns those of the blobs that some repository has a note of.
    fn noted(&self, blobs: &[(Digest, u64)]) -> Result<HashSet<Digest>, StoreError> {
        let mut noted = HashSet::new();
        for folder in self.repository_folders()? {
            noted.extend(
                blobs.iter().map(|(digest, _)| *digest).filter(|digest| folder.blob(digest).exists()),
            );
        }
        Ok(noted)
    }

    fn repository_folders(&self) -> Result<Vec<RepositoryFolder>, StoreError> {
        names::folders(&self.path("repositories"))
    }

    /// Returns the blobs older than `before`, a time in seconds, with their sizes.
    fn old_blobs(&self, before: i64) -> Result<Vec<(Digest, u64)>, StoreError> {
        let mut found = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let folder = self.0.root.join("blobs").join(algorithm.as_str());
            for name in names::file_names(&folder)? {
                let Ok(digest) = format!("{}:{name}", algorithm.as_str()).parse::<Digest>() else { continue };
                match fs::symlink_metadata(folder.join(&name)) {
                    Ok(metadata) if metadata.ctime() < before => found.push((digest, metadata.len())),
                    // Young, or gone meanwhile.
                    Ok(_) | Err(_) => {}
                }
            }
        }
        Ok(found)
    }

    /// Returns the time by the clock that stamps the store's files, in seconds: that of another
    /// machine where the store lies on a network.
    pub(super) fn now(&self) -> Result<i64, StoreError> {
        let folder = self.path("temporary");
        let failed = |source| StoreError::io("make a file in", folder.display().to_string(), source);
        let file = TemporaryFile::create(&folder).map_err(failed)?;
        Ok(file.file().metadata().map_err(failed)?.ctime())
    }

    fn patient_lock(&self, patience: Duration) -> Result<Option<super::StoreLock>, StoreError> {
        let started = Instant::now();
        loop {
            match self.try_lock_exclusive()? {
                Some(lock) => return Ok(Some(lock)),
                None if started.elapsed() >= patience => return Ok(None),
                None => std::thread::sleep(LOCK_PAUSE),
            }
        }
    }
}

/// Whether the file changed after `before`; one that is gone counts as old. The time of change is
/// looked at, which nobody can set: blobs can be linked from elsewhere with old times.
fn is_younger(path: &Path, before: i64) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.ctime() >= before)
}

#[cfg(test)]
mod tests;
