//! Entries as bytes. The form of an index on disk is in [`super`].

use std::collections::BTreeMap;

use oci::{Algorithm, Digest};

use crate::entry::{Entry, Kind, LayerPath};
use crate::path::MAX_PATH_BYTES;

const MAX_TEXT_BYTES: u64 = 2 << 20;

impl Entry {
    /// Appends the entry to `bytes`, as an index would hold it first.
    pub fn put(&self, bytes: &mut Vec<u8>) {
        put_entry(bytes, &[], self);
    }

    /// Takes the entry that [`Self::put`] appended from the front of `bytes`; `None` where there is none.
    pub fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let entry = cursor.entry(&[])?;
        *bytes = cursor.0;
        Some(entry)
    }
}

/// Returns the entry that [`put_rest`] made `bytes` of, with an empty path.
pub(crate) fn take_rest(bytes: &[u8]) -> Option<Entry> {
    Cursor(bytes).rest(LayerPath::new())
}

/// Appends an entry after the one whose path was `before`.
pub(crate) fn put_entry(bytes: &mut Vec<u8>, before: &[u8], entry: &Entry) {
    let shared = before.iter().zip(&entry.path).take_while(|(left, right)| left == right).count();
    put_number(bytes, shared as u64);
    put_text(bytes, &entry.path[shared..]);
    put_rest(bytes, entry);
}

/// Appends all of an entry but its path.
pub(crate) fn put_rest(bytes: &mut Vec<u8>, entry: &Entry) {
    put_kind(bytes, &entry.kind);
    put_number(bytes, u64::from(entry.mode));
    put_number(bytes, u64::from(entry.uid));
    put_number(bytes, u64::from(entry.gid));
    put_number(bytes, ((entry.mtime << 1) ^ (entry.mtime >> 63)).cast_unsigned());
    put_number(bytes, entry.xattrs.len() as u64);
    for (name, value) in &entry.xattrs {
        put_text(bytes, name);
        put_text(bytes, value);
    }
}

fn put_kind(bytes: &mut Vec<u8>, kind: &Kind) {
    match kind {
        Kind::File { size, digest, offset } => {
            bytes.push(match digest.map(|digest| digest.algorithm()) {
                None => b'f',
                Some(Algorithm::Sha256) => b'F',
                Some(Algorithm::Sha512) => b'G',
            });
            put_number(bytes, *size);
            put_number(bytes, *offset);
            bytes.extend_from_slice(digest.as_ref().map_or(&[], Digest::as_bytes));
        }
        Kind::Directory => bytes.push(b'd'),
        Kind::Symlink(target) => {
            bytes.push(b'l');
            put_text(bytes, target);
        }
        Kind::Hardlink(target) => {
            bytes.push(b'h');
            put_text(bytes, target);
        }
        Kind::CharDevice { major, minor } => {
            bytes.push(b'c');
            put_number(bytes, u64::from(*major));
            put_number(bytes, u64::from(*minor));
        }
        Kind::BlockDevice { major, minor } => {
            bytes.push(b'b');
            put_number(bytes, u64::from(*major));
            put_number(bytes, u64::from(*minor));
        }
        Kind::Fifo => bytes.push(b'p'),
        Kind::Whiteout => bytes.push(b'w'),
        Kind::Opaque => bytes.push(b'o'),
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    put_number(bytes, text.len() as u64);
    bytes.extend_from_slice(text);
}

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// What is left to read; every method gives `None` where it is broken.
pub(crate) struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn entry(&mut self, before: &[u8]) -> Option<Entry> {
        let shared = before.get(..usize::try_from(self.number()?).ok()?)?;
        let rest = self.text()?;
        let mut path = Vec::with_capacity(shared.len() + rest.len());
        path.extend_from_slice(shared);
        path.extend_from_slice(rest);
        if path.len() > MAX_PATH_BYTES {
            return None;
        }
        self.rest(path)
    }

    fn rest(&mut self, path: LayerPath) -> Option<Entry> {
        let kind = self.kind()?;
        let (mode, uid, gid) = (self.small()?, self.small()?, self.small()?);
        let time = self.number()?;
        let mtime = (time >> 1).cast_signed() ^ -(time & 1).cast_signed();
        Some(Entry { path, kind, mode, uid, gid, mtime, xattrs: self.xattrs()? })
    }

    fn kind(&mut self) -> Option<Kind> {
        Some(match self.bytes(1)?[0] {
            b'f' => self.file(None)?,
            b'F' => self.file(Some(Algorithm::Sha256))?,
            b'G' => self.file(Some(Algorithm::Sha512))?,
            b'd' => Kind::Directory,
            b'l' => Kind::Symlink(self.text()?.to_vec()),
            b'h' => Kind::Hardlink(self.text()?.to_vec()),
            b'c' => Kind::CharDevice { major: self.small()?, minor: self.small()? },
            b'b' => Kind::BlockDevice { major: self.small()?, minor: self.small()? },
            b'p' => Kind::Fifo,
            b'w' => Kind::Whiteout,
            b'o' => Kind::Opaque,
            _ => return None,
        })
    }

    fn file(&mut self, algorithm: Option<Algorithm>) -> Option<Kind> {
        let (size, offset) = (self.number()?, self.number()?);
        let digest = match algorithm {
            None => None,
            Some(algorithm) => Some(self.digest(algorithm)?),
        };
        Some(Kind::File { size, digest, offset })
    }

    fn digest(&mut self, algorithm: Algorithm) -> Option<Digest> {
        let count = if algorithm == Algorithm::Sha256 { 32 } else { 64 };
        Digest::from_bytes(algorithm, self.bytes(count)?)
    }

    fn xattrs(&mut self) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut xattrs = BTreeMap::new();
        for _ in 0..self.number()? {
            xattrs.insert(self.text()?.to_vec(), self.text()?.to_vec());
        }
        Some(xattrs)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let count = self.number()?;
        if count > MAX_TEXT_BYTES {
            return None;
        }
        self.bytes(count as usize)
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.bytes(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }
}
