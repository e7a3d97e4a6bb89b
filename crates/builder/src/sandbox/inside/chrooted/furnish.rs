//! What the other kinds of sandbox mount, put in place by copies.
//!
//! What the image has at such a place is moved away before; the folder is given up after the command, so nothing
//! has to be moved back. Places, and folders made on the way to them, are no changes of the command.

use std::collections::{HashMap, HashSet};
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

/// What programs ask about the machine, given as it is when the command starts. Nothing in them is about processes.
const MACHINE: [&str; 7] = [
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/uptime",
    "/proc/version",
    "/sys/devices/system/cpu/online",
];

/// What was put into a root folder.
pub(super) struct Furniture {
    /// Places of it, relative to the root.
    pub(super) places: HashSet<PathBuf>,
    /// Folders made on the way, relative to the root.
    pub(super) made: HashSet<PathBuf>,
    /// Where the content of a place goes back to.
    returns: Vec<(PathBuf, PathBuf)>,
    /// What was at a place before, and where it is now.
    covered: Vec<(PathBuf, PathBuf)>,
}

impl Furniture {
    /// Puts everything in place that a command sees besides the layers.
    pub(super) fn place(root: &Path, aside: &Path, job: &Job) -> Result<Self, SandboxError> {
        let furniture =
            Self { places: HashSet::new(), made: HashSet::new(), returns: Vec::new(), covered: Vec::new() };
        let mut furnishing = Furnishing { root, aside, furniture, touched: HashMap::new() };
        furnishing.kernel_folders().map_err(|error| failed("devices", "/dev", error))?;
        let files = ETC_FILES.iter().zip(resolution_files(&job.command));
        for (path, content) in files {
            let place = furnishing.clear(Path::new(path), false)?;
            fs::write(&place, content).map_err(|error| failed("a file", path, error))?;
        }
        job.command.mounts.iter().try_for_each(|mount| furnishing.asked_for(mount))?;
        for (folder, found) in &furnishing.touched {
            // One that was covered by another place is there no more.
            if folder.is_dir() {
                merge::give_times(found, folder).map_err(|error| failed("the time", folder, error))?;
            }
        }
        Ok(furnishing.furniture)
    }

    /// Makes the folder what it is without furniture, so that it can serve another command.
    pub(super) fn take_away(&self, root: &Path) -> Result<(), SandboxError> {
        for place in &self.places {
            let path = root.join(place);
            keeping_times(path.parent(), || merge::remove(&path))
                .map_err(|error| failed("nothing", place, error))?;
        }
        for (place, away) in &self.covered {
            let path = root.join(place);
            keeping_times(path.parent(), || fs::rename(away, &path))
                .map_err(|error| failed("what was there", place, error))?;
        }
        let mut made: Vec<_> = self.made.iter().collect();
        made.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        for path in made.into_iter().map(|path| root.join(path)) {
            // One that the command put something into stays.
            let _ = keeping_times(path.parent(), || fs::remove_dir(&path));
        }
        Ok(())
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

/// Does something in a folder that is no change of it: its times stay.
fn keeping_times<T>(folder: Option<&Path>, action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = folder.and_then(|folder| Some((folder, fs::symlink_metadata(folder).ok()?)));
    let done = action()?;
    if let Some((folder, found)) = before {
        merge::give_times(&found, folder)?;
    }
    Ok(done)
}

struct Furnishing<'a> {
    root: &'a Path,
    aside: &'a Path,
    furniture: Furniture,
    /// Folders that something is put into, as they were before.
    touched: HashMap<PathBuf, fs::Metadata>,
}

impl Furnishing<'_> {
    /// Makes room at a path of the image and returns where that is; nothing is there then, and its parents are.
    fn clear(&mut self, path: &Path, directory: bool) -> Result<PathBuf, SandboxError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let cannot = |error: io::Error| failed("a place", path, error);
        let folder = open(self.root, flags, Mode::empty()).map_err(|errno| cannot(errno.into()))?;
        let target = Target::resolve(&folder, path)?;
        let place = self.root.join(&target.path);
        // The deepest folder on the way that is the image's own: what is put there is no change of it.
        let own = place.ancestors().nth(target.missing.max(1)).map(Path::to_owned);
        if let Some(found) = own.as_ref().and_then(|own| fs::symlink_metadata(own).ok()) {
            self.touched.entry(own.unwrap_or_default()).or_insert(found);
        }
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
            fs::rename(&place, &away).map_err(cannot)?;
            self.furniture.covered.push((target.path.clone(), away));
        }
        self.furniture.places.insert(target.path);
        Ok(place)
    }

    fn kernel_folders(&mut self) -> io::Result<()> {
        for path in ["/proc", "/sys", "/dev"] {
            let place = self.clear(Path::new(path), true).map_err(io::Error::other)?;
            fs::create_dir(place)?;
        }
        for path in MACHINE {
            // A container may have hidden it; then it is not there either.
            let Ok(content) = fs::read(path) else { continue };
            let place = self.root.join(path.trim_start_matches('/'));
            fs::create_dir_all(place.parent().unwrap_or(self.root))?;
            fs::write(&place, content)?;
            fs::set_permissions(&place, fs::Permissions::from_mode(0o444))?;
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
