//! Digests of file contents, several at a time.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use oci::{Algorithm, Digest, Hasher};

use super::records::{Index, Stamp};
use super::{Context, ContextError, tree};

/// Fewer bytes than these are not worth a thread.
const BYTES_PER_THREAD: u64 = 1 << 20;
const FILES_PER_THREAD: usize = 64;
const BUFFER_BYTES: usize = 256 << 10;

/// The digests of the files of a context that are known, by their numbers.
#[derive(Debug)]
pub(super) struct Digests {
    all: Vec<[u8; 32]>,
    known: Vec<bool>,
}

impl Digests {
    /// Returns a place for each of `count` digests, none of them known. The kernel gives the memory when they are.
    pub fn new(count: usize) -> Self {
        Self { all: vec![[0; 32]; count], known: vec![false; count] }
    }

    pub fn bytes(&self, index: Index) -> Option<&[u8; 32]> {
        self.known[index as usize].then(|| &self.all[index as usize])
    }

    pub fn get(&self, index: Index) -> Option<Digest> {
        let digest = |bytes: &[u8; 32]| Digest::from_bytes(Algorithm::Sha256, bytes);
        self.bytes(index).map(|bytes| digest(bytes).expect("SHA-256 has 32 bytes"))
    }

    pub fn set(&mut self, index: Index, digest: &[u8; 32]) {
        self.all[index as usize] = *digest;
        self.known[index as usize] = true;
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.known.iter().filter(|known| **known).count()
    }
}

impl Context {
    /// Computes the digests that are not known yet.
    pub(super) fn hash(&self, files: impl IntoIterator<Item = Index>) -> Result<(), ContextError> {
        let digests = self.digests.read().expect("no holder panics");
        let unknown: Vec<Index> = files.into_iter().filter(|index| digests.bytes(*index).is_none()).collect();
        drop(digests);
        let bytes: u64 = unknown.iter().map(|index| self.records.size(*index)).sum();
        let useful = (bytes / BYTES_PER_THREAD).max((unknown.len() / FILES_PER_THREAD) as u64);
        let threads = self.options.threads.min(usize::try_from(useful).unwrap_or(usize::MAX)).max(1);
        if unknown.is_empty() {
            return Ok(());
        }
        self.is_cache_stale.store(true, Ordering::Relaxed);
        let work = Work {
            context: self,
            unknown: &unknown,
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|| work.run());
            }
            work.run();
        });
        work.failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn hash_file(&self, index: Index, buffer: &mut [u8]) -> Result<[u8; 32], ContextError> {
        let path = &self.records.path(index);
        let unreadable = |source| ContextError::Unreadable {
            path: tree::shown(path),
            place: super::place(&self.path),
            source,
        };
        let mut file = self.open_file(path).map_err(unreadable)?;
        let seen = self.records.stamp(index);
        let is_unchanged = |file: &std::fs::File| match rustix::fs::fstat(file) {
            Ok(stat) if Stamp::of(&stat) == seen => Ok(()),
            Ok(_) => Err(ContextError::Changed { path: tree::shown(path), place: super::place(&self.path) }),
            Err(error) => Err(unreadable(error.into())),
        };
        is_unchanged(&file)?;
        let mut hasher = Hasher::default();
        loop {
            match file.read(buffer) {
                Ok(0) => break,
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
        is_unchanged(&file)?;
        Ok(hasher.finish().as_bytes().try_into().expect("SHA-256 has 32 bytes"))
    }
}

/// Files handed out one by one to whichever thread is free.
struct Work<'a> {
    context: &'a Context,
    unknown: &'a [Index],
    next: AtomicUsize,
    stop: AtomicBool,
    failure: Mutex<Option<ContextError>>,
}

impl Work<'_> {
    fn run(&self) {
        let mut buffer = vec![0; BUFFER_BYTES];
        while !self.stop.load(Ordering::Relaxed) {
            let Some(index) = self.unknown.get(self.next.fetch_add(1, Ordering::Relaxed)) else { return };
            match self.context.hash_file(*index, &mut buffer) {
                // Another step may have hashed the same file meanwhile; the value is the same.
                Ok(digest) => self.context.digests.write().expect("no holder panics").set(*index, &digest),
                Err(error) => {
                    self.stop.store(true, Ordering::Relaxed);
                    self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        }
    }
}
