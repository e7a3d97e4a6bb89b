//! From header blocks to entries, one block at a time; who reads the bytes decides when.

use super::header::{BLOCK, Header, SIZE};
use super::pax::{MAX_BODY_BYTES, Records};
use super::raw::Raw;
use super::sparse::{Map, MapReader};
use crate::entry::{Entry, Kind};
use crate::error::LayerError;
use crate::path::MAX_PATH_BYTES;

/// More entries than this are refused. The largest images people build have a tenth of it.
const MAX_ENTRIES: u64 = 5_000_000;
/// More bytes of names, link targets and extended attributes than this are refused.
const MAX_METADATA_BYTES: u64 = 512 << 20;

const ONLY_FILES: &str = "only files can be sparse";

/// What follows a header block.
#[derive(Debug)]
pub(crate) enum Next {
    /// An entry and `size` bytes of content, padded to a block.
    Entry {
        /// The entry; a file's digest is not known yet.
        entry: Entry,
        /// The content in bytes, as stored; of interest only where the entry is a file.
        size: u64,
        /// How the stored content becomes a sparse file's.
        sparse: Option<Map>,
    },
    /// The header goes on in the next block, which is to be given to [`Decoder::block`].
    More,
    /// `size` bytes of an extension, padded to a block, to be given to [`Decoder::extension`].
    Extension {
        /// The body in bytes, bounded.
        size: u64,
    },
    /// `size` bytes of no interest, padded to a block.
    Skip {
        /// The body in bytes.
        size: u64,
    },
    /// One block of zeros.
    Zero,
    /// The second block of zeros in a row: the archive ends here, whatever follows.
    End,
}

/// Decodes the headers of one archive.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    global: Records,
    local: Option<Records>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    body_of: Option<Extension>,
    sparse: Option<Box<SparseEntry>>,
    after_zero: bool,
    entries: u64,
    metadata_bytes: u64,
}

/// A sparse file whose map is being read.
#[derive(Debug)]
struct SparseEntry {
    entry: Entry,
    stored: u64,
    map: MapReader,
}

#[derive(Clone, Copy, Debug)]
enum Extension {
    Local,
    Global,
    LongName,
    LongLink,
}

impl Decoder {
    /// Reads the header block that stands at `position`.
    pub(crate) fn block(&mut self, block: &[u8; BLOCK], position: u64) -> Result<Next, LayerError> {
        if let Some(sparse) = self.sparse.take() {
            return self.sparse_block(sparse, block, position);
        }
        let damaged = |reason: &str| LayerError::Damaged { position, reason: reason.to_owned() };
        if block.iter().all(|byte| *byte == 0) {
            self.check_nothing_pending(position)?;
            let second = std::mem::replace(&mut self.after_zero, true);
            return Ok(if second { Next::End } else { Next::Zero });
        }
        if std::mem::take(&mut self.after_zero) {
            return Err(damaged("a header follows a block of zeros"));
        }
        let header = Header::new(block).map_err(damaged)?;
        match extension_of(header.type_flag()) {
            Some(extension) => self.start_extension(&header, extension, position),
            None => self.entry(&header, position),
        }
    }

    /// Takes the body of the extension that [`Next::Extension`] announced.
    pub(crate) fn extension(&mut self, mut body: Vec<u8>, position: u64) -> Result<(), LayerError> {
        let damaged = |reason: &str| LayerError::Damaged { position, reason: reason.to_owned() };
        match self.body_of.take().expect("an extension was announced before its body is given") {
            Extension::Local => self.local.get_or_insert_default().add(&body).map_err(damaged),
            Extension::Global => self.global.add(&body).map_err(damaged),
            long => {
                let end = body.iter().position(|byte| *byte == 0).unwrap_or(body.len());
                body.truncate(end);
                let slot = if matches!(long, Extension::LongName) {
                    &mut self.long_name
                } else {
                    &mut self.long_link
                };
                *slot = Some(body);
                Ok(())
            }
        }
    }

    /// Says whether the archive may end at `position`, which is where a header would stand. Archives
    /// without the two blocks of zeros exist and every extractor takes them.
    pub(crate) fn check_nothing_pending(&self, position: u64) -> Result<(), LayerError> {
        let extension = self.local.is_some() || self.long_name.is_some() || self.long_link.is_some();
        if extension || self.sparse.is_some() {
            let reason = "the archive ends after an extension header without its entry".to_owned();
            return Err(LayerError::Damaged { position, reason });
        }
        Ok(())
    }

    fn start_extension(
        &mut self,
        header: &Header<'_>,
        extension: Extension,
        position: u64,
    ) -> Result<Next, LayerError> {
        let limit = match extension {
            Extension::Local | Extension::Global => MAX_BODY_BYTES,
            Extension::LongName | Extension::LongLink => MAX_PATH_BYTES as u64 + 1,
        };
        let size = header.number(SIZE).ok().and_then(|size| u64::try_from(size).ok());
        let size = size.filter(|size| *size <= limit).ok_or_else(|| LayerError::Damaged {
            position,
            reason: format!("the extension header has no size or one above {limit} bytes"),
        })?;
        self.body_of = Some(extension);
        Ok(Next::Extension { size })
    }

    fn entry(&mut self, header: &Header<'_>, position: u64) -> Result<Next, LayerError> {
        let local = self.local.take().unwrap_or_default();
        let mut records = self.global.overridden_by(local);
        let sparse_name = records.sparse.as_mut().and_then(|sparse| sparse.name.take());
        let name = sparse_name.or_else(|| records.path.take()).or_else(|| self.long_name.take());
        let name = name.unwrap_or_else(|| header.name());
        self.long_name = None;
        let link = records.link.take().or_else(|| self.long_link.take());
        self.long_link = None;
        let failed = |reason| LayerError::entry(&name, position, reason);
        let mut raw = Raw { header, link, records, position };
        let map = raw.sparse_map().map_err(failed)?;
        let (entry, size) = raw.decode(&name).map_err(failed)?;
        let Some(entry) = entry else {
            return if map.is_none() { Ok(Next::Skip { size }) } else { Err(failed(ONLY_FILES.to_owned())) };
        };
        self.count(&entry)?;
        match map {
            Some(map) => self.sparse_entry(Box::new(SparseEntry { entry, stored: size, map }), position),
            None => Ok(Next::Entry { entry, size, sparse: None }),
        }
    }

    fn sparse_block(
        &mut self,
        mut sparse: Box<SparseEntry>,
        block: &[u8; BLOCK],
        position: u64,
    ) -> Result<Next, LayerError> {
        let failed = |sparse: &SparseEntry, reason| LayerError::entry(&sparse.entry.path, position, reason);
        if sparse.map.is_in_content() {
            let rest = sparse.stored.checked_sub(BLOCK as u64);
            sparse.stored = rest.ok_or_else(|| failed(&sparse, "the map of the sparse file does not end"))?;
        }
        sparse.map.block(block).map_err(|reason| failed(&sparse, reason))?;
        self.sparse_entry(sparse, position)
    }

    /// Asks for the next block of the map or, where it is complete, gives the entry.
    fn sparse_entry(&mut self, sparse: Box<SparseEntry>, position: u64) -> Result<Next, LayerError> {
        if sparse.map.wants_block() {
            self.sparse = Some(sparse);
            return Ok(Next::More);
        }
        let SparseEntry { mut entry, stored, map } = *sparse;
        let map = map.finish(stored).map_err(|reason| LayerError::entry(&entry.path, position, reason))?;
        match &mut entry.kind {
            Kind::File { size, .. } => *size = map.size(),
            _ => return Err(LayerError::entry(&entry.path, position, ONLY_FILES)),
        }
        Ok(Next::Entry { entry, size: stored, sparse: Some(map) })
    }

    fn count(&mut self, entry: &Entry) -> Result<(), LayerError> {
        self.entries += 1;
        let link = match &entry.kind {
            Kind::Symlink(target) | Kind::Hardlink(target) => target.len(),
            _ => 0,
        };
        let xattrs: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.metadata_bytes += (entry.path.len() + link + xattrs) as u64;
        if self.entries > MAX_ENTRIES {
            return Err(LayerError::TooLarge { limit: MAX_ENTRIES, what: "entries" });
        }
        if self.metadata_bytes > MAX_METADATA_BYTES {
            return Err(LayerError::TooLarge {
                limit: MAX_METADATA_BYTES,
                what: "bytes of names and attributes",
            });
        }
        Ok(())
    }
}

fn extension_of(type_flag: u8) -> Option<Extension> {
    match type_flag {
        b'x' | b'X' => Some(Extension::Local),
        b'g' => Some(Extension::Global),
        b'L' => Some(Extension::LongName),
        b'K' => Some(Extension::LongLink),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::{Field, HeaderBuilder, LINK, MAJOR, MODE, NAME, PREFIX, UID};
    use super::*;

    fn header(type_flag: u8, change: impl Fn(&mut HeaderBuilder)) -> [u8; BLOCK] {
        let mut builder = HeaderBuilder::new(type_flag);
        builder.text(NAME, b"some/name");
        change(&mut builder);
        builder.finish()
    }

    #[track_caller]
    fn check_refused(block: &[u8; BLOCK], expected: &str) {
        let message = Decoder::default().block(block, 1024).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("byte 1024"), "{message}");
    }

    #[test]
    fn entries_that_cannot_be_used_are_named() {
        check_refused(&header(b'M', |_| {}), "\"some/name\"");
        check_refused(&header(b'M', |_| {}), "archives of several volumes are not supported");
        check_refused(&header(b'D', |_| {}), "entries of type 'D' are not supported");
        check_refused(&header(b'1', |_| {}), "it is a hard link to no file");
        check_refused(&header(b'1', |header| header.text(LINK, b"../x")), "as a hard link: `..`");
        check_refused(&header(b'2', |_| {}), "it is a symbolic link to nothing");
        check_refused(&header(b'0', |header| header.text(NAME, b"/a/../b")), "`..` in a name");
        check_refused(
            &header(b'0', |header| header.text(NAME, b"a/.wh.\0\0\0")),
            "the whiteout names no file",
        );
        check_refused(&header(b'6', |header| header.text(NAME, b"./\0\0\0\0\0\0\0")), "the root of a layer");
        check_refused(&header(b'0', |header| header.text(SIZE, &[0xff; 12])), "its size -1 is not possible");
        check_refused(&header(b'0', |header| header.text(UID, &[0xff; 8])), "owner or group -1");
        check_refused(&header(b'0', |header| header.text(MODE, b"9")), "is not octal");
        check_refused(&header(b'3', |header| header.text(MAJOR, &[0xff; 8])), "device number");
    }

    #[test]
    fn extensions_are_bounded() {
        let large = |bytes| move |header: &mut HeaderBuilder| _ = header.number(SIZE, bytes);
        check_refused(&header(b'x', large(MAX_BODY_BYTES as i64 + 1)), "above 1048576 bytes");
        check_refused(&header(b'L', large(70_000)), "above 65537 bytes");
        check_refused(&header(b'x', |header| header.text(SIZE, &[0xff; 12])), "has no size");
    }

    #[test]
    fn content_that_is_only_announced_is_not_looked_for() {
        let mut decoder = Decoder::default();
        for type_flag in b'1'..=b'6' {
            let block = header(type_flag, |header| {
                header.text(LINK, b"target");
                header.number(SIZE, 700);
            });
            assert!(matches!(decoder.block(&block, 0), Ok(Next::Entry { size: 0, .. })), "{type_flag}");
        }
    }

    #[test]
    fn global_records_are_for_all_that_follow_and_local_ones_for_one() {
        let mut decoder = Decoder::default();
        for (type_flag, body) in [(b'g', &b"10 uid=77\n"[..]), (b'x', b"10 uid=88\n")] {
            let block = header(type_flag, |header| _ = header.number(SIZE, 10));
            assert!(matches!(decoder.block(&block, 0), Ok(Next::Extension { size: 10 })));
            decoder.extension(body.to_vec(), 512).unwrap();
        }
        for expected in [88, 77] {
            match decoder.block(&header(b'0', |_| {}), 0) {
                Ok(Next::Entry { entry, .. }) => assert_eq!(entry.uid, expected),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn too_much_metadata_is_refused() {
        let mut decoder = Decoder { metadata_bytes: MAX_METADATA_BYTES, ..Decoder::default() };
        let error = decoder.block(&header(b'0', |_| {}), 0).unwrap_err();
        assert!(matches!(error, LayerError::TooLarge { limit: MAX_METADATA_BYTES, .. }));
        let mut decoder = Decoder { entries: MAX_ENTRIES, ..Decoder::default() };
        let error = decoder.block(&header(b'0', |_| {}), 0).unwrap_err();
        assert!(matches!(error, LayerError::TooLarge { limit: MAX_ENTRIES, .. }));
    }

    #[test]
    fn star_has_a_shorter_prefix() {
        let block = header(b'0', |header| {
            header.text(PREFIX, &[b'p'; 131]);
            header.text(Field(345 + 131, 8), b"00000007");
            header.text(Field(508, 4), b"tar\0");
        });
        match Decoder::default().block(&block, 0) {
            Ok(Next::Entry { entry, .. }) => {
                assert_eq!(entry.path, ["p".repeat(131), "/some/name".into()].concat().as_bytes())
            }
            other => panic!("{other:?}"),
        }
    }
}
