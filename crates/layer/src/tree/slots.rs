//! The names of a tree and how they hang together: one list of slots, found by folder and name through
//! one table. Slots hold no memory of their own, so that a tree of many thousand names is made, copied
//! and let go of in moments.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use super::Source;

pub(super) type SlotId = u32;
pub(super) const ROOT: SlotId = 0;
/// No slot: the end of a chain.
const NONE: SlotId = SlotId::MAX;

/// All names.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// The bytes of all names, one after the other.
    names: Vec<u8>,
    /// The first slot of each hash of family and name; more of them follow [`Slot::same_hash`].
    table: HashMap<u64, SlotId, BuildHasherDefault<AsItIs>>,
    families: u32,
    /// Not the same in every process, so that nobody can choose names that share a hash.
    hash: RandomState,
}

#[derive(Clone, Debug)]
struct Slot {
    parent: SlotId,
    name_start: usize,
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
    /// Returns slots with a root alone.
    pub(super) fn new(root: Source) -> Self {
        let mut slots = Self {
            slots: Vec::new(),
            names: Vec::new(),
            table: HashMap::default(),
            families: 0,
            hash: RandomState::new(),
        };
        slots.push(ROOT, b"", root, root);
        slots
    }

    /// Makes room for `count` more.
    pub(super) fn reserve(&mut self, count: usize) {
        self.slots.reserve(count);
        self.table.reserve(count);
    }

    /// Returns the name in a folder.
    pub(super) fn child(&self, folder: SlotId, name: &[u8]) -> Option<SlotId> {
        let family = self.slot(folder).family;
        let mut at = *self.table.get(&self.hash_of(family, name))?;
        while at != NONE && !self.is(at, family, name) {
            at = self.slot(at).same_hash;
        }
        (at != NONE).then_some(at)
    }

    /// Returns what a folder holds, names ascending.
    pub(super) fn children(&self, folder: SlotId) -> Vec<SlotId> {
        let mut children = Vec::new();
        let mut at = self.slot(folder).first_child;
        while at != NONE {
            let slot = self.slot(at);
            if !slot.gone {
                children.push(at);
            }
            at = slot.next_sibling;
        }
        children.sort_unstable_by(|left, right| self.name(*left).cmp(self.name(*right)));
        children
    }

    /// Adds a name that the folder does not have.
    pub(super) fn add(&mut self, folder: SlotId, name: &[u8], source: Source, content: Source) -> SlotId {
        let family = self.slot(folder).family;
        let hash = self.hash_of(family, name);
        let id = self.push(folder, name, source, content);
        let same_hash = self.table.insert(hash, id).unwrap_or(NONE);
        let next_sibling = std::mem::replace(&mut self.slot_mut(folder).first_child, id);
        let slot = self.slot_mut(id);
        (slot.member_of, slot.same_hash, slot.next_sibling) = (family, same_hash, next_sibling);
        id
    }

    /// Takes away a name with all below it.
    pub(super) fn remove(&mut self, folder: SlotId, name: &[u8]) {
        if let Some(slot) = self.child(folder, name) {
            self.slot_mut(slot).gone = true;
        }
    }

    /// Takes away all that a folder holds.
    pub(super) fn clear(&mut self, folder: SlotId) {
        if self.slot(folder).first_child == NONE {
            return;
        }
        self.families += 1;
        let family = self.families;
        let slot = self.slot_mut(folder);
        (slot.first_child, slot.family) = (NONE, family);
    }

    pub(super) fn name(&self, slot: SlotId) -> &[u8] {
        let slot = self.slot(slot);
        &self.names[slot.name_start..slot.name_start + slot.name_bytes as usize]
    }

    pub(super) fn parent(&self, slot: SlotId) -> SlotId {
        self.slot(slot).parent
    }

    /// Returns where the entry and the content of a slot are kept.
    pub(super) fn sources(&self, slot: SlotId) -> (Source, Source) {
        let slot = self.slot(slot);
        (slot.source, slot.content)
    }

    pub(super) fn set_sources(&mut self, slot: SlotId, source: Source, content: Source) {
        let slot = self.slot_mut(slot);
        (slot.source, slot.content) = (source, content);
    }

    fn push(&mut self, parent: SlotId, name: &[u8], source: Source, content: Source) -> SlotId {
        let id = self.slots.len() as SlotId;
        assert!(id < NONE, "fewer entries fit into a layer index");
        self.families += 1;
        self.slots.push(Slot {
            parent,
            name_start: self.names.len(),
            name_bytes: name.len() as u32,
            member_of: 0,
            family: self.families,
            first_child: NONE,
            next_sibling: NONE,
            same_hash: NONE,
            gone: false,
            source,
            content,
        });
        self.names.extend_from_slice(name);
        id
    }

    fn is(&self, id: SlotId, family: u32, name: &[u8]) -> bool {
        let slot = self.slot(id);
        !slot.gone && slot.member_of == family && self.name(id) == name
    }

    fn hash_of(&self, family: u32, name: &[u8]) -> u64 {
        let mut hasher = self.hash.build_hasher();
        hasher.write_u32(family);
        hasher.write(name);
        hasher.finish()
    }

    fn slot(&self, id: SlotId) -> &Slot {
        &self.slots[id as usize]
    }

    fn slot_mut(&mut self, id: SlotId) -> &mut Slot {
        &mut self.slots[id as usize]
    }
}

/// Takes a number that is a hash already.
#[derive(Clone, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("the table's keys are numbers of 64 bits");
    }
}
