//! What the other kinds of sandbox mount, put in place by copies.
//!
//! What the image has at such a place is moved away before; the folder is given up after the command, so nothing
//! has to be moved back. Places, and folders made on the way to them, are no changes of the command.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, open};

use super::super::asked::write_file;
use super::super::skeleton::create_missing;
use super::super::surroundings::{ETC_FILES, failed, is_directory, resolution_files};
use super::super::target::Target;
use super::merge;
use crate::sandbox::command::Mount;
use crate::sandbox::error::SandboxError;
use crate::sandbox::message::Job;

/// Devices every program may use: name, major, minor. Source: Linux, admin-guide/devices.txt.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// What was put into a root folder.
pub(super) struct Furniture {
    /// Places of it, relative to the root.
    pub(super) places: HashSet<PathBuf>,
    /// Folders made on the way, relative to the root.
    pub(super) made: HashSet<PathBuf>,
    /// Where the content of a place goes back to.
    returns: Vec<(PathBuf, PathBuf)>,
}

impl Furniture {
    /// Puts everything in place that a command sees besides the layers.
    pub(super) fn place(root: &Path, aside: &Path, job: &Job) -> Result<Self, SandboxError> {
        let furniture = Self { places: HashSet::new(), made: HashSet::new(), returns: Vec::new() };
        let mut furnishing = Furnishing { root, aside, furniture };
        furnishing.kernel_folders().map_err(|error| failed("devices", "/dev", error))?;
        let files = ETC_FILES.iter().zip(resolution_files(&job.command));
        for (path, content) in files {
            let place = furnishing.clear(Path::new(path), false)?;
            fs::write(&place, content).map_err(|error| failed("a file", path, error))?;
        }
        job.command.mounts.iter().try_for_each(|mount| furnishing.asked_for(mount))?;
        Ok(furnishing.furniture)
    }

    /// Takes what the command wrote into folders that outlive it back to where they came from.
    pub(super) fn give_back(&self) -> Result<(), SandboxError> {
        for (place, source) in &self.returns {
            let given = match fs::symlink_metadata(place) {
                Ok(found) if found.is_dir() => give_folder_back(place, source),
                Ok(_) => fs::copy(place, source).map(drop),
                Err(_) => Ok(()),
            };
            given.map_err(|error| failed(&source.display().to_string(), place, error))?;
        }
        Ok(())
    }
}

/// The folder itself stays: others may be using it.
fn give_folder_back(place: &Path, source: &Path) -> io::Result<()> {
    for entry in fs::read_dir(source)? {
        merge::remove(&entry?.path())?;
    }
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        let target = source.join(entry.file_name());
        if fs::rename(entry.path(), &target).is_err() {
            merge::copy(&entry.path(), &target)?;
        }
    }
    Ok(())
}

struct Furnishing<'a> {
    root: &'a Path,
    aside: &'a Path,
    furniture: Furniture,
}

impl Furnishing<'_> {
    /// Makes room at a path of the image and returns where that is; nothing is there then, and its parents are.
    fn clear(&mut self, path: &Path, directory: bool) -> Result<PathBuf, SandboxError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let cannot = |error: io::Error| failed("a place", path, error);
        let folder = open(self.root, flags, Mode::empty()).map_err(|errno| cannot(errno.into()))?;
        let target = Target::resolve(&folder, path)?;
        let place = self.root.join(&target.path);
        if target.missing > 0 {
            let parents: Vec<_> = target.path.ancestors().skip(1).take(target.missing - 1).collect();
            if let Some(parent) = parents.first() {
                create_missing(&folder, parent, true).map_err(|errno| cannot(errno.into()))?;
            }
            self.furniture.made.extend(parents.into_iter().map(Path::to_owned));
        } else if target.directory != directory {
            let reason =
                if directory { "the image has a file there" } else { "the image has a folder there" };
            let target = path.display().to_string();
            return Err(SandboxError::MountTarget { target, reason: reason.to_owned() });
        } else {
            let away = self.aside.join(self.furniture.places.len().to_string());
            fs::rename(&place, away).map_err(cannot)?;
        }
        self.furniture.places.insert(target.path);
        Ok(place)
    }

    fn kernel_folders(&mut self) -> io::Result<()> {
        for path in ["/proc", "/sys", "/dev"] {
            let place = self.clear(Path::new(path), true).map_err(io::Error::other)?;
            fs::create_dir(place)?;
        }
        let dev = self.root.join("dev");
        for (name, major, minor) in DEVICES {
            make_device(&dev.join(name), makedev(major, minor))?;
        }
        for (name, target) in LINKS {
            symlink(target, dev.join(name))?;
        }
        fs::create_dir(dev.join("shm"))?;
        fs::set_permissions(dev.join("shm"), fs::Permissions::from_mode(0o1777))
    }

    fn asked_for(&mut self, mount: &Mount) -> Result<(), SandboxError> {
        let place = self.clear(mount.target(), is_directory(mount)?)?;
        let put = match mount {
            Mount::Bind { source, read_only, .. } => {
                if !*read_only {
                    self.furniture.returns.push((place.clone(), source.clone()));
                }
                merge::copy(source, &place)
            }
            Mount::Tmpfs { .. } => fs::create_dir(&place)
                .and_then(|()| fs::set_permissions(&place, fs::Permissions::from_mode(0o1777))),
            Mount::File { content, mode, uid, gid, .. } => write_file(&place, content, *mode, (*uid, *gid)),
            Mount::Layers { lowers, source, .. } => {
                let staging = self.aside.join("layers");
                fs::create_dir(&staging).map_err(|error| failed("layers", mount.target(), error))?;
                merge::merge(lowers, &staging)?;
                let from = if source.as_os_str().is_empty() { staging.clone() } else { staging.join(source) };
                fs::rename(from, &place).and_then(|()| merge::remove(&staging))
            }
        };
        put.map_err(|error| failed("a copy", mount.target(), error))
    }
}

/// Makes a device, or what does its work where the container allows none: an empty file swallows what is written
/// to it.
fn make_device(path: &Path, number: u64) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0o666);
    let made = mknodat(CWD, path, FileType::CharacterDevice, mode, number);
    let opens =
        made.is_ok() && open(path, OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).is_ok();
    let is_null = path.file_name().is_some_and(|name| name == "null");
    if !opens {
        merge::remove(path)?;
        if is_null {
            fs::write(path, "")?;
        }
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))
}
