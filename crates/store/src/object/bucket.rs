//! One bucket, or a part of it under a prefix: objects by key, as plain blocking calls.
//!
//! This is the only file that speaks to the library for object stores, and it makes its errors
//! ours. When a request is made again is the matter of the transport that a bucket is given.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use futures_core::Stream as _;
use opendal::options::{ListOptions, WriteOptions};
use opendal::{Buffer, BufferStream, ErrorKind, Metadata, Operator};

use super::wait::wait;
use crate::StoreError;

/// How often an object that breaks off without a single byte is asked for again.
const MAX_BREAKS: u32 = 3;

/// A bucket, or a part of it.
#[derive(Clone)]
pub struct Bucket {
    operator: Operator,
    /// For people: `s3://bucket/prefix`.
    name: Arc<str>,
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// What follows the prefix that was listed; ends with `/` where it stands for all keys below.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// When it was written, in seconds by the bucket's clock; `None` where the bucket does not say.
    pub written: Option<i64>,
}

/// Why a bucket refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Words(String);

impl Bucket {
    /// Returns the bucket that `operator` reaches; `name` is how errors call it.
    pub fn new(operator: Operator, name: impl Into<Arc<str>>) -> Self {
        Self { operator, name: name.into() }
    }

    /// Returns an empty bucket in memory, for tests and for what need not last.
    pub fn in_memory() -> Self {
        let operator = Operator::new(opendal::services::Memory::default());
        Self::new(operator.expect("memory has nothing to configure"), "memory")
    }

    /// Returns how errors call the bucket.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the address under which anybody may read the object for so long, with the headers
    /// to send; `None` where the bucket has no such addresses.
    pub(super) fn presign(
        &self,
        key: &str,
        valid: std::time::Duration,
    ) -> Result<Option<String>, StoreError> {
        if !self.operator.info().capability().presign_read {
            return Ok(None);
        }
        let request = wait(self.operator.presign_read(key, valid));
        request
            .map(|request| Some(request.uri().to_string()))
            .map_err(|error| self.failed("sign", key, error))
    }

    /// Returns what is known of the object; `None` where there is none.
    pub(super) fn look(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        match wait(self.operator.stat(key)) {
            Ok(metadata) => Ok(Some(entry(key.to_owned(), &metadata))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", key, error)),
        }
    }

    /// Returns the whole object; `None` where there is none.
    ///
    /// # Errors
    /// `Corrupt` where it has more than `limit` bytes.
    pub(super) fn get(&self, key: &str, limit: u64) -> Result<Option<Bytes>, StoreError> {
        let mut stream = self.stream(key, 0, None).map_err(|error| self.failed("read", key, error))?;
        let mut content = Vec::new();
        loop {
            match next(&mut stream) {
                Ok(None) => return Ok(Some(content.into())),
                Ok(Some(piece))
                    if content.len() + piece.len() > usize::try_from(limit).unwrap_or(usize::MAX) =>
                {
                    let reason = format!("it has more than the {limit} bytes allowed here");
                    return Err(StoreError::Corrupt { what: self.what(key), reason });
                }
                Ok(Some(piece)) => piece.for_each(|bytes| content.extend_from_slice(&bytes)),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(self.failed("read", key, error)),
            }
        }
    }

    /// Writes an object in one request, over one that is there.
    pub(super) fn put(&self, key: &str, content: impl Into<Bytes>) -> Result<(), StoreError> {
        let written = wait(self.operator.write(key, content.into()));
        written.map(|_| ()).map_err(|error| self.failed("write", key, error))
    }

    /// Writes an object where there is none under the key; `false` where there is one.
    pub(super) fn put_new(&self, key: &str, content: impl Into<Bytes>) -> Result<bool, StoreError> {
        let options = WriteOptions { if_not_exists: true, ..WriteOptions::default() };
        match wait(self.operator.write_options(key, content.into(), options)) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists) => {
                Ok(false)
            }
            Err(error) => Err(self.failed("write", key, error)),
        }
    }

    /// Writes an object in parts of `part` bytes as `fill` gives them; nothing is there before the last
    /// one is. `fill` returns an empty piece at the end.
    pub(super) fn put_parts(
        &self,
        key: &str,
        part: usize,
        mut fill: impl FnMut(usize) -> Result<Bytes, StoreError>,
    ) -> Result<(), StoreError> {
        let failed = |error| self.failed("write", key, error);
        let options = WriteOptions { chunk: Some(part), ..WriteOptions::default() };
        let mut writer = wait(self.operator.writer_options(key, options)).map_err(failed)?;
        let mut send = || -> Result<(), StoreError> {
            loop {
                let piece = fill(part)?;
                if piece.is_empty() {
                    return wait(writer.close()).map(|_| ()).map_err(failed);
                }
                wait(writer.write(piece)).map_err(failed)?;
            }
        };
        let sent = send();
        if sent.is_err() {
            // Parts of an upload that is not ended are invisible; a bucket that does not take them
            // away now does so by its own rules.
            let _ = wait(writer.abort());
        }
        sent
    }

    /// Removes an object; no matter whether there is one.
    pub(super) fn remove(&self, key: &str) -> Result<(), StoreError> {
        wait(self.operator.delete(key)).map_err(|error| self.failed("remove", key, error))
    }

    /// Removes objects, many with one request where the bucket can.
    pub(super) fn remove_all(&self, keys: Vec<String>) -> Result<(), StoreError> {
        wait(self.operator.delete_iter(keys)).map_err(|error| self.failed("remove", "objects", error))
    }

    /// Returns the objects whose keys begin with `prefix`, which ends with `/`, in ascending order:
    /// all of them, or those directly below.
    pub(super) fn list(&self, prefix: &str, depth: Depth) -> Result<Vec<Entry>, StoreError> {
        let options = ListOptions { recursive: depth == Depth::All, ..ListOptions::default() };
        let found = wait(self.operator.list_options(prefix, options));
        let found = match found {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            found => found.map_err(|error| self.failed("list", prefix, error))?,
        };
        let below = found.into_iter().filter_map(|found| {
            let name = found.path().strip_prefix(prefix)?.to_owned();
            (!name.is_empty()).then(|| entry(name, found.metadata()))
        });
        let mut below: Vec<Entry> = below.collect();
        below.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(below)
    }

    /// Opens `length` bytes of an object from `offset` on, which must be there. What breaks off is
    /// asked for again from where it broke.
    pub(super) fn read(&self, key: &str, offset: u64, length: u64) -> ObjectReader {
        ObjectReader {
            bucket: self.clone(),
            key: key.to_owned(),
            offset,
            end: offset + length,
            stream: None,
            piece: Buffer::new(),
            breaks: 0,
        }
    }

    fn stream(&self, key: &str, offset: u64, end: Option<u64>) -> Result<BufferStream, opendal::Error> {
        wait(async {
            let reader = self.operator.reader(key).await?;
            match end {
                Some(end) => reader.into_stream(offset..end).await,
                None => reader.into_stream(offset..).await,
            }
        })
    }

    /// Returns how errors call the object.
    pub(super) fn what(&self, key: &str) -> String {
        format!("{key} in the store at {}", self.name)
    }

    fn failed(&self, action: &'static str, key: &str, error: opendal::Error) -> StoreError {
        let what = self.what(key);
        match error.kind() {
            ErrorKind::NotFound => StoreError::NotFound { what },
            ErrorKind::PermissionDenied => StoreError::Denied { what, reason: words(&error) },
            ErrorKind::ConfigInvalid if words(&error).contains("NoSuchBucket") => {
                StoreError::NotFound { what: format!("the bucket {}", self.name) }
            }
            _ => StoreError::Unreachable {
                action,
                what,
                transient: error.is_temporary(),
                source: source(error),
            },
        }
    }
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bucket({})", self.name)
    }
}

/// How far a list goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Every key that begins with the prefix.
    All,
    /// Keys up to the next `/`.
    One,
}

fn entry(name: String, metadata: &Metadata) -> Entry {
    let written = metadata.last_modified().map(|time| time.into_inner().as_second());
    Entry { name, size: metadata.content_length(), written }
}

fn next(stream: &mut BufferStream) -> Result<Option<Buffer>, opendal::Error> {
    wait(std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context))).transpose()
}

/// Returns the bucket's own words without what the library puts around them.
fn words(error: &opendal::Error) -> String {
    let message = error.message();
    let cut: String = message.chars().take(500).collect();
    if cut.is_empty() { error.kind().to_string() } else { cut }
}

/// Returns what happened: the transport's own error where there is one, otherwise the bucket's words.
fn source(error: opendal::Error) -> Box<dyn std::error::Error + Send + Sync> {
    Box::new(Words(match std::error::Error::source(&error) {
        Some(source) => format!("{}: {source}", words(&error)),
        None => words(&error),
    }))
}

/// The content of an object. It does not check digests.
pub(super) struct ObjectReader {
    bucket: Bucket,
    key: String,
    offset: u64,
    end: u64,
    stream: Option<BufferStream>,
    piece: Buffer,
    /// How often in a row it broke off without a byte.
    breaks: u32,
}

impl ObjectReader {
    fn next_piece(&mut self) -> Result<Option<Buffer>, opendal::Error> {
        if self.stream.is_none() {
            self.stream = Some(self.bucket.stream(&self.key, self.offset, Some(self.end))?);
        }
        self.stream.as_mut().map_or(Ok(None), next)
    }

    fn fail(&self, error: opendal::Error) -> io::Error {
        let kind = match error.kind() {
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, self.bucket.failed("read", &self.key, error))
    }
}

impl io::Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && self.offset < self.end && !buffer.is_empty() {
            match self.next_piece() {
                Ok(Some(piece)) => self.piece = piece,
                // An object that is shorter than it should be is for whoever checks sizes.
                Ok(None) => return Ok(0),
                Err(error) if error.kind() == ErrorKind::RangeNotSatisfied => return Ok(0),
                Err(error) if error.is_temporary() && self.breaks < MAX_BREAKS => {
                    self.breaks += 1;
                    self.stream = None;
                }
                Err(error) => return Err(self.fail(error)),
            }
        }
        let count = self.piece.remaining().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        self.offset += count as u64;
        if count > 0 {
            self.breaks = 0;
        }
        Ok(count)
    }
}
