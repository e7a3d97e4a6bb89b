//! The layer of mount points: what mounts lie on where the image has no such file or folder.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chmodat, chownat, mkdirat, openat, statat,
    utimensat,
};
use rustix::io::Errno;

use super::surroundings;
use super::target::Target;
use crate::sandbox::command::Mount;
use crate::sandbox::error::SandboxError;

/// A skeleton being built beside an image, or beside nothing.
pub(super) struct Skeleton<'a> {
    folder: BorrowedFd<'a>,
    image: Option<BorrowedFd<'a>>,
    /// Folders of the image that the skeleton repeats.
    repeated: BTreeSet<PathBuf>,
}

impl<'a> Skeleton<'a> {
    pub(super) fn new(folder: &'a OwnedFd, image: Option<&'a OwnedFd>) -> Self {
        Self { folder: folder.as_fd(), image: image.map(AsFd::as_fd), repeated: BTreeSet::new() }
    }

    /// Makes every place that the mounts of a sandbox need and the image does not have.
    pub(super) fn build(mut self, mounts: &[Mount]) -> Result<(), SandboxError> {
        let mut covered: Vec<PathBuf> = Vec::new();
        for place in surroundings::places(mounts)? {
            let target = Target::resolve(self.image.unwrap_or(self.folder), &place.path)?;
            // Below another mount the image is not seen; that place is made when its time has come.
            if covered.iter().any(|above| target.path != *above && target.path.starts_with(above)) {
                continue;
            }
            if target.missing > 0 {
                self.add(&target, place.directory).map_err(|errno| cannot(&place.path, errno))?;
            }
            covered.push(target.path);
        }
        self.repeat_attributes().map_err(|errno| cannot(Path::new("/"), errno))
    }

    fn add(&mut self, target: &Target, directory: bool) -> Result<(), Errno> {
        for parent in target.present_parents() {
            accept_existing(mkdirat(self.folder, &parent, Mode::from_raw_mode(0o700)))?;
            self.repeated.insert(parent);
        }
        create_missing(self.folder, &target.path, directory)
    }

    /// Last of all, because every creation changes the time of its folder. Deepest first.
    fn repeat_attributes(&self) -> Result<(), Errno> {
        let Some(image) = self.image else { return Ok(()) };
        for path in self.repeated.iter().rev() {
            copy_attributes(image, self.folder, path)?;
        }
        copy_attributes(image, self.folder, Path::new("."))
    }
}

/// Makes the file or folder `path` below `root`, with parents, where it is not there.
pub(super) fn create_missing(root: impl AsFd, path: &Path, directory: bool) -> Result<(), Errno> {
    let root = root.as_fd();
    let mut ancestors: Vec<_> = path.ancestors().collect();
    ancestors.pop();
    ancestors.reverse();
    for (index, ancestor) in ancestors.iter().enumerate() {
        if directory || index + 1 < ancestors.len() {
            accept_existing(mkdirat(root, *ancestor, Mode::from_raw_mode(0o755)))?;
        } else {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            openat(root, *ancestor, flags, Mode::from_raw_mode(0o644))?;
        }
    }
    Ok(())
}

/// Gives the folder `path` below `to` the owner, mode and time it has below `from`.
pub(super) fn copy_attributes(from: impl AsFd, to: impl AsFd, path: &Path) -> Result<(), Errno> {
    let found = statat(from, path, AtFlags::empty())?;
    let to = to.as_fd();
    let (owner, group) = (Uid::from_raw(found.st_uid), Gid::from_raw(found.st_gid));
    match chownat(to, path, Some(owner), Some(group), AtFlags::empty()) {
        // Owned by someone the user namespace does not know: shown as nobody either way.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(errno),
    }
    chmodat(to, path, Mode::from_raw_mode(found.st_mode & 0o7777), AtFlags::empty())?;
    let time = |seconds, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let times = Timestamps {
        last_access: time(found.st_atime, found.st_atime_nsec),
        last_modification: time(found.st_mtime, found.st_mtime_nsec),
    };
    utimensat(to, path, &times, AtFlags::empty())
}

fn accept_existing(made: Result<(), Errno>) -> Result<(), Errno> {
    if made == Err(Errno::EXIST) { Ok(()) } else { made }
}

fn cannot(path: &Path, errno: Errno) -> SandboxError {
    let what = "a place for a mount".to_owned();
    SandboxError::Mount { what, target: path.display().to_string(), source: errno.into() }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn folders_of_the_image_keep_mode_and_time_in_the_skeleton() {
        let (image, skeleton) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(image.path().join("etc")).unwrap();
        fs::set_permissions(image.path().join("etc"), fs::Permissions::from_mode(0o751)).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        File::open(image.path().join("etc")).unwrap().set_modified(time).unwrap();
        let open = |folder: &tempfile::TempDir| OwnedFd::from(File::open(folder.path()).unwrap());
        let (from, to) = (open(&image), open(&skeleton));

        Skeleton::new(&to, Some(&from)).build(&[]).unwrap();

        let etc = fs::metadata(skeleton.path().join("etc")).unwrap();
        assert_eq!((etc.mode() & 0o7777, etc.mtime()), (0o751, 1_000_000));
        assert!(skeleton.path().join("etc/resolv.conf").is_file());
        assert!(skeleton.path().join("proc").is_dir());
        assert!(!image.path().join("proc").exists());
    }
}
