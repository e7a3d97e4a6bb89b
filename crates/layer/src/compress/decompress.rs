//! Opening a compressed stream by looking at its first bytes.

use std::io::{self, BufReader, Cursor, Read};

use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use super::ahead::ReadAhead;
use super::gzip::{HEAD_BYTES, MemberReader, member_bytes};

/// xz streams that need more memory than this are refused; `xz -9` needs 65 MiB.
const XZ_MEMORY_BYTES: u64 = 256 << 20;
/// zstd frames whose window is larger than this are refused; the level for archives has 2^27.
const ZSTD_WINDOW_LOG: u32 = 27;
const BUFFER_BYTES: usize = 128 << 10;
/// Threads that open members of our own gzip; hashing behind them is slower than two.
const MEMBER_WORKERS: usize = 4;

/// Returns what `input` holds, uncompressed: gzip (of several members), zstd, xz and bzip2 are told by
/// their first bytes, anything else is passed on as it is. Memory is bounded whatever the input says.
/// Threads of its own decompress a little ahead; they end when what is returned is dropped.
///
/// # Errors
/// Where the first bytes cannot be read. Damaged and truncated streams give an error when they are read.
pub fn decompress(mut input: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    (&mut input).take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    let format = Format::of(&head);
    if format == Format::OwnGzip {
        let workers = super::processors().min(MEMBER_WORKERS);
        return Ok(Box::new(MemberReader::new(head, input, workers)));
    }
    let whole = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(input));
    Ok(match format {
        Format::Plain => Box::new(whole),
        Format::OwnGzip | Format::Gzip => {
            Box::new(ReadAhead::new(flate2::bufread::MultiGzDecoder::new(whole))?)
        }
        Format::Bzip2 => Box::new(ReadAhead::new(bzip2::bufread::MultiBzDecoder::new(whole))?),
        Format::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(whole)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(ReadAhead::new(decoder)?)
        }
        Format::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY_BYTES, CONCATENATED)?;
            Box::new(ReadAhead::new(XzDecoder::new_stream(whole, stream))?)
        }
    })
}

/// How a stream is compressed, told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Gzip whose members name their own length, as written by us.
    OwnGzip,
    /// Any other gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// xz.
    Xz,
    /// bzip2.
    Bzip2,
    /// None of these.
    Plain,
}

impl Format {
    /// How many first bytes [`Format::of`] needs to tell all formats apart.
    pub const HEAD_BYTES: usize = HEAD_BYTES;

    /// Returns the format of a stream that begins with `head`.
    pub fn of(head: &[u8]) -> Self {
        match head {
            _ if member_bytes(head).is_some() => Self::OwnGzip,
            [0x1f, 0x8b, ..] => Self::Gzip,
            // The second is a skippable frame, which may stand before the first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            _ => Self::Plain,
        }
    }
}
