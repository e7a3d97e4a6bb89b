//! Putting one layer on top of a tree. The table of what does what is in [`super`].

use std::collections::BTreeSet;

use super::slots::{ROOT, SlotId, Slots, Sort, Source};
use super::{FollowLast, MAX_LINKS};
use crate::entry::{Entry, Kind, LayerPath};
use crate::error::LayerError;
use crate::index::Listing;
use crate::path::{components, split};

/// One layer on its way into the tree.
pub(super) struct Merge<'a> {
    slots: &'a mut Slots,
    layer: u32,
    /// Entries of one folder follow each other: the last folder is found without a walk.
    last_folder: Option<(LayerPath, SlotId)>,
}

impl<'a> Merge<'a> {
    pub(super) fn new(slots: &'a mut Slots, layer: u32) -> Self {
        Self { slots, layer, last_folder: None }
    }

    /// Takes away what the layer hides of the layers below, wherever in the tar it says so.
    pub(super) fn hide_below(&mut self, entries: &dyn Listing) -> Result<(), LayerError> {
        let mut opaque = BTreeSet::new();
        entries.each(&mut |entry| match entry.kind {
            Kind::Whiteout => self.hide(&entry.path),
            Kind::Opaque => _ = opaque.insert(entry.path.clone()),
            _ => {}
        })?;
        if opaque.is_empty() {
            return Ok(());
        }
        let mut named = BTreeSet::new();
        entries.each(&mut |entry| {
            if entry.kind == Kind::Directory && opaque.contains(&entry.path) {
                named.insert(entry.path.clone());
            }
        })?;
        // Outer folders first: an inner one is this layer's own, even where nothing else names it.
        opaque.retain(|path| {
            if named.contains(path) {
                // A link of the layers below is not followed: the folder takes its place.
                self.hide(path);
                return false;
            }
            !self.clear(path)
        });
        opaque.iter().for_each(|path| _ = self.folder(path));
        Ok(())
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
        self.slots.clear(folder);
        true
    }

    /// Puts an entry where it belongs; whiteouts were dealt with before.
    pub(super) fn place(&mut self, entry: &Entry) {
        match entry.kind {
            Kind::Whiteout => return,
            Kind::Opaque => {
                self.folder(&entry.path);
                return;
            }
            _ => {}
        }
        let source = self.slots.keep(self.layer, entry);
        let Some((parent, name)) = split(&entry.path) else {
            self.slots.set_sources(ROOT, source, source);
            return;
        };
        let content = match &entry.kind {
            Kind::Hardlink(target) => self.content_of(target).unwrap_or(source),
            _ => source,
        };
        let folder = self.folder(parent);
        self.put(folder, name, source, content);
    }

    fn put(&mut self, folder: SlotId, name: &[u8], source: Source, content: Source) -> SlotId {
        if let Some(existing) = self.slots.child(folder, name) {
            self.replace(existing, source, content);
            return existing;
        }
        self.slots.add(folder, name, source, content)
    }

    /// Puts an entry over what is there: folders merge, all else takes the place of what was.
    fn replace(&mut self, existing: SlotId, source: Source, content: Source) {
        let was_folder = self.slots.is_folder(existing);
        let merges = was_folder && source.sort == Sort::Folder;
        if !merges {
            self.slots.clear(existing);
            if was_folder || self.slots.is_link(existing) {
                // It may have been on the way to the last folder.
                self.last_folder = None;
            }
        }
        self.slots.set_sources(existing, source, content);
    }

    fn remove(&mut self, folder: SlotId, name: &[u8]) {
        self.last_folder = None;
        self.slots.remove(folder, name);
    }

    fn existing_folder(&mut self, path: &[u8]) -> Option<SlotId> {
        let found = self.slots.resolve(path, FollowLast::Yes).ok()?.1?;
        self.slots.is_folder(found).then_some(found)
    }

    fn content_of(&mut self, target: &[u8]) -> Option<Source> {
        let found = self.slots.resolve(target, FollowLast::No).ok()?.1?;
        Some(self.slots.sources(found).1)
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
                at = self.slots.parent(at);
                continue;
            }
            let next = self.slots.child(at, &name);
            match next {
                Some(next) if self.slots.is_folder(next) => at = next,
                Some(link) if links < MAX_LINKS && self.slots.is_link(link) => {
                    links += 1;
                    let target = self.slots.link_target(link).unwrap_or_default();
                    if target.starts_with(b"/") {
                        at = ROOT;
                    }
                    pending.extend(components(&target));
                }
                _ => {
                    let implied = Source::implied(self.layer);
                    at = self.put(at, &name, implied, implied);
                }
            }
        }
        at
    }
}
