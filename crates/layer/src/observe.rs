//! Learning everything about a layer while its tar streams by once: diff id, the digest and place of
//! every file, the list of entries. Who wants more (package files, licences) hangs a [`Tap`] in.
//!
//! Compressing the same bytes is [`crate::LayerWriter`]'s.

use std::io::{self, Write};

use oci::{DiffId, Hasher};

use crate::entry::{Entry, Kind};
use crate::error::LayerError;
use crate::hash::StreamHasher;
use crate::index::LayerIndex;
use crate::tar::{BLOCK, Decoder, Next, padding};

/// Sees the entries of a layer as they stream by. Whiteouts are entries too.
pub trait Tap {
    /// An entry begins; the digest of a file is not known yet.
    fn entry(&mut self, entry: &Entry) {
        let _ = entry;
    }

    /// The next piece of the current file's content; never called for other kinds.
    fn data(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// The entry is complete; a file has its digest.
    fn end_entry(&mut self, entry: &Entry) {
        let _ = entry;
    }
}

/// Looks at nothing.
impl Tap for () {}

impl<T: Tap + ?Sized> Tap for &mut T {
    fn entry(&mut self, entry: &Entry) {
        (**self).entry(entry);
    }

    fn data(&mut self, bytes: &[u8]) {
        (**self).data(bytes);
    }

    fn end_entry(&mut self, entry: &Entry) {
        (**self).end_entry(entry);
    }
}

impl<T: Tap + ?Sized> Tap for Box<T> {
    fn entry(&mut self, entry: &Entry) {
        (**self).entry(entry);
    }

    fn data(&mut self, bytes: &[u8]) {
        (**self).data(bytes);
    }

    fn end_entry(&mut self, entry: &Entry) {
        (**self).end_entry(entry);
    }
}

/// Several taps, one after the other.
impl<T: Tap> Tap for Vec<T> {
    fn entry(&mut self, entry: &Entry) {
        self.iter_mut().for_each(|tap| tap.entry(entry));
    }

    fn data(&mut self, bytes: &[u8]) {
        self.iter_mut().for_each(|tap| tap.data(bytes));
    }

    fn end_entry(&mut self, entry: &Entry) {
        self.iter_mut().for_each(|tap| tap.end_entry(entry));
    }
}

/// Two taps, one after the other.
impl<A: Tap, B: Tap> Tap for (A, B) {
    fn entry(&mut self, entry: &Entry) {
        self.0.entry(entry);
        self.1.entry(entry);
    }

    fn data(&mut self, bytes: &[u8]) {
        self.0.data(bytes);
        self.1.data(bytes);
    }

    fn end_entry(&mut self, entry: &Entry) {
        self.0.end_entry(entry);
        self.1.end_entry(entry);
    }
}

/// What was learnt about a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// The size of the uncompressed tar in bytes.
    pub size: u64,
    /// All entries in the order of the tar.
    pub index: LayerIndex,
}

/// Is written the bytes of an uncompressed tar and learns what is in it.
///
/// A write fails where the tar is damaged; [`Observer::finish`] then gives the reason as a
/// [`LayerError`].
#[derive(Debug)]
pub struct Observer<T: Tap = ()> {
    tap: T,
    whole: StreamHasher,
    position: u64,
    decoder: Decoder,
    block: [u8; BLOCK],
    state: State,
    /// The entries so far, where they are kept.
    entries: Option<Vec<Entry>>,
    failure: Option<LayerError>,
}

#[derive(Debug)]
enum State {
    /// Within a header block.
    Header { filled: usize },
    /// Within the body of an extension header.
    Extension { body: Vec<u8>, left: u64, padding: u64 },
    /// Within the content of a file.
    Content { entry: Entry, hasher: Hasher, left: u64, padding: u64 },
    /// Within bytes of no interest.
    Skip { left: u64 },
    /// Behind the end of the archive.
    End,
}

impl Observer {
    /// Returns an observer of a tar that has not begun.
    pub fn new() -> Self {
        Self::with_tap(())
    }
}

impl Default for Observer {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Tap> Observer<T> {
    /// Returns an observer that shows every entry to `tap` as well. A `&mut` of a tap is one too.
    pub fn with_tap(tap: T) -> Self {
        Self {
            tap,
            whole: StreamHasher::new(),
            position: 0,
            decoder: Decoder::default(),
            block: [0; BLOCK],
            state: State::Header { filled: 0 },
            entries: Some(Vec::new()),
            failure: None,
        }
    }

    /// Returns the observer without a list of entries of its own: the tap has them.
    #[must_use]
    pub fn without_index(self) -> Self {
        Self { entries: None, ..self }
    }

    /// Returns what was learnt; the index is empty where none was kept.
    ///
    /// # Errors
    /// `Damaged`, `Entry` or `TooLarge`: what a write failed for, or that the tar breaks off.
    pub fn finish(mut self) -> Result<Observed, LayerError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        match self.state {
            State::Header { filled: 0 } => self.decoder.check_nothing_pending(self.position)?,
            State::Skip { left: 0 } | State::End => {}
            _ => {
                let reason = "the archive breaks off".to_owned();
                return Err(LayerError::Damaged { position: self.position, reason });
            }
        }
        let mut entries = self.entries.take().unwrap_or_default();
        entries.shrink_to_fit();
        let diff_id = DiffId(self.whole.finish());
        let index = LayerIndex { diff_id, size: self.position, entries };
        Ok(Observed { diff_id, size: self.position, index })
    }

    fn observe(&mut self, mut bytes: &[u8]) -> Result<(), LayerError> {
        self.whole.update(bytes);
        while !bytes.is_empty() {
            let count = self.step(bytes)?;
            self.position += count as u64;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Takes some of `bytes` and returns how many.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, LayerError> {
        match &mut self.state {
            State::Header { filled } => {
                let count = bytes.len().min(BLOCK - *filled);
                self.block[*filled..*filled + count].copy_from_slice(&bytes[..count]);
                *filled += count;
                if *filled == BLOCK {
                    *filled = 0;
                    self.after_header(count)?;
                }
                Ok(count)
            }
            State::Extension { body, left, .. } => {
                let count = up_to(*left, bytes);
                body.extend_from_slice(&bytes[..count]);
                *left -= count as u64;
                if *left == 0 {
                    self.after_extension()?;
                }
                Ok(count)
            }
            State::Content { hasher, left, .. } => {
                let count = up_to(*left, bytes);
                hasher.update(&bytes[..count]);
                self.tap.data(&bytes[..count]);
                *left -= count as u64;
                if *left == 0 {
                    self.after_content();
                }
                Ok(count)
            }
            State::Skip { left } => {
                let count = up_to(*left, bytes);
                *left -= count as u64;
                if *left == 0 {
                    self.state = State::Header { filled: 0 };
                }
                Ok(count)
            }
            State::End => Ok(bytes.len()),
        }
    }

    /// Decodes the full header block, of which the last `count` bytes are not in `position` yet.
    fn after_header(&mut self, count: usize) -> Result<(), LayerError> {
        let header_at = self.position + count as u64 - BLOCK as u64;
        match self.decoder.block(&self.block, header_at)? {
            Next::Entry { entry, sparse: Some(_), .. } => {
                let reason = "sparse files cannot be in a layer: their content lies nowhere in one piece";
                return Err(LayerError::entry(&entry.path, header_at, reason));
            }
            Next::Entry { entry, size, sparse: None } => self.begin(entry, size),
            Next::Extension { size: 0 } => self.decoder.extension(Vec::new(), header_at)?,
            Next::Extension { size } => {
                let body = Vec::with_capacity(size as usize);
                self.state = State::Extension { body, left: size, padding: padding(size) };
            }
            Next::Skip { size } => self.skip(size + padding(size)),
            Next::Zero | Next::More => {}
            Next::End => self.state = State::End,
        }
        Ok(())
    }

    fn begin(&mut self, entry: Entry, size: u64) {
        self.tap.entry(&entry);
        let hasher = Hasher::default();
        match entry.kind {
            Kind::File { .. } => {
                self.state = State::Content { entry, hasher, left: size, padding: padding(size) };
                if size == 0 {
                    self.after_content();
                }
            }
            _ => {
                self.end(entry);
                self.skip(size + padding(size));
            }
        }
    }

    fn after_extension(&mut self) -> Result<(), LayerError> {
        let State::Extension { body, padding, .. } = &mut self.state else { return Ok(()) };
        let (body, padding) = (std::mem::take(body), *padding);
        self.skip(padding);
        self.decoder.extension(body, self.position)
    }

    fn after_content(&mut self) {
        let State::Content { mut entry, hasher, padding, .. } =
            std::mem::replace(&mut self.state, State::End)
        else {
            return;
        };
        if let Kind::File { digest, .. } = &mut entry.kind {
            *digest = Some(hasher.finish());
        }
        self.end(entry);
        self.skip(padding);
    }

    fn end(&mut self, entry: Entry) {
        self.tap.end_entry(&entry);
        if let Some(entries) = &mut self.entries {
            entries.push(entry);
        }
    }

    fn skip(&mut self, left: u64) {
        self.state = if left == 0 { State::Header { filled: 0 } } else { State::Skip { left } };
    }
}

fn up_to(left: u64, bytes: &[u8]) -> usize {
    left.min(bytes.len() as u64) as usize
}

impl<T: Tap> Write for Observer<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failure.is_none() {
            self.failure = self.observe(bytes).err();
        }
        match &self.failure {
            None => Ok(bytes.len()),
            Some(failure) => Err(io::Error::new(io::ErrorKind::InvalidData, failure.to_string())),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
