//! Which content the store holds and which of it images need: what a clean-up decides by.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use oci::{Digest, Repository};

use super::lock::StoreLock;
use super::{LayoutStore, names};
use crate::children::children;
use crate::{ImageStore as _, StoreError};

/// A blob as it lies in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written.
    pub modified: SystemTime,
}

impl LayoutStore {
    /// Returns all blobs, in no order.
    ///
    /// # Errors
    /// `Unreachable` where a folder cannot be read.
    pub fn blobs(&self) -> Result<Vec<StoredBlob>, StoreError> {
        let mut found = Vec::new();
        for algorithm in entries(&self.path("blobs"))? {
            for file in entries(&algorithm.path())? {
                let name =
                    [algorithm.file_name(), file.file_name()].map(|name| name.to_string_lossy().into_owned());
                let Ok(digest) = name.join(":").parse::<Digest>() else { continue };
                // Another process may have set it aside meanwhile.
                let Ok(metadata) = file.metadata() else { continue };
                let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push(StoredBlob { digest, size: metadata.len(), modified });
            }
        }
        Ok(found)
    }

    /// Returns every digest that an image of some repository needs, its manifest and all it is made of; and
    /// those that were put into a repository after `since`, whose manifest may still be on its way.
    ///
    /// # Errors
    /// `Corrupt` or `NotFound` where a manifest cannot be read: what it needs is then not known, and nothing
    /// may be removed.
    pub fn needed_by_images(&self, since: SystemTime) -> Result<HashSet<Digest>, StoreError> {
        let mut needed = names::marked_blobs(&self.path("repositories"), since)?;
        for name in self.repositories()? {
            self.add_needed_of(&name, &mut needed)?;
        }
        Ok(needed)
    }

    fn add_needed_of(&self, name: &Repository, needed: &mut HashSet<Digest>) -> Result<(), StoreError> {
        let repository = self.repository(name);
        let tagged =
            repository.tags()?.iter().map(|tag| repository.resolve(tag)).collect::<Result<Vec<_>, _>>()?;
        for descriptor in repository.manifests()?.into_iter().chain(tagged) {
            let document = repository.document(&descriptor.digest)?;
            needed.insert(descriptor.digest);
            needed.extend(children(&document).iter().map(|child| child.descriptor.digest));
        }
        Ok(())
    }

    /// Removes a blob; the number of bytes that were freed, 0 where it was not there. Holding `lock`, from
    /// [`LayoutStore::lock_exclusive`], nobody can be about to name it.
    ///
    /// # Errors
    /// `Unreachable` where the file cannot be removed.
    pub fn remove_blob(&self, digest: &Digest, _lock: &StoreLock) -> Result<u64, StoreError> {
        let size = self.blob_size(digest)?.unwrap_or(0);
        names::remove(&self.blob_path(digest))?;
        Ok(size)
    }
}

fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>, StoreError> {
    let failed = |source: io::Error| StoreError::io("read", folder.display().to_string(), source);
    fs::read_dir(folder).map_err(failed)?.map(|entry| entry.map_err(failed)).collect()
}
