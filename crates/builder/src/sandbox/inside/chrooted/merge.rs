//! Layers copied over each other, by the rules of overlayfs.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use layer::overlay::{self, OverlayAttributes};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, chmod, ioctl_ficlone, lgetxattr,
    llistxattr, lsetxattr, mknodat, utimensat,
};
use rustix::io::Errno;

use crate::sandbox::error::SandboxError;

/// The kernel's largest list and value of extended attributes.
const LARGEST_ATTRIBUTE: usize = 64 << 10;

/// Copies extracted layers, lowest first, into the existing folder `target`.
pub(super) fn merge(lowers: &[PathBuf], target: &Path) -> Result<(), SandboxError> {
    for lower in lowers {
        let mut links = HashMap::new();
        copy_folder(lower, target, &mut links).and_then(|()| copy_attributes(lower, target)).map_err(
            |error| SandboxError::Tree {
                doing: "copy the layer".to_owned(),
                path: lower.clone(),
                reason: error.to_string(),
            },
        )?;
    }
    Ok(())
}

/// Copies a file or folder with all it holds to `to`, where nothing is.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(from)?;
    if !found.is_dir() {
        return copy_file(from, to, &found);
    }
    fs::create_dir(to)?;
    copy_folder(from, to, &mut HashMap::new())?;
    copy_attributes(from, to)
}

/// The first name of every file that has several.
pub(super) type Links = HashMap<(u64, u64), PathBuf>;

fn copy_folder(from: &Path, to: &Path, links: &mut Links) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        copy_entry(&source, &target, links)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", source.display())))?;
    }
    Ok(())
}

/// Copies one thing over what is at `target`; further names of a file in `links` become hard links.
pub(super) fn copy_entry(source: &Path, target: &Path, links: &mut Links) -> io::Result<()> {
    let found = fs::symlink_metadata(source)?;
    if overlay::is_whiteout(found.mode(), found.rdev()) {
        return remove(target);
    }
    if found.is_dir() {
        let below = fs::symlink_metadata(target).ok();
        if below.is_some_and(|below| !below.is_dir()) || is_opaque(source) {
            remove(target)?;
        }
        match fs::create_dir(target) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        copy_folder(source, target, links)?;
        return copy_attributes(source, target);
    }
    remove(target)?;
    if found.nlink() > 1 {
        if let Some(first) = links.get(&(found.dev(), found.ino())) {
            return fs::hard_link(first, target);
        }
        links.insert((found.dev(), found.ino()), target.to_owned());
    }
    copy_file(source, target, &found)
}

fn copy_file(source: &Path, target: &Path, found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    if kind.is_file() {
        let (from, mut to) = (File::open(source)?, File::create_new(target)?);
        // File systems that share content need not copy it.
        if ioctl_ficlone(&to, &from).is_err() {
            io::copy(&mut &from, &mut to)?;
        }
    } else if kind.is_symlink() {
        symlink(fs::read_link(source)?, target)?;
    } else if kind.is_socket() {
        // Whoever listens is reached by this name too.
        return fs::hard_link(source, target);
    } else {
        let file_type = FileType::from_raw_mode(found.mode());
        mknodat(CWD, target, file_type, Mode::RUSR, found.rdev())?;
    }
    copy_attributes(source, target)
}

/// Gives `to` owner, extended attributes, mode and times of `from`, in the order in which they do not undo each
/// other. Folders are to be given them last.
pub(super) fn copy_attributes(from: &Path, to: &Path) -> io::Result<()> {
    give_attributes(&fs::symlink_metadata(from)?, from, to)
}

/// As [`copy_attributes`], where the file was looked at before.
pub(super) fn give_attributes(found: &Metadata, from: &Path, to: &Path) -> io::Result<()> {
    lchown(to, Some(found.uid()), Some(found.gid()))?;
    copy_extended(from, to)?;
    if !found.file_type().is_symlink() {
        chmod(to, Mode::from_raw_mode(found.mode() & 0o7777))?;
    }
    give_times(found, to)
}

/// Gives a file the times that another had.
pub(super) fn give_times(found: &Metadata, to: &Path) -> io::Result<()> {
    let time = |seconds, nanoseconds: i64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let times = Timestamps {
        last_access: time(found.atime(), found.atime_nsec()),
        last_modification: time(found.mtime(), found.mtime_nsec()),
    };
    Ok(utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn copy_extended(from: &Path, to: &Path) -> io::Result<()> {
    // Most files have none, and are done after one call that tells the length alone.
    match llistxattr(from, &mut [0_u8; 0]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
        _ => {}
    }
    let mut names = vec![0; LARGEST_ATTRIBUTE];
    let length = llistxattr(from, &mut names)?;
    for name in names[..length].split(|byte| *byte == 0) {
        if name.is_empty() || overlay::is_own_attribute(name) {
            continue;
        }
        let mut value = vec![0; LARGEST_ATTRIBUTE];
        let length = lgetxattr(from, name, &mut value)?;
        match lsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            // Some are for others to set; a container's root has no part in them.
            Ok(()) | Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn is_opaque(folder: &Path) -> bool {
    let mut value = [0; 4];
    let read = lgetxattr(folder, OverlayAttributes::Plain.opaque(), &mut value);
    read.is_ok_and(|length| &value[..length] == overlay::OPAQUE)
}

/// Removes what is at a path, if anything is.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error)
            if error.kind() == io::ErrorKind::NotFound || error.kind() == io::ErrorKind::NotADirectory =>
        {
            Ok(())
        }
        other => other,
    }
}
