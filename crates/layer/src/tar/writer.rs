//! Writing a tar whose bytes depend on its entries alone.
//!
//! A ustar header where everything fits it; a pax extension header before it where not: names and
//! link targets that are too long or not ASCII, big numbers, extended attributes. Times are whole
//! seconds; names of users and groups are never written.

use std::io::{self, Read, Write};

use super::header::{
    BLOCK, GID, HeaderBuilder, LINK, MAJOR, MINOR, MODE, MTIME, NAME, PREFIX, SIZE, UID, padding,
};
use super::pax::{Body, MAX_BODY_BYTES};
use crate::entry::{Entry, Kind};
use crate::error::LayerError;
use crate::path::{MAX_PATH_BYTES, normalise, shown_path};
use crate::whiteout;

const COPY_BYTES: usize = 256 << 10;

/// Writes entries as a tar.
#[derive(Debug)]
pub struct TarWriter<W: Write> {
    output: W,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    /// Returns a writer of an archive without entries.
    pub fn new(output: W) -> Self {
        Self { output, buffer: vec![0; COPY_BYTES] }
    }

    /// Writes one entry. `content` is read only for files and must give the size that the entry
    /// says; the entry's own digest and offset are not looked at.
    ///
    /// # Errors
    /// `Unwritable` where a tar cannot say what the entry says or the content has another size;
    /// `Stream` where `content` or the output fails. The archive is then of no use any more.
    pub fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), LayerError> {
        self.write_headers(entry).map_err(|failure| failure.about(entry))?;
        if let Kind::File { size, .. } = entry.kind {
            self.write_content(entry, size, content)?;
        }
        Ok(())
    }

    /// Writes the headers of a file and has `copy` write its content, for outputs into which the
    /// kernel can copy by itself. `copy` must write exactly the size that the entry says.
    ///
    /// # Errors
    /// `Unwritable` where the entry is no file or a tar cannot say what it says; `Stream` where the
    /// output or `copy` fails. The archive is then of no use any more.
    pub fn append_with(
        &mut self,
        entry: &Entry,
        copy: impl FnOnce(&mut W) -> io::Result<()>,
    ) -> Result<(), LayerError> {
        let Kind::File { size, .. } = entry.kind else {
            return Err(LayerError::unwritable(&entry.path, "only files have content"));
        };
        self.write_headers(entry).map_err(|failure| failure.about(entry))?;
        copy(&mut self.output).and_then(|()| self.write_padding(size)).map_err(LayerError::write)
    }

    /// Writes the end of the archive and returns the output.
    ///
    /// # Errors
    /// `Stream` where the output fails.
    pub fn finish(mut self) -> Result<W, LayerError> {
        self.output.write_all(&[0; 2 * BLOCK]).map_err(LayerError::write)?;
        Ok(self.output)
    }

    fn write_headers(&mut self, entry: &Entry) -> Result<(), Failure> {
        let (block, records) = encode(entry)?;
        if !records.is_empty() {
            self.write_extension(&entry.path, &records)?;
        }
        self.output.write_all(&block)?;
        Ok(())
    }

    fn write_extension(&mut self, path: &[u8], records: &Body) -> Result<(), Failure> {
        let body = records.encode();
        if body.len() as u64 > MAX_BODY_BYTES {
            return Err(Failure::Entry("its name and extended attributes are larger than 1 MiB"));
        }
        let mut header = HeaderBuilder::new(b'x');
        header.text(NAME, &extension_name(path));
        header.number(MODE, 0o644);
        for field in [UID, GID, MTIME] {
            header.number(field, 0);
        }
        header.number(SIZE, body.len() as i64);
        self.output.write_all(&header.finish())?;
        self.output.write_all(&body)?;
        self.write_padding(body.len() as u64)?;
        Ok(())
    }

    fn write_content(&mut self, entry: &Entry, size: u64, content: &mut dyn Read) -> Result<(), LayerError> {
        let mut left = size;
        // One byte more is asked for than is expected, to notice content that has grown.
        loop {
            let wanted = (left + 1).min(self.buffer.len() as u64) as usize;
            let count = match content.read(&mut self.buffer[..wanted]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(|error| LayerError::file("read", shown_path(&entry.path), error))?,
            };
            if count as u64 > left || (count == 0 && left > 0) {
                let change = if count == 0 { "less" } else { "more" };
                let reason =
                    format!("its content has {change} than the {size} bytes announced; did it change?");
                return Err(LayerError::unwritable(&entry.path, reason));
            }
            if count == 0 {
                break;
            }
            self.output.write_all(&self.buffer[..count]).map_err(LayerError::write)?;
            left -= count as u64;
        }
        self.write_padding(size).map_err(LayerError::write)
    }

    fn write_padding(&mut self, size: u64) -> io::Result<()> {
        self.output.write_all(&[0; BLOCK][..padding(size) as usize])
    }
}

enum Failure {
    Entry(&'static str),
    Output(io::Error),
}

impl Failure {
    fn about(self, entry: &Entry) -> LayerError {
        match self {
            Self::Entry(reason) => LayerError::unwritable(&entry.path, reason),
            Self::Output(error) => LayerError::write(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<&'static str> for Failure {
    fn from(reason: &'static str) -> Self {
        Self::Entry(reason)
    }
}

/// Returns the header of an entry and the records that say what does not fit into it.
fn encode(entry: &Entry) -> Result<([u8; BLOCK], Body), &'static str> {
    if normalise(&entry.path)? != entry.path {
        return Err("its path is not relative and plain");
    }
    let mut header = HeaderBuilder::new(type_flag(&entry.kind));
    let mut records = Body::default();
    put_name(&mut header, &mut records, entry)?;
    put_kind(&mut header, &mut records, &entry.kind)?;
    header.number(MODE, i64::from(entry.mode & 0o7777));
    let numbers = [
        ("uid", UID, i64::from(entry.uid)),
        ("gid", GID, i64::from(entry.gid)),
        ("mtime", MTIME, entry.mtime),
    ];
    for (key, field, number) in numbers {
        if !header.number(field, number) {
            records.put(key, number.to_string());
        }
    }
    for (name, value) in &entry.xattrs {
        records.put_xattr(name, value)?;
    }
    Ok((header.finish(), records))
}

fn type_flag(kind: &Kind) -> u8 {
    match kind {
        Kind::File { .. } | Kind::Whiteout | Kind::Opaque => b'0',
        Kind::Hardlink(_) => b'1',
        Kind::Symlink(_) => b'2',
        Kind::CharDevice { .. } => b'3',
        Kind::BlockDevice { .. } => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    }
}

fn put_name(header: &mut HeaderBuilder, records: &mut Body, entry: &Entry) -> Result<(), &'static str> {
    let mut name = whiteout::encode(&entry.path, &entry.kind)?;
    match entry.kind {
        Kind::Directory if name.is_empty() => name.extend_from_slice(b"./"),
        Kind::Directory => name.push(b'/'),
        _ if name.is_empty() => return Err("the root of a layer can only be a folder"),
        _ => {}
    }
    if !name.is_ascii() {
        header.text(NAME, &ascii_only(&name));
        records.put("path", name);
    } else if name.len() <= NAME_BYTES {
        header.text(NAME, &name);
    } else if let Some(slash) = prefix_end(&name) {
        header.text(PREFIX, &name[..slash]);
        header.text(NAME, &name[slash + 1..]);
    } else {
        header.text(NAME, &name);
        records.put("path", name);
    }
    Ok(())
}

fn put_kind(header: &mut HeaderBuilder, records: &mut Body, kind: &Kind) -> Result<(), &'static str> {
    header.number(SIZE, 0);
    match kind {
        Kind::File { size, .. } => {
            let size = i64::try_from(*size).map_err(|_| "its size is not possible")?;
            if !header.number(SIZE, size) {
                records.put("size", size.to_string());
            }
        }
        Kind::Symlink(target) => put_link(header, records, target)?,
        Kind::Hardlink(target) => {
            if normalise(target)? != *target {
                return Err("the target of the hard link is not relative and plain");
            }
            put_link(header, records, target)?;
        }
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            let fits = header.number(MAJOR, i64::from(*major)) && header.number(MINOR, i64::from(*minor));
            if !fits {
                return Err("its device number does not fit into a tar");
            }
        }
        Kind::Directory | Kind::Fifo | Kind::Whiteout | Kind::Opaque => {}
    }
    Ok(())
}

fn put_link(header: &mut HeaderBuilder, records: &mut Body, target: &[u8]) -> Result<(), &'static str> {
    if target.is_empty() || target.contains(&0) || target.len() >= MAX_PATH_BYTES {
        return Err("the target of the link is empty, too long, or holds a NUL byte");
    }
    if target.len() > LINK_BYTES || !target.is_ascii() {
        records.put("linkpath", target);
    }
    header.text(LINK, &ascii_only(target));
    Ok(())
}

const NAME_BYTES: usize = 100;
const LINK_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;

/// Returns the slash at which a long name parts into the two fields of a ustar header.
fn prefix_end(name: &[u8]) -> Option<usize> {
    let last = name.len() - 1;
    let longest = last.min(PREFIX_BYTES + 1);
    let slash = name[..longest].iter().rposition(|byte| *byte == b'/')?;
    (slash > 0 && last - slash <= NAME_BYTES).then_some(slash)
}

/// Returns a name for readers that do not know extension headers.
fn ascii_only(name: &[u8]) -> Vec<u8> {
    name.iter().copied().filter(u8::is_ascii).collect()
}

fn extension_name(path: &[u8]) -> Vec<u8> {
    let mut name = b"PaxHeaders.0/".to_vec();
    let base = crate::path::split(path).map_or(&[][..], |(_, base)| base);
    name.extend(ascii_only(base));
    name.truncate(NAME_BYTES);
    name
}
