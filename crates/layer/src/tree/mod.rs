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

mod merge;
mod slots;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::entry::{Entry, Kind, LayerPath};
use crate::error::{LayerError, shown};
use crate::index::LayerIndex;
use crate::path::{components, join, split};
use merge::Merge;
use slots::{ROOT, SlotId, Slots};

/// As many links are followed for one path, as in `filepath-securejoin` and containerd.
pub(crate) const MAX_LINKS: usize = 255;

/// The merged view of a stack of layers.
#[derive(Clone, Debug)]
pub struct Tree {
    layers: Vec<Arc<LayerIndex>>,
    slots: Slots,
}

/// Where an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Entry { layer: u32, at: u32 },
    Implied { layer: u32 },
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

/// One name in the tree.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// The entry that put it there. A folder that no entry names has an entry with an empty path.
    pub entry: &'a Entry,
    /// The layer of that entry, 0 for the lowest.
    pub layer: usize,
    /// The entry that holds content, owner and mode: for a hard link its target's, which is
    /// never a hard link unless the layer is broken; for all others `entry`.
    pub content: &'a Entry,
    /// The layer of that entry.
    pub content_layer: usize,
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
pub struct Resolved<'a> {
    /// The path without symbolic links.
    pub path: LayerPath,
    /// What is there; `None` where it, and maybe some of its parents, would have to be made.
    pub node: Option<Node<'a>>,
}

impl Tree {
    /// Returns the merged view of `layers`, lowest first.
    pub fn new(layers: &[Arc<LayerIndex>]) -> Self {
        let slots = Slots::new(Source::Implied { layer: 0 });
        let mut tree = Self { layers: Vec::with_capacity(layers.len()), slots };
        for layer in layers {
            tree.push(Arc::clone(layer));
        }
        tree
    }

    /// Puts another layer on top.
    pub fn push(&mut self, index: Arc<LayerIndex>) {
        let layer = self.layers.len() as u32;
        self.layers.push(Arc::clone(&index));
        self.slots.reserve(index.entries.len());
        let mut merge = Merge::new(self, layer);
        merge.hide_below(&index.entries);
        for (at, entry) in index.entries.iter().enumerate() {
            merge.place(entry, Source::Entry { layer, at: at as u32 });
        }
    }

    /// Returns the entry of folders that no entry names.
    pub(crate) fn implied_folder() -> &'static Entry {
        &IMPLIED
    }

    /// Returns the indexes it was made of, lowest first.
    pub fn indexes(&self) -> &[Arc<LayerIndex>] {
        &self.layers
    }

    /// Returns the number of layers.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Returns what lies at `path` without following links.
    pub fn get(&self, path: &[u8]) -> Option<Node<'_>> {
        self.find(path).map(|slot| self.node(slot))
    }

    /// Returns the names in the folder `path`, ascending, without following links; empty where
    /// there is no such folder.
    pub fn children(&self, path: &[u8]) -> impl Iterator<Item = (&[u8], Node<'_>)> {
        let children = self.find(path).map(|slot| self.slots.children(slot)).unwrap_or_default();
        children.into_iter().map(|child| (self.slots.name(child), self.node(child)))
    }

    /// Returns `path` itself and all below it, without following links: folders before what they
    /// hold, names ascending. Empty where nothing is there.
    pub fn walk(&self, path: &[u8]) -> Walk<'_> {
        let first = self.find(path).map(|slot| (path.to_vec(), slot));
        Walk { tree: self, first, folders: Vec::new() }
    }

    /// Follows `path` as a process whose root is the image would: symbolic links lead inside the
    /// image, `..` of the root is the root. What is missing may be missing: its path is given.
    ///
    /// # Errors
    /// `Unresolvable` where links go in circles or a file stands where a folder is needed.
    pub fn resolve(&self, path: &[u8], last: FollowLast) -> Result<Resolved<'_>, LayerError> {
        let failed = |reason: &str| LayerError::Unresolvable { path: shown(path), reason: reason.to_owned() };
        let mut pending = components(path);
        let mut at = Some(ROOT);
        let mut resolved = LayerPath::new();
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == b".." {
                let parent = split(&resolved).map_or(0, |(parent, _)| parent.len());
                resolved.truncate(parent);
                at = self.find(&resolved);
                continue;
            }
            let Some(folder) = at else {
                resolved = join(&resolved, &name);
                continue;
            };
            if !self.is_folder(folder) {
                return Err(failed(&format!("{:?} is not a folder", shown(&resolved))));
            }
            at = self.slots.child(folder, &name);
            let follow = last == FollowLast::Yes || !pending.is_empty();
            match at.and_then(|slot| self.link_target(slot)).filter(|_| follow) {
                Some(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(failed("it leads through more than 255 symbolic links"));
                    }
                    at = Some(folder);
                    if target.starts_with(b"/") {
                        (at, resolved) = (Some(ROOT), LayerPath::new());
                    }
                    pending.extend(components(target));
                }
                None => resolved = join(&resolved, &name),
            }
        }
        Ok(Resolved { node: at.map(|slot| self.node(slot)), path: resolved })
    }

    fn find(&self, path: &[u8]) -> Option<SlotId> {
        let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        names.try_fold(ROOT, |at, name| self.slots.child(at, name))
    }

    fn node(&self, slot: SlotId) -> Node<'_> {
        let (source, content) = self.slots.sources(slot);
        let (entry, layer) = self.entry(source);
        let (content, content_layer) = self.entry(content);
        Node { entry, layer, content, content_layer }
    }

    fn entry(&self, source: Source) -> (&Entry, usize) {
        match source {
            Source::Entry { layer, at } => {
                (&self.layers[layer as usize].entries[at as usize], layer as usize)
            }
            Source::Implied { layer } => (&IMPLIED, layer as usize),
        }
    }

    fn is_folder(&self, slot: SlotId) -> bool {
        self.entry(self.slots.sources(slot).0).0.kind == Kind::Directory
    }

    fn link_target(&self, slot: SlotId) -> Option<&[u8]> {
        match &self.entry(self.slots.sources(slot).1).0.kind {
            Kind::Symlink(target) => Some(target),
            _ => None,
        }
    }
}

/// A folder and what it holds, from [`Tree::walk`].
#[derive(Debug)]
pub struct Walk<'a> {
    tree: &'a Tree,
    first: Option<(LayerPath, SlotId)>,
    folders: Vec<(LayerPath, std::vec::IntoIter<SlotId>)>,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (LayerPath, Node<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (path, slot) = match self.first.take() {
            Some(first) => first,
            None => self.next_slot()?,
        };
        let children = self.tree.slots.children(slot);
        if !children.is_empty() {
            self.folders.push((path.clone(), children.into_iter()));
        }
        Some((path, self.tree.node(slot)))
    }
}

impl Walk<'_> {
    fn next_slot(&mut self) -> Option<(LayerPath, SlotId)> {
        loop {
            let (folder, children) = self.folders.last_mut()?;
            match children.next() {
                Some(slot) => return Some((join(folder, self.tree.slots.name(slot)), slot)),
                None => _ = self.folders.pop(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
