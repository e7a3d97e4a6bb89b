//! Content that is hashed and counted while it is written.

use std::io::{self, Write};

use oci::{Digest, Hasher};

/// Passes what is written on to `sink`, and knows the digest and the size of what went there.
#[derive(Debug)]
pub struct Hashed<W> {
    sink: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Hashed<W> {
    /// Starts with no content.
    pub fn new(sink: W) -> Self {
        Self { sink, hasher: Hasher::default(), size: 0 }
    }

    /// Returns the sink, and the digest (sha256) and size in bytes of what it took.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.sink, self.hasher.finish(), self.size)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes three bytes at a time, and seven at most.
    struct Narrow(Vec<u8>);

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(3).min(7 - self.0.len());
            self.0.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_the_sink_took_is_hashed_and_nothing_else() {
        let mut hashed = Hashed::new(Narrow(Vec::new()));
        assert!(hashed.write_all(b"0123456789").is_err());
        let (sink, digest, size) = hashed.finish();
        assert_eq!((sink.0.as_slice(), size), (b"0123456".as_slice(), 7));
        assert_eq!(digest, Digest::of(b"0123456"));
    }
}
