//! One entry: its header and all that the extensions before it say, with what they mean for a layer.

use super::header::{BLOCK, Field, GID, Header, LINK, MAJOR, MINOR, MODE, MTIME, SIZE, UID};
use super::pax::Records;
use super::sparse::MapReader;
use crate::entry::{Entry, Kind, LayerPath};
use crate::path::{MAX_PATH_BYTES, normalise};
use crate::whiteout::{self, Meaning};

/// A header with all that its extensions say.
pub(super) struct Raw<'a> {
    pub(super) header: &'a Header<'a>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) records: Records,
    pub(super) position: u64,
}

impl Raw<'_> {
    /// Returns the entry, or nothing where it is not part of the tree, and the size of what follows.
    pub(super) fn decode(mut self, name: &[u8]) -> Result<(Option<Entry>, u64), String> {
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

    /// Returns the beginning of the map where the entry is a sparse file.
    pub(super) fn sparse_map(&mut self) -> Result<Option<MapReader>, String> {
        match self.records.sparse.take() {
            Some(records) => Ok(Some(MapReader::pax(records))),
            None if self.header.type_flag() == b'S' => Ok(Some(MapReader::old(self.header)?)),
            None => Ok(None),
        }
    }

    fn kind(&mut self, name: &[u8], size: u64) -> Result<Kind, String> {
        match self.header.type_flag() {
            // Before POSIX a folder was a file whose name ends in a slash.
            0 | b'0' if name.ends_with(b"/") => Ok(Kind::Directory),
            0 | b'0' | b'7' | b'S' => {
                Ok(Kind::File { size, digest: None, offset: self.position + BLOCK as u64 })
            }
            b'1' => Ok(Kind::Hardlink(self.hard_link()?)),
            b'2' => self.symbolic_link().map(Kind::Symlink),
            b'3' => self.device().map(|(major, minor)| Kind::CharDevice { major, minor }),
            b'4' => self.device().map(|(major, minor)| Kind::BlockDevice { major, minor }),
            b'5' => Ok(Kind::Directory),
            b'6' => Ok(Kind::Fifo),
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

    fn owner(&self, record: Option<i64>, field: Field) -> Result<u32, String> {
        let number = record.map_or_else(|| self.header.number(field), Ok)?;
        u32::try_from(number).map_err(|_| format!("its owner or group {number} is not possible"))
    }
}
