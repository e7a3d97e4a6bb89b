//! Extracting one layer into a folder.
//!
//! Nothing outside the folder is touched whatever the tar says: names with `..` are refused, and
//! every folder on the way is opened by itself, relative to the one before and without following
//! links. A link in the middle of a path leads where it would lead for a process whose root is the
//! folder, which is what extractors in a chroot do (see `folders`).
//!
//! The rules of merging are those of [`crate::tree`].

mod folders;
mod metadata;
mod removal;

use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, linkat, mkdirat, mknodat, openat, symlinkat};
use rustix::io::Errno;

use crate::entry::{Entry, Kind, LayerPath};
use crate::error::{LayerError, shown};
use crate::overlay::OverlayAttributes;
use crate::path::{join, split};
use crate::tar::{Content, TarReader};
use crate::tree::{FollowLast, Tree};
use folders::{Folder, Folders};
use metadata::Metadata;

/// How a layer is extracted.
#[derive(Clone, Copy, Debug)]
pub struct ApplyOptions<'a> {
    /// What whiteouts become.
    pub whiteouts: Whiteouts,
    /// Whether files get the owners that the layer names.
    pub owners: Owners,
    /// Whether devices are made.
    pub devices: Devices,
    /// The layers below, where they are known and not in the folder themselves. Folders that the
    /// layer uses but does not name then keep their mode, owner and time, and links of the layers
    /// below are followed.
    pub lower: Option<&'a Tree>,
}

/// What whiteouts become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// The folder gets this layer alone and becomes a lower folder of an overlay: whiteouts become
    /// character devices 0:0 (without overlayfs: sockets), opaque folders get an attribute.
    Overlay(OverlayAttributes),
    /// The folder holds the layers below: what whiteouts name is removed from it.
    Remove,
}

/// Whether files get the owners that the layer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// They do; this needs root, maybe in a user namespace.
    Keep,
    /// They belong to whoever extracts them.
    Ignore,
    /// They belong to whoever extracts them, and a note beside each says who they should belong to. Packing
    /// with the same value reads it. Links, pipes and devices can have no note and become root's.
    Record,
}

/// Whether devices are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    /// They are; this needs the real root.
    Create,
    /// They are left out, each with a [`Problem`].
    Skip,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The number of entries in the layer.
    pub entries: u64,
    /// What could not be done as the layer says; at most the first thousand.
    pub problems: Vec<Problem>,
}

/// Something of an entry that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The entry's path.
    pub path: LayerPath,
    /// What was left out and why.
    pub reason: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", shown(&self.path), self.reason)
    }
}

const MAX_PROBLEMS: usize = 1000;

/// Extracts the uncompressed `tar` of one layer into the folder `target`, which exists. The input is
/// read to its very end.
///
/// # Errors
/// `Damaged`, `Entry`, `TooLarge` where the tar is not usable, `Stream` where reading it fails, `File`
/// where the file system refuses. What was extracted until then stays.
pub fn apply(tar: impl Read, target: &Path, options: &ApplyOptions<'_>) -> Result<Applied, LayerError> {
    let mut extraction = Extraction::new(target, options)?;
    let mut reader = TarReader::new(tar);
    while let Some(entry) = reader.next_entry()? {
        extraction.entry(&entry, &mut reader.content())?;
    }
    extraction.folders.finish()?;
    Ok(extraction.applied)
}

struct Extraction<'a> {
    options: &'a ApplyOptions<'a>,
    folders: Folders<'a>,
    applied: Applied,
}

/// A name in an open folder.
struct Place<'a> {
    folder: Rc<Folder>,
    name: &'a [u8],
}

impl Place<'_> {
    fn path(&self) -> LayerPath {
        join(&self.folder.path, self.name)
    }
}

impl<'a> Extraction<'a> {
    fn new(target: &'a Path, options: &'a ApplyOptions<'a>) -> Result<Self, LayerError> {
        let folders = Folders::new(target, options)?;
        Ok(Self { options, folders, applied: Applied::default() })
    }

    fn entry<R: Read>(&mut self, entry: &Entry, content: &mut Content<'_, R>) -> Result<(), LayerError> {
        self.applied.entries += 1;
        match entry.kind {
            Kind::Whiteout => return self.whiteout(&entry.path),
            Kind::Opaque => return self.opaque(&entry.path),
            _ => {}
        }
        let Some((parent, name)) = split(&entry.path) else { return self.root(entry) };
        let folder = self.folders.make(parent)?;
        let place = Place { folder, name };
        self.folders.keep(place.path());
        match &entry.kind {
            Kind::File { .. } => self.file(&place, entry, content),
            Kind::Directory => self.directory(&place, entry),
            Kind::Symlink(target) => {
                self.special(&place, entry, "create the link", |at| symlinkat(target, &at.folder.fd, at.name))
            }
            Kind::Hardlink(target) => self.hard_link(&place, entry, target),
            Kind::CharDevice { major, minor } => {
                self.device(&place, entry, FileType::CharacterDevice, (*major, *minor))
            }
            Kind::BlockDevice { major, minor } => {
                self.device(&place, entry, FileType::BlockDevice, (*major, *minor))
            }
            Kind::Fifo => self.special(&place, entry, "create the pipe", |at| {
                mknodat(&at.folder.fd, at.name, FileType::Fifo, Mode::RUSR, 0)
            }),
            Kind::Whiteout | Kind::Opaque => Ok(()),
        }
    }

    fn root(&mut self, entry: &Entry) -> Result<(), LayerError> {
        let metadata = self.metadata();
        let problems = metadata.of_folder(&self.folders.root(), entry, &self.folders.full_path(&[]))?;
        self.report(&entry.path, problems);
        self.folders.set_later(Vec::new(), entry);
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        content: &mut Content<'_, R>,
    ) -> Result<(), LayerError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = |at: &Place<'_>| openat(&at.folder.fd, at.name, flags, Mode::RUSR | Mode::WUSR);
        let file = std::fs::File::from(self.replace(place, "create", create)?);
        self.write_content(place, &file, content)?;
        let full = self.folders.full_path(&place.path());
        let problems = self.metadata().of_file(&file, &place.folder, entry, &full)?;
        self.report(&entry.path, problems);
        Ok(())
    }

    fn write_content<R: Read>(
        &self,
        place: &Place<'_>,
        mut file: &std::fs::File,
        content: &mut Content<'_, R>,
    ) -> Result<(), LayerError> {
        loop {
            let bytes = content.fill_buf().map_err(LayerError::read)?;
            if bytes.is_empty() {
                return Ok(());
            }
            let count = bytes.len();
            file.write_all(bytes).map_err(|error| self.failed("write", place, error))?;
            content.consume(count);
        }
    }

    fn directory(&mut self, place: &Place<'_>, entry: &Entry) -> Result<(), LayerError> {
        let was_whiteout = match mkdirat(&place.folder.fd, place.name, Mode::RWXU) {
            Ok(()) => false,
            Err(Errno::EXIST) => self.take_over(place)?,
            Err(error) => return Err(self.failed("create the folder", place, error)),
        };
        let path = place.path();
        let full = self.folders.full_path(&path);
        let folder = self.folders.open_child(&place.folder, place.name)?;
        let problems = self.metadata().of_folder(&folder, entry, &full)?;
        if was_whiteout {
            self.folders.make_opaque(&folder)?;
        }
        self.report(&entry.path, problems);
        self.folders.set_later(path, entry);
        Ok(())
    }

    /// Makes sure that a folder stands where something stands already. Says whether that was a whiteout.
    fn take_over(&mut self, place: &Place<'_>) -> Result<bool, LayerError> {
        let existing = self.folders.stat(&place.folder, place.name)?;
        if existing.is_some_and(|found| found.is_folder()) {
            return Ok(false);
        }
        self.replace(place, "create the folder", |at| mkdirat(&at.folder.fd, at.name, Mode::RWXU))?;
        Ok(existing.is_some_and(|found| found.is_whiteout()))
    }

    /// Creates something that has no content and cannot be opened.
    fn special(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        action: &'static str,
        create: impl Fn(&Place<'_>) -> rustix::io::Result<()>,
    ) -> Result<(), LayerError> {
        self.replace(place, action, create)?;
        let full = self.folders.full_path(&place.path());
        let problems = self.metadata().of_name(&place.folder, place.name, entry, &full)?;
        self.report(&entry.path, problems);
        Ok(())
    }

    fn device(
        &mut self,
        place: &Place<'_>,
        entry: &Entry,
        file_type: FileType,
        (major, minor): (u32, u32),
    ) -> Result<(), LayerError> {
        let overlay = self.options.whiteouts != Whiteouts::Remove;
        if overlay && file_type == FileType::CharacterDevice && (major, minor) == (0, 0) {
            self.report(&entry.path, vec!["a device 0:0 would be a whiteout and was left out".to_owned()]);
            return Ok(());
        }
        if self.options.devices == Devices::Skip {
            self.report(&entry.path, vec!["the device was left out".to_owned()]);
            return Ok(());
        }
        let number = rustix::fs::makedev(major, minor);
        let mode = Mode::RUSR | Mode::WUSR;
        self.special(place, entry, "create the device", |at| {
            mknodat(&at.folder.fd, at.name, file_type, mode, number)
        })
    }

    fn hard_link(&mut self, place: &Place<'_>, entry: &Entry, target: &[u8]) -> Result<(), LayerError> {
        let missing = || LayerError::Unresolvable {
            path: shown(&entry.path),
            reason: format!("it is a hard link to {:?}, which is not in its layer", shown(target)),
        };
        let (parent, name) = split(target).ok_or_else(missing)?;
        let folder = self.folders.existing(parent)?.ok_or_else(missing)?;
        let source = self.folders.stat(&folder, name)?.ok_or_else(missing)?;
        if source.is_folder() || source.is_whiteout() {
            return Err(missing());
        }
        if self.folders.stat(&place.folder, place.name)?.is_some_and(|found| found.is_same(&source)) {
            return Ok(());
        }
        self.replace(place, "create the hard link", |at| {
            linkat(&folder.fd, name, &at.folder.fd, at.name, AtFlags::empty())
        })
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<(), LayerError> {
        let Some((parent, name)) = split(path) else { return Ok(()) };
        let Whiteouts::Overlay(attributes) = self.options.whiteouts else {
            let Some(folder) = self.folders.existing(parent)? else { return Ok(()) };
            return self.folders.remove_below(&folder, name);
        };
        let hides_nothing =
            |lower: &Tree| lower.resolve(path, FollowLast::No).is_ok_and(|resolved| resolved.node.is_none());
        if self.options.lower.is_some_and(hides_nothing) {
            return Ok(());
        }
        let folder = self.folders.make(parent)?;
        let place = Place { folder, name };
        match mknodat(&place.folder.fd, name, attributes.whiteout(), Mode::empty(), 0) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => self.hide_below(&place),
            Err(error) => Err(self.failed("create the whiteout", &place, error)),
        }
    }

    /// A whiteout of something that this layer made already: a folder of its own hides all below it,
    /// anything else hides what is below by being there.
    fn hide_below(&mut self, place: &Place<'_>) -> Result<(), LayerError> {
        if self.folders.stat(&place.folder, place.name)?.is_some_and(|found| found.is_folder()) {
            let folder = self.folders.open_child(&place.folder, place.name)?;
            self.folders.make_opaque(&folder)?;
        }
        Ok(())
    }

    fn opaque(&mut self, path: &[u8]) -> Result<(), LayerError> {
        let folder = self.folders.make(path)?;
        match self.options.whiteouts {
            Whiteouts::Overlay(_) => self.folders.make_opaque(&folder),
            Whiteouts::Remove => self.folders.clear_below(&folder),
        }
    }

    /// Creates something; what stands in its place is removed first.
    fn replace<T>(
        &mut self,
        place: &Place<'_>,
        action: &'static str,
        create: impl Fn(&Place<'_>) -> rustix::io::Result<T>,
    ) -> Result<T, LayerError> {
        let created = match create(place) {
            Err(Errno::EXIST) => {
                self.folders.remove(&place.folder, place.name)?;
                create(place)
            }
            other => other,
        };
        created.map_err(|error| self.failed(action, place, error))
    }

    fn metadata(&self) -> Metadata {
        self.folders.metadata()
    }

    fn failed(
        &self,
        action: &'static str,
        place: &Place<'_>,
        error: impl Into<std::io::Error>,
    ) -> LayerError {
        LayerError::file(action, &self.folders.full_path(&place.path()), error)
    }

    fn report(&mut self, path: &[u8], reasons: Vec<String>) {
        for reason in reasons {
            if self.applied.problems.len() < MAX_PROBLEMS {
                self.applied.problems.push(Problem { path: path.to_vec(), reason });
            }
        }
    }
}

#[cfg(test)]
mod tests;
