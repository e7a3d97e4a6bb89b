//! Files that are being written, and the clearing away of those whose writer is gone.
//!
//! A writer holds an advisory lock on its temporary file for as long as it lives; the kernel lets
//! go of it however the process ends. Process ids would not do: they are used again, and mean
//! nothing between containers that share a folder.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use tempfile::TempPath;

use crate::StoreError;

/// What the names of temporary files begin with, so that nothing else is ever cleared away.
const PREFIX: &str = ".plimsoll-";

/// A new file under a random name, removed when it is dropped before it was given its real name.
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
    fn dropped_files_are_removed_and_persisted_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        drop(TemporaryFile::create(folder.path()).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let target = folder.path().join("target");
        TemporaryFile::create(folder.path()).unwrap().persist(&target, 0o444).unwrap();
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o444);
    }
}
