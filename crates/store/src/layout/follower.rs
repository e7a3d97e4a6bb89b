//! The hash of content that is being written, computed by whoever has time for it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oci::{Algorithm, Digest, Hasher};

/// How much is read back and hashed at once; what was just written is still in the processor's cache.
const PIECE_BYTES: usize = 256 << 10;

/// Hashes the content of an [`crate::Ingest`] from its file, behind whoever writes it, and from any
/// thread. Clones share one state.
#[derive(Clone)]
pub struct Follower {
    file: Arc<File>,
    algorithm: Algorithm,
    progress: Arc<Mutex<Progress>>,
}

struct Progress {
    hasher: Hasher,
    /// How much of the file the hash holds.
    hashed: u64,
}

impl Follower {
    pub(super) fn new(file: Arc<File>, algorithm: Algorithm) -> Self {
        let progress = Progress { hasher: Hasher::new(algorithm), hashed: 0 };
        Self { file, algorithm, progress: Arc::new(Mutex::new(progress)) }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Hashes everything before `written`, all of which must have been written. Returns when that is
    /// done, by this thread or another one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn catch_up(&self, written: u64) -> io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            let mut progress = self.progress();
            let left = written.saturating_sub(progress.hashed);
            if left == 0 {
                return Ok(());
            }
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
            if buffer.len() < length {
                buffer.resize(length, 0);
            }
            let piece = &mut buffer[..length];
            self.file.read_exact_at(piece, progress.hashed)?;
            progress.hasher.update(piece);
            progress.hashed += length as u64;
        }
    }

    /// Hashes what was written to `offset` just now where the hash had come so far; otherwise it is
    /// read back later.
    pub(super) fn see(&self, content: &[u8], offset: u64) {
        let Ok(mut progress) = self.progress.try_lock() else { return };
        if progress.hashed == offset {
            progress.hasher.update(content);
            progress.hashed += content.len() as u64;
        }
    }

    /// Returns the digest of the first `written` bytes, which is all that was ever written.
    pub(super) fn finish(self, written: u64) -> io::Result<Digest> {
        self.catch_up(written)?;
        let progress = self.progress();
        debug_assert_eq!(progress.hashed, written, "nothing is hashed that was not written");
        Ok(progress.hasher.clone().finish())
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Nothing in there panics half way through.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Follower({} bytes)", self.progress().hashed)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_hash_is_the_same_whoever_computes_it() {
        let content: Vec<u8> = (0..1_000_000_u32).map(|number| (number / 7) as u8).collect();
        let file = Arc::new(tempfile::tempfile().unwrap());
        let follower = Follower::new(file.clone(), Algorithm::Sha256);
        let mut file = &*file;
        file.write_all(&content[..300_000]).unwrap();
        follower.see(&content[..300_000], 0);
        file.write_all(&content[300_000..700_000]).unwrap();
        let other = follower.clone();
        std::thread::spawn(move || other.catch_up(700_000)).join().unwrap().unwrap();
        file.write_all(&content[700_000..]).unwrap();
        // Seen too late: between it and what is hashed there is a gap.
        follower.see(&content[800_000..], 800_000);
        assert_eq!(follower.finish(1_000_000).unwrap(), Digest::of(&content));
    }

    #[test]
    fn what_is_not_there_cannot_be_hashed() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let follower = Follower::new(file.clone(), Algorithm::Sha512);
        (&*file).write_all(b"short").unwrap();
        assert!(follower.catch_up(6).is_err());
        assert_eq!(follower.finish(5).unwrap().algorithm(), Algorithm::Sha512);
    }
}
