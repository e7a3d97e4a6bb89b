//! Blobs that come from elsewhere and may break off: what arrived stays, and the next try, in this process
//! or another one, asks for the rest.
//!
//! The file is named by the digest that the content is to have, and locked by whoever writes it; a second
//! process that wants the same blob meanwhile writes a file of its own. What arrived before is hashed
//! again, so nothing has to be believed: where the whole does not have its digest, the old part may be
//! what is wrong (a crash of the machine leaves zeros), and all of it comes once more.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use oci::{Descriptor, Digest};

use super::content::copy;
use super::ingest::{Ingest, IngestError};
use super::{LayoutStore, TemporaryFile, names};
use crate::check::Mismatch;
use crate::{Blob, Put, StoreError};

/// Of smaller blobs nothing is kept: they are fetched again sooner than looked for.
pub(super) const MIN_PARTIAL_BYTES: u64 = 1 << 20;

/// How long a part is kept where nobody collects: a week.
const KEEP_SECONDS: i64 = 7 * 24 * 60 * 60;

impl LayoutStore {
    /// Stores a blob that comes from elsewhere, behind what came of it before.
    pub(super) fn take_remote(&self, descriptor: &Descriptor, mut content: Blob) -> Result<Put, StoreError> {
        let (digest, size) = (&descriptor.digest, descriptor.size);
        if content.size() != size {
            // Where the other end says so before the first byte, none is fetched.
            let reason = Mismatch::Size { expected: size, found: content.size() }.to_string();
            return Err(StoreError::Corrupt { what: format!("blob {digest}"), reason });
        }
        let path = self.part(digest);
        let lasting = TemporaryFile::lasting(&path)
            .map_err(|source| StoreError::io("write", path.display().to_string(), source))?;
        let Some(file) = lasting else {
            let mut ingest = self.ingest()?;
            copy(&mut content, &mut ingest).map_err(|error| self.broken(digest, error))?;
            return ingest.commit(digest, size);
        };
        let mut ingest = self.go_on(file, &mut content).map_err(|error| self.broken(digest, error))?;
        let had = ingest.written();
        let copied = match copy(&mut content, &mut ingest) {
            Err(error) if had > 0 && error.kind() == io::ErrorKind::InvalidData => {
                tracing::debug!(%digest, %error, "what arrived before is of no use");
                content.restart();
                ingest.restart().and_then(|()| copy(&mut content, &mut ingest))
            }
            copied => copied,
        };
        // What is wrong, or did not fit on the disk, is of no use to the next try.
        let is_useful = |error: &io::Error| {
            let own = error.get_ref().is_some_and(|inner| inner.is::<IngestError>());
            !own && !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        };
        ingest.keep(copied.as_ref().is_err_and(is_useful));
        copied.map_err(|error| self.broken(digest, error))?;
        ingest.commit(digest, size)
    }

    /// Makes `content` go on behind what `file` has of it.
    fn go_on(&self, file: TemporaryFile, content: &mut Blob) -> io::Result<Ingest> {
        let had = file.file().metadata()?.len();
        if had == 0 {
            return Ok(Ingest::behind(self, file, 0));
        }
        let mut head: &File = file.file();
        head.seek(SeekFrom::Start(0))?;
        let resumed = content.resume(head);
        let mut ingest = Ingest::behind(self, file, had);
        match resumed {
            Ok(count) if count == had => tracing::debug!(had, "a blob goes on behind what came before"),
            _ => {
                content.restart();
                ingest.restart()?;
            }
        }
        Ok(ingest)
    }

    /// Returns the parts of blobs that nobody wrote to since `before`, a time in seconds.
    pub(super) fn old_parts(&self, before: i64) -> Result<Vec<(PathBuf, u64)>, StoreError> {
        let folder = self.path("partial");
        let paths = names::file_names(&folder)?.into_iter().map(|name| folder.join(name));
        let old = paths.filter_map(|path| {
            let metadata = fs::symlink_metadata(&path).ok()?;
            (metadata.ctime() < before).then_some((path, metadata.len()))
        });
        Ok(old.collect())
    }

    /// Removes the parts that are so old that nobody will fetch the rest.
    pub(super) fn forget_old_parts(&self) -> Result<(), StoreError> {
        // Mostly there are none, and then no clock has to be asked.
        if self.old_parts(i64::MAX)?.is_empty() {
            return Ok(());
        }
        for (path, _) in self.old_parts(self.now()? - KEEP_SECONDS)? {
            self.remove_part(&path)?;
        }
        Ok(())
    }

    /// Removes a part unless somebody is writing it; says whether it did.
    pub(super) fn remove_part(&self, path: &Path) -> Result<bool, StoreError> {
        let failed = |source| StoreError::io("remove", path.display().to_string(), source);
        let Some(mut file) = TemporaryFile::lasting(path).map_err(failed)? else { return Ok(false) };
        file.keep(false);
        Ok(true)
    }

    fn part(&self, digest: &Digest) -> PathBuf {
        self.path("partial").join(format!("{}-{}", digest.algorithm().as_str(), digest.hex()))
    }
}
