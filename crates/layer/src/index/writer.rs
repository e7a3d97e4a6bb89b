//! Writing an index while the layer streams by, so that its entries need not be in memory.

use std::io::{self, Write};

use super::encoding::put_entry;
use crate::entry::{Entry, LayerPath};
use crate::error::LayerError;
use crate::observe::Tap;

const ZSTD_LEVEL: i32 = 1;

/// Is shown the entries of a layer and writes the body of its index; what comes before the body is known when
/// the layer has ended.
pub struct IndexWriter<W: Write> {
    encoder: zstd::Encoder<'static, W>,
    bytes: Vec<u8>,
    before: LayerPath,
    entries: u64,
    failure: Option<io::Error>,
}

impl<W: Write> IndexWriter<W> {
    /// Returns a writer of a body without entries.
    ///
    /// # Errors
    /// The compressor cannot start.
    pub fn new(body: W) -> io::Result<Self> {
        let mut encoder = zstd::Encoder::new(body, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        let bytes = Vec::with_capacity(256);
        Ok(Self { encoder, bytes, before: LayerPath::new(), entries: 0, failure: None })
    }

    /// Adds the next entry. Where that fails, finishing gives the reason.
    pub fn push(&mut self, entry: &Entry) {
        self.bytes.clear();
        put_entry(&mut self.bytes, &self.before, entry);
        self.before.clone_from(&entry.path);
        self.entries += 1;
        if self.failure.is_none() {
            self.failure = self.encoder.write_all(&self.bytes).err();
        }
    }

    /// Ends the body and returns it, flushed, with the number of its entries. [`super::LayerIndex::write_whole`]
    /// makes an index of it.
    ///
    /// # Errors
    /// `Stream` where writing failed, now or before.
    pub fn finish(self) -> Result<(W, u64), LayerError> {
        if let Some(failure) = self.failure {
            return Err(LayerError::write(failure));
        }
        let mut body = self.encoder.finish().map_err(LayerError::write)?;
        body.flush().map_err(LayerError::write)?;
        Ok((body, self.entries))
    }
}

impl<W: Write> Tap for IndexWriter<W> {
    fn end_entry(&mut self, entry: &Entry) {
        self.push(entry);
    }
}
