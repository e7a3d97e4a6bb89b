//! Gzip in blocks: every [`BLOCK_BYTES`] of input become a gzip member of their own, so that members
//! are made and read side by side. Every member names its length in an extra field:
//!
//! ```text
//! 1f 8b 08 04  00 00 00 00  00 ff        deflate, extra field, no time, unknown system
//! 08 00  'P' 'L' 04 00  LENGTH           length of the whole member in bytes, little-endian
//! <deflate>  CRC32  ISIZE
//! ```
//!
//! Any gzip reader takes it; ours goes from member to member without looking inside.
//!
//! Source: RFC 1952, section 2.3.1.1 for the extra field.

use std::io::{self, Read, Write};
use std::sync::Arc;

use libdeflater::{CompressionLvl, Crc, DecompressionError};

use super::backlog::Backlog;
use super::ordered::Ordered;

/// Input bytes per member. A constant of the format: changing it changes every digest.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;
/// Bytes before the deflate stream.
pub(crate) const HEAD_BYTES: usize = 20;
const TAIL_BYTES: usize = 8;
/// A member is never longer: incompressible input grows by five bytes in 64 KiB.
const MAX_MEMBER_BYTES: usize = BLOCK_BYTES + (64 << 10);

const HEAD: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 8, 0, b'P', b'L', 4, 0];

/// A block and its member.
struct Member {
    block: Vec<u8>,
    bytes: Vec<u8>,
}

/// Compresses into a sink.
pub(crate) struct GzipWriter<W: Write> {
    sink: W,
    level: i32,
    current: Vec<u8>,
    spare: Vec<Vec<u8>>,
    members: Ordered<Vec<u8>, Member>,
    started: bool,
    backlog: Backlog,
}

impl<W: Write> GzipWriter<W> {
    pub(crate) fn new(sink: W, level: i32, workers: usize) -> Self {
        let start = Arc::new(move || -> Box<dyn FnMut(Vec<u8>) -> Member + Send> {
            let mut maker = MemberMaker::new(level);
            Box::new(move |block| {
                let bytes = maker.make(&block);
                Member { block, bytes }
            })
        });
        let members = Ordered::new(workers, start);
        Self {
            sink,
            level,
            current: Vec::new(),
            spare: Vec::new(),
            members,
            started: false,
            backlog: Backlog::default(),
        }
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        // The last block is worked on here, while the threads are at those before: the caller has nothing else
        // to do, and where it is the only one, a thread would cost more than it gives.
        let last = std::mem::take(&mut self.current);
        let last = (!self.started || !last.is_empty()).then(|| MemberMaker::new(self.level).make(&last));
        self.spare = Vec::new();
        while let Some(member) = self.oldest()? {
            self.sink.write_all(&member.bytes)?;
        }
        if let Some(last) = last {
            self.sink.write_all(&last)?;
        }
        Ok(self.sink)
    }

    fn submit(&mut self) -> io::Result<()> {
        while self.members.is_ready() || (self.members.is_full() && !self.backlog.take()) {
            let Some(Member { mut block, bytes }) = self.oldest()? else { break };
            self.sink.write_all(&bytes)?;
            block.clear();
            self.spare.push(block);
        }
        let next = self.spare.pop().unwrap_or_default();
        self.started = true;
        self.members.push(std::mem::replace(&mut self.current, next))
    }

    /// Waits for the oldest block under way.
    fn oldest(&mut self) -> io::Result<Option<Member>> {
        let Some(done) = self.members.pop() else { return Ok(None) };
        self.backlog.shrink(self.members.surplus());
        done.map(Some)
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full block waits for the byte after it, so that the last one is never empty.
        if self.current.len() == BLOCK_BYTES && !bytes.is_empty() {
            self.submit()?;
        }
        let block = &mut self.current;
        let count = bytes.len().min(BLOCK_BYTES - block.len());
        block.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes members, in a buffer of its own: what comes out has the size of the member and no more.
struct MemberMaker {
    compressor: libdeflater::Compressor,
    room: Vec<u8>,
}

impl MemberMaker {
    fn new(level: i32) -> Self {
        let level = CompressionLvl::new(level).expect("settings hold levels that exist");
        Self { compressor: libdeflater::Compressor::new(level), room: Vec::new() }
    }

    fn make(&mut self, block: &[u8]) -> Vec<u8> {
        let bound = self.compressor.deflate_compress_bound(block.len());
        self.room.resize(bound.max(self.room.len()), 0);
        let size = self
            .compressor
            .deflate_compress(block, &mut self.room)
            .expect("the output has the room that the library asked for");
        let mut crc = Crc::new();
        crc.update(block);
        let length = HEAD_BYTES + size + TAIL_BYTES;
        let mut member = Vec::with_capacity(length);
        member.extend_from_slice(&HEAD);
        member.extend_from_slice(&(length as u32).to_le_bytes());
        member.extend_from_slice(&self.room[..size]);
        member.extend_from_slice(&crc.sum().to_le_bytes());
        member.extend_from_slice(&(block.len() as u32).to_le_bytes());
        member
    }
}

/// Returns the length of the member that begins with `head`; `None` where it is not one of ours.
pub(crate) fn member_bytes(head: &[u8]) -> Option<usize> {
    let length = head.strip_prefix(&HEAD)?.first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    (HEAD_BYTES + TAIL_BYTES..=MAX_MEMBER_BYTES).contains(&length).then_some(length)
}

/// Decompresses members of our own side by side.
pub(crate) struct MemberReader<R> {
    input: R,
    head: Vec<u8>,
    members: Ordered<Vec<u8>, io::Result<Vec<u8>>>,
    /// Opens the first members here; see [`INLINE_MEMBERS`].
    own: libdeflater::Decompressor,
    opened: usize,
    block: io::Cursor<Vec<u8>>,
    failed: bool,
}

/// Members that are opened by the reading thread before others are started: a MiB takes a millisecond, and on a busy
/// machine a thread waits longer than that for a processor.
const INLINE_MEMBERS: usize = 8;

impl<R: Read> MemberReader<R> {
    /// Reads from `input` after `head`, which is the beginning of its first member.
    pub(crate) fn new(head: Vec<u8>, input: R, workers: usize) -> Self {
        let start = Arc::new(|| -> Box<dyn FnMut(Vec<u8>) -> io::Result<Vec<u8>> + Send> {
            let mut decompressor = libdeflater::Decompressor::new();
            Box::new(move |member| open_member(&mut decompressor, &member))
        });
        let members = Ordered::new(workers, start);
        let (own, block) = (libdeflater::Decompressor::new(), io::Cursor::default());
        Self { input, head, members, own, opened: 0, block, failed: false }
    }

    fn read_ahead(&mut self) -> io::Result<()> {
        while !self.members.is_full() {
            let Some(member) = self.read_member()? else { break };
            self.members.push(member)?;
        }
        Ok(())
    }

    fn read_member(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut member = std::mem::take(&mut self.head);
        if member.len() < HEAD_BYTES {
            let missing = (HEAD_BYTES - member.len()) as u64;
            (&mut self.input).take(missing).read_to_end(&mut member)?;
        }
        if member.is_empty() {
            return Ok(None);
        }
        let length = member_bytes(&member).ok_or_else(|| damaged("a member does not say its length"))?;
        member.reserve_exact(length - HEAD_BYTES);
        let missing = (length - HEAD_BYTES) as u64;
        (&mut self.input).take(missing).read_to_end(&mut member)?;
        if member.len() < length {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the gzip stream breaks off"));
        }
        Ok(Some(member))
    }

    fn next_block(&mut self) -> io::Result<bool> {
        if self.opened < INLINE_MEMBERS {
            let Some(member) = self.read_member()? else { return Ok(false) };
            self.opened += 1;
            self.block = io::Cursor::new(open_member(&mut self.own, &member)?);
            return Ok(true);
        }
        self.read_ahead()?;
        let Some(block) = self.members.pop() else { return Ok(false) };
        self.block = io::Cursor::new(block??);
        Ok(true)
    }
}

impl<R: Read> Read for MemberReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(damaged("the gzip stream was damaged before"));
        }
        loop {
            let count = self.block.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let more = self.next_block();
            self.failed = more.is_err();
            if !more? {
                return Ok(0);
            }
        }
    }
}

fn open_member(decompressor: &mut libdeflater::Decompressor, member: &[u8]) -> io::Result<Vec<u8>> {
    let (deflate, tail) = member[HEAD_BYTES..].split_at(member.len() - HEAD_BYTES - TAIL_BYTES);
    let crc = u32::from_le_bytes(*tail.first_chunk().expect("the tail has eight bytes"));
    let size = u32::from_le_bytes(*tail.last_chunk().expect("the tail has eight bytes")) as usize;
    if size > BLOCK_BYTES {
        return Err(damaged("a member holds more than 1 MiB"));
    }
    let mut block = vec![0; size];
    let count = decompressor.deflate_decompress(deflate, &mut block).map_err(|error| match error {
        DecompressionError::BadData => damaged("a member is not deflate data"),
        DecompressionError::InsufficientSpace => damaged("a member holds more than it says"),
    })?;
    let mut sum = Crc::new();
    sum.update(&block);
    if count != size || sum.sum() != crc {
        return Err(damaged("the checksum of a member is wrong"));
    }
    Ok(block)
}

fn damaged(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}
