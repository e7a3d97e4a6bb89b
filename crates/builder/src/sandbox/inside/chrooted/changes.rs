//! What a command changed in a folder, found by looking at it before and after, in the form of an overlay's upper
//! folder.
//!
//! A file counts as changed where number, size, mode, owner or one of its times is another: the time of change
//! cannot be set by anyone. No content is read.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use layer::overlay::{self, OverlayAttributes};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};

use super::furnish::Furniture;
use super::merge;
use crate::sandbox::error::SandboxError;

/// Longer than the clock of file systems needs for its next tick, on every kernel.
const TICK: Duration = Duration::from_millis(11);

/// What a folder looked like: of each folder, by its path below the root, what it held.
pub(super) struct Snapshot {
    folders: HashMap<PathBuf, HashMap<OsString, Seen>>,
}

/// All that would change with a file.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    inode: (u64, u64),
    mode: u32,
    owner: (u32, u32),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    fn of(found: &Metadata) -> Self {
        Self {
            inode: (found.dev(), found.ino()),
            mode: found.mode(),
            owner: (found.uid(), found.gid()),
            size: if found.is_dir() { 0 } else { found.size() },
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }

    fn is_folder(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Directory
    }
}

impl Snapshot {
    /// Looks at everything below `root` but what was placed there.
    pub(super) fn take(root: &Path, furniture: &Furniture) -> Result<Self, SandboxError> {
        let mut folders = HashMap::new();
        let mut ahead = vec![PathBuf::new()];
        while let Some(folder) = ahead.pop() {
            let mut held = HashMap::new();
            for (name, found) in list(root, &folder, furniture).map_err(|error| cannot(root, error))? {
                if found.is_dir() {
                    ahead.push(folder.join(&name));
                }
                held.insert(name, Seen::of(&found));
            }
            folders.insert(folder, held);
        }
        // So that what the command does bears another time.
        std::thread::sleep(TICK);
        Ok(Self { folders })
    }
}

fn list(root: &Path, folder: &Path, furniture: &Furniture) -> io::Result<Vec<(OsString, Metadata)>> {
    let mut held = Vec::new();
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        if !furniture.places.contains(&folder.join(entry.file_name())) {
            held.push((entry.file_name(), entry.metadata()?));
        }
    }
    Ok(held)
}

/// Moves what changed since `before` into the existing empty folder `upper`; copies it where `root` is kept.
pub(super) fn write(
    root: &Path,
    upper: &Path,
    before: &Snapshot,
    furniture: &Furniture,
    is_kept: bool,
) -> Result<(), SandboxError> {
    let own = fs::symlink_metadata(root).map_err(|error| cannot(root, error))?;
    let mut writing = Writing {
        root,
        upper,
        before,
        furniture,
        links: is_kept.then(HashMap::new),
        seen: HashMap::new(),
        folders: BTreeMap::new(),
    };
    writing.seen.insert(PathBuf::new(), own.clone());
    writing
        .folder(Path::new(""), false)
        .and_then(|()| writing.finish())
        .and_then(|()| merge::give_attributes(&own, root, upper))
        .map_err(|error| cannot(root, error))
}

struct Writing<'a> {
    root: &'a Path,
    upper: &'a Path,
    before: &'a Snapshot,
    furniture: &'a Furniture,
    /// First names of files with several, where files are copied.
    links: Option<merge::Links>,
    /// Folders as they were before anything was moved out of them.
    seen: HashMap<PathBuf, Metadata>,
    /// Folders of `upper`, and whether they hide what is below.
    folders: BTreeMap<PathBuf, bool>,
}

impl Writing<'_> {
    /// Writes what changed in one folder; `is_new` where no layer below has it.
    fn folder(&mut self, folder: &Path, is_new: bool) -> io::Result<()> {
        let before = self.before.folders.get(folder).filter(|_| !is_new);
        let mut gone: Vec<&OsString> = before.map(|held| held.keys().collect()).unwrap_or_default();
        for (name, found) in list(self.root, folder, self.furniture)? {
            gone.retain(|known| **known != name);
            let path = folder.join(&name);
            let old = before.and_then(|held| held.get(&name));
            let is_same = old.is_some_and(|old| *old == Seen::of(&found));
            if found.is_dir() {
                let is_known =
                    old.is_some_and(|old| old.is_folder() && old.inode == (found.dev(), found.ino()));
                self.seen.insert(path.clone(), found);
                if !is_same {
                    self.open(&path)?;
                    let hides = old.is_some() && !is_known;
                    self.folders.entry(path.clone()).and_modify(|hidden| *hidden |= hides);
                }
                self.folder(&path, !is_known)?;
            } else if !is_same {
                self.open(folder)?;
                let (from, to) = (self.root.join(&path), self.upper.join(&path));
                match &mut self.links {
                    Some(links) => merge::copy_entry(&from, &to, links)?,
                    None => fs::rename(from, to)?,
                }
            }
        }
        for name in gone {
            let path = folder.join(name);
            // The image has no folder that was made for a mount.
            if !self.furniture.made.contains(&path) {
                self.open(folder)?;
                mknodat(CWD, self.upper.join(&path), FileType::Socket, Mode::empty(), 0)?;
            }
        }
        Ok(())
    }

    /// Makes a folder of `upper` with its parents.
    fn open(&mut self, folder: &Path) -> io::Result<()> {
        if folder.as_os_str().is_empty() || self.folders.contains_key(folder) {
            return Ok(());
        }
        if let Some(parent) = folder.parent() {
            self.open(parent)?;
        }
        fs::create_dir(self.upper.join(folder))?;
        self.folders.insert(folder.to_owned(), false);
        Ok(())
    }

    /// Gives the folders what they had, deepest first.
    fn finish(&self) -> io::Result<()> {
        for (folder, hides) in self.folders.iter().rev() {
            let place = self.upper.join(folder);
            if *hides {
                let name = OverlayAttributes::Plain.opaque();
                setxattr(&place, name, overlay::OPAQUE, XattrFlags::empty())?;
            }
            merge::give_attributes(&self.seen[folder], &self.root.join(folder), &place)?;
        }
        Ok(())
    }
}

fn cannot(root: &Path, error: io::Error) -> SandboxError {
    let doing = "find what a step changed in".to_owned();
    SandboxError::Tree { doing, path: root.to_owned(), reason: error.to_string() }
}
