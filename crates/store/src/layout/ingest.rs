//! Writing a blob whose digest is known only at its end.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::sync::PoisonError;

use oci::{Algorithm, Digest, Hasher};

use super::follower::Follower;
use super::funnel::Funnel;
use super::stamp::Stamp;
use super::write_back::WriteBack;
use super::{LayoutStore, TemporaryFile, copy_in_kernel, durable};
use crate::check::Mismatch;
use crate::{Blob, Put, Source, StoreError};

/// A blob being written. Nothing of it is visible before [`Ingest::commit`], and nothing of it is
/// left when it is dropped, unless it comes from elsewhere and may go on (`partial`).
pub struct Ingest {
    store: LayoutStore,
    temporary: TemporaryFile,
    /// Whether [`Ingest::commit_checked`] wants a hash, and how far that has come.
    follower: Option<Follower>,
    written: u64,
    write_back: WriteBack,
    /// Whether the content goes on to another store.
    passes: bool,
}

/// What a write to a temporary file of the store ran into; the payload of the [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("cannot write to the store at {root}, nothing of this blob was kept")]
pub struct IngestError {
    /// The store.
    pub root: String,
    /// What happened.
    #[source]
    pub source: io::Error,
}

impl LayoutStore {
    /// Starts writing a blob.
    ///
    /// # Errors
    /// `Unreachable` where no file can be made.
    pub fn ingest(&self) -> Result<Ingest, StoreError> {
        let folder = self.path("temporary");
        let temporary = TemporaryFile::create(&folder)
            .map_err(|source| StoreError::io("make a file in", folder.display().to_string(), source))?;
        Ok(Ingest::behind(self, temporary, 0))
    }
}

impl Ingest {
    /// Returns what writes behind the first `written` bytes of a file, at whose end its position is.
    pub(super) fn behind(store: &LayoutStore, temporary: TemporaryFile, written: u64) -> Self {
        let write_back = WriteBack::new(temporary.shared(), store.0.crew.clone(), written);
        Self { store: store.clone(), temporary, follower: None, written, write_back, passes: false }
    }

    /// Takes back what was written.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        let mut file = self.temporary.file();
        file.set_len(0)?;
        file.rewind()?;
        self.written = 0;
        self.write_back.restart();
        Ok(())
    }

    /// Says whether what was written stays without a commit.
    pub(super) fn keep(&mut self, keep: bool) {
        self.temporary.keep(keep);
    }

    /// Gives up what was written: its room is free when this returns.
    pub fn discard(self) {
        // What cannot be emptied is free a moment later.
        let _ = self.write_back.discard();
    }

    /// Has the content hashed, for [`Ingest::commit_checked`]: while it is written, or by a
    /// [`Follower`] in another thread. To be called before the first byte.
    pub fn hashing(self, algorithm: Algorithm) -> Self {
        debug_assert_eq!(self.written, 0, "what was written already would be missing from the hash");
        let follower = Some(Follower::new(self.temporary.shared(), algorithm));
        Self { follower, ..self }
    }

    /// Says that the content will go on to another store, by [`Ingest::into_blob`]: nothing of it need survive a crash
    /// of this machine, so the disk is not troubled with it as long as there is memory.
    pub fn passing(self) -> Self {
        Self { passes: true, ..self }
    }

    /// Returns what hashes the content from another thread; `None` where no hash is wanted.
    pub fn follower(&self) -> Option<&Follower> {
        self.follower.as_ref()
    }

    /// Returns how many bytes were written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Returns the file for reading what was written so far, also after the commit. Nobody has checked
    /// it yet.
    ///
    /// # Errors
    /// `Unreachable` where the file cannot be opened.
    pub fn reader(&self) -> Result<File, StoreError> {
        let path = self.temporary.path();
        File::open(path).map_err(|source| StoreError::io("read", path.display().to_string(), source))
    }

    /// Makes the content visible as `digest`, trusting the writer, who hashed it in the same pass.
    ///
    /// # Errors
    /// `Corrupt` where the number of bytes is not `size`; `Unreachable`, such as for a full disk.
    /// Nothing is kept then.
    pub fn commit(mut self, digest: &Digest, size: u64) -> Result<Put, StoreError> {
        let store = self.store.clone();
        let failed = |source| StoreError::io("write", store.what(digest), source);
        let stamp = Stamp::of(self.temporary.file()).map_err(failed)?;
        if stamp.size != size {
            return Err(mismatch(digest, Mismatch::Size { expected: size, found: stamp.size }));
        }
        if store.has_intact(digest, size)? {
            return Ok(Put::Present);
        }
        durable::make_folder(&store.blob_folder(digest))?;
        self.write_back.complete(size, self.temporary.path(), digest).map_err(failed)?;
        stamp.put_on(self.temporary.file());
        self.temporary.persist(&store.blob_path(digest), 0o444).map_err(failed)?;
        store.0.synced.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
        store.0.written.lock().unwrap_or_else(PoisonError::into_inner).insert(*digest);
        Ok(Put::Written)
    }

    /// Makes the content visible as `digest` where that is its digest.
    ///
    /// # Errors
    /// `Corrupt` where it is not, otherwise as for [`Ingest::commit`].
    pub fn commit_checked(mut self, digest: &Digest, size: u64) -> Result<Put, StoreError> {
        self.check(digest, size)?;
        self.commit(digest, size)
    }

    /// Returns the content for another store instead, where it has the digest. The file has no name
    /// any more and goes with the blob.
    ///
    /// # Errors
    /// As for [`Ingest::commit_checked`].
    pub fn into_blob(mut self, digest: &Digest, size: u64) -> Result<Blob, StoreError> {
        self.check(digest, size)?;
        let file = File::open(self.temporary.path())
            .map_err(|source| StoreError::io("read", self.store.what(digest), source))?;
        Ok(Blob::verified(*digest, size, Source::File(file)))
    }

    fn check(&mut self, digest: &Digest, size: u64) -> Result<(), StoreError> {
        let failed = |source| StoreError::io("read", self.store.what(digest), source);
        let found = match self.follower.take() {
            Some(follower) if follower.algorithm() == digest.algorithm() => {
                follower.finish(self.written).map_err(failed)?
            }
            _ => self.hash_again(digest)?,
        };
        if self.written != size {
            return Err(mismatch(digest, Mismatch::Size { expected: size, found: self.written }));
        }
        if found != *digest {
            return Err(mismatch(digest, Mismatch::Digest { expected: *digest, found }));
        }
        Ok(())
    }

    /// Has the kernel copy `size` bytes of `source` from `offset` on. They are not hashed.
    pub(super) fn copy_from(&mut self, source: &File, offset: u64, size: u64) -> io::Result<()> {
        copy_in_kernel(source, offset, size, self.temporary.file()).map_err(|error| self.explain(error))?;
        self.written += size;
        Ok(())
    }

    /// Has the kernel move up to `most` bytes from a socket behind what is there; they never come
    /// into this process, and are left to the [`Follower`] to be hashed. Returns how many there were; 0
    /// where the other end sends no more.
    ///
    /// # Errors
    /// `WouldBlock` where nothing can be read just now, and what else the socket says. What the file
    /// says comes as an [`IngestError`], and makes the blob useless.
    pub fn draw(&mut self, socket: impl AsFd, funnel: &Funnel, most: usize) -> io::Result<usize> {
        let count = funnel.fill(socket, most)?;
        funnel.empty(self.temporary.file(), count).map_err(|source| self.explain(source))?;
        self.written += count as u64;
        self.advance();
        Ok(count)
    }

    /// Takes note of what was written.
    fn advance(&mut self) {
        if !self.passes {
            self.write_back.reached(self.written, self.temporary.path());
        }
    }

    /// Says which store a write went to and that nothing of it is left.
    fn explain(&self, source: io::Error) -> io::Error {
        let root = self.store.root().display().to_string();
        io::Error::new(source.kind(), IngestError { root, source })
    }

    fn hash_again(&self, digest: &Digest) -> Result<Digest, StoreError> {
        let read = || -> io::Result<Digest> {
            let mut file = File::open(self.temporary.path())?;
            file.rewind()?;
            let mut hasher = Hasher::new(digest.algorithm());
            let mut buffer = vec![0; 256 << 10];
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(hasher.finish()),
                    count => hasher.update(&buffer[..count]),
                }
            }
        };
        read().map_err(|source| StoreError::io("read", self.store.what(digest), source))
    }
}

impl Write for Ingest {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        let count = self.temporary.file().write(content).map_err(|source| match source.kind() {
            io::ErrorKind::Interrupted => source,
            _ => self.explain(source),
        })?;
        if let Some(follower) = &self.follower {
            follower.see(&content[..count], self.written);
        }
        self.written += count as u64;
        self.advance();
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Ingest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ingest({} bytes)", self.written)
    }
}

fn mismatch(digest: &Digest, mismatch: Mismatch) -> StoreError {
    StoreError::Corrupt { what: format!("blob {digest}"), reason: mismatch.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_that_goes_on_to_another_store_is_not_brought_to_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let store = LayoutStore::open(folder.path()).unwrap();
        let content = vec![7; 20 << 20];
        let mut staying = store.ingest().unwrap();
        staying.write_all(&content).unwrap();
        assert_eq!(staying.write_back.begun(), 20 << 20);
        let mut passing = store.ingest().unwrap().hashing(Algorithm::Sha256).passing();
        passing.write_all(&content).unwrap();
        assert_eq!(passing.write_back.begun(), 0);
        let blob = passing.into_blob(&Digest::of(&content), content.len() as u64).unwrap();
        assert_eq!(blob.size(), 20 << 20);
    }
}
