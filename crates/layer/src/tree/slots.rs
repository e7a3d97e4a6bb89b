//! The names of a tree and how they hang together: a list of slots of one size, found by folder and name through
//! one table. Slots, names and entries lie in [`Pages`], so that of a tree of a million names the table alone
//! has to be in memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::path::Path;

use super::pages::Pages;
use crate::entry::{Entry, Kind};
use crate::index::encoding::{put_rest, take_rest};

pub(super) type SlotId = u32;
pub(super) const ROOT: SlotId = 0;
/// No slot: the end of a chain.
const NONE: SlotId = SlotId::MAX;

/// What of slots, and of names and entries, is in memory at most.
const SLOT_BYTES_IN_MEMORY: usize = 20 << 20;
const TEXT_BYTES_IN_MEMORY: usize = 16 << 20;
/// Room is made ahead for so many names: how many there will be may be said by a stranger.
const MOST_RESERVED: u64 = 1 << 17;

/// All names.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    slots: Pages,
    count: SlotId,
    /// Names and entries.
    texts: Pages,
    /// The first slot of each hash of family and name; more of them follow [`Slot::same_hash`].
    table: HashMap<u32, SlotId, BuildHasherDefault<Spread>>,
    families: u32,
    /// Not the same in every process, so that nobody can choose names that share a hash.
    hash: RandomState,
    bytes: Vec<u8>,
}

/// Where an entry is kept, and what has to be known of it on the way to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) layer: u32,
    /// Its position among the texts; [`IMPLIED`] for a folder that no entry names.
    pub(super) at: u64,
    pub(super) sort: Sort,
}

const IMPLIED: u64 = u64::MAX;

/// What matters on the way through a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Folder,
    Link,
    Other,
}

impl Source {
    /// Returns the source of a folder that no entry of `layer` names.
    pub(super) fn implied(layer: u32) -> Self {
        Self { layer, at: IMPLIED, sort: Sort::Folder }
    }

    pub(super) fn is_implied(self) -> bool {
        self.at == IMPLIED
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    parent: SlotId,
    name_at: u64,
    name_bytes: u32,
    /// The family this slot is of: its folder's when it was added.
    member_of: u32,
    /// What the names in this folder are found by. A folder that is emptied gets another one, and knows
    /// nothing any more of what it held.
    family: u32,
    first_child: SlotId,
    next_sibling: SlotId,
    same_hash: SlotId,
    /// Taken away; its siblings still lead through it.
    gone: bool,
    source: Source,
    content: Source,
}

impl Slots {
    /// Returns slots with a root alone; what does not fit into memory is kept in `folder`, where there is one.
    pub(super) fn new(folder: Option<&Path>) -> Self {
        let pages = |limit| folder.map_or_else(Pages::new, |folder| Pages::aside(folder, limit));
        Self::in_pages(pages(SLOT_BYTES_IN_MEMORY), pages(TEXT_BYTES_IN_MEMORY))
    }

    pub(super) fn in_pages(slots: Pages, texts: Pages) -> Self {
        let mut slots = Self {
            slots,
            count: 0,
            texts,
            table: HashMap::default(),
            families: 0,
            hash: RandomState::new(),
            bytes: Vec::new(),
        };
        slots.push(ROOT, b"", Source::implied(0), Source::implied(0));
        slots
    }

    /// Makes room for `count` more.
    pub(super) fn reserve(&mut self, count: u64) {
        self.table.reserve(count.min(MOST_RESERVED) as usize);
    }

    /// Returns how many names there are and were.
    pub(super) fn names(&self) -> usize {
        self.count as usize
    }

    /// Returns the name in a folder.
    pub(super) fn child(&mut self, folder: SlotId, name: &[u8]) -> Option<SlotId> {
        let family = self.slot(folder).family;
        let mut at = *self.table.get(&self.hash_of(family, name))?;
        while at != NONE {
            let slot = self.slot(at);
            let is_it = !slot.gone && slot.member_of == family && slot.name_bytes as usize == name.len();
            if is_it && self.texts.holds(slot.name_at, name) {
                return Some(at);
            }
            at = slot.same_hash;
        }
        None
    }

    /// Returns what a folder holds, names ascending.
    pub(super) fn children(&mut self, folder: SlotId) -> Children {
        let mut children = Children::default();
        let mut at = self.slot(folder).first_child;
        while at != NONE {
            let slot = self.slot(at);
            if !slot.gone {
                let (start, end) = (children.names.len(), children.names.len() + slot.name_bytes as usize);
                children.names.resize(end, 0);
                self.texts.read(slot.name_at, &mut children.names[start..]);
                children.places.push((start, end, at));
            }
            at = slot.next_sibling;
        }
        let Children { names, places, .. } = &mut children;
        places.sort_unstable_by(|left, right| names[left.0..left.1].cmp(&names[right.0..right.1]));
        children
    }

    /// Adds a name that the folder does not have.
    pub(super) fn add(&mut self, folder: SlotId, name: &[u8], source: Source, content: Source) -> SlotId {
        let family = self.slot(folder).family;
        let hash = self.hash_of(family, name);
        let id = self.push(folder, name, source, content);
        let same_hash = self.table.insert(hash, id).unwrap_or(NONE);
        let mut next_sibling = id;
        self.change(folder, |slot| std::mem::swap(&mut slot.first_child, &mut next_sibling));
        self.change(id, |slot| {
            (slot.member_of, slot.same_hash, slot.next_sibling) = (family, same_hash, next_sibling);
        });
        id
    }

    /// Takes away a name with all below it.
    pub(super) fn remove(&mut self, folder: SlotId, name: &[u8]) {
        if let Some(slot) = self.child(folder, name) {
            self.change(slot, |slot| slot.gone = true);
        }
    }

    /// Takes away all that a folder holds.
    pub(super) fn clear(&mut self, folder: SlotId) {
        if self.slot(folder).first_child == NONE {
            return;
        }
        self.families += 1;
        let family = self.families;
        self.change(folder, |slot| (slot.first_child, slot.family) = (NONE, family));
    }

    pub(super) fn parent(&mut self, slot: SlotId) -> SlotId {
        self.slot(slot).parent
    }

    /// Returns where the entry and the content of a slot are kept.
    pub(super) fn sources(&mut self, slot: SlotId) -> (Source, Source) {
        let slot = self.slot(slot);
        (slot.source, slot.content)
    }

    pub(super) fn set_sources(&mut self, slot: SlotId, source: Source, content: Source) {
        self.change(slot, |slot| (slot.source, slot.content) = (source, content));
    }

    /// Keeps an entry, without its path.
    pub(super) fn keep(&mut self, layer: u32, entry: &Entry) -> Source {
        let sort = match entry.kind {
            Kind::Directory => Sort::Folder,
            Kind::Symlink(_) => Sort::Link,
            _ => Sort::Other,
        };
        self.bytes.clear();
        self.bytes.extend_from_slice(&[0; 4]);
        put_rest(&mut self.bytes, entry);
        let count = (self.bytes.len() - 4) as u32;
        self.bytes[..4].copy_from_slice(&count.to_le_bytes());
        Source { layer, at: self.texts.append(&self.bytes), sort }
    }

    /// Returns an entry that was kept, without its path; `None` for a folder that none names.
    pub(super) fn entry(&mut self, source: Source) -> Option<Entry> {
        if source.is_implied() {
            return None;
        }
        let mut count = [0; 4];
        self.texts.read(source.at, &mut count);
        self.bytes.resize(u32::from_le_bytes(count) as usize, 0);
        self.texts.read(source.at + 4, &mut self.bytes);
        Some(take_rest(&self.bytes).expect("an entry was kept there"))
    }

    fn push(&mut self, parent: SlotId, name: &[u8], source: Source, content: Source) -> SlotId {
        let id = self.count;
        self.count += 1;
        assert!(id < NONE, "fewer entries fit into a layer index");
        self.families += 1;
        let slot = Slot {
            parent,
            name_at: self.texts.append(name),
            name_bytes: name.len() as u32,
            member_of: 0,
            family: self.families,
            first_child: NONE,
            next_sibling: NONE,
            same_hash: NONE,
            gone: false,
            source,
            content,
        };
        self.slots.append(&slot.to_bytes());
        id
    }

    fn hash_of(&self, family: u32, name: &[u8]) -> u32 {
        let mut hasher = self.hash.build_hasher();
        hasher.write_u32(family);
        hasher.write(name);
        hasher.finish() as u32
    }

    fn slot(&mut self, id: SlotId) -> Slot {
        let mut bytes = [0; Slot::BYTES];
        self.slots.read(u64::from(id) * Slot::BYTES as u64, &mut bytes);
        Slot::from_bytes(&bytes)
    }

    fn change(&mut self, id: SlotId, change: impl FnOnce(&mut Slot)) {
        let mut slot = self.slot(id);
        change(&mut slot);
        self.slots.write(u64::from(id) * Slot::BYTES as u64, &slot.to_bytes());
    }
}

impl Slot {
    /// A page holds a whole number of them.
    const BYTES: usize = 64;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let flags = [u8::from(self.gone), self.source.sort as u8, self.content.sort as u8, 0];
        let fields = [
            &self.name_at.to_le_bytes()[..],
            &self.source.at.to_le_bytes(),
            &self.content.at.to_le_bytes(),
            &self.source.layer.to_le_bytes(),
            &self.content.layer.to_le_bytes(),
            &self.parent.to_le_bytes(),
            &self.name_bytes.to_le_bytes(),
            &self.member_of.to_le_bytes(),
            &self.family.to_le_bytes(),
            &self.first_child.to_le_bytes(),
            &self.next_sibling.to_le_bytes(),
            &self.same_hash.to_le_bytes(),
            &flags,
        ];
        let mut bytes = [0; Self::BYTES];
        let mut rest = &mut bytes[..];
        for field in fields {
            let (now, later) = rest.split_at_mut(field.len());
            now.copy_from_slice(field);
            rest = later;
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let sort = |at: usize| match bytes[at] {
            0 => Sort::Folder,
            1 => Sort::Link,
            _ => Sort::Other,
        };
        Self {
            name_at: long(0),
            source: Source { at: long(8), layer: short(24), sort: sort(61) },
            content: Source { at: long(16), layer: short(28), sort: sort(62) },
            parent: short(32),
            name_bytes: short(36),
            member_of: short(40),
            family: short(44),
            first_child: short(48),
            next_sibling: short(52),
            same_hash: short(56),
            gone: bytes[60] != 0,
        }
    }
}

/// What a folder holds, names ascending.
#[derive(Debug, Default)]
pub(super) struct Children {
    names: Vec<u8>,
    /// Where each name begins and ends, and whose it is.
    places: Vec<(usize, usize, SlotId)>,
    next: usize,
}

impl Children {
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the next name.
    pub(super) fn next(&mut self) -> Option<(&[u8], SlotId)> {
        let (start, end, slot) = *self.places.get(self.next)?;
        self.next += 1;
        Some((&self.names[start..end], slot))
    }
}

/// Spreads a number of 32 bits that is a hash already over the 64 that the table looks at.
#[derive(Clone, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u32(&mut self, hash: u32) {
        self.0 = u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("the table's keys are numbers of 32 bits");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source() -> impl Strategy<Value = Source> {
        let sort = prop_oneof![Just(Sort::Folder), Just(Sort::Link), Just(Sort::Other)];
        (any::<u32>(), any::<u64>(), sort).prop_map(|(layer, at, sort)| Source { layer, at, sort })
    }

    proptest! {
        #[test]
        fn slots_come_back(numbers in any::<[u32; 8]>(), name_at in any::<u64>(), gone in any::<bool>(),
            source in source(), content in source()) {
            let [parent, name_bytes, member_of, family, first_child, next_sibling, same_hash, _] = numbers;
            let slot = Slot { parent, name_at, name_bytes, member_of, family, first_child, next_sibling, same_hash,
                gone, source, content };
            let again = Slot::from_bytes(&slot.to_bytes());
            prop_assert_eq!(format!("{again:?}"), format!("{slot:?}"));
        }
    }
}
