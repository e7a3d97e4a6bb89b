//! Content of blobs on its way into a bucket and out of it.

use std::io::{self, Read};

use bytes::Bytes;
use oci::{Descriptor, Digest};

use super::bucket::{Bucket, ObjectReader};
use super::{ObjectStore, keys};
use crate::{Blob, CheckedReader, Put, StoreError};

/// Content up to this size goes in one request; larger content in parts of this size or more. It
/// is what one upload keeps in memory.
const PART_BYTES: u64 = 8 << 20;
/// S3 takes this many parts at most.
const MAX_PARTS: u64 = 10_000;

/// A part of a blob's content, as it lies in the bucket: a part has no digest to check.
pub struct ObjectRange(ObjectReader);

impl Read for ObjectRange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl ObjectStore {
    /// Returns the size in bytes of the blob, or `None` where the bucket does not have it.
    ///
    /// # Errors
    /// `Denied` or `Unreachable`.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(self.bucket().look(&keys::blob(digest))?.map(|entry| entry.size))
    }

    /// Opens the blob; its content is checked while it is read.
    ///
    /// # Errors
    /// `NotFound`, `Denied` or `Unreachable`.
    pub fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError> {
        let size = self.blob_size(digest)?.ok_or_else(|| StoreError::NotFound { what: self.what(digest) })?;
        Ok(self.open_sized(digest, size))
    }

    /// Opens the blob of known size without asking for it first.
    pub(super) fn open_sized(&self, digest: &Digest, size: u64) -> Blob {
        Blob::checked(*digest, size, self.bucket().read(&keys::blob(digest), 0, size))
    }

    /// Opens `length` bytes of the blob from `offset` on, which must be there.
    pub fn open_range(&self, digest: &Digest, offset: u64, length: u64) -> ObjectRange {
        ObjectRange(self.bucket().read(&keys::blob(digest), offset, length))
    }

    /// Stores `content` under the digest and size that `descriptor` names, in parts where it is
    /// large. Content is hashed while it is sent, unless it was checked before or checks itself.
    ///
    /// # Errors
    /// `Corrupt` where the content is not what the descriptor says; nothing is kept then.
    pub fn put_blob(&self, descriptor: &Descriptor, content: Blob) -> Result<Put, StoreError> {
        let (digest, size) = (descriptor.digest, descriptor.size);
        if self.blob_size(&digest)? == Some(size) {
            return Ok(Put::Present);
        }
        if content.size() != size {
            let mismatch = crate::check::Mismatch::Size { expected: size, found: content.size() };
            return Err(StoreError::Corrupt { what: self.what(&digest), reason: mismatch.to_string() });
        }
        self.ensure_format()?;
        let mut reader: Box<dyn Read> = match content.verified_as() == Some(digest) {
            true => Box::new(content),
            false => Box::new(CheckedReader::new(content, digest, size)),
        };
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::InvalidData => {
                StoreError::Corrupt { what: format!("blob {digest}"), reason: error.to_string() }
            }
            _ => StoreError::io("read", format!("the content of blob {digest}"), error),
        };
        let key = keys::blob(&digest);
        let mut left = size;
        let mut fill = |part: usize| -> Result<Bytes, StoreError> {
            let piece = fill(&mut reader, part, &mut left).map_err(unreadable)?;
            Ok(piece)
        };
        if size <= PART_BYTES {
            let whole = fill(usize::try_from(size).expect("a few MiB fit usize"))?;
            self.bucket().put(&key, whole)?;
        } else {
            self.bucket().put_parts(&key, part_bytes(size), fill)?;
        }
        Ok(Put::Written)
    }

    pub(super) fn bucket(&self) -> &Bucket {
        &self.0.bucket
    }
}

/// Returns the next piece of `part` bytes, shorter where the content ends. The end of the content is
/// looked for with the last piece: who reads a blob that is too long, or wrong, is told there.
fn fill(reader: &mut dyn Read, part: usize, left: &mut u64) -> io::Result<Bytes> {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(part);
    let mut piece = vec![0; length];
    if length > 0 {
        reader.read_exact(&mut piece)?;
        *left -= length as u64;
    }
    if *left == 0 && reader.read(&mut [0])? != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it has more bytes than it should have"));
    }
    Ok(piece.into())
}

/// Returns how large the parts of an upload of `size` bytes are.
fn part_bytes(size: u64) -> usize {
    let least = size.div_ceil(MAX_PARTS);
    usize::try_from(PART_BYTES.max(least)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_few_enough_whatever_the_size() {
        assert_eq!(part_bytes(9 << 20), 8 << 20);
        for size in [80_u64 << 30, (80 << 30) + 1, 5 << 40] {
            assert!(size.div_ceil(part_bytes(size) as u64) <= MAX_PARTS, "{size}");
        }
    }
}
