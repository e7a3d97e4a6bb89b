//! The folder a build may read, and what COPY and ADD select from it.
//!
//! A context is walked once and shared by all that build from it. Contents are hashed when a step
//! needs their digest, side by side, and what is known of files that did not change is kept between
//! runs. Nothing outside of the folder is ever read: paths are opened beneath it and links are followed
//! by name, inside.
//!
//! | file | holds |
//! |---|---|
//! | `walk`, `records` | the walk: names, kinds, modes, times; and how they are kept |
//! | `hash`, `stat_cache` | digests of contents, and keeping them |
//! | `tree` | what can be selected from: a context, or the layers of a stage |
//! | `select`, `choice`, `parents` | which files a source means; `--exclude`; `--parents` |
//! | `beneath` | opening files without leaving the folder |
//!
//! What becomes of a selection in a layer is the engine's.

mod beneath;
mod choice;
mod error;
mod hash;
mod parents;
mod records;
mod select;
mod stat_cache;
mod tree;
mod walk;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use layer::LayerPath;
use oci::Digest;
use rustix::fs::{FileType, Mode, OFlags};

use crate::ignore::IgnoreFile;

pub use choice::Choice;
pub use error::ContextError;
use hash::Digests;
use records::{Index, Records};
pub use select::{Selected, SelectedItem, select, select_some};
use stat_cache::StatCache;
pub use tree::{LayerTree, Node, NodeKind, SourceTree};

/// How a context is read.
#[derive(Clone, Debug)]
pub struct ContextOptions {
    /// Most files that are hashed at the same time; at least 1.
    pub threads: usize,
    /// The time now; files changed just before it are hashed again next time.
    pub now: SystemTime,
    /// The folder that keeps digests between runs; `None` keeps nothing.
    pub cache_folder: Option<PathBuf>,
    /// Which permissions files count as having.
    pub permissions: Permissions,
}

/// Which permissions the files of a context count as having, in keys and in layers alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Permissions {
    /// The ones they have, as BuildKit takes them.
    #[default]
    AsFound,
    /// What git keeps of them: 0755 for folders and programs, 0644 for the rest, so that the umask of
    /// a checkout changes no digest.
    Portable,
}

impl Permissions {
    fn apply(self, mode: u32, kind: &NodeKind) -> u32 {
        match (self, kind) {
            (Self::AsFound, _) | (_, NodeKind::Symlink(_)) => mode,
            (Self::Portable, NodeKind::Directory) => 0o755,
            (Self::Portable, _) if mode & 0o100 != 0 => 0o755,
            (Self::Portable, _) => 0o644,
        }
    }
}

/// A folder that a build may read, as it was when it was opened.
#[derive(Debug)]
pub struct Context {
    path: PathBuf,
    root: OwnedFd,
    ignore: IgnoreFile,
    options: ContextOptions,
    records: Records,
    digests: RwLock<Digests>,
    cache: Option<StatCache>,
    /// Whether the cache holds something else than what is known.
    is_cache_stale: AtomicBool,
}

impl Context {
    /// Opens a folder and looks at every name in it that `ignore` does not leave out.
    ///
    /// # Errors
    /// The folder, or a folder in it, cannot be read.
    pub fn open(path: &Path, ignore: &IgnoreFile, options: ContextOptions) -> Result<Self, ContextError> {
        let failed =
            |error: rustix::io::Errno| ContextError::Folder { folder: path.to_owned(), source: error.into() };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
        let identity = rustix::fs::fstat(&root).map(|stat| (stat.st_dev, stat.st_ino)).map_err(failed)?;
        let records =
            walk::walk(root.as_fd(), ignore, options.permissions, options.now).map_err(|stopped| {
                ContextError::Unreadable {
                    path: tree::shown(&stopped.path),
                    place: place(path),
                    source: stopped.error.into(),
                }
            })?;
        let digests = RwLock::new(Digests::new(records.end()));
        let cache = options.cache_folder.as_deref().map(|folder| StatCache::new(folder, identity, ignore));
        let is_cache_stale = AtomicBool::new(true);
        let (path, ignore) = (path.to_owned(), ignore.clone());
        let mut context = Self { path, root, ignore, options, records, digests, cache, is_cache_stale };
        context.recall();
        Ok(context)
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of names in the context.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing is in the context.
    pub fn is_empty(&self) -> bool {
        self.records.len() == 0
    }

    /// Returns the paths of everything in the context: folders before what they hold, names ascending.
    pub fn paths(&self) -> impl Iterator<Item = LayerPath> {
        self.records.below(b"").map(|(_, path)| path)
    }

    /// Computes the digests of the selected files that are not known yet.
    ///
    /// # Errors
    /// A file cannot be read, or changed since the walk.
    pub fn know(&self, selected: &Selected) -> Result<(), ContextError> {
        if !selected.is_folder {
            return self.hash(self.file(&selected.path));
        }
        let mut below = self.records.below(&selected.path);
        let mut chosen = selected.chosen();
        let next = || {
            let index = below.advance()?;
            Some((index, chosen.takes_next()))
        };
        let chosen = std::iter::from_fn(next).filter(|(_, is_chosen)| *is_chosen).map(|(index, _)| index);
        self.hash(chosen.filter(|index| self.records.is_file(*index)))
    }

    /// Returns the digest of the content of a node of this context, where it is known.
    pub fn known_digest(&self, node: &Node) -> Option<Digest> {
        self.digests.read().expect("no holder panics").get(node.record?)
    }

    /// Returns the SHA-256 of a file's content, read only where it is not known yet.
    ///
    /// # Errors
    /// The path is no file of the context, cannot be read, or changed since the walk.
    pub fn content_digest(&self, path: &[u8]) -> Result<Digest, ContextError> {
        self.digests(&[path.to_vec()]).map(|digests| digests[0])
    }

    /// Opens a file of the context for reading.
    ///
    /// # Errors
    /// What the system says; `NotFound` for a path that is not in the context.
    pub fn open_file(&self, path: &[u8]) -> io::Result<File> {
        if self.file(path).is_none() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it is no file of the context"));
        }
        // Without blocking: a pipe may have taken the file's place meanwhile.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = beneath::open(self.root.as_fd(), path, flags)?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file any more"));
        }
        Ok(File::from(file))
    }

    /// Returns what a source of COPY or ADD means; see [`select()`].
    ///
    /// # Errors
    /// As [`select()`].
    pub fn select(&self, source: &str) -> Result<Vec<Selected>, ContextError> {
        select(self, source)
    }

    /// Keeps the digests that were computed for the next run, where there is a folder for them.
    ///
    /// # Errors
    /// The file cannot be written; the build is none the worse.
    pub fn save(&self) -> Result<(), ContextError> {
        let Some(cache) = &self.cache else { return Ok(()) };
        if !self.is_cache_stale.load(Ordering::Relaxed) {
            return Ok(());
        }
        let digests = self.digests.read().expect("no holder panics");
        let mut below = self.records.below(b"");
        cache.save(|writer| {
            while let Some(index) = below.advance() {
                if let Some(digest) = digests.bytes(index).filter(|_| self.records.is_settled(index)) {
                    writer.entry(below.path(), self.records.stamp(index), digest)?;
                }
            }
            Ok(())
        })
    }

    /// Takes over what is known of files that did not change.
    fn recall(&mut self) {
        let Some(mut entries) = self.cache.as_ref().and_then(StatCache::entries) else { return };
        let digests = self.digests.get_mut().expect("no holder panics");
        let mut below = self.records.below(b"");
        let mut at = below.advance();
        let mut is_stale = false;
        while let Some((stamp, digest)) = entries.advance() {
            while at.is_some() && records::order(below.path(), entries.path()).is_lt() {
                at = below.advance();
            }
            match at.filter(|_| below.path() == entries.path()) {
                Some(index) if self.records.stamp(index) == stamp && self.records.is_file(index) => {
                    digests.set(index, &digest);
                }
                _ => is_stale = true,
            }
        }
        if !entries.ends_whole() {
            *digests = Digests::new(self.records.end());
            is_stale = true;
        }
        self.is_cache_stale = AtomicBool::new(is_stale);
    }

    fn file(&self, path: &[u8]) -> Option<Index> {
        self.records.find(path).filter(|index| self.records.is_file(*index))
    }

    fn node_at(&self, index: Index) -> Node {
        Node {
            kind: self.records.kind(index),
            mode: self.records.mode(index),
            uid: 0,
            gid: 0,
            mtime: 0,
            record: Some(index),
            first_name: self.records.first_name(index),
            xattrs: BTreeMap::new(),
        }
    }
}

fn place(path: &Path) -> String {
    format!("the context {}", path.display())
}

impl SourceTree for Context {
    fn name(&self) -> String {
        place(&self.path)
    }

    fn node(&self, path: &[u8]) -> Option<Node> {
        if path.is_empty() {
            return Some(Node {
                kind: NodeKind::Directory,
                mode: 0o755,
                uid: 0,
                gid: 0,
                mtime: 0,
                record: None,
                first_name: None,
                xattrs: BTreeMap::new(),
            });
        }
        self.records.find(path).map(|index| self.node_at(index))
    }

    fn children(&self, folder: &[u8]) -> Vec<(LayerPath, Node)> {
        let children = self.records.children(folder);
        children.map(|index| (self.records.name(index).to_vec(), self.node_at(index))).collect()
    }

    fn below<'a>(&'a self, folder: &[u8]) -> Box<dyn Iterator<Item = (LayerPath, Node)> + 'a> {
        Box::new(self.records.below(folder).map(|(index, relative)| (relative, self.node_at(index))))
    }

    fn digests(&self, paths: &[LayerPath]) -> Result<Vec<Digest>, ContextError> {
        let index = |path: &LayerPath| {
            let found = self.file(path);
            found.ok_or_else(|| ContextError::NoDigest { path: tree::shown(path), place: self.name() })
        };
        let indexes = paths.iter().map(index).collect::<Result<Vec<_>, _>>()?;
        self.hash(indexes.iter().copied())?;
        let digests = self.digests.read().expect("no holder panics");
        let digest = |index| digests.get(index).expect("hash() sets it for every index or fails");
        Ok(indexes.into_iter().map(digest).collect())
    }

    fn why_missing(&self, path: &[u8]) -> Option<String> {
        let rule = self.ignore.excluded_by(path)?;
        let exists = beneath::open(self.root.as_fd(), path, OFlags::PATH).is_ok();
        exists.then(|| format!("line {} of {} ({}) leaves it out", rule.line, self.ignore.name(), rule.text))
    }
}

#[cfg(test)]
pub(crate) mod tests;
