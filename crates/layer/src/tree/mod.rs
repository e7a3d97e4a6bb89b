//! The merged view of a stack of layers, from their indexes alone.
//!
//! | in a layer | does to what is below |
//! |---|---|
//! | whiteout | takes the path away, with all it holds; never a path of its own layer |
//! | opaque folder | takes away what the layers below have in the folder |
//! | folder over folder | keeps the content, takes the newer owner, mode, time |
//! | anything else over anything | replaces it |
//! | entry whose parent is missing | the parent comes to be, mode 0755 of root |
//! | entry whose parent is a symbolic link | lies where the link leads inside the image |
//!
//! `apply` puts the same rules on disk. Source: image-spec v1.1, layer.md, "Applying Changesets".

mod find;
mod merge;
mod pages;
mod slots;
mod stream;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::entry::{Entry, Kind, LayerPath};
use crate::error::LayerError;
use crate::index::{LayerIndex, Listing};
use crate::path::join;
use merge::Merge;
use slots::{Children, SlotId, Slots};

/// As many links are followed for one path, as in `filepath-securejoin` and containerd.
pub(crate) const MAX_LINKS: usize = 255;

/// The merged view of a stack of layers.
#[derive(Debug)]
pub struct Tree {
    layers: u32,
    /// Held for one question at a time: what is asked for may have to be brought into memory first.
    slots: Mutex<Slots>,
}

/// A folder that no entry names but that others lie in.
static IMPLIED: Entry = Entry {
    path: Vec::new(),
    kind: Kind::Directory,
    mode: 0o755,
    uid: 0,
    gid: 0,
    mtime: 0,
    xattrs: BTreeMap::new(),
};

/// One name in the tree. Its entries have no paths: who asks for it knows where it lies.
#[derive(Clone, Debug)]
pub struct Node {
    /// The entry that put it there.
    pub entry: Arc<Entry>,
    /// The layer of that entry, 0 for the lowest.
    pub layer: usize,
    /// The entry that holds content, owner and mode: for a hard link its target's, which is
    /// never a hard link unless the layer is broken; for all others `entry`.
    pub content: Arc<Entry>,
    /// The layer of that entry.
    pub content_layer: usize,
    /// Whether it is a folder that no entry names.
    pub is_implied: bool,
}

/// What to do with a path whose last component is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowLast {
    /// Go where it leads.
    Yes,
    /// Stay at the link.
    No,
}

/// Where a path leads.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The path without symbolic links.
    pub path: LayerPath,
    /// What is there; `None` where it, and maybe some of its parents, would have to be made.
    pub node: Option<Node>,
}

impl Tree {
    /// Returns the merged view of `layers`, lowest first, in memory.
    pub fn new(layers: &[Arc<LayerIndex>]) -> Self {
        let mut tree = Self { layers: 0, slots: Mutex::new(Slots::new(None)) };
        for layer in layers {
            tree.push(&**layer).expect("what is in memory can be read");
        }
        tree
    }

    /// Returns the view of no layer, which keeps what it learns in a file without a name in `folder` as soon as
    /// that is much.
    pub fn in_folder(folder: &Path) -> Self {
        Self { layers: 0, slots: Mutex::new(Slots::new(Some(folder))) }
    }

    /// Puts another layer on top. Its entries are asked for more than once.
    ///
    /// # Errors
    /// Those of reading the entries. The tree is then of no use any more.
    pub fn push(&mut self, layer: &dyn Listing) -> Result<(), LayerError> {
        let slots = self.slots.get_mut().expect("no holder panics");
        slots.reserve(layer.count());
        // Below the lowest layer there is nothing to hide.
        let is_lowest = slots.names() == 1;
        let mut merge = Merge::new(slots, self.layers);
        if !is_lowest {
            merge.hide_below(layer)?;
        }
        layer.each(&mut |entry| merge.place(entry))?;
        self.layers += 1;
        Ok(())
    }

    /// Returns the entry of folders that no entry names.
    pub(crate) fn implied_folder() -> &'static Entry {
        &IMPLIED
    }

    /// Returns the number of names that were put into it, which says how large it is.
    pub fn names(&self) -> usize {
        self.slots().names()
    }

    /// Returns what lies at `path` without following links.
    pub fn get(&self, path: &[u8]) -> Option<Node> {
        let mut slots = self.slots();
        let slot = slots.find(path)?;
        Some(slots.node(slot))
    }

    /// Returns the names in the folder `path`, ascending, without following links; empty where
    /// there is no such folder.
    pub fn children(&self, path: &[u8]) -> impl Iterator<Item = (Vec<u8>, Node)> {
        let mut slots = self.slots();
        let mut children = slots.find(path).map(|slot| slots.children(slot)).unwrap_or_default();
        drop(slots);
        std::iter::from_fn(move || {
            let (name, slot) = children.next()?;
            Some((name.to_vec(), self.slots().node(slot)))
        })
    }

    /// Returns `path` itself and all below it, without following links: folders before what they
    /// hold, names ascending. Empty where nothing is there.
    pub fn walk(&self, path: &[u8]) -> Walk<'_> {
        let first = self.slots().find(path).map(|slot| (path.to_vec(), slot));
        Walk { tree: self, first, folders: Vec::new() }
    }

    /// Follows `path` as a process whose root is the image would: symbolic links lead inside the
    /// image, `..` of the root is the root. What is missing may be missing: its path is given.
    ///
    /// # Errors
    /// `Unresolvable` where links go in circles or a file stands where a folder is needed.
    pub fn resolve(&self, path: &[u8], last: FollowLast) -> Result<Resolved, LayerError> {
        let mut slots = self.slots();
        let (path, found) = slots.resolve(path, last)?;
        Ok(Resolved { node: found.map(|slot| slots.node(slot)), path })
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().expect("no holder panics")
    }
}

/// Copies share what is large until one of them changes.
impl Clone for Tree {
    fn clone(&self) -> Self {
        Self { layers: self.layers, slots: Mutex::new(self.slots().clone()) }
    }
}

/// A folder and what it holds, from [`Tree::walk`].
#[derive(Debug)]
pub struct Walk<'a> {
    tree: &'a Tree,
    first: Option<(LayerPath, SlotId)>,
    folders: Vec<(LayerPath, Children)>,
}

impl Iterator for Walk<'_> {
    type Item = (LayerPath, Node);

    fn next(&mut self) -> Option<Self::Item> {
        let (path, slot) = match self.first.take() {
            Some(first) => first,
            None => self.next_slot()?,
        };
        let mut slots = self.tree.slots();
        let children = slots.children(slot);
        if !children.is_empty() {
            self.folders.push((path.clone(), children));
        }
        Some((path, slots.node(slot)))
    }
}

impl Walk<'_> {
    fn next_slot(&mut self) -> Option<(LayerPath, SlotId)> {
        loop {
            let (folder, children) = self.folders.last_mut()?;
            match children.next() {
                Some((name, slot)) => return Some((join(folder, name), slot)),
                None => _ = self.folders.pop(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
