//! When manifests were asked for last, for whoever lets go of those that nobody uses.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use oci::{Digest, Repository};

use super::LayoutStore;
use super::names::RepositoryFolder;
use crate::StoreError;
use crate::children::children;

/// A manifest of a repository, and how long nobody asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedDocument {
    /// Where it is.
    pub repository: Repository,
    /// Which one.
    pub digest: Digest,
    /// How long ago it was put or asked for, by the clock of the file system.
    pub idle: Duration,
    /// The manifest and those of its parts that are here, with their sizes in bytes.
    pub parts: Vec<(Digest, u64)>,
}

impl LayoutStore {
    /// Returns the manifests of the repositories that `wanted` takes, those asked for last first.
    /// One whose bytes cannot be read counts with no parts.
    ///
    /// # Errors
    /// `Unreachable` where a folder cannot be read.
    pub fn documents_by_use(
        &self,
        wanted: &dyn Fn(&Repository) -> bool,
    ) -> Result<Vec<UsedDocument>, StoreError> {
        let now = self.now()?;
        let mut found = Vec::new();
        for repository in self.repositories()?.into_iter().filter(wanted) {
            let folder = RepositoryFolder::new(&self.path("repositories"), &repository);
            for digest in folder.manifests()? {
                // Gone meanwhile.
                let Ok(metadata) = fs::symlink_metadata(folder.manifest(&digest)) else { continue };
                let seconds = u64::try_from(now - metadata.ctime()).unwrap_or(0);
                let (repository, idle) = (repository.clone(), Duration::from_secs(seconds));
                let nanos = metadata.ctime_nsec();
                let parts = self.parts(&digest)?;
                found.push((metadata.ctime(), nanos, UsedDocument { repository, digest, idle, parts }));
            }
        }
        found.sort_by_key(|(seconds, nanos, _)| std::cmp::Reverse((*seconds, *nanos)));
        Ok(found.into_iter().map(|(_, _, document)| document).collect())
    }

    fn parts(&self, digest: &Digest) -> Result<Vec<(Digest, u64)>, StoreError> {
        let mut digests = vec![*digest];
        if let Ok(Some(document)) = self.find(digest) {
            digests.extend(children(&document).iter().map(|child| child.descriptor.digest));
        }
        let mut parts = Vec::new();
        for digest in digests {
            parts.extend(self.blob_size(&digest)?.map(|size| (digest, size)));
        }
        Ok(parts)
    }
}
