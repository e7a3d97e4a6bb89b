//! The members of an archive: where each lies, found in one pass, and reading them in place.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use layer::compress::Format;
use layer::{Entry, Kind, LayerError, TarReader};
use oci::{Algorithm, Digest, Hasher};

use crate::{Source, StoreError};

/// More members than this are refused; an image has a few hundred at the most.
const MAX_MEMBERS: usize = 200_000;
/// More bytes of member names than this are refused.
const MAX_NAME_BYTES: usize = 32 << 20;
/// More links in a row than this are refused.
const MAX_LINKS: usize = 16;
/// An archive that is larger than this when it is uncompressed is refused.
const MAX_SPOOLED_BYTES: u64 = 256 << 30;
/// Size of the buffer with which content is read.
const BUFFER: usize = 256 << 10;

/// An open archive whose members are known.
pub(super) struct Members {
    path: PathBuf,
    file: Arc<File>,
    /// Whether `file` is the archive itself and not an uncompressed copy without a name.
    in_place: bool,
    places: HashMap<Vec<u8>, Place>,
}

/// Where the content of a member lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Content {
    pub offset: u64,
    pub size: u64,
}

/// A blob: the member it is and where its content lies.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub member: String,
    pub content: Content,
}

enum Place {
    Content(Content),
    Link(Vec<u8>),
    /// A symbolic link that leads out of the archive; of interest only when it is followed.
    Escape(Vec<u8>),
}

impl Members {
    /// Opens an archive. One that is compressed is unpacked into a file without a name in `spool`.
    pub fn open(path: &Path, spool: &Path) -> Result<Self, StoreError> {
        let shown = path.display().to_string();
        let file = File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound { what: format!("the archive {shown}") },
            _ => StoreError::io("read", &shown, source),
        })?;
        let mut head = vec![0; Format::HEAD_BYTES];
        let count = file.read_at(&mut head, 0).map_err(|source| StoreError::io("read", &shown, source))?;
        let in_place = Format::of(&head[..count]) == Format::Plain;
        let file = if in_place { file } else { unpack(path, file, spool)? };
        let mut members =
            Self { path: path.to_owned(), file: Arc::new(file), in_place, places: HashMap::new() };
        members.index()?;
        Ok(members)
    }

    /// Returns the path of the archive.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where a member lies; `None` where there is none of this name.
    pub fn find(&self, name: &str) -> Result<Option<Content>, StoreError> {
        let Some(mut path) = resolve(b"", name.as_bytes()) else {
            return Err(self.corrupt(name, "its name leads out of the archive"));
        };
        for _ in 0..MAX_LINKS {
            match self.places.get(&path) {
                None => return Ok(None),
                Some(Place::Content(content)) => return Ok(Some(*content)),
                Some(Place::Link(target)) => path.clone_from(target),
                Some(Place::Escape(target)) => {
                    let target = String::from_utf8_lossy(target);
                    let reason = format!("it is a link to {target:?}, which leads out of the archive");
                    return Err(self.corrupt(name, &reason));
                }
            }
        }
        Err(self.corrupt(name, "it is a link to itself"))
    }

    /// Returns where a member lies that the archive needs.
    pub fn require(&self, name: &str, needed_by: &str) -> Result<Content, StoreError> {
        self.find(name)?.ok_or_else(|| {
            self.corrupt(
                name,
                &format!("{needed_by} names it but it is not there; is the archive truncated?"),
            )
        })
    }

    /// Reads a member that is a small document; `None` where there is none of this name.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Bytes>, StoreError> {
        let Some(content) = self.find(name)? else { return Ok(None) };
        if content.size > limit {
            let reason = format!("it has {} bytes, more than the {limit} allowed", content.size);
            return Err(self.corrupt(name, &reason));
        }
        let mut bytes = vec![0; usize::try_from(content.size).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, content.offset).map_err(|source| self.unreadable(source))?;
        Ok(Some(bytes.into()))
    }

    /// Returns the first bytes of content, `count` at the most.
    pub fn head(&self, content: Content, count: usize) -> Result<Vec<u8>, StoreError> {
        let mut head = Vec::with_capacity(count);
        let result = self.reader(content).take(count as u64).read_to_end(&mut head);
        result.map_err(|source| self.unreadable(source))?;
        Ok(head)
    }

    /// Returns the blobs of an image layout by the digests that their names claim.
    pub fn blobs(&self) -> HashMap<Digest, Located> {
        let named = self.places.keys().filter_map(|name| std::str::from_utf8(name).ok());
        let located = |name: &str| {
            let digest: Digest = name.strip_prefix("blobs/")?.replacen('/', ":", 1).parse().ok()?;
            let content = self.find(name).ok()??;
            Some((digest, Located { member: name.to_owned(), content }))
        };
        named.filter_map(located).collect()
    }

    /// Returns a reader of content; several may read at the same time.
    pub fn reader(&self, content: Content) -> PartReader {
        PartReader { file: Arc::clone(&self.file), offset: content.offset, left: content.size }
    }

    /// Opens content as a file of its own position where the system can, else as a stream.
    pub fn source(&self, content: Content) -> Source {
        let own = self.reopen().and_then(|mut file| {
            io::Seek::seek(&mut file, io::SeekFrom::Start(content.offset))?;
            Ok(file)
        });
        match own {
            Ok(file) => Source::File(file),
            Err(_) => Source::Stream(Box::new(self.reader(content))),
        }
    }

    /// Computes the digest of content.
    pub fn hash(&self, content: Content, algorithm: Algorithm) -> Result<Digest, StoreError> {
        let mut reader = self.reader(content);
        let mut hasher = Hasher::new(algorithm);
        let mut buffer = vec![0; BUFFER];
        loop {
            match reader.read(&mut buffer).map_err(|source| self.unreadable(source))? {
                0 => return Ok(hasher.finish()),
                count => hasher.update(&buffer[..count]),
            }
        }
    }

    /// Returns the error that a member is not what it should be.
    pub fn corrupt(&self, member: &str, reason: &str) -> StoreError {
        let member: String = member.chars().take(200).collect();
        let what = format!("{member} in the archive {}", self.path.display());
        StoreError::Corrupt { what, reason: reason.to_owned() }
    }

    pub fn unreadable(&self, source: io::Error) -> StoreError {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            let reason = "it was cut short while it was being read".to_owned();
            return StoreError::Corrupt { what: format!("the archive {}", self.path.display()), reason };
        }
        StoreError::io("read", format!("the archive {}", self.path.display()), source)
    }

    fn index(&mut self) -> Result<(), StoreError> {
        let file = Arc::clone(&self.file);
        let length = file.metadata().map_err(|source| self.unreadable(source))?.len();
        io::Seek::rewind(&mut &*file).map_err(|source| self.unreadable(source))?;
        let mut reader = TarReader::new(&*file);
        let mut name_bytes = 0;
        while let Some(entry) = reader.next_entry().map_err(|error| self.damaged(error))? {
            name_bytes += entry.path.len();
            if self.places.len() >= MAX_MEMBERS || name_bytes > MAX_NAME_BYTES {
                let what = format!("the archive {}", self.path.display());
                let reason =
                    format!("it has more than {MAX_MEMBERS} members or {MAX_NAME_BYTES} bytes of names");
                return Err(StoreError::Corrupt { what, reason });
            }
            self.check_length(&entry, length)?;
            if let Some(place) = place(&entry) {
                // Of two members with one name the later counts, as for every extractor.
                self.places.insert(entry.path, place);
            }
            reader.skip_content().map_err(|error| self.damaged(error))?;
        }
        Ok(())
    }

    fn check_length(&self, entry: &Entry, length: u64) -> Result<(), StoreError> {
        match entry.kind {
            Kind::File { size, offset, .. } if offset.saturating_add(size) > length => {
                let end = offset.saturating_add(size);
                let reason = format!(
                    "the archive is truncated: this member ends at byte {end}, the archive at {length}"
                );
                Err(self.corrupt(&String::from_utf8_lossy(&entry.path), &reason))
            }
            _ => Ok(()),
        }
    }

    fn damaged(&self, error: LayerError) -> StoreError {
        match error {
            LayerError::Stream { source, .. } => self.unreadable(source),
            error => {
                let what = format!("the archive {}", self.path.display());
                StoreError::Corrupt { what, reason: error.to_string() }
            }
        }
    }

    /// Opens the archive once more, so that two blobs do not share one position.
    fn reopen(&self) -> io::Result<File> {
        if self.in_place {
            let file = File::open(&self.path)?;
            let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino(), metadata.len());
            if identity(file.metadata()?) == identity(self.file.metadata()?) {
                return Ok(file);
            }
        }
        File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&*self.file)))
    }
}

/// Reads a part of a file without moving the file's position.
pub(super) struct PartReader {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

fn place(entry: &Entry) -> Option<Place> {
    match &entry.kind {
        Kind::File { size, offset, .. } => Some(Place::Content(Content { offset: *offset, size: *size })),
        Kind::Hardlink(target) => Some(Place::Link(target.clone())),
        Kind::Symlink(target) => {
            let end = entry.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            Some(match resolve(&entry.path[..end], target) {
                Some(path) => Place::Link(path),
                None => Place::Escape(target.clone()),
            })
        }
        _ => None,
    }
}

/// Returns the path that `target` means in `folder`; `None` where it leads out of the archive.
fn resolve(folder: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    if target.starts_with(b"/") {
        return None;
    }
    let mut path: Vec<&[u8]> = folder.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                path.pop()?;
            }
            _ => path.push(component),
        }
    }
    Some(path.join(&b'/'))
}

/// Uncompresses an archive into a file that has no name and is gone when it is closed.
fn unpack(path: &Path, file: File, spool: &Path) -> Result<File, StoreError> {
    let shown = path.display().to_string();
    let unwritable = |source| StoreError::io("unpack the archive into", spool.display().to_string(), source);
    let mut input = layer::decompress(file).map_err(|source| StoreError::io("read", &shown, source))?;
    let mut output = tempfile::tempfile_in(spool).map_err(unwritable)?;
    let mut buffer = vec![0; BUFFER];
    let mut total = 0;
    loop {
        let count = match input.read(&mut buffer) {
            Ok(0) => return Ok(output),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let reason = format!("it is damaged or truncated after {total} uncompressed bytes: {error}");
                return Err(StoreError::Corrupt { what: format!("the archive {shown}"), reason });
            }
        };
        total += count as u64;
        if total > MAX_SPOOLED_BYTES {
            let reason = format!("it has more than {MAX_SPOOLED_BYTES} bytes when it is uncompressed");
            return Err(StoreError::Corrupt { what: format!("the archive {shown}"), reason });
        }
        output.write_all(&buffer[..count]).map_err(unwritable)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(folder: &str, target: &str, expected: Option<&str>) {
        let found = resolve(folder.as_bytes(), target.as_bytes());
        assert_eq!(found.as_deref(), expected.map(str::as_bytes));
    }

    #[test]
    fn links_are_followed_inside_the_archive_only() {
        check("a", "../b/layer.tar", Some("b/layer.tar"));
        check("", "./x//y", Some("x/y"));
        check("a/b", "c", Some("a/b/c"));
        check("a", "../../b", None);
        check("", "..", None);
        check("a", "/etc/passwd", None);
    }
}
