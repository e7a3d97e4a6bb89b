//! Owner, extended attributes, mode and time of what was made, in the order in which they do not undo
//! each other: a change of owner clears setuid bits and `security.capability`.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
    fremovexattr, fsetxattr, futimens, lsetxattr, utimensat,
};
use rustix::io::Errno;

use super::Owners;
use super::folders::Folder;
use crate::entry::{Entry, Kind};
use crate::error::{LayerError, shown};
use crate::overlay;
use crate::owner::OwnerNote;

/// Gives files what their entries say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metadata {
    owners: Owners,
    /// Who owns what we create in folders without the setgid bit.
    uid: u32,
    gid: u32,
}

impl Metadata {
    pub(super) fn new(owners: Owners) -> Self {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self { owners, uid, gid }
    }

    /// Finishes a file. Returns what was left out.
    pub(super) fn of_file(
        self,
        file: &File,
        folder: &Folder,
        entry: &Entry,
        path: &Path,
    ) -> Result<Vec<String>, LayerError> {
        let is_ours = !folder.setgid && (entry.uid, entry.gid) == (self.uid, self.gid);
        if self.owners == Owners::Keep && !is_ours {
            let (uid, gid) = owner(entry, path)?;
            fchown(file, uid, gid).map_err(|error| LayerError::file("set the owner of", path, error))?;
        }
        self.note_owner(file, entry, path)?;
        let problems =
            set_xattrs(entry, path, |name, value| fsetxattr(file, name, value, XattrFlags::empty()))?;
        fchmod(file, Mode::from_raw_mode(entry.mode))
            .map_err(|error| LayerError::file("set the mode of", path, error))?;
        futimens(file, &times(entry.mtime))
            .map_err(|error| LayerError::file("set the time of", path, error))?;
        Ok(problems)
    }

    /// Gives a folder its owner and attributes; mode and time wait until all is in it.
    pub(super) fn of_folder(
        self,
        folder: &Folder,
        entry: &Entry,
        path: &Path,
    ) -> Result<Vec<String>, LayerError> {
        if self.owners == Owners::Keep {
            let (uid, gid) = owner(entry, path)?;
            chownat(&folder.fd, "", uid, gid, AtFlags::EMPTY_PATH)
                .map_err(|error| LayerError::file("set the owner of", path, error))?;
        }
        if entry.xattrs.is_empty() && self.owners != Owners::Record {
            return Ok(Vec::new());
        }
        let fd = folder.reopen().map_err(|error| LayerError::file("open the folder", path, error))?;
        self.note_owner(&fd, entry, path)?;
        set_xattrs(entry, path, |name, value| fsetxattr(&fd, name, value, XattrFlags::empty()))
    }

    /// Finishes something that cannot be opened: a link, a pipe, a device.
    pub(super) fn of_name(
        self,
        folder: &Folder,
        name: &[u8],
        entry: &Entry,
        path: &Path,
    ) -> Result<Vec<String>, LayerError> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        if self.owners == Owners::Keep {
            let (uid, gid) = owner(entry, path)?;
            chownat(&folder.fd, name, uid, gid, nofollow)
                .map_err(|error| LayerError::file("set the owner of", path, error))?;
        }
        let itself = proc_path(folder.fd.as_fd(), name);
        let mut problems = set_xattrs(entry, path, |attribute, value| {
            lsetxattr(&itself[..], attribute, value, XattrFlags::empty())
        })?;
        if self.owners == Owners::Record && (entry.uid, entry.gid) != (0, 0) {
            problems.push(format!("the owner {}:{} was left out", entry.uid, entry.gid));
        }
        // Links have no mode of their own; the call would change what they lead to.
        if !matches!(entry.kind, Kind::Symlink(_)) {
            chmodat(&folder.fd, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
                .map_err(|error| LayerError::file("set the mode of", path, error))?;
        }
        utimensat(&folder.fd, name, &times(entry.mtime), nofollow)
            .map_err(|error| LayerError::file("set the time of", path, error))?;
        Ok(problems)
    }
}

impl Metadata {
    /// Notes who the file should belong to, in place of an older note.
    fn note_owner(self, file: impl AsFd, entry: &Entry, path: &Path) -> Result<(), LayerError> {
        if self.owners != Owners::Record {
            return Ok(());
        }
        let noted = match (OwnerNote { uid: entry.uid, gid: entry.gid }).value() {
            Some(value) => fsetxattr(file, OwnerNote::NAME, value.as_bytes(), XattrFlags::empty()),
            None => match fremovexattr(file, OwnerNote::NAME) {
                Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
                removed => removed,
            },
        };
        noted.map_err(|error| LayerError::file("note the owner of", path, error))
    }
}

pub(super) fn times(mtime: i64) -> Timestamps {
    let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn owner(entry: &Entry, path: &Path) -> Result<(Option<Uid>, Option<Gid>), LayerError> {
    if entry.uid == u32::MAX || entry.gid == u32::MAX {
        // The number that system calls take for "leave it".
        return Err(LayerError::file("set the owner of", path, Errno::INVAL));
    }
    Ok((Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))))
}

/// Returns a path for the calls on attributes, which take no folder and name.
fn proc_path(folder: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    [format!("/proc/self/fd/{}/", folder.as_raw_fd()).as_bytes(), name].concat()
}

fn set_xattrs(
    entry: &Entry,
    path: &Path,
    set: impl Fn(&[u8], &[u8]) -> rustix::io::Result<()>,
) -> Result<Vec<String>, LayerError> {
    let mut problems = Vec::new();
    for (name, value) in &entry.xattrs {
        if overlay::is_own_attribute(name) || name == OwnerNote::NAME {
            let owner = if name == OwnerNote::NAME { "plimsoll" } else { "overlayfs" };
            problems.push(format!("the attribute {:?} belongs to {owner} and was left out", shown(name)));
            continue;
        }
        match set(name, value) {
            Ok(()) => {}
            // Not every file system has them, and some are for the real root alone.
            Err(error @ (Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS)) => {
                problems.push(format!("the attribute {:?} was left out: {error}", shown(name)));
            }
            Err(error) => return Err(LayerError::file("set the extended attributes of", path, error)),
        }
    }
    Ok(problems)
}
