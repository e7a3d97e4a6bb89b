//! Blobs of the store by digest, without a repository.

use std::fs::{self, File};
use std::io::{self, Seek};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, PoisonError};

use oci::{Descriptor, Digest, Hasher};
use rustix::fs::{AtFlags, CWD, linkat};

use super::partial::MIN_PARTIAL_BYTES;
use super::stamp::Stamp;
use super::{LayoutStore, durable};
use crate::{Blob, Put, Source, StoreError};

/// Size of the buffer with which content is read to hash or to copy it.
const BUFFER: usize = 256 << 10;

impl LayoutStore {
    /// Returns the size in bytes of the blob, or `None` where the store does not have it.
    ///
    /// # Errors
    /// `Unreachable` where the folder cannot be read.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        match fs::metadata(self.blob_path(digest)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::io("read", self.what(digest), source)),
        }
    }

    /// Opens the blob. Its content is hashed first unless it was before and the file is unchanged.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` where the content does not have the digest. The file is then moved to
    /// `quarantine/`, so that fetching or building it again repairs the store.
    pub fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError> {
        let unreadable = |source| StoreError::io("read", self.what(digest), source);
        let file = self.open_file(digest)?;
        let stamp = Stamp::of(&file).map_err(unreadable)?;
        if !stamp.is_on(&file) {
            self.hash_once(digest, &file, stamp)?;
        }
        Ok(Blob::verified(*digest, stamp.size, Source::File(file)))
    }

    /// Hashes the blob's content whether it carries a stamp or not, and returns its size in bytes.
    ///
    /// # Errors
    /// As for [`LayoutStore::open_blob`].
    pub fn verify_blob(&self, digest: &Digest) -> Result<u64, StoreError> {
        let file = self.open_file(digest)?;
        let size = file.metadata().map_err(|source| StoreError::io("read", self.what(digest), source))?.len();
        self.hash(digest, &file)?;
        Ok(size)
    }

    /// Stores `content` under the digest and size that `descriptor` names. Content of a verified
    /// file is linked or copied inside the kernel; other content is hashed while it is written,
    /// unless it checks itself.
    ///
    /// # Errors
    /// `Corrupt` where the content is not what the descriptor says; nothing is kept then.
    pub fn put_blob(&self, descriptor: &Descriptor, content: Blob) -> Result<Put, StoreError> {
        let digest = &descriptor.digest;
        if self.has_intact(digest, descriptor.size)? {
            return Ok(Put::Present);
        }
        let known = content.verified_as() == Some(*digest);
        let size = content.size();
        if known && content.is_resumable() && size >= MIN_PARTIAL_BYTES {
            return self.take_remote(descriptor, content);
        }
        match content.into_source() {
            Source::File(file) if known && size == descriptor.size => self.take_file(digest, size, file),
            source => {
                let ingest = self.ingest()?;
                let mut ingest = if known { ingest } else { ingest.hashing(digest.algorithm()) };
                copy(&mut Blob::new(size, source), &mut ingest)
                    .map_err(|error| self.broken(digest, error))?;
                if known {
                    ingest.commit(digest, descriptor.size)
                } else {
                    ingest.commit_checked(digest, descriptor.size)
                }
            }
        }
    }

    /// Whether the blob is there, with this size and its own content.
    pub(super) fn has_intact(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        match self.open_blob(digest) {
            Ok(blob) => Ok(blob.size() == size),
            Err(StoreError::NotFound { .. } | StoreError::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn take_file(&self, digest: &Digest, size: u64, mut file: File) -> Result<Put, StoreError> {
        let offset =
            file.stream_position().map_err(|source| StoreError::io("read", self.what(digest), source))?;
        if offset == 0 && self.link(digest, size, &file)? {
            return Ok(Put::Mounted);
        }
        let mut ingest = self.ingest()?;
        ingest.copy_from(&file, offset, size).map_err(|error| self.broken(digest, error))?;
        ingest.commit(digest, size)
    }

    /// Gives a stamped blob file of another store a second name in this one. Only a file that
    /// nobody may write and that belongs to us is shared, so that neither store can spoil the other.
    fn link(&self, digest: &Digest, size: u64, file: &File) -> Result<bool, StoreError> {
        let unreadable = |source| StoreError::io("read", self.what(digest), source);
        let metadata = file.metadata().map_err(unreadable)?;
        let stamp = Stamp::of(file).map_err(unreadable)?;
        let ours = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o222 == 0;
        if !ours || stamp.size != size || !stamp.is_on(file) {
            return Ok(false);
        }
        durable::make_folder(&self.blob_folder(digest))?;
        let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
        let linked = linkat(CWD, name, CWD, self.blob_path(digest), AtFlags::SYMLINK_FOLLOW).is_ok();
        if linked {
            self.0.written.lock().unwrap_or_else(PoisonError::into_inner).insert(*digest);
        }
        Ok(linked)
    }

    fn open_file(&self, digest: &Digest) -> Result<File, StoreError> {
        File::open(self.blob_path(digest)).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound { what: self.what(digest) },
            _ => StoreError::io("read", self.what(digest), source),
        })
    }

    /// Hashes a file without a fitting stamp; of several threads that ask for the same blob, one does.
    fn hash_once(&self, digest: &Digest, file: &File, stamp: Stamp) -> Result<(), StoreError> {
        let entry = {
            let mut hashed = self.0.hashed.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(hashed.entry(*digest).or_default())
        };
        let mut known = entry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *known == Some(stamp) || stamp.is_on(file) {
            return Ok(());
        }
        self.hash(digest, file)?;
        stamp.put_on(file);
        *known = Some(stamp);
        Ok(())
    }

    fn hash(&self, digest: &Digest, file: &File) -> Result<(), StoreError> {
        let mut hasher = Hasher::new(digest.algorithm());
        let mut buffer = vec![0; BUFFER];
        let mut offset = 0;
        loop {
            match file.read_at(&mut buffer, offset) {
                Ok(0) => break,
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(StoreError::io("read", self.what(digest), source)),
            }
        }
        let found = hasher.finish();
        if found == *digest { Ok(()) } else { Err(self.quarantine(digest, found, file)) }
    }

    /// Moves a corrupt blob out of the way and returns the error that says so.
    fn quarantine(&self, digest: &Digest, found: Digest, file: &File) -> StoreError {
        let path = self.blob_path(digest);
        let inode = |metadata: io::Result<fs::Metadata>| metadata.ok().map(|metadata| metadata.ino());
        // Another process may have put the right content there meanwhile.
        let same = inode(fs::metadata(&path)) == inode(file.metadata());
        let folder = self.path("quarantine");
        let target = folder.join(format!("{}-{}", digest.algorithm().as_str(), digest.hex()));
        let moved = same && durable::make_folder(&folder).is_ok() && fs::rename(&path, &target).is_ok();
        let reason = if moved {
            format!(
                "expected {digest}, found {found}; moved to {}, fetch or build it again",
                target.display()
            )
        } else {
            format!("expected {digest}, found {found}")
        };
        StoreError::Corrupt { what: self.what(digest), reason }
    }

    /// Tells content that checked itself from a disk that is full or broken.
    pub(super) fn broken(&self, digest: &Digest, error: io::Error) -> StoreError {
        let error = match error.downcast::<StoreError>() {
            // The other store failed while it was read.
            Ok(of_source) => return of_source,
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::InvalidData => {
                StoreError::Corrupt { what: format!("blob {digest}"), reason: error.to_string() }
            }
            io::ErrorKind::UnexpectedEof => {
                let reason = "its content ended too early".to_owned();
                StoreError::Corrupt { what: format!("blob {digest}"), reason }
            }
            _ => StoreError::io("write", self.what(digest), error),
        }
    }
}

/// Like [`io::copy`], with a buffer that suits hashing.
pub(super) fn copy(from: &mut impl io::Read, to: &mut impl io::Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
