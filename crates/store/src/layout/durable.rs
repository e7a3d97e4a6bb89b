//! Making things survive a crash, in the order that matters: content, folders, then the name.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use oci::Digest;

use super::{LayoutStore, TemporaryFile, write_back};
use crate::StoreError;

/// How many files are synced at the same time; the disk merges them into one flush.
const SYNC_THREADS: usize = 4;
/// So few are synced one after the other: the first commits what the file system has to note of all of them.
const FEW: usize = 8;

/// Small files that are to appear together under their names, after the content they speak of.
#[derive(Default)]
pub(super) struct Names {
    /// Content that has to be on the disk first.
    pub(super) blobs: Vec<Digest>,
    files: Vec<(TemporaryFile, PathBuf)>,
    folders: BTreeSet<PathBuf>,
    /// Folders that may be new, from the store's root down to those.
    above: BTreeSet<PathBuf>,
}

impl Names {
    /// Writes a small file that gets its name later.
    pub(super) fn add(
        &mut self,
        store: &LayoutStore,
        path: PathBuf,
        content: &[u8],
    ) -> Result<(), StoreError> {
        let folder = path.parent().expect("files of the store lie in a folder of it");
        make_folders(folder)?;
        self.folder(folder, store.root());
        let write = || -> io::Result<TemporaryFile> {
            let temporary = TemporaryFile::create(&store.path("temporary"))?;
            temporary.file().write_all(content)?;
            // All begin before the first is waited for, so one commit of the file system's journal has them all.
            write_back::begin(temporary.file(), 0, content.len() as u64);
            Ok(temporary)
        };
        let file = write().map_err(|source| StoreError::io("write", path.display().to_string(), source))?;
        self.files.push((file, path));
        Ok(())
    }

    /// Notes a folder whose names have to survive a crash, with those above it up to `root`, which may be new.
    pub(super) fn folder(&mut self, folder: &Path, root: &Path) {
        self.folders.insert(folder.to_owned());
        let above = folder.ancestors().skip(1).take_while(|above| *above != root && above.starts_with(root));
        self.above.extend(above.map(Path::to_owned));
    }
}

impl LayoutStore {
    /// Returns the blobs that are not known to survive a crash.
    pub(super) fn not_synced_of(&self, digests: impl IntoIterator<Item = Digest>) -> Vec<Digest> {
        let synced = self.0.synced.lock().unwrap_or_else(PoisonError::into_inner);
        digests.into_iter().filter(|digest| !synced.contains(digest)).collect()
    }

    /// Returns the blobs that this process wrote and nobody synced, leaving out those it found there.
    pub(super) fn written_of(&self, digests: impl IntoIterator<Item = Digest>) -> Vec<Digest> {
        let written = self.0.written.lock().unwrap_or_else(PoisonError::into_inner);
        digests.into_iter().filter(|digest| written.contains(digest)).collect()
    }

    /// Writes a small file under its name, whole or not at all, and makes it survive a crash.
    pub(super) fn write_file(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        let mut names = Names::default();
        names.add(self, path.to_owned(), content)?;
        self.write_names(names)
    }

    /// Brings content and small files to the disk in one round, then gives the files their names in another.
    pub(super) fn write_names(&self, names: Names) -> Result<(), StoreError> {
        let Names { blobs, files, mut folders, above } = names;
        let sync: Vec<SyncJob<'_>> = blobs
            .iter()
            .map(SyncJob::Blob)
            .chain(files.iter().map(|(file, path)| SyncJob::File(file, path)))
            .collect();
        side_by_side(&sync, |job| match job {
            SyncJob::Blob(digest) => self.sync_blob(digest),
            SyncJob::File(file, path) => file
                .file()
                .sync_data()
                .map_err(|source| StoreError::io("sync", path.display().to_string(), source)),
        })?;
        folders.extend(blobs.iter().map(|digest| self.blob_folder(digest)));
        for (file, path) in files {
            file.persist(&path, 0o644)
                .map_err(|source| StoreError::io("write", path.display().to_string(), source))?;
        }
        // Once they survive a crash, they do so as long as this process lives.
        let settled = || self.0.settled.lock().unwrap_or_else(PoisonError::into_inner);
        let above: Vec<PathBuf> = above.into_iter().filter(|above| !settled().contains(above)).collect();
        folders.extend(above.iter().cloned());
        let folders: Vec<PathBuf> = folders.into_iter().collect();
        side_by_side(&folders, |folder| sync_folder(folder))?;
        settled().extend(above);
        self.0.synced.lock().unwrap_or_else(PoisonError::into_inner).extend(&blobs);
        let mut written = self.0.written.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.iter().for_each(|digest| {
            written.remove(digest);
        });
        Ok(())
    }

    fn sync_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.blob_path(digest);
        self.0
            .crew
            .wait(digest)
            .and_then(|()| File::open(&path))
            .and_then(|file| file.sync_data())
            .map_err(|source| StoreError::io("sync", path.display().to_string(), source))
    }
}

/// A file to bring to the disk.
enum SyncJob<'a> {
    Blob(&'a Digest),
    File(&'a TemporaryFile, &'a Path),
}

/// Does `work` for every one of `jobs`, several at a time, and returns one of the errors there were.
fn side_by_side<T: Sync>(
    jobs: &[T],
    work: impl Fn(&T) -> Result<(), StoreError> + Sync,
) -> Result<(), StoreError> {
    let next = AtomicUsize::new(0);
    let problem = Mutex::new(None);
    let run = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work(job) {
                *problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..if jobs.len() > FEW { SYNC_THREADS } else { 1 } {
            scope.spawn(run);
        }
        run();
    });
    problem.into_inner().expect("the threads are joined").map_or(Ok(()), Err)
}

/// Makes a folder and those above it. Whoever puts something into it that has to survive a crash notes it
/// ([`Names::folder`]): one round of syncing then does for all of them, beside all else.
pub(super) fn make_folders(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path)
        .map_err(|source| StoreError::io("make the folder", path.display().to_string(), source))
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
