//! The one walk over a context folder: names, kinds, modes and times; no content.
//!
//! A folder is opened, listed and closed before what it holds is entered, so that depth costs no open
//! files. Folders that the ignore file leaves out are not read unless something in them may come back;
//! such a folder is kept only where something did.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, OFlags, RawDir, Stat as SystemStat, readlinkat, statat};
use rustix::io::{Errno, Result};

use super::tree::NodeKind;
use super::{Permissions, beneath};
use crate::ignore::{IgnoreFile, Inherited, Verdict};

/// What tells a file that was changed from one that was not. Times are nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of content.
    pub mtime: i64,
    /// Time of the last change of content or attributes.
    pub ctime: i64,
}

impl Stat {
    pub(super) fn of(stat: &SystemStat) -> Self {
        let nanoseconds =
            |seconds: i64, rest: u64| seconds.saturating_mul(1_000_000_000).saturating_add(rest as i64);
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            ctime: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// Everything found, in the order of names from folder to folder.
#[derive(Debug, Default)]
pub(super) struct Records {
    paths: Vec<u8>,
    all: Vec<Record>,
}

#[derive(Debug)]
pub(super) struct Record {
    path_start: usize,
    path_len: u32,
    /// The index after the last record in this folder; for others, after this one.
    pub end: u32,
    pub mode: u32,
    /// Whether it has other names.
    pub linked: bool,
    pub kind: NodeKind,
    pub stat: Stat,
}

impl Records {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn get(&self, index: usize) -> &Record {
        &self.all[index]
    }

    pub fn path(&self, index: usize) -> &[u8] {
        let record = &self.all[index];
        &self.paths[record.path_start..record.path_start + record.path_len as usize]
    }

    pub fn find(&self, path: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.all.len());
        while low < high {
            let middle = low.midpoint(high);
            match order(self.path(middle), path) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    /// Returns the records below a folder; the empty path is the root.
    pub fn below(&self, folder: &[u8]) -> std::ops::Range<usize> {
        match folder {
            b"" => 0..self.all.len(),
            _ => self.find(folder).map_or(0..0, |index| index + 1..self.all[index].end as usize),
        }
    }

    fn push(&mut self, path: &[u8], found: &Found, kind: NodeKind, permissions: Permissions) {
        let path_start = self.paths.len();
        self.paths.extend_from_slice(path);
        self.all.push(Record {
            path_start,
            path_len: path.len() as u32,
            end: self.all.len() as u32 + 1,
            mode: permissions.apply(found.stat.st_mode & 0o7777, &kind),
            linked: kind != NodeKind::Directory && found.stat.st_nlink > 1,
            kind,
            stat: Stat::of(&found.stat),
        });
    }

    fn pop(&mut self) {
        if let Some(record) = self.all.pop() {
            self.paths.truncate(record.path_start);
        }
    }
}

/// The order of the walk: a folder comes directly before what it holds.
pub(super) fn order(left: &[u8], right: &[u8]) -> std::cmp::Ordering {
    let shared = left.iter().zip(right).position(|(left, right)| left != right);
    let rank =
        |path: &[u8], at: usize| path.get(at).map(|byte| if *byte == b'/' { 0 } else { u16::from(*byte) });
    let at = shared.unwrap_or_else(|| left.len().min(right.len()));
    rank(left, at).cmp(&rank(right, at))
}

/// A name that belongs to the context, or a folder that may hold one.
struct Found {
    name: Vec<u8>,
    file_type: FileType,
    stat: SystemStat,
    target: Option<Vec<u8>>,
    verdict: Verdict,
}

struct Folder {
    children: std::vec::IntoIter<Found>,
    record: Option<usize>,
    path_len: usize,
    /// Whether it stays only where something in it does.
    excluded: bool,
}

/// What was being read when it failed.
pub(super) struct Failed {
    pub path: Vec<u8>,
    pub error: Errno,
}

/// Walks the folder `root`.
pub(super) fn walk(
    root: BorrowedFd<'_>,
    ignore: &IgnoreFile,
    permissions: Permissions,
) -> std::result::Result<Records, Failed> {
    let mut walk = Walk { root, ignore, permissions, records: Records::default(), path: Vec::new() };
    let mut folders = vec![walk.enter(None, &Inherited::default(), false)?];
    while let Some(folder) = folders.last_mut() {
        walk.path.truncate(folder.path_len);
        match folder.children.next() {
            Some(found) => {
                if let Some(inner) = walk.take(found)? {
                    folders.push(inner);
                }
            }
            None => {
                walk.leave(folder);
                folders.pop();
            }
        }
    }
    Ok(walk.records)
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    ignore: &'a IgnoreFile,
    permissions: Permissions,
    records: Records,
    path: Vec<u8>,
}

impl Walk<'_> {
    /// Records one name. Returns it as a folder to go on with, where it is one.
    fn take(&mut self, found: Found) -> std::result::Result<Option<Folder>, Failed> {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(&found.name);
        let kind = match found.file_type {
            FileType::Directory => NodeKind::Directory,
            FileType::RegularFile => NodeKind::File { size: u64::try_from(found.stat.st_size).unwrap_or(0) },
            FileType::Symlink => NodeKind::Symlink(found.target.clone().unwrap_or_default()),
            FileType::Fifo => NodeKind::Fifo,
            FileType::CharacterDevice => {
                let (major, minor) = device_numbers(&found.stat);
                NodeKind::CharDevice { major, minor }
            }
            FileType::BlockDevice => {
                let (major, minor) = device_numbers(&found.stat);
                NodeKind::BlockDevice { major, minor }
            }
            // Sockets mean nothing without the process that made them; BuildKit leaves them out, too.
            FileType::Socket | FileType::Unknown => return Ok(None),
        };
        let is_folder = kind == NodeKind::Directory;
        self.records.push(&self.path, &found, kind, self.permissions);
        if !is_folder {
            return Ok(None);
        }
        let record = self.records.len() - 1;
        self.enter(Some(record), &found.verdict.inherited, found.verdict.is_excluded()).map(Some)
    }

    fn enter(
        &self,
        record: Option<usize>,
        inherited: &Inherited,
        excluded: bool,
    ) -> std::result::Result<Folder, Failed> {
        let children = self.list(inherited).map_err(|error| Failed { path: self.path.clone(), error })?;
        Ok(Folder { children: children.into_iter(), record, path_len: self.path.len(), excluded })
    }

    fn leave(&mut self, folder: &Folder) {
        let Some(record) = folder.record else { return };
        let end = self.records.len();
        if folder.excluded && end == record + 1 {
            self.records.pop();
        } else {
            self.records.all[record].end = end as u32;
        }
    }

    /// Reads the names in the folder at the current path, ascending, without those left out.
    fn list(&self, inherited: &Inherited) -> Result<Vec<Found>> {
        let folder = beneath::open(self.root, &self.path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 32 << 10];
        let mut names = RawDir::new(folder.as_fd(), &mut buffer);
        let mut found = Vec::new();
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        let folder_len = path.len();
        while let Some(entry) = names.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            path.truncate(folder_len);
            path.extend_from_slice(name.to_bytes());
            found.extend(self.look(folder.as_fd(), name, entry.file_type(), &path, inherited)?);
        }
        found.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Ok(found)
    }

    /// Looks at one name; `None` where it is left out or gone again.
    fn look(
        &self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        listed: FileType,
        path: &[u8],
        inherited: &Inherited,
    ) -> Result<Option<Found>> {
        let verdict = self.ignore.verdict(path, inherited);
        let may_be_folder = matches!(listed, FileType::Directory | FileType::Unknown);
        if verdict.is_excluded() && !(may_be_folder && self.ignore.may_include_below(path, &verdict)) {
            return Ok(None);
        }
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if verdict.is_excluded() && file_type != FileType::Directory {
            return Ok(None);
        }
        let target = match file_type {
            FileType::Symlink => Some(readlinkat(folder, name, Vec::new())?.into_bytes()),
            _ => None,
        };
        Ok(Some(Found { name: name.to_bytes().to_vec(), file_type, stat, target, verdict }))
    }
}

fn device_numbers(stat: &SystemStat) -> (u32, u32) {
    (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
}
