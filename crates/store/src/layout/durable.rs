//! Making things survive a crash, in the order that matters: content, folders, then the name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use oci::Digest;

use super::{LayoutStore, TemporaryFile};
use crate::StoreError;

/// How many files are synced at the same time; the disk merges them into one flush.
const SYNC_THREADS: usize = 4;

impl LayoutStore {
    /// Makes the blobs survive a crash, those of them that are not known to already.
    pub(super) fn sync_blobs(&self, digests: &[Digest]) -> Result<(), StoreError> {
        let waiting: Vec<Digest> = {
            let synced = self.0.synced.lock().expect("no code panics while it holds this lock");
            digests.iter().filter(|digest| !synced.contains(digest)).copied().collect()
        };
        self.sync_now(&waiting)
    }

    /// Does the same for the blobs that this process wrote, leaving out those it found there.
    pub(super) fn sync_written(&self, digests: &[Digest]) -> Result<(), StoreError> {
        let waiting: Vec<Digest> = {
            let written = self.0.written.lock().expect("no code panics while it holds this lock");
            digests.iter().filter(|digest| written.contains(digest)).copied().collect()
        };
        self.sync_now(&waiting)
    }

    fn sync_now(&self, digests: &[Digest]) -> Result<(), StoreError> {
        let next = AtomicUsize::new(0);
        let problem = Mutex::new(None);
        let work = || {
            while let Some(digest) = digests.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.sync_blob(digest) {
                    *problem.lock().expect("no code panics while it holds this lock") = Some(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..SYNC_THREADS.min(digests.len()) {
                scope.spawn(work);
            }
            work();
        });
        if let Some(error) = problem.into_inner().expect("the threads are joined") {
            return Err(error);
        }
        let mut folders: Vec<_> = digests.iter().map(|digest| self.blob_folder(digest)).collect();
        folders.sort();
        folders.dedup();
        folders.iter().try_for_each(|folder| sync_folder(folder))?;
        self.0.synced.lock().expect("no code panics while it holds this lock").extend(digests);
        let mut written = self.0.written.lock().expect("no code panics while it holds this lock");
        digests.iter().for_each(|digest| {
            written.remove(digest);
        });
        Ok(())
    }

    fn sync_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.blob_path(digest);
        File::open(&path)
            .and_then(|file| file.sync_data())
            .map_err(|source| StoreError::io("sync", path.display().to_string(), source))
    }

    /// Writes a small file under its name, whole or not at all, and makes it survive a crash.
    pub(super) fn write_file(&self, target: &Path, content: &[u8]) -> Result<(), StoreError> {
        let folder = target.parent().expect("files of the store lie in a folder of it");
        make_folder(folder)?;
        let write = || -> io::Result<()> {
            let temporary = TemporaryFile::create(&self.path("temporary"))?;
            let mut file = temporary.file();
            file.write_all(content)?;
            file.sync_data()?;
            temporary.persist(target, 0o644)?;
            Ok(())
        };
        write().map_err(|source| StoreError::io("write", target.display().to_string(), source))?;
        sync_folder(folder)
    }
}

/// Makes a folder and those above it, each of which then survives a crash.
pub(super) fn make_folder(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent();
    if let Some(parent) = parent {
        make_folder(parent)?;
    }
    match fs::create_dir(path) {
        Ok(()) => parent.map_or(Ok(()), sync_folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(source) => Err(StoreError::io("make the folder", path.display().to_string(), source)),
    }
}

/// Makes names that were made or removed in a folder survive a crash.
pub(super) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| StoreError::io("sync the folder", path.display().to_string(), source))
}
