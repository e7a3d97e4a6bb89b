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

use std::collections::{BTreeMap, HashSet, btree_map};
use std::sync::Arc;

use crate::entry::{Entry, Kind, LayerPath};
use crate::error::{LayerError, shown};
use crate::index::LayerIndex;
use crate::path::{components, join, split};

/// As many links are followed for one path, as in `filepath-securejoin` and containerd.
pub(crate) const MAX_LINKS: usize = 255;

/// The merged view of a stack of layers.
#[derive(Clone, Debug)]
pub struct Tree {
    layers: Vec<Arc<LayerIndex>>,
    slots: Vec<Slot>,
}

#[derive(Clone, Debug)]
struct Slot {
    parent: SlotId,
    children: BTreeMap<Box<[u8]>, SlotId>,
    source: Source,
    content: Source,
}

type SlotId = u32;
const ROOT: SlotId = 0;

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
        let root = Slot::new(ROOT, Source::Implied { layer: 0 });
        let mut tree = Self { layers: Vec::with_capacity(layers.len()), slots: vec![root] };
        for layer in layers {
            tree.push(Arc::clone(layer));
        }
        tree
    }

    /// Puts another layer on top.
    pub fn push(&mut self, index: Arc<LayerIndex>) {
        let layer = self.layers.len() as u32;
        self.layers.push(Arc::clone(&index));
        let mut merge = Merge { tree: self, layer, last_folder: None };
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
        let slot = self.find(path);
        let children = slot.into_iter().flat_map(|slot| &self.slots[slot as usize].children);
        children.map(|(name, child)| (&**name, self.node(*child)))
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
            at = self.slots[folder as usize].children.get(&name[..]).copied();
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
        names.try_fold(ROOT, |at, name| self.slots[at as usize].children.get(name).copied())
    }

    fn node(&self, slot: SlotId) -> Node<'_> {
        let slot = &self.slots[slot as usize];
        let (entry, layer) = self.entry(slot.source);
        let (content, content_layer) = self.entry(slot.content);
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
        self.entry(self.slots[slot as usize].source).0.kind == Kind::Directory
    }

    fn link_target(&self, slot: SlotId) -> Option<&[u8]> {
        match &self.entry(self.slots[slot as usize].content).0.kind {
            Kind::Symlink(target) => Some(target),
            _ => None,
        }
    }
}

impl Slot {
    fn new(parent: SlotId, source: Source) -> Self {
        Self { parent, children: BTreeMap::new(), source, content: source }
    }
}

/// One layer on its way into the tree.
struct Merge<'a> {
    tree: &'a mut Tree,
    layer: u32,
    /// Entries of one folder follow each other: the last folder is found without a walk.
    last_folder: Option<(LayerPath, SlotId)>,
}

impl Merge<'_> {
    /// Takes away what the layer hides of the layers below, wherever in the tar it says so.
    fn hide_below(&mut self, entries: &[Entry]) {
        let of =
            |kind: Kind| entries.iter().filter(move |entry| entry.kind == kind).map(|entry| &entry.path[..]);
        for path in of(Kind::Whiteout) {
            self.hide(path);
        }
        // Outer folders first: an inner one is this layer's own, even where nothing else names it.
        let mut opaque: Vec<_> = of(Kind::Opaque).collect();
        if opaque.is_empty() {
            return;
        }
        opaque.sort_unstable();
        let named: HashSet<_> = of(Kind::Directory).collect();
        opaque.retain(|path| {
            if named.contains(path) {
                // A link of the layers below is not followed: the folder takes its place.
                self.hide(path);
                return false;
            }
            !self.clear(path)
        });
        for path in opaque {
            self.folder(path);
        }
    }

    fn hide(&mut self, path: &[u8]) {
        let Some((parent, name)) = split(path) else {
            self.clear(path);
            return;
        };
        if let Some(folder) = self.existing_folder(parent) {
            self.remove(folder, name);
        }
    }

    /// Hides what a folder holds. Says whether there is such a folder.
    fn clear(&mut self, path: &[u8]) -> bool {
        let Some(folder) = self.existing_folder(path) else { return false };
        self.last_folder = None;
        self.slot(folder).children.clear();
        true
    }

    fn place(&mut self, entry: &Entry, source: Source) {
        match &entry.kind {
            Kind::Whiteout | Kind::Opaque => {}
            kind => {
                let Some((parent, name)) = split(&entry.path) else {
                    let root = self.slot(ROOT);
                    (root.source, root.content) = (source, source);
                    return;
                };
                let content = match kind {
                    Kind::Hardlink(target) => self.content_of(target).unwrap_or(source),
                    _ => source,
                };
                let folder = self.folder(parent);
                self.put(folder, name, source, content);
            }
        }
    }

    fn put(&mut self, folder: SlotId, name: &[u8], source: Source, content: Source) -> SlotId {
        if let Some(existing) = self.slot(folder).children.get(name).copied() {
            let is_folder = self.tree.entry(source).0.kind == Kind::Directory;
            if is_folder && self.tree.is_folder(existing) {
                let slot = self.slot(existing);
                (slot.source, slot.content) = (source, content);
                return existing;
            }
            self.remove(folder, name);
        }
        let slot = self.tree.slots.len() as SlotId;
        self.tree.slots.push(Slot { content, ..Slot::new(folder, source) });
        self.slot(folder).children.insert(name.into(), slot);
        slot
    }

    fn remove(&mut self, folder: SlotId, name: &[u8]) {
        self.last_folder = None;
        self.slot(folder).children.remove(name);
    }

    fn slot(&mut self, id: SlotId) -> &mut Slot {
        &mut self.tree.slots[id as usize]
    }

    fn existing_folder(&self, path: &[u8]) -> Option<SlotId> {
        let resolved = self.tree.resolve(path, FollowLast::Yes).ok()?;
        self.tree.find(&resolved.path).filter(|slot| self.tree.is_folder(*slot))
    }

    fn content_of(&self, target: &[u8]) -> Option<Source> {
        let resolved = self.tree.resolve(target, FollowLast::No).ok()?;
        self.tree.find(&resolved.path).map(|slot| self.tree.slots[slot as usize].content)
    }

    /// Returns the folder that `path` leads to, which is made where it is missing.
    fn folder(&mut self, path: &[u8]) -> SlotId {
        if let Some((_, slot)) = self.last_folder.as_ref().filter(|(last, _)| last == path) {
            return *slot;
        }
        let slot = self.make_folder(path);
        self.last_folder = Some((path.to_vec(), slot));
        slot
    }

    fn make_folder(&mut self, path: &[u8]) -> SlotId {
        let mut pending = components(path);
        let mut at = ROOT;
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == b".." {
                at = self.slot(at).parent;
                continue;
            }
            let next = self.slot(at).children.get(&name[..]).copied();
            match next {
                Some(next) if self.tree.is_folder(next) => at = next,
                Some(link) if links < MAX_LINKS && self.tree.link_target(link).is_some() => {
                    links += 1;
                    let target = self.tree.link_target(link).expect("the arm asked for it");
                    if target.starts_with(b"/") {
                        at = ROOT;
                    }
                    pending.extend(components(target));
                }
                _ => {
                    let implied = Source::Implied { layer: self.layer };
                    at = self.put(at, &name, implied, implied);
                }
            }
        }
        at
    }
}

type Children<'a> = btree_map::Iter<'a, Box<[u8]>, SlotId>;

/// A folder and what it holds, from [`Tree::walk`].
#[derive(Debug)]
pub struct Walk<'a> {
    tree: &'a Tree,
    first: Option<(LayerPath, SlotId)>,
    folders: Vec<(LayerPath, Children<'a>)>,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (LayerPath, Node<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (path, slot) = match self.first.take() {
            Some(first) => first,
            None => self.next_slot()?,
        };
        let children = &self.tree.slots[slot as usize].children;
        if !children.is_empty() {
            self.folders.push((path.clone(), children.iter()));
        }
        Some((path, self.tree.node(slot)))
    }
}

impl Walk<'_> {
    fn next_slot(&mut self) -> Option<(LayerPath, SlotId)> {
        loop {
            let (folder, children) = self.folders.last_mut()?;
            match children.next() {
                Some((name, slot)) => return Some((join(folder, name), *slot)),
                None => _ = self.folders.pop(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use oci::{DiffId, Digest};

    use super::*;
    use crate::sample;

    fn layer(text: &str) -> Arc<LayerIndex> {
        let diff_id = DiffId(Digest::of(text.as_bytes()));
        let entries = sample::entries(text).into_iter().map(|(entry, _)| entry).collect();
        Arc::new(LayerIndex { diff_id, size: 0, entries })
    }

    fn tree(layers: &[&str]) -> Tree {
        Tree::new(&layers.iter().map(|text| layer(text)).collect::<Vec<_>>())
    }

    /// Checks all paths of the merged view; folders end in a slash.
    #[track_caller]
    fn check(layers: &[&str], expected: &str) {
        let tree = tree(layers);
        let paths = tree.walk(b"").skip(1).map(|(path, node)| {
            let slash = if node.entry.kind == Kind::Directory { "/" } else { "" };
            String::from_utf8(path).unwrap() + slash
        });
        assert_eq!(paths.collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn layers_merge() {
        check(&["a/ a/x=1", "a/ a/y=2"], "a/ a/x a/y");
        check(&["a/ a/x=1", "a=file"], "a");
        check(&["a=file", "a/ a/y=2"], "a/ a/y");
        check(&["a/b/c=1"], "a/ a/b/ a/b/c");
        check(&[], "");
    }

    #[test]
    fn whiteouts_hide_the_layers_below_only() {
        check(&["a/ a/x=1 a/y=1", "-a/x"], "a/ a/y");
        check(&["a/ a/x=1", "-a"], "");
        check(&["a/ a/x=1", "a/ a/z=2 -a"], "a/ a/z");
        check(&["a/ a/x=1", "-a a/ a/z=2"], "a/ a/z");
        check(&["a/ a/x=1", "a/ a/z=2 !a"], "a/ a/z");
        check(&["a/ a/x=1", "!a"], "a/");
        check(&["a=1 b/ b/c=2", "!"], "");
        check(&["a=1", "-b -b/c !d"], "a d/");
        check(&["etc/ etc/a=1 link->etc", "link/ !link"], "etc/ etc/a link/");
    }

    #[test]
    fn entries_behind_links_lie_where_the_links_lead() {
        check(&["usr/ usr/bin/ bin->usr/bin", "bin/sh=1"], "bin usr/ usr/bin/ usr/bin/sh");
        check(&["usr/ usr/bin/ usr/bin/sh=1 bin->/usr/bin", "-bin/sh"], "bin usr/ usr/bin/");
        check(&["a->../../b", "a/x=1"], "a b/ b/x");
        check(&["a->b b->a", "a/x=1"], "a b/ b/x");
    }

    #[test]
    fn hard_links_have_their_targets_content() {
        let tree = tree(&["a=text b=>a c=>b", "a=new"]);
        let digest = |path: &str| match &tree.get(path.as_bytes()).unwrap().content.kind {
            Kind::File { digest, .. } => *digest,
            other => panic!("{other:?}"),
        };
        assert_eq!(digest("b"), Some(Digest::of(b"text")));
        assert_eq!(digest("c"), Some(Digest::of(b"text")));
        assert_eq!(digest("a"), Some(Digest::of(b"new")));
        assert_eq!(tree.get(b"c").unwrap().content_layer, 0);
        assert!(matches!(tree.get(b"c").unwrap().entry.kind, Kind::Hardlink(_)));
    }

    #[test]
    fn the_newest_entry_and_its_layer_are_given() {
        let tree = tree(&["a/ a/x=1", "a/ a/y=2", "b/c=3"]);
        assert_eq!(tree.get(b"a").unwrap().layer, 1);
        assert_eq!(tree.get(b"a/x").unwrap().layer, 0);
        assert_eq!((tree.get(b"b").unwrap().layer, tree.get(b"b").unwrap().entry.mode), (2, 0o755));
        assert!(tree.get(b"a/z").is_none() && tree.get(b"a/x/y").is_none());
        let names: Vec<_> = tree.children(b"a").map(|(name, _)| name).collect();
        assert_eq!(names, [b"x", b"y"]);
        assert_eq!(tree.children(b"nothing").count(), 0);
    }

    #[track_caller]
    fn check_resolve(path: &str, last: FollowLast, expected: &str, exists: bool) {
        let tree = tree(&[
            "usr/bin/sh=1 bin->usr/bin abs->/usr up->../../../usr loop->loop dangling->none/x sh->bin/sh",
        ]);
        let resolved = tree.resolve(path.as_bytes(), last).unwrap();
        assert_eq!(String::from_utf8(resolved.path).unwrap(), expected);
        assert_eq!(resolved.node.is_some(), exists);
    }

    #[test]
    fn paths_are_followed_inside_the_image() {
        check_resolve("/bin/sh", FollowLast::No, "usr/bin/sh", true);
        check_resolve("sh", FollowLast::Yes, "usr/bin/sh", true);
        check_resolve("sh", FollowLast::No, "sh", true);
        check_resolve("abs/bin/../bin/sh", FollowLast::Yes, "usr/bin/sh", true);
        check_resolve("up/bin", FollowLast::Yes, "usr/bin", true);
        check_resolve("../../usr", FollowLast::Yes, "usr", true);
        check_resolve("dangling/y", FollowLast::Yes, "none/x/y", false);
        check_resolve("dangling/../y", FollowLast::Yes, "none/y", false);
        check_resolve("new/a/b", FollowLast::Yes, "new/a/b", false);
        check_resolve("/", FollowLast::Yes, "", true);
    }

    #[test]
    fn circles_and_files_in_the_way_are_errors() {
        let tree = tree(&["loop->loop file=1"]);
        for path in ["loop", "loop/x", "file/x"] {
            assert!(tree.resolve(path.as_bytes(), FollowLast::Yes).is_err(), "{path}");
        }
        assert!(tree.resolve(b"loop", FollowLast::No).is_ok());
    }

    #[test]
    fn a_part_of_the_tree_is_walked() {
        let tree = tree(&["a/b/c=1 a/d=2 e=3"]);
        let paths: Vec<_> = tree.walk(b"a").map(|(path, _)| path).collect();
        assert_eq!(paths, [&b"a"[..], b"a/b", b"a/b/c", b"a/d"]);
        assert_eq!(tree.walk(b"e").count(), 1);
        assert_eq!(tree.walk(b"x").count(), 0);
    }
}
