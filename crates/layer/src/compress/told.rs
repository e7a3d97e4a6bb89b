//! How much a compressed layer holds, as far as it tells without being opened.
//!
//! Source: RFC 1952, section 2.3.1, "ISIZE": the length of what a member holds, modulo 2^32.

use std::io::{self, Read, Seek, SeekFrom};

use super::decompress::Format;
use super::gzip::{HEAD_BYTES, member_bytes};

/// Deflate makes at most this much out of a byte.
const MAX_RATIO: u64 = 1032;
/// What a gzip member may add to content that cannot be compressed: head and end, and an eighth where its writer does
/// not look whether copying would have been shorter.
const MEMBER_BYTES: u64 = 64;

/// Returns how many bytes `input`, which has `size` bytes from its start, holds when it is decompressed; `None`
/// where it does not tell. What our own compressor wrote tells for certain, and so does what is not compressed.
/// Of other gzip it is what its last member says, where that can be true of one member: who relies on it has to
/// notice that it was wrong.
///
/// # Errors
/// `input` cannot be read.
pub fn told_bytes(input: &mut (impl Read + Seek), size: u64) -> io::Result<Option<u64>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    input.seek(SeekFrom::Start(0))?;
    input.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    match Format::of(&head) {
        Format::Plain => Ok(Some(size)),
        Format::OwnGzip => own(input, size),
        Format::Gzip => last_member(input, size),
        Format::Zstd | Format::Xz | Format::Bzip2 => Ok(None),
    }
}

/// Goes from member to member.
fn own(input: &mut (impl Read + Seek), size: u64) -> io::Result<Option<u64>> {
    let (mut at, mut held) = (0, 0);
    while at < size {
        let mut head = [0; HEAD_BYTES];
        input.seek(SeekFrom::Start(at))?;
        let is_whole = input.read_exact(&mut head).is_ok();
        let Some(length) = member_bytes(&head).filter(|_| is_whole) else { return Ok(None) };
        at += length as u64;
        if at > size {
            return Ok(None);
        }
        held += u64::from(tail(input, at)?);
    }
    Ok(Some(held))
}

fn last_member(input: &mut (impl Read + Seek), size: u64) -> io::Result<Option<u64>> {
    if size < 4 {
        return Ok(None);
    }
    let held = u64::from(tail(input, size)?);
    let least = (size - size / 8).saturating_sub(MEMBER_BYTES);
    Ok(Some(held).filter(|held| (least..=size.saturating_mul(MAX_RATIO)).contains(held)))
}

/// Reads the last four bytes before `end`.
fn tail(input: &mut (impl Read + Seek), end: u64) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.seek(SeekFrom::Start(end - 4))?;
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use flate2::write::GzEncoder;
    use oci::Compression;

    use super::*;
    use crate::{Settings, compressor};

    fn packed(format: Compression, content: &[u8]) -> Vec<u8> {
        let mut writer = compressor(Settings::new(format), Vec::new()).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    fn foreign(content: &[u8]) -> Vec<u8> {
        let mut writer = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<usize>) {
        let told = told_bytes(&mut Cursor::new(bytes), bytes.len() as u64).unwrap();
        assert_eq!(told, expected.map(|bytes| bytes as u64));
    }

    /// Bytes that nothing makes smaller.
    fn noise(count: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn what_is_told_is_what_it_holds() {
        for content in [vec![], b"x".to_vec(), vec![7; 3 << 20], noise(3 << 20), noise((1 << 20) + 1)] {
            check(&packed(Compression::Gzip, &content), Some(content.len()));
            check(&packed(Compression::None, &content), Some(content.len()));
            check(&foreign(&content), Some(content.len()));
        }
        check(&packed(Compression::Zstd, &[7; 10_000]), None);
    }

    #[test]
    fn several_members_of_others_and_damaged_ones_of_ours_tell_nothing() {
        let two = [foreign(&noise(100_000)), foreign(b"end")].concat();
        check(&two, None);
        let ours = packed(Compression::Gzip, &noise(3 << 20));
        check(&ours[..ours.len() - 1], None);
        check(&[&ours[..], b"more"].concat(), None);
        check(&[0x1f, 0x8b], None);
    }
}
