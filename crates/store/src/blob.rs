//! Open content on its way from one store to another.

use std::fs::File;
use std::io::{self, Read};

use bytes::Bytes;
use oci::Digest;

use crate::check::{Check, CheckedReader};

/// Open content of known size.
pub struct Blob {
    size: u64,
    /// Bytes of a file that were not read yet; the file may go on behind the blob.
    left: u64,
    verified_as: Option<Digest>,
    /// Checks what is read of a file that nobody has verified.
    check: Option<Box<Check>>,
    content: Content,
}

/// What a blob's bytes come from; a receiver that can copy a file inside the kernel asks for it.
pub enum Source {
    /// A file whose content from the current position on, for the blob's size, is the blob, and
    /// which was verified.
    File(File),
    /// Bytes in memory, verified.
    Bytes(Bytes),
    /// A stream that checks itself while it is read.
    Stream(Box<dyn Read + Send>),
}

/// Content from elsewhere that can be had from any byte on.
pub trait Resumable: Read + Send {
    /// Has the next read give what lies behind the first `offset` bytes. May be called at any time.
    fn resume_at(&mut self, offset: u64);
}

enum Content {
    Given(Source),
    /// Nothing of it was checked.
    Remote(Box<dyn Resumable>),
}

impl Blob {
    /// Returns a blob of `size` bytes from `source`. A store that takes it computes the digest itself.
    pub fn new(size: u64, source: Source) -> Self {
        Self { size, left: size, verified_as: None, check: None, content: Content::Given(source) }
    }

    /// Returns a blob whose bytes were checked against `digest`, or check themselves while they are
    /// read; a store that takes it does not hash them again.
    pub fn verified(digest: Digest, size: u64, source: Source) -> Self {
        Self { size, left: size, verified_as: Some(digest), check: None, content: Content::Given(source) }
    }

    /// Returns a blob of a file that nobody has verified yet: reading checks it. A receiver whose
    /// other end computes the digest anyway takes the file with [`Blob::into_file`].
    pub fn unverified(digest: Digest, size: u64, file: File) -> Self {
        let check = Some(Box::new(Check::new(digest, size)));
        Self {
            size,
            left: size,
            verified_as: Some(digest),
            check,
            content: Content::Given(Source::File(file)),
        }
    }

    /// Returns a blob that checks `reader` against digest and size while it is read.
    pub fn checked(digest: Digest, size: u64, reader: impl Read + Send + 'static) -> Self {
        let reader = CheckedReader::new(reader, digest, size);
        Self::verified(digest, size, Source::Stream(Box::new(reader)))
    }

    /// Returns a blob that checks a stream while it is read, and that whoever has its beginning from
    /// before need not read from the start.
    pub fn resumable(digest: Digest, size: u64, stream: impl Resumable + 'static) -> Self {
        let check = Some(Box::new(Check::new(digest, size)));
        let content = Content::Remote(Box::new(stream));
        Self { size, left: size, verified_as: Some(digest), check, content }
    }

    /// Whether [`Blob::resume`] may save anything.
    pub fn is_resumable(&self) -> bool {
        matches!(self.content, Content::Remote(_))
    }

    /// Reads `head`, which arrived before, to its end as the beginning of the content; what is read next
    /// lies behind it. Both together are checked. Returns the number of bytes of `head`.
    ///
    /// # Errors
    /// Of kind [`io::ErrorKind::InvalidData`] where `head` is no beginning of the content, as far as
    /// that can be told; what reading it says. [`Blob::restart`] is to be called then.
    pub fn resume(&mut self, mut head: impl Read) -> io::Result<u64> {
        self.restart();
        let mut done = 0;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = head.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            if let Some(check) = &mut self.check {
                check.update(&buffer[..count])?;
            }
            done += count as u64;
        }
        self.go_to(done);
        Ok(done)
    }

    /// Has the content of a resumable blob begin again, whatever was read of it.
    pub fn restart(&mut self) {
        if let Some(digest) = self.verified_as.filter(|_| self.is_resumable()) {
            self.check = Some(Box::new(Check::new(digest, self.size)));
            self.go_to(0);
        }
    }

    fn go_to(&mut self, offset: u64) {
        if let Content::Remote(stream) = &mut self.content {
            stream.resume_at(offset);
            self.left = self.size.saturating_sub(offset);
        }
    }

    /// Returns a blob of bytes in memory.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::new(bytes.len() as u64, Source::Bytes(bytes))
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the digest the bytes are known to have, or to be checked against while they are read.
    pub fn verified_as(&self) -> Option<Digest> {
        self.verified_as
    }

    /// Returns where the bytes come from. A file that was not verified comes as a stream that
    /// checks itself.
    pub fn into_source(self) -> Source {
        match self.content {
            Content::Given(source) if self.check.is_none() => source,
            content => Source::Stream(Box::new(Self { content, ..self })),
        }
    }

    /// Returns the file that the blob lies in, from its current position on, verified or not;
    /// the blob itself where there is none.
    ///
    /// # Errors
    /// The blob, where its bytes do not come from a file.
    pub fn into_file(self) -> Result<File, Self> {
        match self.content {
            Content::Given(Source::File(file)) => Ok(file),
            content => Err(Self { content, ..self }),
        }
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (count, is_end) = match &mut self.content {
            Content::Given(Source::File(file)) => {
                let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                (file.read(&mut buffer[..wanted])?, wanted == 0)
            }
            Content::Given(Source::Bytes(bytes)) => {
                let count = bytes.len().min(buffer.len());
                buffer[..count].copy_from_slice(&bytes.split_to(count));
                (count, false)
            }
            Content::Given(Source::Stream(stream)) => return stream.read(buffer),
            Content::Remote(_) if buffer.is_empty() => return Ok(0),
            Content::Remote(stream) => (stream.read(buffer)?, false),
        };
        self.left = self.left.saturating_sub(count as u64);
        match &mut self.check {
            Some(check) if !is_end => check.update(&buffer[..count])?,
            _ => {}
        }
        Ok(count)
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({} bytes)", self.size)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Content in memory that notes where it was begun.
    struct Remote {
        content: Vec<u8>,
        at: usize,
        begun: Arc<Mutex<Vec<u64>>>,
    }

    impl Read for Remote {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = (&self.content[self.at..]).read(buffer)?;
            self.at += count;
            Ok(count)
        }
    }

    impl Resumable for Remote {
        fn resume_at(&mut self, offset: u64) {
            self.at = usize::try_from(offset).unwrap();
            self.begun.lock().unwrap().push(offset);
        }
    }

    fn remote(content: &[u8]) -> (Blob, Arc<Mutex<Vec<u64>>>) {
        let begun = Arc::default();
        let stream = Remote { content: content.to_vec(), at: 0, begun: Arc::clone(&begun) };
        (Blob::resumable(Digest::of(content), content.len() as u64, stream), begun)
    }

    #[test]
    fn head_and_rest_are_checked_together() {
        for length in 0..=7 {
            let (mut blob, begun) = remote(b"content");
            assert_eq!(blob.resume(&b"content"[..length]).unwrap(), length as u64);
            let mut rest = Vec::new();
            blob.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, b"content"[length..]);
            assert_eq!(*begun.lock().unwrap(), [0, length as u64]);
        }
    }

    #[test]
    fn a_wrong_head_is_noticed_and_the_content_can_begin_again() {
        for head in [&b"CONT"[..], b"CONTENT", b"content and more"] {
            let (mut blob, _) = remote(b"content");
            let taken = blob.resume(head);
            let read = taken.and_then(|_| blob.read_to_end(&mut Vec::new()));
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData);
            blob.restart();
            let mut whole = Vec::new();
            blob.into_source_stream().read_to_end(&mut whole).unwrap();
            assert_eq!(whole, b"content");
        }
    }

    impl Blob {
        fn into_source_stream(self) -> Box<dyn Read + Send> {
            match self.into_source() {
                Source::Stream(stream) => stream,
                Source::File(_) | Source::Bytes(_) => unreachable!("it comes from elsewhere"),
            }
        }
    }
}
