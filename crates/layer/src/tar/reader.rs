//! Reading a tar by pulling: the next entry, then its content.

use std::io::{self, BufRead, BufReader, Read, Seek};

use super::decode::{Decoder, Next};
use super::header::{BLOCK, padding};
use super::sparse::{Expansion, Run};
use crate::entry::{Entry, Kind};
use crate::error::LayerError;

const BUFFER_BYTES: usize = 128 << 10;
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];

/// Pulls entries from the bytes of a tar.
#[derive(Debug)]
pub struct TarReader<R: Read> {
    input: BufReader<R>,
    decoder: Decoder,
    position: u64,
    /// What is left of the content in the archive.
    content_left: u64,
    sparse: Option<Expansion>,
    skip: u64,
    ended: bool,
}

impl<R: Read> TarReader<R> {
    /// Returns a reader that stands before the first entry of `input`.
    pub fn new(input: R) -> Self {
        Self {
            input: BufReader::with_capacity(BUFFER_BYTES, input),
            decoder: Decoder::default(),
            position: 0,
            content_left: 0,
            sparse: None,
            skip: 0,
            ended: false,
        }
    }

    /// Goes to the next entry and returns it; `None` after the last. What was not read of the content
    /// before is passed over. The input is read to its very end before `None` is returned, so that
    /// a stream which checks its own digest has said so.
    ///
    /// # Errors
    /// `Damaged`, `Entry`, `TooLarge`; `Stream` where the input fails.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, LayerError> {
        while !self.ended {
            self.pass_over()?;
            let header_at = self.position;
            let Some(block) = self.read_block()? else {
                self.decoder.check_nothing_pending(header_at)?;
                break;
            };
            match self.decoder.block(&block, header_at)? {
                Next::Entry { entry, size, sparse } => {
                    let is_file = matches!(entry.kind, Kind::File { .. });
                    self.content_left = if is_file { size } else { 0 };
                    self.sparse = sparse.map(Expansion::new);
                    self.skip = padding(size) + if is_file { 0 } else { size };
                    return Ok(Some(entry));
                }
                Next::Extension { size } => self.read_extension(size)?,
                Next::Skip { size } => self.skip = size + padding(size),
                Next::Zero | Next::More => {}
                Next::End => break,
            }
        }
        self.drain()?;
        Ok(None)
    }

    /// Returns the content of the current entry, from where it was left; empty unless it is a file.
    /// Sparse files are expanded.
    pub fn content(&mut self) -> Content<'_, R> {
        Content(self)
    }

    fn run(&mut self) -> Run {
        match &mut self.sparse {
            Some(sparse) => sparse.run().unwrap_or(Run::Stored(0)),
            None => Run::Stored(self.content_left),
        }
    }

    fn read_extension(&mut self, size: u64) -> Result<(), LayerError> {
        let body_at = self.position;
        let mut body = vec![0; usize::try_from(size).expect("the decoder bounds extensions")];
        self.read_exact(&mut body)?;
        self.skip = padding(size);
        self.decoder.extension(body, body_at)
    }

    /// Reads one block; `None` where the input ends before it.
    fn read_block(&mut self) -> Result<Option<[u8; BLOCK]>, LayerError> {
        if self.input.fill_buf().map_err(LayerError::read)?.is_empty() {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        self.read_exact(&mut block)?;
        Ok(Some(block))
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), LayerError> {
        let position = self.position;
        self.input.read_exact(buffer).map_err(|error| broken_off(error, position))?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    fn pass_over(&mut self) -> Result<(), LayerError> {
        self.sparse = None;
        let mut left = std::mem::take(&mut self.content_left) + std::mem::take(&mut self.skip);
        while left > 0 {
            let available = self.input.fill_buf().map_err(LayerError::read)?.len();
            if available == 0 {
                return Err(broken_off(io::ErrorKind::UnexpectedEof.into(), self.position));
            }
            let count = left.min(available as u64);
            self.input.consume(count as usize);
            self.position += count;
            left -= count;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), LayerError> {
        self.ended = true;
        loop {
            let count = self.input.fill_buf().map_err(LayerError::read)?.len();
            if count == 0 {
                return Ok(());
            }
            self.input.consume(count);
        }
    }
}

impl<R: Read + Seek> TarReader<R> {
    /// Passes over what was not read of the current entry by seeking, for archives whose content is
    /// large and of no interest now. Whether the input is long enough is not looked at: who seeks
    /// knows its length.
    ///
    /// # Errors
    /// `Stream` where the input cannot seek.
    pub fn skip_content(&mut self) -> Result<(), LayerError> {
        self.sparse = None;
        let left = std::mem::take(&mut self.content_left) + std::mem::take(&mut self.skip);
        self.input.seek_relative(left.cast_signed()).map_err(LayerError::read)?;
        self.position += left;
        Ok(())
    }
}

fn broken_off(error: io::Error, position: u64) -> LayerError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return LayerError::Damaged { position, reason: "the archive breaks off".to_owned() };
    }
    LayerError::read(error)
}

/// The content of one entry.
#[derive(Debug)]
pub struct Content<'a, R: Read>(&'a mut TarReader<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (Run::Zeros(left) | Run::Stored(left)) = self.0.run();
        let wanted = left.min(buffer.len() as u64) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        let count = match self.0.run() {
            Run::Zeros(_) => {
                buffer[..wanted].fill(0);
                wanted
            }
            Run::Stored(_) => self.0.input.read(&mut buffer[..wanted])?,
        };
        if count == 0 {
            return Err(content_broken_off(self.0.position));
        }
        self.passed(count as u64);
        Ok(count)
    }
}

impl<R: Read> BufRead for Content<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let reader = &mut *self.0;
        let (left, bytes) = match reader.run() {
            Run::Zeros(left) => (left, &ZEROS[..]),
            Run::Stored(0) => return Ok(&[]),
            Run::Stored(left) => (left, reader.input.fill_buf()?),
        };
        if bytes.is_empty() {
            return Err(content_broken_off(reader.position));
        }
        let count = left.min(bytes.len() as u64) as usize;
        Ok(&bytes[..count])
    }

    fn consume(&mut self, count: usize) {
        if let Run::Stored(_) = self.0.run() {
            self.0.input.consume(count);
        }
        self.passed(count as u64);
    }
}

impl<R: Read> Content<'_, R> {
    /// Goes on by bytes that were taken from the input or, in a hole, from nowhere.
    fn passed(&mut self, count: u64) {
        let reader = &mut *self.0;
        if let Run::Stored(_) = reader.run() {
            reader.position += count;
            reader.content_left -= count;
        }
        if let Some(sparse) = &mut reader.sparse {
            sparse.advance(count);
        }
    }
}

fn content_broken_off(position: u64) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the archive breaks off at byte {position}"))
}
