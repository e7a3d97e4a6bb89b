//! The file index of a layer: what is in it, without its bytes; and its form on disk.
//!
//! | part | is |
//! |---|---|
//! | first line | JSON: `schema`, `diff_id`, `size`, `entries` (their number) |
//! | the rest | one zstd frame with a checksum: the entries one after the other |
//!
//! An entry is the number of bytes its path shares with the path before, the rest of the path, a byte
//! for the kind, mode, owner, group, time, then what the kind needs and the extended attributes.
//! Numbers are LEB128, signed ones zigzag; texts are a length and bytes.

pub(crate) mod encoding;
mod stored;
mod writer;

use std::io::{BufRead, BufReader, Read, Write};

use oci::DiffId;
use serde::{Deserialize, Serialize};

use crate::entry::Entry;
use crate::error::LayerError;
use encoding::Cursor;
pub use stored::{Listing, StoredIndex, UsedFolders};
pub use writer::IndexWriter;

const SCHEMA: &str = "plimsoll.layer-index/1";
const BUFFER_BYTES: usize = 64 << 10;
const MAX_FIRST_LINE_BYTES: u64 = 4096;
/// Larger than any layer that the decoder of tars accepts.
const MAX_BODY_BYTES: u64 = 2 << 30;
/// A file with a SHA-256 and a short name.
const TYPICAL_ENTRY_BYTES: u64 = 80;
/// What is reserved at most because of what a first line says.
const MAX_EXPECTED_BYTES: u64 = 16 << 20;

/// All entries of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerIndex {
    /// Which layer.
    pub diff_id: DiffId,
    /// The size of the uncompressed tar in bytes.
    pub size: u64,
    /// The entries in the order of the tar; a path may occur more than once.
    pub entries: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FirstLine {
    schema: String,
    diff_id: DiffId,
    size: u64,
    entries: u64,
}

impl LayerIndex {
    /// Writes the index. The bytes depend on the index alone.
    ///
    /// # Errors
    /// `Stream` where `output` fails.
    pub fn write_to(&self, mut output: impl Write) -> Result<(), LayerError> {
        write_first_line(&mut output, self.diff_id, self.size, self.entries.len() as u64)?;
        let mut body = IndexWriter::new(output).map_err(LayerError::write)?;
        self.entries.iter().for_each(|entry| body.push(entry));
        body.finish().map(drop)
    }

    /// Writes an index whose body an [`IndexWriter`] wrote.
    ///
    /// # Errors
    /// `Stream` where `body` or `output` fails.
    pub fn write_whole(
        mut output: impl Write,
        diff_id: DiffId,
        size: u64,
        entries: u64,
        mut body: impl Read,
    ) -> Result<(), LayerError> {
        write_first_line(&mut output, diff_id, size, entries)?;
        std::io::copy(&mut body, &mut output).map_err(LayerError::write)?;
        output.flush().map_err(LayerError::write)
    }

    /// Reads the size of the layer's uncompressed tar, in bytes, and nothing else of an index.
    ///
    /// # Errors
    /// As for [`Self::read_from`].
    pub fn read_size(input: impl Read) -> Result<u64, LayerError> {
        read_first_line(&mut BufReader::new(input)).map(|first| first.size)
    }

    /// Reads an index that [`Self::write_to`] wrote.
    ///
    /// # Errors
    /// `Index` where the bytes are not one, or of a version we do not know; `Stream` where `input`
    /// fails. The index can be made again from the layer.
    pub fn read_from(input: impl Read) -> Result<Self, LayerError> {
        let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
        let first = read_first_line(&mut input)?;
        // Enough for most, so that it does not grow by copying; the kernel gives what is touched and no more.
        let expected = first.entries.saturating_mul(TYPICAL_ENTRY_BYTES).min(MAX_EXPECTED_BYTES);
        let mut body = Vec::with_capacity(expected as usize);
        let decoder = zstd::Decoder::with_buffer(input).map_err(LayerError::read)?;
        let limit = MAX_BODY_BYTES;
        let count =
            decoder.take(limit).read_to_end(&mut body).map_err(|error| damaged(&error.to_string()))?;
        if count as u64 == limit {
            return Err(damaged("it is larger than any layer"));
        }
        let entries = read_entries(&body, first.entries)?;
        Ok(Self { diff_id: first.diff_id, size: first.size, entries })
    }
}

fn write_first_line(
    mut output: impl Write,
    diff_id: DiffId,
    size: u64,
    entries: u64,
) -> Result<(), LayerError> {
    let first = FirstLine { schema: SCHEMA.to_owned(), diff_id, size, entries };
    let mut line = serde_json::to_vec(&first).expect("numbers and texts are JSON");
    line.push(b'\n');
    output.write_all(&line).map_err(LayerError::write)
}

fn damaged(reason: &str) -> LayerError {
    LayerError::Index { reason: reason.to_owned() }
}

fn read_first_line(input: &mut impl BufRead) -> Result<FirstLine, LayerError> {
    let mut line = Vec::with_capacity(192);
    input.take(MAX_FIRST_LINE_BYTES).read_until(b'\n', &mut line).map_err(LayerError::read)?;
    let first: FirstLine = serde_json::from_slice(&line).map_err(|error| damaged(&error.to_string()))?;
    if first.schema != SCHEMA {
        return Err(damaged(&format!("its schema is {:?}, not {SCHEMA:?}", first.schema)));
    }
    Ok(first)
}

fn read_entries(body: &[u8], count: u64) -> Result<Vec<Entry>, LayerError> {
    let mut cursor = Cursor(body);
    // An entry has at least seven bytes: a lying count cannot make us reserve more than the body.
    let mut entries: Vec<Entry> = Vec::with_capacity(count.min(body.len() as u64 / 7) as usize);
    while !cursor.0.is_empty() {
        let before = entries.last().map_or(&[][..], |entry| &entry.path);
        let entry =
            cursor.entry(before).ok_or_else(|| damaged(&format!("entry {} is broken", entries.len())))?;
        entries.push(entry);
    }
    if entries.len() as u64 != count {
        return Err(damaged(&format!("it has {} entries instead of {count}", entries.len())));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use oci::Digest;
    use proptest::prelude::*;

    use super::encoding::put_entry;
    use super::*;
    use crate::entry::Kind;

    fn sample() -> LayerIndex {
        let mut entries = vec![
            entry("usr", Kind::Directory),
            entry("usr/bin", Kind::Directory),
            entry("usr/bin/a", Kind::File { size: 5, digest: Some(Digest::of(b"12345")), offset: 1536 }),
            entry("usr/bin/b", Kind::File { size: u64::MAX, digest: None, offset: 0 }),
            entry("usr/bin/c", Kind::Symlink(b"/x\xff".to_vec())),
            entry("usr/bin/d", Kind::Hardlink(b"usr/bin/a".to_vec())),
            entry("dev/null", Kind::CharDevice { major: 1, minor: 3 }),
            entry("dev/sda", Kind::BlockDevice { major: 8, minor: u32::MAX }),
            entry("run/p", Kind::Fifo),
            entry("gone", Kind::Whiteout),
            entry("", Kind::Opaque),
        ];
        entries[0].xattrs.insert(b"user.x".to_vec(), vec![0, 1, 255]);
        (entries[1].mtime, entries[2].mtime) = (i64::MIN, i64::MAX);
        LayerIndex { diff_id: DiffId(Digest::of(b"tar")), size: 10_240, entries }
    }

    fn entry(path: &str, kind: Kind) -> Entry {
        let (mode, uid, gid, mtime, xattrs) = (0o4755, 7, u32::MAX, 1, BTreeMap::new());
        Entry { path: path.into(), kind, mode, uid, gid, mtime, xattrs }
    }

    fn written(index: &LayerIndex) -> Vec<u8> {
        let mut bytes = Vec::new();
        index.write_to(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn an_index_comes_back_and_its_bytes_are_stable() {
        let index = sample();
        assert_eq!(LayerIndex::read_from(&written(&index)[..]).unwrap(), index);
        assert_eq!(written(&index), written(&index));
        let empty = LayerIndex { entries: Vec::new(), ..index };
        assert_eq!(LayerIndex::read_from(&written(&empty)[..]).unwrap(), empty);
    }

    #[test]
    fn entries_go_by_one_by_one_as_well() {
        let index = sample();
        let mut writer = IndexWriter::new(Vec::new()).unwrap();
        index.entries.iter().for_each(|entry| writer.push(entry));
        let (body, count) = writer.finish().unwrap();
        let mut whole = Vec::new();
        LayerIndex::write_whole(&mut whole, index.diff_id, index.size, count, &body[..]).unwrap();
        assert_eq!(whole, written(&index));
        let mut bytes = Vec::new();
        index.entries.iter().for_each(|entry| entry.put(&mut bytes));
        let mut rest = &bytes[..];
        let taken: Vec<Entry> = std::iter::from_fn(|| Entry::take(&mut rest)).collect();
        assert_eq!((taken, rest), (index.entries, &b""[..]));
    }

    #[test]
    fn cut_and_changed_indexes_are_refused() {
        let bytes = written(&sample());
        for keep in 0..bytes.len() {
            assert!(LayerIndex::read_from(&bytes[..keep]).is_err(), "cut at {keep}");
        }
        let body = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for at in body..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(LayerIndex::read_from(&changed[..]).map_or(true, |index| index == sample()), "byte {at}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let text = String::from_utf8_lossy(&written(&sample())).replace("layer-index/1", "layer-index/9");
        let message = LayerIndex::read_from(text.as_bytes()).unwrap_err().to_string();
        assert!(message.contains("plimsoll.layer-index/9"), "{message}");
    }

    #[test]
    fn broken_entries_never_panic() {
        for bytes in [&[1, 0][..], &[0, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0, 1, b'a', b'?'], &[0x80; 20]] {
            assert!(read_entries(bytes, 1).is_err());
        }
        assert!(read_entries(&[], 1).is_err());
    }

    proptest! {
        #[test]
        fn random_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..600), count in 0_u64..9) {
            if let Ok(entries) = read_entries(&body, count) {
                prop_assert_eq!(entries.len() as u64, count);
            }
        }

        #[test]
        fn changed_bodies_never_panic(at in any::<prop::sample::Index>(), value in any::<u8>()) {
            let mut body = Vec::new();
            let index = sample();
            let before = [Vec::new()].into_iter().chain(index.entries.iter().map(|entry| entry.path.clone()));
            for (before, entry) in before.zip(&index.entries) {
                put_entry(&mut body, &before, entry);
            }
            let count = index.entries.len() as u64;
            prop_assert_eq!(read_entries(&body, count).unwrap(), index.entries);
            let at = at.index(body.len());
            body[at] = value;
            let _ = read_entries(&body, count);
        }
    }
}
