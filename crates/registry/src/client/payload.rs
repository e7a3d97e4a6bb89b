//! What a request sends. Every payload can be sent again from any offset, which is what retry
//! and resume need; content that cannot is kept aside first.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use oci::Descriptor;
use store::part::Part;
use store::{Blob, CheckedReader, PartFolder, Source};
use tokio::sync::mpsc;

use super::Failure;

/// How much of a file is read and handed on at once.
pub(crate) const CHUNK_BYTES: usize = 512 << 10;
/// Files up to this size are read and sent like any other request.
const SMALL_BYTES: u64 = 128 << 10;
/// Streams up to this size are kept in memory instead of a file.
const IN_MEMORY_BYTES: u64 = 1 << 20;

/// The body of a request.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// Sent from memory.
    Bytes(Bytes),
    /// Sent in chunks from a file.
    File(FilePart),
}

/// A part of an open file, read without moving the file's position.
#[derive(Clone, Debug)]
pub(crate) struct FilePart {
    pub file: Arc<File>,
    pub offset: u64,
    pub length: u64,
}

impl Payload {
    pub fn empty() -> Self {
        Self::Bytes(Bytes::new())
    }

    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(part) => part.length,
        }
    }

    /// Returns what lies behind the first `count` bytes, which must be there.
    pub fn after(&self, count: u64) -> Self {
        match self {
            Self::Bytes(bytes) => {
                let count = usize::try_from(count).expect("an offset within memory fits usize");
                Self::Bytes(bytes.slice(count..))
            }
            Self::File(part) => Self::File(FilePart {
                file: part.file.clone(),
                offset: part.offset + count,
                length: part.length - count,
            }),
        }
    }

    /// Returns `length` bytes behind the first `offset`, which must be there.
    pub fn part(&self, offset: u64, length: u64) -> Self {
        match self.after(offset) {
            Self::Bytes(bytes) => {
                let length = usize::try_from(length).expect("a length within memory fits usize");
                Self::Bytes(bytes.slice(..length))
            }
            Self::File(part) => Self::File(FilePart { length, ..part }),
        }
    }

    /// Returns the next chunk behind the first `done` bytes.
    pub fn chunk(&self, done: u64) -> io::Result<Bytes> {
        let length = usize::try_from(self.len() - done).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        match self.after(done) {
            Self::Bytes(bytes) => Ok(bytes.slice(..length)),
            Self::File(part) => {
                let mut chunk = vec![0; length];
                part.file.read_exact_at(&mut chunk, part.offset)?;
                Ok(chunk.into())
            }
        }
    }

    /// Returns the content of a small file in memory: a connection of its own would cost more than that.
    /// `None` for what is large, and for what is in memory already.
    pub fn small(&self) -> io::Result<Option<Self>> {
        match self {
            Self::File(part) if part.length <= SMALL_BYTES => Ok(Some(Self::Bytes(self.chunk(0)?))),
            _ => Ok(None),
        }
    }

    /// Returns the payload of a blob. A stream is read to its end into memory or a file in
    /// `scratch`, and hashed unless it checks itself. Of files and bytes the registry computes the
    /// digest; doing that here too would only take time.
    ///
    /// What comes from elsewhere goes behind what `parts` has of it; the part stays until it is removed.
    pub fn from_blob(
        mut blob: Blob,
        descriptor: &Descriptor,
        scratch: &Path,
        parts: Option<&PartFolder>,
    ) -> Result<(Self, Option<Part>), Failure> {
        let Some(mut part) = parts.and_then(|parts| parts.take(descriptor, &blob)) else {
            return Self::of(blob, descriptor, scratch).map(|payload| (payload, None));
        };
        part.fill(&mut blob).map_err(|source| unreadable(descriptor, source))?;
        let payload = FilePart { file: part.file(), offset: 0, length: descriptor.size };
        Ok((Self::File(payload), Some(part)))
    }

    fn of(blob: Blob, descriptor: &Descriptor, scratch: &Path) -> Result<Self, Failure> {
        let length = blob.size();
        if length != descriptor.size {
            let reason = format!("it has {length} bytes where its descriptor says {}", descriptor.size);
            return Err(Failure::Corrupt { reason });
        }
        let known = blob.verified_as() == Some(descriptor.digest);
        let blob = match blob.into_file() {
            Ok(mut file) => {
                let offset = file.stream_position().map_err(|source| local("read", descriptor, source))?;
                return Ok(Self::File(FilePart { file: Arc::new(file), offset, length }));
            }
            Err(blob) => blob,
        };
        match blob.into_source() {
            Source::Bytes(bytes) => Ok(Self::Bytes(bytes)),
            Source::File(_) => unreachable!("a file was taken out of the blob"),
            Source::Stream(stream) if known => spool(stream, descriptor, scratch),
            Source::Stream(stream) => {
                spool(CheckedReader::new(stream, descriptor.digest, length), descriptor, scratch)
            }
        }
    }
}

fn spool(mut stream: impl io::Read, descriptor: &Descriptor, scratch: &Path) -> Result<Payload, Failure> {
    if descriptor.size <= IN_MEMORY_BYTES {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map_err(|source| unreadable(descriptor, source))?;
        return Ok(Payload::Bytes(bytes.into()));
    }
    let mut file = tempfile::tempfile_in(scratch).map_err(|source| local("write", descriptor, source))?;
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match stream.read(&mut buffer).map_err(|source| unreadable(descriptor, source))? {
            0 => break,
            count => file.write_all(&buffer[..count]).map_err(|source| local("write", descriptor, source))?,
        }
    }
    Ok(Payload::File(FilePart { file: Arc::new(file), offset: 0, length: descriptor.size }))
}

fn unreadable(descriptor: &Descriptor, source: io::Error) -> Failure {
    if source.kind() == io::ErrorKind::InvalidData {
        return Failure::Corrupt { reason: source.to_string() };
    }
    local("read", descriptor, source)
}

fn local(action: &'static str, descriptor: &Descriptor, source: io::Error) -> Failure {
    Failure::Local { action, what: format!("the content of {}", descriptor.digest), source }
}

/// A payload on its way through hyper.
pub(crate) enum Outgoing {
    /// All at once.
    Whole(Option<Bytes>),
    /// In chunks that another thread reads.
    Chunks {
        /// Where they come from.
        chunks: mpsc::Receiver<Bytes>,
        /// How many bytes are still to come.
        remaining: u64,
    },
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(
                bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))),
            ),
            Self::Chunks { chunks, remaining } => match std::task::ready!(chunks.poll_recv(context)) {
                Some(chunk) => {
                    *remaining = remaining.saturating_sub(chunk.len() as u64);
                    Poll::Ready(Some(Ok(Frame::data(chunk))))
                }
                None if *remaining == 0 => Poll::Ready(None),
                None => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Chunks { remaining, .. } => *remaining == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Chunks { remaining, .. } => *remaining,
        })
    }
}

#[cfg(test)]
mod tests {
    use oci::MediaType;

    use super::*;

    fn stream(content: &[u8]) -> Blob {
        Blob::new(content.len() as u64, Source::Stream(Box::new(io::Cursor::new(content.to_vec()))))
    }

    fn content(payload: &Payload) -> Vec<u8> {
        let mut content = Vec::new();
        while (content.len() as u64) < payload.len() {
            content.extend_from_slice(&payload.chunk(content.len() as u64).unwrap());
        }
        content
    }

    #[test]
    fn every_source_can_be_sent_from_any_offset() {
        let folder = tempfile::tempdir().unwrap();
        let small = b"hello world".to_vec();
        let large: Vec<u8> = (0..3_000_000_u32).map(|i| i as u8).collect();
        for data in [small, large] {
            let descriptor = Descriptor::of(MediaType::OciLayer, &data);
            let mut file = tempfile::tempfile_in(folder.path()).unwrap();
            file.write_all(b"before").unwrap();
            file.write_all(&data).unwrap();
            file.seek(io::SeekFrom::Start(6)).unwrap();
            for blob in [
                stream(&data),
                Blob::from_bytes(data.clone()),
                Blob::new(data.len() as u64, Source::File(file)),
            ] {
                let payload = Payload::from_blob(blob, &descriptor, folder.path(), None).unwrap().0;
                assert_eq!(payload.len(), data.len() as u64);
                assert!(content(&payload) == data && content(&payload.after(5)) == data[5..]);
                if let Some(small) = payload.after(5).small().unwrap() {
                    assert!(matches!(small, Payload::Bytes(bytes) if bytes == data[5..]));
                }
            }
        }
    }

    #[track_caller]
    fn check_corrupt(claimed: &[u8], actual: &[u8], expected: &str) {
        let descriptor = Descriptor::of(MediaType::OciLayer, claimed);
        let blob =
            Blob::new(claimed.len() as u64, Source::Stream(Box::new(io::Cursor::new(actual.to_vec()))));
        let failure = Payload::from_blob(blob, &descriptor, Path::new("/nowhere"), None).err().unwrap();
        assert!(matches!(&failure, Failure::Corrupt { reason } if reason.contains(expected)), "{failure}");
    }

    #[test]
    fn streams_are_checked_before_anything_is_sent() {
        check_corrupt(b"abc", b"abd", "digest");
        check_corrupt(b"abc", b"abcd", "expected 3 bytes");
        check_corrupt(b"abc", b"ab", "found 2");
    }
}
