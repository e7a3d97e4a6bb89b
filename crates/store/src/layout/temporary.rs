//! Files that are being written, and the clearing away of those whose writer is gone.
//!
//! A writer holds an advisory lock on its temporary file for as long as it lives; the kernel lets
//! go of it however the process ends. Process ids would not do: they are used again, and mean
//! nothing between containers that share a folder.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt as _, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tempfile::TempPath;

use crate::StoreError;

/// What the names of temporary files begin with, so that nothing else is ever cleared away.
const PREFIX: &str = ".plimsoll-";

/// A file that nobody else writes, removed when it is dropped before it was given its real name.
pub(crate) struct TemporaryFile {
    file: Arc<File>,
    path: TempPath,
}

impl TemporaryFile {
    /// Makes an empty file in `folder` that only the owner may read.
    pub fn create(folder: &Path) -> io::Result<Self> {
        loop {
            let (file, path) = tempfile::Builder::new()
                .prefix(PREFIX)
                .permissions(Permissions::from_mode(0o600))
                .tempfile_in(folder)?
                .into_parts();
            // A sweeping process may have seen the file before the lock: then it is removed, or will be.
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() && file.metadata()?.nlink() == 1
            {
                return Ok(Self { file: Arc::new(file), path });
            }
        }
    }

    /// Opens the file at `path`, which stays when it is dropped, or makes it there. `None` where somebody
    /// else is writing it.
    pub fn lasting(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let file = options.open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
            // Who had it before may have given it its real name, or removed it: then it must not be written to.
            let named = fs::symlink_metadata(path).is_ok_and(|named| {
                file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (named.dev(), named.ino()))
            });
            if named {
                let mut path = TempPath::try_from_path(path)?;
                path.disable_cleanup(true);
                return Ok(Some(Self { file: Arc::new(file), path }));
            }
        }
    }

    /// Says whether the file stays when it is dropped.
    pub fn keep(&mut self, keep: bool) {
        self.path.disable_cleanup(keep);
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns the file for whoever reads it while it is written.
    pub fn shared(&self) -> Arc<File> {
        self.file.clone()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its real name and permissions; what had the name before is replaced.
    pub fn persist(self, target: &Path, mode: u32) -> io::Result<Arc<File>> {
        self.file.set_permissions(Permissions::from_mode(mode))?;
        self.path.persist(target).map_err(|error| error.error)?;
        Ok(self.file)
    }
}

/// Removes the files of `folder` that no running process is writing.
pub(crate) fn sweep(folder: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::io("clear", folder.display().to_string(), source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let path = entry.path();
        // What cannot be opened belongs to another user or is gone already; it is in nobody's way.
        let Ok(file) = File::open(&path) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() && fs::remove_file(&path).is_ok() {
            tracing::debug!(path = %path.display(), "removed what a killed process left");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeping_removes_what_nobody_writes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".plimsoll-left"), b"half").unwrap();
        fs::write(folder.path().join("foreign"), b"whole").unwrap();
        let running = TemporaryFile::create(folder.path()).unwrap();
        sweep(folder.path()).unwrap();
        assert!(!folder.path().join(".plimsoll-left").exists());
        assert!(folder.path().join("foreign").exists());
        assert!(running.path().exists());
    }

    #[test]
    fn lasting_files_stay_and_have_one_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let mut first = TemporaryFile::lasting(&path).unwrap().unwrap();
        assert!(TemporaryFile::lasting(&path).unwrap().is_none());
        drop(first);
        assert!(path.exists());
        first = TemporaryFile::lasting(&path).unwrap().unwrap();
        let kept = first.persist(&folder.path().join("target"), 0o444).unwrap();
        let second = TemporaryFile::lasting(&path).unwrap().unwrap();
        assert!(kept.metadata().unwrap().ino() != second.file().metadata().unwrap().ino());
    }

    #[test]
    fn dropped_files_are_removed_and_persisted_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        drop(TemporaryFile::create(folder.path()).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let target = folder.path().join("target");
        TemporaryFile::create(folder.path()).unwrap().persist(&target, 0o444).unwrap();
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o444);
    }
}
