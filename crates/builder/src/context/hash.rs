//! Digests of file contents, several at a time.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use oci::Hasher;

use super::walk::Stat;
use super::{Context, ContextError, tree};

/// Fewer bytes than these are not worth a thread.
const BYTES_PER_THREAD: u64 = 1 << 20;
const FILES_PER_THREAD: usize = 64;
const BUFFER_BYTES: usize = 256 << 10;

impl Context {
    /// Computes the digests that are not known yet.
    pub(super) fn hash(&self, indexes: &[usize]) -> Result<(), ContextError> {
        let unknown: Vec<usize> =
            indexes.iter().copied().filter(|index| self.digests[*index].get().is_none()).collect();
        let bytes: u64 = unknown.iter().map(|index| self.records.get(*index).stat.size).sum();
        let useful = (bytes / BYTES_PER_THREAD).max((unknown.len() / FILES_PER_THREAD) as u64);
        let threads = self.options.threads.min(usize::try_from(useful).unwrap_or(usize::MAX)).max(1);
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

    fn hash_file(&self, index: usize, buffer: &mut [u8]) -> Result<[u8; 32], ContextError> {
        let path = self.records.path(index);
        let unreadable = |source| ContextError::Unreadable {
            path: tree::shown(path),
            place: super::place(&self.path),
            source,
        };
        let mut file = self.open_file(path).map_err(unreadable)?;
        let seen = self.records.get(index).stat;
        let is_unchanged = |file: &std::fs::File| match rustix::fs::fstat(file) {
            Ok(stat) if Stat::of(&stat) == seen => Ok(()),
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
    unknown: &'a [usize],
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
                Ok(digest) => drop(self.context.digests[*index].set(digest)),
                Err(error) => {
                    self.stop.store(true, Ordering::Relaxed);
                    self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        }
    }
}
