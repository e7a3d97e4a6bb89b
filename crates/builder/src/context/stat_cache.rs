//! Digests of contents, kept between runs under what `stat` said of the files.
//!
//! | what changed since | what happens |
//! |---|---|
//! | path, device, inode, size, mtime or ctime | the file is hashed again |
//! | the file changed within the clock's step before the context was opened | it was never kept |
//! | the cache file is cut, foreign or of another version | it counts as empty |
//!
//! The second line is git's "racy" rule: a file can change twice in one step of the clock, and the
//! second change shows in no time stamp. So a digest is kept only where the file's last change lay
//! clearly before the run.
//!
//! Layout, numbers little-endian: the header, then per file how many bytes its path shares with the path
//! before (u16), how many follow (u16; paths beyond that are not kept), these, the stamp, SHA-256; at the end
//! the SHA-256 of all before. Entries are in the order of the walk, so that reading and writing need no more
//! memory than one of them.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use oci::{Digest, Hasher};
use rustix::fs::Stat;

use super::ContextError;
use super::records::{Stamp, change_time};
use crate::ignore::IgnoreFile;

const HEADER: &[u8] = b"plimsoll stat cache 2\n";
const HASH: usize = 32;
const BUFFER: usize = 64 << 10;

/// Time stamps come from a clock that goes in steps: at most 10 ms, or seconds on file systems that
/// keep no fractions.
const STEP: Duration = Duration::from_millis(20);
const COARSE_STEP: Duration = Duration::from_secs(2);

/// One cache file.
#[derive(Debug)]
pub(super) struct StatCache {
    file: PathBuf,
}

/// Whether a file's last change lies far enough before `now` to be told from a later one.
pub(super) fn is_settled(stat: &Stat, now: SystemTime) -> bool {
    let changed = change_time(stat);
    let step = if changed % 1_000_000_000 == 0 { COARSE_STEP } else { STEP };
    let Some(limit) = now.checked_sub(step) else { return false };
    let limit = limit.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    i128::from(changed) < i128::try_from(limit).unwrap_or(i128::MAX)
}

impl StatCache {
    /// Returns the cache of a context, whose own folder has the device and inode `root`. Each pair of
    /// folder and ignore file has a cache of its own, so that services do not drive each other out.
    pub fn new(folder: &Path, root: (u64, u64), ignore: &IgnoreFile) -> Self {
        let mut name = format!("{}:{}", root.0, root.1).into_bytes();
        for rule in ignore.rules() {
            name.push(0);
            name.extend_from_slice(rule.text.as_bytes());
        }
        Self { file: folder.join(format!("{}.stat", Digest::of(&name).short(32))) }
    }

    /// Returns what is known, in the order of the walk; `None` where there is no cache yet.
    pub fn entries(&self) -> Option<Entries> {
        let file = File::open(&self.file).ok()?;
        let left = file.metadata().ok()?.len().checked_sub((HEADER.len() + HASH) as u64)?;
        let mut entries = Entries {
            input: BufReader::with_capacity(BUFFER, file),
            hasher: Hasher::default(),
            left,
            path: Vec::new(),
            piece: HEADER.to_vec(),
        };
        let mut header = [0; HEADER.len()];
        entries.input.read_exact(&mut header).ok()?;
        (header == HEADER).then_some(entries)
    }

    /// Replaces the cache file.
    pub fn save(&self, fill: impl FnOnce(&mut Writer<'_>) -> io::Result<()>) -> Result<(), ContextError> {
        self.replace(fill).map_err(|source| ContextError::StatCache { path: self.file.clone(), source })
    }

    fn replace(&self, fill: impl FnOnce(&mut Writer<'_>) -> io::Result<()>) -> io::Result<()> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        write(temporary.as_file_mut(), fill)?;
        // Not synced: what a crash leaves fails its own digest and counts as empty.
        temporary.persist(&self.file).map_err(|error| error.error)?;
        Ok(())
    }
}

fn write(file: &mut File, fill: impl FnOnce(&mut Writer<'_>) -> io::Result<()>) -> io::Result<()> {
    let output = BufWriter::with_capacity(BUFFER, file);
    let mut writer = Writer { output, hasher: Hasher::default(), path: Vec::new(), piece: Vec::new() };
    writer.piece.extend_from_slice(HEADER);
    writer.put()?;
    fill(&mut writer)?;
    let Writer { mut output, hasher, .. } = writer;
    output.write_all(hasher.finish().as_bytes())?;
    output.flush()
}

/// Writes entries, in the order of the walk.
pub(super) struct Writer<'a> {
    output: BufWriter<&'a mut File>,
    hasher: Hasher,
    path: Vec<u8>,
    piece: Vec<u8>,
}

impl Writer<'_> {
    pub fn entry(&mut self, path: &[u8], stamp: Stamp, digest: &[u8; HASH]) -> io::Result<()> {
        let shared = self.path.iter().zip(path).take_while(|(left, right)| left == right).count();
        let shared = shared.min(usize::from(u16::MAX));
        let Ok(rest) = u16::try_from(path.len() - shared) else { return Ok(()) };
        self.piece.clear();
        self.piece.extend_from_slice(&(shared as u16).to_le_bytes());
        self.piece.extend_from_slice(&rest.to_le_bytes());
        self.piece.extend_from_slice(&path[shared..]);
        self.piece.extend_from_slice(&stamp.0);
        self.piece.extend_from_slice(digest);
        self.path.truncate(shared);
        self.path.extend_from_slice(&path[shared..]);
        self.put()
    }

    fn put(&mut self) -> io::Result<()> {
        self.hasher.update(&self.piece);
        self.output.write_all(&self.piece)
    }
}

/// Reads entries. Nothing that was read may be used before [`Entries::ends_whole`] said so.
pub(super) struct Entries {
    input: BufReader<File>,
    hasher: Hasher,
    left: u64,
    path: Vec<u8>,
    piece: Vec<u8>,
}

impl Entries {
    /// Goes to the next entry; `None` behind the last one, and where the bytes are none.
    pub fn advance(&mut self) -> Option<(Stamp, [u8; HASH])> {
        self.hasher.update(&self.piece);
        self.piece.clear();
        if self.left == 0 {
            return None;
        }
        let at = self.take(4)?;
        let length = |at: usize| usize::from(u16::from_le_bytes([self.piece[at], self.piece[at + 1]]));
        let (shared, rest) = (length(at), length(at + 2));
        let at = self.take(rest + Stamp::BYTES + HASH)?;
        let (name, values) = self.piece[at..].split_at(rest);
        let (stamp, digest) = values.split_at(Stamp::BYTES);
        if shared > self.path.len() {
            return None;
        }
        self.path.truncate(shared);
        self.path.extend_from_slice(name);
        Some((Stamp(stamp.try_into().ok()?), digest.try_into().ok()?))
    }

    /// Returns the path of the entry it stands at.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Whether all entries were read and are what was written.
    pub fn ends_whole(mut self) -> bool {
        let mut digest = [0; HASH];
        self.hasher.update(&self.piece);
        self.left == 0
            && self.input.read_exact(&mut digest).is_ok()
            && self.hasher.finish().as_bytes() == digest
    }

    /// Reads bytes of the entry and returns where in it they begin.
    fn take(&mut self, count: usize) -> Option<usize> {
        self.left = self.left.checked_sub(count as u64)?;
        let at = self.piece.len();
        self.piece.resize(at + count, 0);
        self.input.read_exact(&mut self.piece[at..]).ok()?;
        Some(at)
    }
}
