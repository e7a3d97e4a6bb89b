//! Packing a folder as a layer: the upper folder of an overlay after a build step, or a plain tree.
//!
//! The order is that of names, folders before what they hold, whiteouts before their siblings (as the
//! specification asks), so that the bytes depend on the tree alone. What another machine could not use is
//! left out: sockets, attributes that are a policy of this one, the names of users and groups.
//!
//! | in the upper folder | in the layer |
//! |---|---|
//! | character device 0:0, socket without permissions | whiteout |
//! | folder with the attribute `overlay.opaque` = `y` | opaque folder |
//! | several names of one inode | hard links to the first |
//! | folder copied up for nothing but excluded paths | nothing, where the layers below are known |
//!
//! Source: the kernel's documentation of overlayfs; image-spec v1.1, layer.md, "Change Types".

mod attributes;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Write, empty};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, major, minor, openat, readlinkat,
    statat, utimensat,
};
use rustix::io::Errno;

use crate::apply::{Owners, Problem};
use crate::entry::{Entry, Kind, LayerPath};
use crate::error::LayerError;
use crate::overlay::is_whiteout;
use crate::path::{join, shown_path};
use crate::tar::TarWriter;
use crate::tree::Tree;
use attributes::Attributes;

/// How a folder is packed.
#[derive(Clone, Debug)]
pub struct PackOptions<'a> {
    /// Paths that are left out with all they hold: mount points of the step.
    pub exclude: HashSet<LayerPath>,
    /// What becomes of times; `None` keeps them.
    pub times: Option<Times>,
    /// Whether replaced times are given to the files themselves as well, so that the folder goes on
    /// being used as if it had been extracted from the layer.
    pub settle: bool,
    /// Whether files keep the owners they have here, belong to root, or to whom a note beside them says.
    pub owners: Owners,
    /// The layers below, where they are known: a folder that is as they have it, was touched only for
    /// excluded paths and holds nothing else is left out.
    pub lower: Option<&'a Tree>,
}

/// Times of modification that would differ from build to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Times above this, in seconds since 1970, are replaced.
    pub newer_than: i64,
    /// What they become.
    pub becomes: i64,
}

impl Default for PackOptions<'_> {
    fn default() -> Self {
        Self { exclude: HashSet::new(), times: None, settle: false, owners: Owners::Keep, lower: None }
    }
}

/// What was packed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// The number of entries; 0 where nothing changed.
    pub entries: u64,
    /// What a layer cannot hold and was left out.
    pub problems: Vec<Problem>,
}

/// Writes the changes in an overlay's upper folder to `output`, as a whole tar. Nobody changes the
/// folder meanwhile. The root folder itself is not an entry.
///
/// # Errors
/// `File` where the folder cannot be read, `Unwritable` where a name cannot be in a layer, `Stream` where
/// `output` fails.
pub fn write_upper(
    upper: &Path,
    output: impl Write,
    options: &PackOptions<'_>,
) -> Result<Packed, LayerError> {
    Packing::new(upper, output, options, Whiteouts::Read).run()
}

/// Writes a plain folder to `output`, as a whole tar: like [`write_upper`] where nothing is a whiteout.
///
/// # Errors
/// Those of [`write_upper`].
pub fn write_folder(
    folder: &Path,
    output: impl Write,
    options: &PackOptions<'_>,
) -> Result<Packed, LayerError> {
    Packing::new(folder, output, options, Whiteouts::None).run()
}

/// Whether the folder may hold whiteouts of overlayfs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whiteouts {
    Read,
    None,
}

struct Packing<'a, W: Write> {
    root: &'a Path,
    options: &'a PackOptions<'a>,
    whiteouts: Whiteouts,
    tar: TarWriter<W>,
    /// The first name of every inode that has several.
    links: HashMap<(u64, u64), LayerPath>,
    /// The owners that notes gave to files, for their further names.
    noted: HashMap<LayerPath, (u32, u32)>,
    /// The folders we are in, the innermost last.
    open: Vec<OpenFolder>,
    packed: Packed,
}

struct OpenFolder {
    fd: OwnedFd,
    path: LayerPath,
    names: IntoIter<(Vec<u8>, Stat)>,
    /// The folder's own entry, until something in it or the end of it asks for it.
    pending: Option<Pending>,
}

struct Pending {
    entry: Entry,
    touched_by_excluded: bool,
}

impl<'a, W: Write> Packing<'a, W> {
    fn new(root: &'a Path, output: W, options: &'a PackOptions<'a>, whiteouts: Whiteouts) -> Self {
        let tar = TarWriter::new(output);
        Self {
            root,
            options,
            whiteouts,
            tar,
            links: HashMap::new(),
            noted: HashMap::new(),
            open: Vec::new(),
            packed: Packed::default(),
        }
    }

    fn run(mut self) -> Result<Packed, LayerError> {
        let root = open_folder(CWD, self.root).map_err(|error| self.failed("open the folder", &[], error))?;
        self.enter(root, LayerPath::new(), None)?;
        while let Some(folder) = self.open.last_mut() {
            match folder.names.next() {
                Some((name, stat)) => {
                    let path = join(&folder.path, &name);
                    self.name(path, &name, &stat)?;
                }
                None => self.leave()?,
            }
        }
        self.tar.finish()?;
        Ok(self.packed)
    }

    /// Lists a folder and goes into it.
    fn enter(&mut self, fd: OwnedFd, path: LayerPath, entry: Option<Entry>) -> Result<(), LayerError> {
        let names = list(&fd).map_err(|error| self.failed("list", &path, error))?;
        let mut found = Vec::with_capacity(names.len());
        let mut excluded = false;
        for name in names {
            let child = join(&path, &name);
            if self.options.exclude.contains(&child) {
                excluded = true;
                continue;
            }
            let stat = statat(&fd, &name[..], AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| self.failed("look at", &child, error))?;
            found.push((name, stat));
        }
        found.sort_by(|(left, left_stat), (right, right_stat)| {
            (!self.is_whiteout(left_stat), left).cmp(&(!self.is_whiteout(right_stat), right))
        });
        let pending = entry.map(|entry| Pending { entry, touched_by_excluded: excluded });
        self.open.push(OpenFolder { fd, path, names: found.into_iter(), pending });
        Ok(())
    }

    fn leave(&mut self) -> Result<(), LayerError> {
        let folder = self.open.last().expect("a folder is left that was entered");
        if folder.pending.as_ref().is_some_and(|pending| !self.is_as_below(pending)) {
            self.write_pending()?;
        }
        self.open.pop();
        Ok(())
    }

    /// Whether a folder in which nothing changed is in the upper folder only because overlayfs
    /// copied it there.
    fn is_as_below(&self, pending: &Pending) -> bool {
        let Some(node) = self.options.lower.and_then(|lower| lower.get(&pending.entry.path)) else {
            return false;
        };
        let mtime = if pending.touched_by_excluded { node.entry.mtime } else { pending.entry.mtime };
        let expected = Entry { path: LayerPath::new(), mtime, ..pending.entry.clone() };
        *node.entry == expected
    }

    fn name(&mut self, path: LayerPath, name: &[u8], stat: &Stat) -> Result<(), LayerError> {
        let Some(kind) = self.kind(&path, name, stat)? else {
            let reason = "a socket cannot be in a layer and was left out".to_owned();
            self.packed.problems.push(Problem { path, reason });
            return Ok(());
        };
        let mut entry = self.entry(path, kind, stat);
        if let Kind::Hardlink(first) = &entry.kind
            && let Some(owner) = self.noted.get(first)
        {
            (entry.uid, entry.gid) = *owner;
        }
        if self.options.settle && entry.mtime != stat.st_mtime {
            self.settle(name, entry.mtime);
        }
        match entry.kind {
            Kind::Directory => self.folder(entry, name),
            Kind::File { .. } => self.file(entry, name),
            _ => self.write(&entry, &mut empty()),
        }
    }

    /// Returns what stands at a name; `None` for what a layer cannot hold.
    fn kind(&mut self, path: &[u8], name: &[u8], stat: &Stat) -> Result<Option<Kind>, LayerError> {
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type == FileType::Directory {
            return Ok(Some(Kind::Directory));
        }
        if self.is_whiteout(stat) {
            return Ok(Some(Kind::Whiteout));
        }
        if file_type != FileType::Socket && stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&inode) {
                return Ok(Some(Kind::Hardlink(first.clone())));
            }
            self.links.insert(inode, path.to_vec());
        }
        let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
        Ok(match file_type {
            FileType::RegularFile => {
                Some(Kind::File { size: stat.st_size.cast_unsigned(), digest: None, offset: 0 })
            }
            FileType::Symlink => {
                let folder = self.open.last().expect("names are in a folder");
                let target = readlinkat(&folder.fd, name, Vec::new())
                    .map_err(|error| self.failed("read the link", path, error))?;
                Some(Kind::Symlink(target.into_bytes()))
            }
            FileType::CharacterDevice => Some(Kind::CharDevice { major, minor }),
            FileType::BlockDevice => Some(Kind::BlockDevice { major, minor }),
            FileType::Fifo => Some(Kind::Fifo),
            _ => None,
        })
    }

    fn entry(&self, path: LayerPath, kind: Kind, stat: &Stat) -> Entry {
        let (uid, gid) = match self.options.owners {
            Owners::Keep => (stat.st_uid, stat.st_gid),
            Owners::Ignore | Owners::Record => (0, 0),
        };
        let mtime = match self.options.times {
            Some(times) if stat.st_mtime > times.newer_than => times.becomes,
            _ => stat.st_mtime,
        };
        // A whiteout has nothing but its name; what its device has differs from kernel to kernel.
        let (mode, uid, gid) =
            if kind == Kind::Whiteout { (0, 0, 0) } else { (stat.st_mode & 0o7777, uid, gid) };
        Entry { path, kind, mode, uid, gid, mtime, xattrs: Default::default() }
    }

    /// Gives a name of the open folder the time it has in the layer. What does not let itself be
    /// changed keeps its time, which only later steps see.
    fn settle(&self, name: &[u8], mtime: i64) {
        let folder = self.open.last().expect("names are in a folder");
        let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        let _ = utimensat(&folder.fd, name, &times, AtFlags::SYMLINK_NOFOLLOW);
    }

    fn folder(&mut self, mut entry: Entry, name: &[u8]) -> Result<(), LayerError> {
        let parent = self.open.last().expect("names are in a folder");
        let fd = open_folder(&parent.fd, name)
            .map_err(|error| self.failed("open the folder", &entry.path, error))?;
        let attributes = self.attributes(&fd, &entry.path)?;
        self.restore_owner(&mut entry, &attributes);
        entry.xattrs = attributes.kept;
        let path = entry.path.clone();
        let opaque = attributes.opaque.then(|| Entry {
            kind: Kind::Opaque,
            xattrs: Default::default(),
            ..entry.clone()
        });
        self.enter(fd, path, Some(entry))?;
        match opaque {
            Some(opaque) => self.write(&opaque, &mut empty()),
            None => Ok(()),
        }
    }

    fn file(&mut self, mut entry: Entry, name: &[u8]) -> Result<(), LayerError> {
        let parent = self.open.last().expect("names are in a folder");
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&parent.fd, name, flags, Mode::empty())
            .map_err(|error| self.failed("open", &entry.path, error))?;
        let attributes = self.attributes(&fd, &entry.path)?;
        self.restore_owner(&mut entry, &attributes);
        if attributes.owner.is_some() {
            self.noted.insert(entry.path.clone(), (entry.uid, entry.gid));
        }
        entry.xattrs = attributes.kept;
        self.write(&entry, &mut File::from(fd))
    }

    fn restore_owner(&self, entry: &mut Entry, attributes: &Attributes) {
        if let Some(note) = attributes.owner.filter(|_| self.options.owners == Owners::Record) {
            (entry.uid, entry.gid) = (note.uid, note.gid);
        }
    }

    fn attributes(&self, fd: &OwnedFd, path: &[u8]) -> Result<Attributes, LayerError> {
        let overlay = self.whiteouts == Whiteouts::Read;
        let attributes = Attributes::read(fd)
            .map_err(|error| self.failed("read the extended attributes of", path, error))?;
        match attributes.unsupported {
            Some(name) if overlay => {
                let reason =
                    format!("overlayfs keeps {name:?} for it: mount with redirect_dir=off,metacopy=off");
                Err(LayerError::unwritable(path, reason))
            }
            _ => Ok(Attributes { opaque: attributes.opaque && overlay, ..attributes }),
        }
    }

    /// Writes an entry after the folders it lies in.
    fn write(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), LayerError> {
        self.write_pending()?;
        self.packed.entries += 1;
        self.tar.append(entry, content).map_err(|error| self.in_root(error))
    }

    fn write_pending(&mut self) -> Result<(), LayerError> {
        for folder in &mut self.open {
            if let Some(pending) = folder.pending.take() {
                self.packed.entries += 1;
                self.tar.append(&pending.entry, &mut empty())?;
            }
        }
        Ok(())
    }

    fn is_whiteout(&self, stat: &Stat) -> bool {
        self.whiteouts == Whiteouts::Read && is_whiteout(stat.st_mode, stat.st_rdev)
    }

    /// Names a file by its place on this machine where the writer of tars knows its path only.
    fn in_root(&self, error: LayerError) -> LayerError {
        match error {
            LayerError::File { action, path, source } => {
                LayerError::File { action, path: self.root.join(path), source }
            }
            other => other,
        }
    }

    fn failed(&self, action: &'static str, path: &[u8], error: Errno) -> LayerError {
        let full: PathBuf = self.root.join(shown_path(path));
        LayerError::file(action, &full, error)
    }
}

fn open_folder(at: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::empty())
}

fn list(folder: &OwnedFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let names = Dir::read_from(folder)?.map(|entry| Ok(entry?.file_name().to_bytes().to_vec()));
    names.filter(|name| !matches!(name.as_deref(), Ok(b"." | b".."))).collect()
}

#[cfg(test)]
mod tests;
