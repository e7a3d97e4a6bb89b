//! Checking content against its digest while it streams by.

use std::io::{self, Read};

use oci::{Digest, Hasher};

/// A reader that gives an error instead of its last bytes where the content does not have the
/// digest and size it should have.
///
/// The check happens with the last byte, not at the end of file: who reads exactly the expected
/// size is told as well.
pub struct CheckedReader<R> {
    inner: R,
    check: Check,
}

/// What was seen of content that should have a digest and a size.
pub(crate) struct Check {
    hasher: Option<Hasher>,
    expected: Digest,
    size: u64,
    read: u64,
}

/// What a [`CheckedReader`] found; the payload of its [`io::ErrorKind::InvalidData`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Other content.
    #[error("expected digest {expected}, found {found}")]
    Digest {
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// The content ended too early or goes on.
    #[error("expected {expected} bytes, found {found}")]
    Size {
        /// What it should be.
        expected: u64,
        /// What there is, or the first size that is too large.
        found: u64,
    },
}

impl From<Mismatch> for io::Error {
    fn from(mismatch: Mismatch) -> Self {
        Self::new(io::ErrorKind::InvalidData, mismatch)
    }
}

impl Check {
    pub fn new(expected: Digest, size: u64) -> Self {
        Self { hasher: Some(Hasher::new(expected.algorithm())), expected, size, read: 0 }
    }

    /// Takes the next piece; an empty one is the end.
    pub fn update(&mut self, piece: &[u8]) -> io::Result<()> {
        self.read += piece.len() as u64;
        if self.read > self.size || (piece.is_empty() && self.read < self.size) {
            return Err(Mismatch::Size { expected: self.size, found: self.read }.into());
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(piece);
        }
        if self.read == self.size { self.at_end() } else { Ok(()) }
    }

    fn at_end(&mut self) -> io::Result<()> {
        match self.hasher.take().map(Hasher::finish) {
            Some(found) if found != self.expected => {
                Err(Mismatch::Digest { expected: self.expected, found }.into())
            }
            _ => Ok(()),
        }
    }
}

impl<R: Read> CheckedReader<R> {
    /// Returns a reader of `inner`, which should have `size` bytes with the digest `expected`.
    pub fn new(inner: R, expected: Digest, size: u64) -> Self {
        Self { inner, check: Check::new(expected, size) }
    }
}

impl<R: Read> Read for CheckedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buffer)?;
        self.check.update(&buffer[..count])?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &[u8], digest: Digest, size: u64, expected: Result<(), Mismatch>) {
        let mut reader = CheckedReader::new(content, digest, size);
        let result = reader.read_to_end(&mut Vec::new());
        let found = result.map(|_| ()).map_err(|error| {
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            error.get_ref().and_then(|payload| payload.downcast_ref::<Mismatch>()).unwrap().clone()
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn right_content_passes() {
        check(b"content", Digest::of(b"content"), 7, Ok(()));
        check(b"", Digest::of(b""), 0, Ok(()));
    }

    #[test]
    fn other_content_and_other_sizes_are_told() {
        let expected = Digest::of(b"content");
        let found = Digest::of(b"CONTENT");
        check(b"CONTENT", expected, 7, Err(Mismatch::Digest { expected, found }));
        check(b"conte", expected, 7, Err(Mismatch::Size { expected: 7, found: 5 }));
        check(b"content!", expected, 7, Err(Mismatch::Size { expected: 7, found: 8 }));
    }

    #[test]
    fn reading_exactly_the_size_checks_too() {
        let mut reader = CheckedReader::new(&b"CONTENT"[..], Digest::of(b"content"), 7);
        assert!(reader.read_exact(&mut [0; 7]).is_err());
    }
}
