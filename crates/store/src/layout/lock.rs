//! Advisory locks between processes; the kernel lets go of them however a process ends.

use std::fs::{File, OpenOptions};

use rustix::fs::{FlockOperation, flock};

use super::LayoutStore;
use crate::StoreError;

/// A lock that is held until it is dropped.
#[must_use = "the lock is let go when this is dropped"]
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
}

impl LayoutStore {
    /// Waits until nobody deletes content, and keeps it so. Taken by whoever builds, loads or pulls:
    /// content without a name yet must not be collected.
    ///
    /// # Errors
    /// `Unreachable` where the lock file cannot be opened.
    pub fn lock_shared(&self) -> Result<StoreLock, StoreError> {
        self.lock("store", FlockOperation::LockShared)
    }

    /// Waits until nobody else holds the store's lock. Taken by garbage collection.
    ///
    /// # Errors
    /// `Unreachable` where the lock file cannot be opened.
    pub fn lock_exclusive(&self) -> Result<StoreLock, StoreError> {
        self.lock("store", FlockOperation::LockExclusive)
    }

    /// Returns the exclusive lock where nobody holds the store's lock, else `None` at once.
    ///
    /// # Errors
    /// `Unreachable` where the lock file cannot be opened.
    pub fn try_lock_exclusive(&self) -> Result<Option<StoreLock>, StoreError> {
        let file = self.lock_file("store")?;
        Ok(flock(&file, FlockOperation::NonBlockingLockExclusive)
            .is_ok()
            .then_some(StoreLock { _file: file }))
    }

    /// Waits until nobody else changes tags.
    pub(super) fn lock_names(&self) -> Result<StoreLock, StoreError> {
        self.lock("names", FlockOperation::LockExclusive)
    }

    fn lock(&self, name: &str, operation: FlockOperation) -> Result<StoreLock, StoreError> {
        let file = self.lock_file(name)?;
        loop {
            match flock(&file, operation) {
                Ok(()) => return Ok(StoreLock { _file: file }),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(self.no_lock(name, errno.into())),
            }
        }
    }

    fn lock_file(&self, name: &str) -> Result<File, StoreError> {
        let path = self.path("locks").join(name);
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|source| self.no_lock(name, source))
    }

    fn no_lock(&self, name: &str, source: std::io::Error) -> StoreError {
        StoreError::io("lock", self.path("locks").join(name).display().to_string(), source)
    }
}
