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
//! Layout, numbers little-endian: the header, then per file the length of its path (u32), the path,
//! device, inode, size, mtime, ctime (u64 each), SHA-256; at the end the SHA-256 of all before.
//! Entries are in the order of the walk.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use oci::{Digest, Hasher};

use super::ContextError;
use super::walk::Stat;
use crate::ignore::IgnoreFile;

const HEADER: &[u8] = b"plimsoll stat cache 1\n";
const NUMBERS: usize = 5 * 8;
const HASH: usize = 32;

/// Time stamps come from a clock that goes in steps: at most 10 ms, or seconds on file systems that
/// keep no fractions.
const STEP: Duration = Duration::from_millis(20);
const COARSE_STEP: Duration = Duration::from_secs(2);

/// What one cache file holds.
#[derive(Debug)]
pub(super) struct StatCache {
    file: PathBuf,
    bytes: Vec<u8>,
}

/// Whether a file's last change lies far enough before `now` to be told from a later one.
pub(super) fn is_settled(stat: &Stat, now: SystemTime) -> bool {
    let step = if stat.ctime % 1_000_000_000 == 0 { COARSE_STEP } else { STEP };
    let Some(limit) = now.checked_sub(step) else { return false };
    let limit = limit.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    i128::from(stat.ctime) < i128::try_from(limit).unwrap_or(i128::MAX)
}

impl StatCache {
    /// Reads what is known about a context, whose own folder has the device and inode `root`. Each pair
    /// of folder and ignore file has a cache of its own, so that services do not drive each other out.
    pub fn load(folder: &Path, root: (u64, u64), ignore: &IgnoreFile) -> Self {
        let mut name = format!("{}:{}", root.0, root.1).into_bytes();
        for rule in ignore.rules() {
            name.push(0);
            name.extend_from_slice(rule.text.as_bytes());
        }
        let file = folder.join(format!("{}.stat", Digest::of(&name).short(32)));
        let bytes = std::fs::read(&file).ok().filter(|bytes| is_whole(bytes)).unwrap_or_default();
        Self { file, bytes }
    }

    /// Returns the files known, in the order of the walk.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], Stat, [u8; HASH])> {
        let end = self.bytes.len().saturating_sub(HASH);
        Entries { rest: self.bytes.get(HEADER.len()..end).unwrap_or_default() }
    }

    /// Replaces the cache file, where what is known differs from what it holds.
    pub fn save<'a>(
        &self,
        entries: impl Iterator<Item = (&'a [u8], Stat, [u8; HASH])>,
    ) -> Result<(), ContextError> {
        let mut bytes = HEADER.to_vec();
        for (path, stat, digest) in entries {
            bytes.extend_from_slice(&(path.len() as u32).to_le_bytes());
            bytes.extend_from_slice(path);
            let Stat { device, inode, size, mtime, ctime } = stat;
            for number in [device, inode, size, mtime as u64, ctime as u64] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            bytes.extend_from_slice(&digest);
        }
        if self.bytes.len() == bytes.len() + HASH && self.bytes.starts_with(&bytes) {
            return Ok(());
        }
        let whole = hash_of(&bytes);
        bytes.extend_from_slice(&whole);
        replace(&self.file, &bytes)
            .map_err(|source| ContextError::StatCache { path: self.file.clone(), source })
    }
}

fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(bytes)?;
    // Not synced: what a crash leaves fails its own digest and counts as empty.
    temporary.persist(file).map_err(|error| error.error)?;
    Ok(())
}

fn is_whole(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER.len() + HASH
        && bytes.starts_with(HEADER)
        && hash_of(&bytes[..bytes.len() - HASH]) == bytes[bytes.len() - HASH..]
}

fn hash_of(bytes: &[u8]) -> [u8; HASH] {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish().as_bytes().try_into().expect("SHA-256 has 32 bytes")
}

struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], Stat, [u8; HASH]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        let path = self.take(length as usize)?;
        let numbers = self.take(NUMBERS)?;
        let number = |index: usize| {
            let bytes = numbers[index * 8..][..8].try_into().expect("eight bytes were taken");
            u64::from_le_bytes(bytes)
        };
        let stat = Stat {
            device: number(0),
            inode: number(1),
            size: number(2),
            mtime: number(3) as i64,
            ctime: number(4) as i64,
        };
        Some((path, stat, self.take(HASH)?.try_into().ok()?))
    }
}
