//! Ways from paths to slots.

use std::sync::Arc;

use super::slots::{ROOT, SlotId, Slots, Sort, Source};
use super::{FollowLast, IMPLIED, MAX_LINKS, Node};
use crate::entry::{Entry, Kind, LayerPath};
use crate::error::{LayerError, shown};
use crate::path::{components, join, split};

impl Slots {
    pub(super) fn find(&mut self, path: &[u8]) -> Option<SlotId> {
        let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        names.try_fold(ROOT, |at, name| self.child(at, name))
    }

    /// Returns where `path` leads, and what is there.
    pub(super) fn resolve(
        &mut self,
        path: &[u8],
        last: FollowLast,
    ) -> Result<(LayerPath, Option<SlotId>), LayerError> {
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
            at = self.child(folder, &name);
            let follow = last == FollowLast::Yes || !pending.is_empty();
            match at.filter(|_| follow).and_then(|slot| self.link_target(slot)) {
                Some(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(failed("it leads through more than 255 symbolic links"));
                    }
                    at = Some(folder);
                    if target.starts_with(b"/") {
                        (at, resolved) = (Some(ROOT), LayerPath::new());
                    }
                    pending.extend(components(&target));
                }
                None => resolved = join(&resolved, &name),
            }
        }
        Ok((resolved, at))
    }

    pub(super) fn node(&mut self, slot: SlotId) -> Node {
        let (source, content) = self.sources(slot);
        let entry = Arc::new(self.entry_or_implied(source));
        let same = if content == source { Some(Arc::clone(&entry)) } else { None };
        Node {
            layer: source.layer as usize,
            content: same.unwrap_or_else(|| Arc::new(self.entry_or_implied(content))),
            content_layer: content.layer as usize,
            is_implied: source.is_implied(),
            entry,
        }
    }

    fn entry_or_implied(&mut self, source: Source) -> Entry {
        self.entry(source).unwrap_or_else(|| IMPLIED.clone())
    }

    pub(super) fn is_folder(&mut self, slot: SlotId) -> bool {
        self.sources(slot).0.sort == Sort::Folder
    }

    /// Whether what lies there is a symbolic link, maybe by a hard link to one.
    pub(super) fn is_link(&mut self, slot: SlotId) -> bool {
        self.sources(slot).1.sort == Sort::Link
    }

    pub(super) fn link_target(&mut self, slot: SlotId) -> Option<Vec<u8>> {
        let content = self.sources(slot).1;
        if content.sort != Sort::Link {
            return None;
        }
        match self.entry(content)?.kind {
            Kind::Symlink(target) => Some(target),
            _ => None,
        }
    }
}
