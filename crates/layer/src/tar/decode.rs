//! From header blocks to entries, one block at a time; who reads the bytes decides when.

use super::header::{BLOCK, GID, Header, LINK, MAJOR, MINOR, MODE, MTIME, SIZE, UID};
use super::pax::{MAX_BODY_BYTES, Records};
use crate::entry::{Entry, Kind, LayerPath};
use crate::error::LayerError;
use crate::path::{MAX_PATH_BYTES, normalise};
use crate::whiteout::{self, Meaning};

/// More entries than this are refused. The largest images people build have a tenth of it.
const MAX_ENTRIES: u64 = 5_000_000;
/// More bytes of names, link targets and extended attributes than this are refused.
const MAX_METADATA_BYTES: u64 = 512 << 20;

/// What follows a header block.
#[derive(Debug)]
pub(crate) enum Next {
    /// An entry and `size` bytes of content, padded to a block.
    Entry {
        /// The entry; a file's digest is not known yet.
        entry: Entry,
        /// The content in bytes; of interest only where the entry is a file.
        size: u64,
    },
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
    after_zero: bool,
    entries: u64,
    metadata_bytes: u64,
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
        if self.local.is_some() || self.long_name.is_some() || self.long_link.is_some() {
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
        let name = records.path.take().or_else(|| self.long_name.take()).unwrap_or_else(|| header.name());
        self.long_name = None;
        let link = records.link.take().or_else(|| self.long_link.take());
        self.long_link = None;
        let raw = Raw { header, link, records, position };
        let (entry, size) = raw.decode(&name).map_err(|reason| LayerError::entry(&name, position, reason))?;
        let Some(entry) = entry else { return Ok(Next::Skip { size }) };
        self.count(&entry)?;
        Ok(Next::Entry { entry, size })
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

/// A header with all that its extensions say.
struct Raw<'a> {
    header: &'a Header<'a>,
    link: Option<Vec<u8>>,
    records: Records,
    position: u64,
}

impl Raw<'_> {
    /// Returns the entry, or nothing where it is not part of the tree, and the size of what follows.
    fn decode(mut self, name: &[u8]) -> Result<(Option<Entry>, u64), String> {
        let size = self.content_size()?;
        let (path, kind) = match whiteout::decode(normalise(name)?)? {
            Meaning::Reserved => return Ok((None, size)),
            Meaning::Whiteout(path) => (path, Kind::Whiteout),
            Meaning::Opaque(path) => (path, Kind::Opaque),
            Meaning::Plain(path) => {
                let kind = self.kind(name, size)?;
                (path, kind)
            }
        };
        if path.is_empty() && !matches!(kind, Kind::Directory | Kind::Opaque) {
            return Err("the root of a layer can only be a folder".to_owned());
        }
        let entry = Entry {
            path,
            kind,
            mode: (self.header.number(MODE)? & 0o7777) as u32,
            uid: self.owner(self.records.uid, UID)?,
            gid: self.owner(self.records.gid, GID)?,
            mtime: self.records.mtime.map_or_else(|| self.header.number(MTIME), Ok)?,
            xattrs: std::mem::take(&mut self.records.xattrs),
        };
        Ok((Some(entry), size))
    }

    /// Returns the size of what follows the header. Links, folders and devices have no content
    /// even where their header gives a size: hard links of star and cpio carry their file's.
    fn content_size(&self) -> Result<u64, String> {
        if matches!(self.header.type_flag(), b'1'..=b'6') {
            return Ok(0);
        }
        let size = self.records.size.map_or_else(|| self.header.number(SIZE), Ok)?;
        // Half of the range, so that positions can be added without overflow.
        u64::try_from(size)
            .ok()
            .filter(|size| size >> 62 == 0)
            .ok_or_else(|| format!("its size {size} is not possible"))
    }

    fn kind(&mut self, name: &[u8], size: u64) -> Result<Kind, String> {
        if self.records.sparse {
            return Err(
                "sparse files of GNU tar are not supported: make the archive without --sparse".to_owned()
            );
        }
        match self.header.type_flag() {
            // Before POSIX a folder was a file whose name ends in a slash.
            0 | b'0' if name.ends_with(b"/") => Ok(Kind::Directory),
            0 | b'0' | b'7' => Ok(Kind::File { size, digest: None, offset: self.position + BLOCK as u64 }),
            b'1' => Ok(Kind::Hardlink(self.hard_link()?)),
            b'2' => self.symbolic_link().map(Kind::Symlink),
            b'3' => self.device().map(|(major, minor)| Kind::CharDevice { major, minor }),
            b'4' => self.device().map(|(major, minor)| Kind::BlockDevice { major, minor }),
            b'5' => Ok(Kind::Directory),
            b'6' => Ok(Kind::Fifo),
            b'S' => {
                Err("sparse files of GNU tar are not supported: make the archive without --sparse".to_owned())
            }
            b'M' => {
                Err("it continues from another volume; archives of several volumes are not supported"
                    .to_owned())
            }
            other => Err(format!("entries of type {:?} are not supported", char::from(other))),
        }
    }

    fn link_target(&mut self) -> Vec<u8> {
        self.link.take().unwrap_or_else(|| self.header.text(LINK).to_vec())
    }

    fn hard_link(&mut self) -> Result<LayerPath, String> {
        let target = normalise(&self.link_target()).map_err(|reason| format!("as a hard link: {reason}"))?;
        if target.is_empty() {
            return Err("it is a hard link to no file".to_owned());
        }
        Ok(target)
    }

    fn symbolic_link(&mut self) -> Result<Vec<u8>, String> {
        let target = self.link_target();
        match target.len() {
            0 => Err("it is a symbolic link to nothing".to_owned()),
            MAX_PATH_BYTES.. => Err("its target is longer than 64 KiB".to_owned()),
            _ if target.contains(&0) => Err("its target holds a NUL byte".to_owned()),
            _ => Ok(target),
        }
    }

    fn device(&self) -> Result<(u32, u32), String> {
        let number = |field| {
            u32::try_from(self.header.number(field)?)
                .map_err(|_| "its device number is not possible".to_owned())
        };
        Ok((number(MAJOR)?, number(MINOR)?))
    }

    fn owner(&self, record: Option<i64>, field: super::header::Field) -> Result<u32, String> {
        let number = record.map_or_else(|| self.header.number(field), Ok)?;
        u32::try_from(number).map_err(|_| format!("its owner or group {number} is not possible"))
    }
}
