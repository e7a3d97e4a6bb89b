//! Putting one layer on top of a tree. The table of what does what is in [`super`].

use std::collections::HashSet;

use super::{FollowLast, MAX_LINKS, ROOT, SlotId, Source, Tree};
use crate::entry::{Entry, Kind, LayerPath};
use crate::path::{components, split};

/// One layer on its way into the tree.
pub(super) struct Merge<'a> {
    tree: &'a mut Tree,
    layer: u32,
    /// Entries of one folder follow each other: the last folder is found without a walk.
    last_folder: Option<(LayerPath, SlotId)>,
}

impl<'a> Merge<'a> {
    pub(super) fn new(tree: &'a mut Tree, layer: u32) -> Self {
        Self { tree, layer, last_folder: None }
    }

    /// Takes away what the layer hides of the layers below, wherever in the tar it says so.
    pub(super) fn hide_below(&mut self, entries: &[Entry]) {
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
        self.tree.slots.clear(folder);
        true
    }

    /// Puts an entry where it belongs; whiteouts were dealt with before.
    pub(super) fn place(&mut self, entry: &Entry, source: Source) {
        match &entry.kind {
            Kind::Whiteout | Kind::Opaque => {}
            kind => {
                let Some((parent, name)) = split(&entry.path) else {
                    self.tree.slots.set_sources(ROOT, source, source);
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
        if let Some(existing) = self.tree.slots.child(folder, name) {
            self.replace(existing, source, content);
            return existing;
        }
        self.tree.slots.add(folder, name, source, content)
    }

    /// Puts an entry over what is there: folders merge, all else takes the place of what was.
    fn replace(&mut self, existing: SlotId, source: Source, content: Source) {
        let was_folder = self.tree.is_folder(existing);
        let merges = was_folder && self.tree.entry(source).0.kind == Kind::Directory;
        if !merges {
            self.tree.slots.clear(existing);
            if was_folder || self.tree.link_target(existing).is_some() {
                // It may have been on the way to the last folder.
                self.last_folder = None;
            }
        }
        self.tree.slots.set_sources(existing, source, content);
    }

    fn remove(&mut self, folder: SlotId, name: &[u8]) {
        self.last_folder = None;
        self.tree.slots.remove(folder, name);
    }

    fn existing_folder(&self, path: &[u8]) -> Option<SlotId> {
        let resolved = self.tree.resolve(path, FollowLast::Yes).ok()?;
        self.tree.find(&resolved.path).filter(|slot| self.tree.is_folder(*slot))
    }

    fn content_of(&self, target: &[u8]) -> Option<Source> {
        let resolved = self.tree.resolve(target, FollowLast::No).ok()?;
        self.tree.find(&resolved.path).map(|slot| self.tree.slots.sources(slot).1)
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
                at = self.tree.slots.parent(at);
                continue;
            }
            let next = self.tree.slots.child(at, &name);
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
