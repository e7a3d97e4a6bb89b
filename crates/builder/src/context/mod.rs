//! The folder a build may read, and what COPY and ADD select from it.
//!
//! A context is walked once and shared by all that build from it. Contents are hashed when a step
//! needs their digest, side by side, and what is known of files that did not change is kept between
//! runs. Nothing outside of the folder is ever read: paths are opened beneath it and links are followed
//! by name, inside.
//!
//! | file | holds |
//! |---|---|
//! | `walk` | the walk: names, kinds, modes, times |
//! | `hash`, `stat_cache` | digests of contents, and keeping them |
//! | `tree` | what can be selected from: a context, or the layers of a stage |
//! | `select`, `choice`, `parents` | which files a source means; `--exclude`; `--parents` |
//! | `merkle` | one digest over a selection |
//! | `beneath` | opening files without leaving the folder |
//!
//! What becomes of a selection in a layer is the engine's.

mod beneath;
mod choice;
mod error;
mod hash;
mod merkle;
mod parents;
mod select;
mod stat_cache;
mod tree;
mod walk;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use layer::LayerPath;
use oci::{Algorithm, Digest};
use rustix::fs::{FileType, Mode, OFlags};

use crate::ignore::IgnoreFile;

pub use choice::Choice;
pub use error::ContextError;
pub use merkle::selection_digest;
pub use select::{Selected, SelectedItem, select, select_some};
use stat_cache::StatCache;
pub use tree::{LayerTree, Node, NodeKind, SourceTree};
pub use walk::Stat;
use walk::{Record, Records};

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
    digests: Vec<OnceLock<[u8; 32]>>,
    cache: Option<StatCache>,
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
        let records = walk::walk(root.as_fd(), ignore, options.permissions).map_err(|stopped| {
            ContextError::Unreadable {
                path: tree::shown(&stopped.path),
                place: place(path),
                source: stopped.error.into(),
            }
        })?;
        let digests = std::iter::repeat_with(OnceLock::new).take(records.len()).collect();
        let cache = options.cache_folder.as_deref().map(|folder| StatCache::load(folder, identity, ignore));
        let mut context =
            Self { path: path.to_owned(), root, ignore: ignore.clone(), options, records, digests, cache };
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
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.records.len()).map(|index| self.records.path(index))
    }

    /// Returns what the walk saw of a file, to be held against the file once it has been copied.
    pub fn stat(&self, path: &[u8]) -> Option<Stat> {
        self.records.find(path).map(|index| self.records.get(index).stat)
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
        let is_file = |index| matches!(self.records.get(index).kind, NodeKind::File { .. });
        if !self.records.find(path).is_some_and(is_file) {
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
        let known = |index: usize| {
            let record = self.records.get(index);
            let digest = self.digests[index].get()?;
            let settled = stat_cache::is_settled(&record.stat, self.options.now);
            settled.then(|| (self.records.path(index), record.stat, *digest))
        };
        cache.save((0..self.records.len()).filter_map(known))
    }

    /// Takes over what is known of files that did not change.
    fn recall(&mut self) {
        let Some(cache) = &self.cache else { return };
        let mut index = 0;
        for (path, stat, digest) in cache.entries() {
            while index < self.records.len() && walk::order(self.records.path(index), path).is_lt() {
                index += 1;
            }
            if index < self.records.len() && self.records.path(index) == path {
                let record = self.records.get(index);
                if record.stat == stat && matches!(record.kind, NodeKind::File { .. }) {
                    self.digests[index] = OnceLock::from(digest);
                }
            }
        }
    }

    fn node_at(&self, record: &Record) -> Node {
        Node {
            kind: record.kind.clone(),
            mode: record.mode,
            uid: 0,
            gid: 0,
            mtime: record.stat.mtime.div_euclid(1_000_000_000),
            links: record.linked.then_some((record.stat.device, record.stat.inode)),
            xattrs: BTreeMap::new(),
        }
    }

    fn relative(&self, index: usize, folder: &[u8]) -> LayerPath {
        let skipped = if folder.is_empty() { 0 } else { folder.len() + 1 };
        self.records.path(index)[skipped..].to_vec()
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
                links: None,
                xattrs: BTreeMap::new(),
            });
        }
        self.records.find(path).map(|index| self.node_at(self.records.get(index)))
    }

    fn children(&self, folder: &[u8]) -> Vec<(LayerPath, Node)> {
        let range = self.records.below(folder);
        let mut children = Vec::new();
        let mut index = range.start;
        while index < range.end {
            let record = self.records.get(index);
            children.push((self.relative(index, folder), self.node_at(record)));
            index = record.end as usize;
        }
        children
    }

    fn below(&self, folder: &[u8]) -> Vec<(LayerPath, Node)> {
        let one = |index| (self.relative(index, folder), self.node_at(self.records.get(index)));
        self.records.below(folder).map(one).collect()
    }

    fn digests(&self, paths: &[LayerPath]) -> Result<Vec<Digest>, ContextError> {
        let index = |path: &LayerPath| {
            let found = self.records.find(path);
            let found = found.filter(|index| matches!(self.records.get(*index).kind, NodeKind::File { .. }));
            found.ok_or_else(|| ContextError::NoDigest { path: tree::shown(path), place: self.name() })
        };
        let indexes = paths.iter().map(index).collect::<Result<Vec<_>, _>>()?;
        self.hash(&indexes)?;
        let digest = |index: &usize| {
            let bytes = self.digests[*index].get().expect("hash() sets it for every index or fails");
            Digest::from_bytes(Algorithm::Sha256, bytes).expect("SHA-256 has 32 bytes")
        };
        Ok(indexes.iter().map(digest).collect())
    }

    fn why_missing(&self, path: &[u8]) -> Option<String> {
        let rule = self.ignore.excluded_by(path)?;
        let exists = beneath::open(self.root.as_fd(), path, OFlags::PATH).is_ok();
        exists.then(|| format!("line {} of {} ({}) leaves it out", rule.line, self.ignore.name(), rule.text))
    }
}

#[cfg(test)]
mod tests;
