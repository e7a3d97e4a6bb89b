//! The one walk over a context folder: names, kinds, modes and times; no content.
//!
//! A folder is opened, listed and closed before what it holds is entered, so that depth costs no open
//! files. Folders that the ignore file leaves out are not read unless something in them may come back;
//! such a folder is kept only where something did.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::SystemTime;

use rustix::fs::{AtFlags, FileType, OFlags, RawDir, Stat, readlinkat, statat};
use rustix::io::{Errno, Result};

use super::records::{Index, New, Records, Stamp};
use super::tree::NodeKind;
use super::{Permissions, beneath, stat_cache};
use crate::ignore::{IgnoreFile, Inherited, Verdict};

/// What was being read when it failed.
pub(super) struct Failed {
    pub path: Vec<u8>,
    pub error: Errno,
}

/// Walks the folder `root`; `now` is as in [`super::ContextOptions`].
pub(super) fn walk(
    root: BorrowedFd<'_>,
    ignore: &IgnoreFile,
    permissions: Permissions,
    now: SystemTime,
) -> std::result::Result<Records, Failed> {
    let mut walk = Walk { root, ignore, permissions, now, records: Records::default(), path: Vec::new() };
    let mut folders = vec![walk.enter(None, &Inherited::default(), false)?];
    while let Some(folder) = folders.last_mut() {
        walk.path.truncate(folder.path_bytes);
        match folder.inner.next() {
            Some((index, verdict)) => {
                if !walk.path.is_empty() {
                    walk.path.push(b'/');
                }
                walk.path.extend_from_slice(walk.records.name(index));
                folders.push(walk.enter(Some(index), &verdict.inherited, verdict.is_excluded())?);
            }
            None => {
                if let Some(excluded) = folder.excluded {
                    walk.records.remove_if_empty(excluded);
                }
                folders.pop();
            }
        }
    }
    walk.records.find_names();
    Ok(walk.records)
}

struct Folder {
    /// The folders in it.
    inner: std::vec::IntoIter<(Index, Verdict)>,
    path_bytes: usize,
    /// Itself, where it stays only if something in it does.
    excluded: Option<Index>,
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    ignore: &'a IgnoreFile,
    permissions: Permissions,
    now: SystemTime,
    records: Records,
    path: Vec<u8>,
}

impl Walk<'_> {
    /// Records what is in the folder at the current path.
    fn enter(
        &mut self,
        folder: Option<Index>,
        inherited: &Inherited,
        excluded: bool,
    ) -> std::result::Result<Folder, Failed> {
        let start = self.records.end();
        let listed = self.list(folder, inherited);
        let mut verdicts = listed.map_err(|error| Failed { path: self.path.clone(), error })?;
        let inner = self.records.close(folder, start).into_iter();
        let inner: Vec<_> =
            inner.map(|(index, note)| (index, std::mem::take(&mut verdicts[note as usize]))).collect();
        let excluded = folder.filter(|_| excluded);
        Ok(Folder { inner: inner.into_iter(), path_bytes: self.path.len(), excluded })
    }

    /// Records the names in the folder at the current path, without those left out. Returns the
    /// verdicts on the folders among them, whose numbers are their notes.
    fn list(&mut self, index: Option<Index>, inherited: &Inherited) -> Result<Vec<Verdict>> {
        let folder = beneath::open(self.root, &self.path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 32 << 10];
        let mut names = RawDir::new(folder.as_fd(), &mut buffer);
        let mut verdicts = Vec::new();
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        let folder_bytes = path.len();
        while let Some(entry) = names.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            path.truncate(folder_bytes);
            path.extend_from_slice(name.to_bytes());
            let found = self.look(folder.as_fd(), name, entry.file_type(), &path, inherited)?;
            let Some((kind, stat, verdict)) = found else { continue };
            let new = New {
                name: name.to_bytes(),
                mode: self.permissions.apply(stat.st_mode & 0o7777, &kind),
                kind: &kind,
                stamp: Stamp::of(&stat),
                settled: stat_cache::is_settled(&stat, self.now),
                linked: matches!(kind, NodeKind::File { .. }) && stat.st_nlink > 1,
            };
            self.records.push(index, &new, verdicts.len() as u32)?;
            if kind == NodeKind::Directory {
                verdicts.push(verdict);
            }
        }
        Ok(verdicts)
    }

    /// Looks at one name; `None` where it is left out, gone again, or nothing that can be copied.
    fn look(
        &self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        listed: FileType,
        path: &[u8],
        inherited: &Inherited,
    ) -> Result<Option<(NodeKind, Stat, Verdict)>> {
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
        let kind = match file_type {
            FileType::Directory => NodeKind::Directory,
            FileType::RegularFile => NodeKind::File { size: stat.st_size.cast_unsigned() },
            FileType::Symlink => match readlinkat(folder, name, Vec::new()) {
                Ok(target) => NodeKind::Symlink(target.into_bytes()),
                Err(Errno::NOENT) => return Ok(None),
                Err(error) => return Err(error),
            },
            FileType::Fifo => NodeKind::Fifo,
            FileType::CharacterDevice => {
                let (major, minor) = device_numbers(&stat);
                NodeKind::CharDevice { major, minor }
            }
            FileType::BlockDevice => {
                let (major, minor) = device_numbers(&stat);
                NodeKind::BlockDevice { major, minor }
            }
            // Sockets mean nothing without the process that made them; BuildKit leaves them out, too.
            FileType::Socket | FileType::Unknown => return Ok(None),
        };
        Ok(Some((kind, stat, verdict)))
    }
}

fn device_numbers(stat: &Stat) -> (u32, u32) {
    (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
}
