//! The open folders of an extraction: the only way from a path of a layer to a place on disk.
//!
//! A path is walked component by component from the root, each opened relative to the one before with
//! `O_NOFOLLOW`. Symbolic links are read and walked by the same rules, absolute ones from the root, `..`
//! by the folders that were passed; so no path, whatever its links, ends outside. Nobody else changes the
//! folder meanwhile.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, XattrFlags, fchmod, fsetxattr, fstat, futimens, mkdirat,
    openat, readlinkat, statat,
};
use rustix::io::Errno;

use super::metadata::{Metadata, times};
use super::{ApplyOptions, Whiteouts};
use crate::entry::{Entry, Kind, LayerPath};
use crate::error::{LayerError, shown};
use crate::overlay;
use crate::path::{components, join, shown_path, split};
use crate::tree::{MAX_LINKS, Tree};

/// Folders are kept open up to this number: entries of a tar stand in the order of their folders.
const MAX_OPEN: usize = 128;
/// Paths that are deeper than this are refused, so that removing them needs few open folders.
const MAX_DEPTH: usize = 256;

/// A folder that is open.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) fd: OwnedFd,
    /// Where it lies, without links.
    pub(super) path: LayerPath,
    /// What is made in it takes its group from it.
    pub(super) setgid: bool,
}

/// What stands at a name.
#[derive(Clone, Copy)]
pub(super) struct Found(Stat);

impl Found {
    pub(super) fn is_folder(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    pub(super) fn is_whiteout(&self) -> bool {
        overlay::is_whiteout(self.0.st_mode, self.0.st_rdev)
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.0.st_dev, self.0.st_ino) == (other.0.st_dev, other.0.st_ino)
    }

    pub(super) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.0.st_mode)
    }
}

/// What to do where a folder on the way is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Make it.
    Make,
    /// Say so.
    Stop,
}

/// One step of a walk.
enum Step {
    Folder(Rc<Folder>),
    Link(Vec<u8>),
    Nothing,
}

/// The folders of one extraction.
pub(super) struct Folders<'a> {
    target: &'a Path,
    root: Rc<Folder>,
    whiteouts: Whiteouts,
    lower: Option<&'a Tree>,
    metadata: Metadata,
    open: HashMap<LayerPath, Rc<Folder>>,
    last: Option<(LayerPath, Rc<Folder>)>,
    opaque: HashSet<LayerPath>,
    pub(super) later: BTreeMap<LayerPath, (u32, i64)>,
    /// What this layer put into a folder that holds others too: its own whiteouts spare it.
    pub(super) own: HashSet<LayerPath>,
}

impl<'a> Folders<'a> {
    pub(super) fn new(target: &'a Path, options: &ApplyOptions<'a>) -> Result<Self, LayerError> {
        let fd = openat(CWD, target, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| LayerError::file("open the folder", target, error))?;
        let root = Folder::new(fd, LayerPath::new())
            .map_err(|error| LayerError::file("look at the folder", target, error))?;
        Ok(Self {
            target,
            root: Rc::new(root),
            whiteouts: options.whiteouts,
            lower: options.lower,
            metadata: Metadata::new(options.owners),
            open: HashMap::new(),
            last: None,
            opaque: HashSet::new(),
            later: BTreeMap::new(),
            own: HashSet::new(),
        })
    }

    pub(super) fn root(&self) -> Rc<Folder> {
        Rc::clone(&self.root)
    }

    pub(super) fn metadata(&self) -> Metadata {
        self.metadata
    }

    /// Returns a path for messages.
    pub(super) fn full_path(&self, path: &[u8]) -> PathBuf {
        self.target.join(shown_path(path))
    }

    /// Returns the folder that `path` leads to; what is missing is made.
    pub(super) fn make(&mut self, path: &[u8]) -> Result<Rc<Folder>, LayerError> {
        let folder = self.find(path, Missing::Make)?;
        Ok(folder.expect("a walk that makes what is missing arrives"))
    }

    /// Returns the folder that `path` leads to; `None` where it does not exist.
    pub(super) fn existing(&mut self, path: &[u8]) -> Result<Option<Rc<Folder>>, LayerError> {
        self.find(path, Missing::Stop)
    }

    /// Opens a folder that is known to be one.
    pub(super) fn open_child(&self, parent: &Folder, name: &[u8]) -> Result<Rc<Folder>, LayerError> {
        let path = join(&parent.path, name);
        let failed = |error| LayerError::file("open the folder", &self.full_path(&path), error);
        let fd = parent.open(name, OFlags::PATH).map_err(failed)?;
        Folder::new(fd, path.clone()).map(Rc::new).map_err(failed)
    }

    pub(super) fn stat(&self, parent: &Folder, name: &[u8]) -> Result<Option<Found>, LayerError> {
        match statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Found(stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("look at", parent, name, error)),
        }
    }

    /// Hides what the layers below have in a folder.
    pub(super) fn make_opaque(&mut self, folder: &Folder) -> Result<(), LayerError> {
        let Whiteouts::Overlay(attributes) = self.whiteouts else { return Ok(()) };
        self.opaque.insert(folder.path.clone());
        let set = |fd: OwnedFd| fsetxattr(fd, attributes.opaque(), overlay::OPAQUE, XattrFlags::empty());
        let done = folder.reopen().and_then(set);
        done.map_err(|error| LayerError::file("make opaque", &self.full_path(&folder.path), error))
    }

    /// Remembers that a path is this layer's own.
    pub(super) fn keep(&mut self, path: LayerPath) {
        if self.whiteouts == Whiteouts::Remove {
            self.own.insert(path);
        }
    }

    /// Keeps mode and time of a folder until everything is in it.
    pub(super) fn set_later(&mut self, path: LayerPath, entry: &Entry) {
        self.later.insert(path, (entry.mode, entry.mtime));
    }

    /// Sets what was kept for later, folders after what they hold.
    pub(super) fn finish(&mut self) -> Result<(), LayerError> {
        for (path, (mode, mtime)) in std::mem::take(&mut self.later).into_iter().rev() {
            let (parent, name) = split(&path).unwrap_or((&[], b"."));
            let Some(parent) = self.existing(parent)? else { continue };
            let fd = match parent.open(name, OFlags::RDONLY) {
                // Something else took the folder's place later in the layer.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                other => other.map_err(|error| self.failed("open the folder", &parent, name, error))?,
            };
            let set = fchmod(&fd, Mode::from_raw_mode(mode)).and_then(|()| futimens(&fd, &times(mtime)));
            set.map_err(|error| self.failed("set the mode and time of", &parent, name, error))?;
        }
        Ok(())
    }

    fn find(&mut self, path: &[u8], missing: Missing) -> Result<Option<Rc<Folder>>, LayerError> {
        if let Some((_, folder)) = self.last.as_ref().filter(|(last, _)| last == path) {
            return Ok(Some(Rc::clone(folder)));
        }
        let found = match self.open.get(path) {
            Some(folder) => Some(Rc::clone(folder)),
            None => self.walk(path, missing)?,
        };
        if let Some(folder) = &found {
            if self.open.len() >= MAX_OPEN {
                self.open.clear();
            }
            self.open.insert(path.to_vec(), Rc::clone(folder));
            self.last = Some((path.to_vec(), Rc::clone(folder)));
        }
        Ok(found)
    }

    fn walk(&mut self, path: &[u8], missing: Missing) -> Result<Option<Rc<Folder>>, LayerError> {
        let failed = |reason: &str| LayerError::Unresolvable { path: shown(path), reason: reason.to_owned() };
        let mut passed = vec![self.root()];
        let mut pending = components(path);
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == b".." {
                passed.truncate(passed.len().max(2) - 1);
                continue;
            }
            let at = passed.last().expect("the root is never taken off");
            match self.step(&Rc::clone(at), &name, missing)? {
                Step::Folder(folder) => passed.push(folder),
                Step::Link(target) => {
                    links += 1;
                    if target.starts_with(b"/") {
                        passed.truncate(1);
                    }
                    pending.extend(components(&target));
                }
                Step::Nothing => return Ok(None),
            }
            if links > MAX_LINKS {
                return Err(failed("it leads through more than 255 symbolic links"));
            }
            if passed.len() > MAX_DEPTH {
                return Err(failed("it is deeper than 256 folders"));
            }
        }
        Ok(passed.pop())
    }

    fn step(&mut self, at: &Rc<Folder>, name: &[u8], missing: Missing) -> Result<Step, LayerError> {
        match at.open(name, OFlags::PATH) {
            Ok(fd) => {
                let folder = Folder::new(fd, join(&at.path, name));
                let folder = folder.map_err(|error| self.failed("look at the folder", at, name, error))?;
                Ok(Step::Folder(Rc::new(folder)))
            }
            Err(Errno::NOENT) => self.not_there(at, name, missing),
            Err(Errno::NOTDIR | Errno::LOOP) => self.no_folder(at, name, missing),
            Err(error) => Err(self.failed("open the folder", at, name, error)),
        }
    }

    /// Goes on where this layer has nothing: the layers below may know the name.
    fn not_there(&mut self, at: &Rc<Folder>, name: &[u8], missing: Missing) -> Result<Step, LayerError> {
        let path = join(&at.path, name);
        let lower = self.lower.filter(|_| !self.is_hidden(&at.path));
        let below = lower.and_then(|tree| tree.get(&path)).map(|node| node.content);
        if let Some(Kind::Symlink(target)) = below.as_deref().map(|entry| &entry.kind) {
            return Ok(Step::Link(target.clone()));
        }
        if missing == Missing::Stop {
            return Ok(Step::Nothing);
        }
        let below = below.filter(|entry| entry.kind == Kind::Directory);
        self.make_implied(at, name, below.as_deref()).map(Step::Folder)
    }

    /// Goes on where this layer has something that is no folder.
    fn no_folder(&mut self, at: &Rc<Folder>, name: &[u8], missing: Missing) -> Result<Step, LayerError> {
        let found = self.stat(at, name)?;
        if found.is_some_and(|found| found.file_type() == FileType::Symlink) {
            let target = readlinkat(&at.fd, name, Vec::new())
                .map_err(|error| self.failed("read the link", at, name, error))?;
            return Ok(Step::Link(target.into_bytes()));
        }
        if missing == Missing::Stop {
            return Ok(Step::Nothing);
        }
        let was_whiteout = found.is_some_and(|found| found.is_whiteout());
        self.remove(at, name)?;
        let folder = self.make_implied(at, name, None)?;
        if was_whiteout {
            self.make_opaque(&folder)?;
        }
        Ok(Step::Folder(folder))
    }

    /// Makes a folder that the layer uses but does not name, as `below` where the layers below have it.
    fn make_implied(
        &mut self,
        at: &Folder,
        name: &[u8],
        below: Option<&Entry>,
    ) -> Result<Rc<Folder>, LayerError> {
        mkdirat(&at.fd, name, Mode::RWXU)
            .map_err(|error| self.failed("create the folder", at, name, error))?;
        let folder = self.open_child(at, name)?;
        let implied = Tree::implied_folder();
        let entry = below.unwrap_or(implied);
        // What cannot be set here was reported when the layer below was extracted.
        self.metadata.of_folder(&folder, entry, &self.full_path(&folder.path))?;
        self.set_later(folder.path.clone(), entry);
        self.keep(folder.path.clone());
        Ok(folder)
    }

    /// Forgets what is open: a folder or link on the way to it may be gone.
    pub(super) fn forget(&mut self) {
        self.open.clear();
        self.last = None;
    }

    fn is_hidden(&self, path: &[u8]) -> bool {
        !self.opaque.is_empty() && ancestors(path).any(|folder| self.opaque.contains(folder))
    }

    pub(super) fn failed(&self, action: &'static str, at: &Folder, name: &[u8], error: Errno) -> LayerError {
        LayerError::file(action, &self.full_path(&join(&at.path, name)), error)
    }
}

impl Folder {
    fn new(fd: OwnedFd, path: LayerPath) -> rustix::io::Result<Self> {
        let setgid = Mode::from_raw_mode(fstat(&fd)?.st_mode).contains(Mode::SGID);
        Ok(Self { fd, path, setgid })
    }

    /// Opens a folder in this one, never a link to one.
    fn open(&self, name: &[u8], access: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.fd, name, flags, Mode::empty())
    }

    /// Opens the folder itself for what a mere path cannot do.
    pub(super) fn reopen(&self) -> rustix::io::Result<OwnedFd> {
        self.open(b".", OFlags::RDONLY)
    }
}

/// Returns a path and all folders above it up to the root.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(path), |path| split(path).map(|(parent, _)| parent))
}
