//! The root file system: layers joined by overlayfs, with places for mounts that never reach a layer.
//!
//! A mount needs a place to lie on. Where the image has none, it is made in a layer of its own, the
//! skeleton, that lies between the image and `upper`; the folders on the way there are copied from the
//! image with owner, mode and time. So nothing is created in `upper` and nothing has to be removed from it.
//!
//! Layers are named to the kernel by numbers of open files, relative to `/proc/self/fd`: mount options
//! are limited to a page, and the command can read them and shall not learn the caller's paths.
//!
//! Source: Linux, filesystems/overlayfs.rst, "Mount options", "Volatile mount".

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, chmod, open};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use rustix::process::{chdir, pivot_root};

use super::privileges;
use super::skeleton::{Skeleton, copy_attributes};
use crate::sandbox::command::{Mount, RootFs};
use crate::sandbox::error::{Cause, SandboxError};
use crate::sandbox::system::{self, Reach};

/// What lies in the working folder of a run: overlayfs' own folder, and the skeleton. The latter could be
/// in memory; but only while all layers lie on one file system do all files inside seem to, without which
/// `tar --one-file-system` leaves some out.
const OVERLAY: &str = "overlay";
const SKELETON: &str = "skeleton";
/// What overlayfs makes in its folder, each in the one before, closed to everyone.
const KERNEL_WORK: [&str; 3] = ["work", "incompat", "volatile"];

/// Makes a working folder that no other run has used: what the kernel leaves there forbids a second use.
pub(super) fn make_work(root: &RootFs) -> Result<PathBuf, SandboxError> {
    for number in 0.. {
        let path = root.work.join(number.to_string());
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(unusable(&path, error)),
            Ok(()) => return make_parts(path),
        }
    }
    unreachable!("there are more numbers than folders")
}

fn make_parts(work: PathBuf) -> Result<PathBuf, SandboxError> {
    for part in [OVERLAY, SKELETON].map(|name| work.join(name)) {
        fs::create_dir(&part).map_err(|error| unusable(&part, error))?;
    }
    Ok(work)
}

/// Opens what the kernel left in a working folder, once everything inside is gone, to whoever removes it.
///
/// It is not removed here: journaling file systems take milliseconds to remove a folder.
pub(super) fn tidy(work: &Path) {
    let mut path = work.join(OVERLAY);
    for name in KERNEL_WORK {
        path.push(name);
        // What is not there needs no opening; and what stays closed, `remove_tree` removes all the same.
        let _ = chmod(&path, Mode::RWXU);
    }
}

/// Mounts the root file system in this process' own namespace, over `work`, and returns where it lies.
pub(super) fn mount(
    root: &RootFs,
    work: &Path,
    mounts: &[Mount],
    user_namespace: bool,
) -> Result<PathBuf, SandboxError> {
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(|errno| SandboxError::setup("detach the mounts", errno))?;
    // Two hundred layers are two hundred open files; the usual limit for them is 1024.
    privileges::raise_open_files();
    let mut lowers = root.lowers.iter().map(|path| open_layer(path)).collect::<Result<Vec<_>, _>>()?;
    let [overlay, skeleton] = [open_layer(&work.join(OVERLAY))?, open_layer(&work.join(SKELETON))?];
    let upper = open_layer(&root.upper)?;
    if let Some(image) = join_for_looking(&lowers, work, user_namespace)? {
        copy_attributes(&image, &upper, Path::new(".")).map_err(|errno| unusable(&root.upper, errno))?;
        Skeleton::new(&skeleton, Some(&image)).build(mounts)?;
    } else {
        Skeleton::new(&skeleton, None).build(mounts)?;
    }
    lowers.push(skeleton);
    join(&lowers, Some((&upper, &overlay)), work, user_namespace)?;
    Ok(work.to_owned())
}

/// Makes the mounted root file system the root of this process and lets go of the machine's.
pub(super) fn enter(place: &Path, root: &RootFs) -> Result<(), SandboxError> {
    let failed = |errno: Errno| SandboxError::setup("change to the root file system", errno);
    if root.read_only {
        system::make_read_only(place, Reach::Mount)
            .map_err(|error| SandboxError::setup("make the root file system read-only", error))?;
    }
    chdir(place).map_err(failed)?;
    // Both at one place: the old root then lies on top of the new one and goes with one call.
    pivot_root(".", ".").map_err(failed)?;
    unmount(".", UnmountFlags::DETACH).map_err(failed)?;
    chdir("/").map_err(failed)
}

/// Mounts `lowers`, lowest first, under `upper` and `work` where given.
fn join(
    lowers: &[OwnedFd],
    upper: Option<(&OwnedFd, &OwnedFd)>,
    place: &Path,
    user_namespace: bool,
) -> Result<(), SandboxError> {
    let numbers: Vec<_> = lowers.iter().rev().map(|layer| layer.as_raw_fd().to_string()).collect();
    let mut options = format!("lowerdir={},index=off,metacopy=off,redirect_dir=off", numbers.join(":"));
    if let Some((upper, work)) = upper {
        // Volatile: nothing is synced to disk on every step; a layer counts only once it is stored.
        options += &format!(",upperdir={},workdir={},volatile", upper.as_raw_fd(), work.as_raw_fd());
    }
    if user_namespace {
        options = options.replace(",redirect_dir=off", "") + ",userxattr";
    }
    // A step of the machine's root may make nodes, and an archive may hold them; none of them opens.
    let flags = MountFlags::NODEV;
    let options = CString::new(options).expect("numbers and names hold no NUL");
    let mounted = from_folder("/proc/self/fd", || {
        rustix::mount::mount("overlay", place, "overlay", flags, options.as_c_str())
    });
    mounted.map_err(|errno| SandboxError::Mount {
        what: format!("an overlay of {} layers", lowers.len()),
        target: "/".to_owned(),
        source: explain(errno),
    })
}

fn explain(errno: Errno) -> Cause {
    let mut cause = Cause::from(errno);
    if errno == Errno::INVAL {
        cause.message += "; the folder for steps may itself lie on an overlay (as in a container): put the \
                          state folder on a volume or a tmpfs";
    }
    cause
}

/// Opens what the layers look like together, before anything is added. `None` without layers.
fn join_for_looking(
    lowers: &[OwnedFd],
    place: &Path,
    user_namespace: bool,
) -> Result<Option<OwnedFd>, SandboxError> {
    match lowers {
        [] => Ok(None),
        // A single layer cannot be joined, and needs not be.
        [only] => only.try_clone().map(Some).map_err(|error| unusable(place, error)),
        several => {
            // Stays under the final mount and is let go with the machine's root.
            join(several, None, place, user_namespace)?;
            open_layer(place).map(Some)
        }
    }
}

/// Mounts extracted layers on the folder `place`, to be written to where two folders are given for that.
/// A single layer that nobody writes to is mounted itself.
pub(super) fn mount_layers(
    lowers: &[PathBuf],
    writes: Option<&(PathBuf, PathBuf)>,
    place: &Path,
    user_namespace: bool,
) -> Result<(), SandboxError> {
    let layers = lowers.iter().map(|path| open_layer(path)).collect::<Result<Vec<_>, _>>()?;
    let writes = writes.map(|(upper, work)| Ok((open_layer(upper)?, open_layer(work)?))).transpose()?;
    match (lowers, &writes) {
        ([only], None) => mount_bind(only, place).map_err(|errno| unusable(only, errno)),
        (_, writes) => {
            let writes = writes.as_ref().map(|(upper, work)| (upper, work));
            join(&layers, writes, place, user_namespace)
        }
    }
}

fn open_layer(path: &Path) -> Result<OwnedFd, SandboxError> {
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| unusable(path, errno))
}

pub(super) fn unusable(path: &Path, source: impl Into<Cause>) -> SandboxError {
    SandboxError::RootFs { path: path.to_owned(), source: source.into() }
}

fn from_folder<T>(folder: &str, action: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    chdir(folder)?;
    let done = action();
    chdir("/")?;
    done
}
