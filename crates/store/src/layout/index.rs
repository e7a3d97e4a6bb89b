//! `index.json`: what other programs read to find an image by its name.
//!
//! It is derived from the tags and nothing of ours reads it. A change to a tag is made under the
//! names lock: mark, tag file, `index.json`, mark away. A mark that is still there when nobody
//! holds the lock means that the writer was killed in between; the index is then made anew.

use std::fs;
use std::io::{self, Write};

use oci::annotations::REF_NAME;
use oci::{Descriptor, ImageIndex, Reference, Repository, Tag};

use super::lock::StoreLock;
use super::names::{self, RepositoryFolder};
use super::{LayoutStore, TemporaryFile};
use crate::StoreError;

const INDEX: &str = "index.json";
const MARK: &str = "index.dirty";

/// A change of tags that is under way; it holds the names lock.
pub(super) struct Change<'a> {
    store: &'a LayoutStore,
    edits: Vec<(Reference, Option<Descriptor>)>,
    _lock: StoreLock,
}

impl<'a> Change<'a> {
    pub fn begin(store: &'a LayoutStore) -> Result<Self, StoreError> {
        let lock = store.lock_names()?;
        let mark = store.path(MARK);
        fs::write(&mark, b"")
            .map_err(|source| StoreError::io("write", mark.display().to_string(), source))?;
        Ok(Self { store, edits: Vec::new(), _lock: lock })
    }

    /// Notes what the tag points to from now on; `None` where it is removed.
    pub fn set(&mut self, repository: &Repository, tag: &Tag, target: Option<&Descriptor>) {
        self.edits.push((repository.clone().tagged(tag.clone()), target.cloned()));
    }

    /// Brings `index.json` up to date.
    pub fn finish(self) -> Result<(), StoreError> {
        match read(self.store) {
            Some(mut index) => {
                for (name, target) in &self.edits {
                    apply(&mut index.manifests, name, target.as_ref());
                }
                write(self.store, &index)?;
            }
            None => rebuild(self.store)?,
        }
        names::remove(&self.store.path(MARK)).map(|_| ())
    }
}

/// Makes the index anew where it is missing, unreadable, or a killed process left it half done.
pub(super) fn repair(store: &LayoutStore) -> Result<(), StoreError> {
    let mark = store.path(MARK);
    let fine = || !mark.exists() && is_whole(store);
    if fine() {
        return Ok(());
    }
    let _lock = store.lock_names()?;
    // The process that was at work while we waited may have finished.
    if fine() {
        return Ok(());
    }
    rebuild(store)?;
    names::remove(&mark).map(|_| ())
}

fn rebuild(store: &LayoutStore) -> Result<(), StoreError> {
    let mut entries = Vec::new();
    for repository in store.repositories()? {
        let folder = RepositoryFolder::new(&store.path("repositories"), &repository);
        for tag in folder.tags()? {
            match names::read_descriptor(&folder.tag(&tag)) {
                Ok(Some(target)) => entries.push(entry(&repository.clone().tagged(tag), &target)),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "left out of index.json"),
            }
        }
    }
    entries.sort_by(|one, two| key(one).cmp(key(two)));
    write(store, &ImageIndex::new(entries))
}

fn apply(entries: &mut Vec<Descriptor>, name: &Reference, target: Option<&Descriptor>) {
    let text = name.to_string();
    entries.retain(|entry| key(entry) != text);
    if let Some(target) = target {
        let position = entries.partition_point(|entry| key(entry) < text.as_str());
        entries.insert(position, entry(name, target));
    }
}

fn key(entry: &Descriptor) -> &str {
    entry.annotations.get(REF_NAME).map_or("", String::as_str)
}

fn entry(name: &Reference, target: &Descriptor) -> Descriptor {
    let mut entry = Descriptor::new(target.media_type.clone(), target.digest, target.size);
    entry.annotations.insert(REF_NAME.to_owned(), name.to_string());
    entry
}

/// Whether the index was written to its end. It is not synced, so a crash can cut it short.
fn is_whole(store: &LayoutStore) -> bool {
    let raw = fs::read(store.path(INDEX)).unwrap_or_default();
    serde_json::from_slice::<serde::de::IgnoredAny>(&raw).is_ok()
}

fn read(store: &LayoutStore) -> Option<ImageIndex> {
    serde_json::from_slice(&fs::read(store.path(INDEX)).ok()?).ok()
}

/// Replaces the index where it differs. It is not synced: after a crash it is made anew.
fn write(store: &LayoutStore, index: &ImageIndex) -> Result<(), StoreError> {
    let path = store.path(INDEX);
    let content = serde_json::to_vec(index).expect("an index has only string keys");
    if fs::read(&path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    let replace = || -> io::Result<()> {
        let temporary = TemporaryFile::create(&store.path("temporary"))?;
        temporary.file().write_all(&content)?;
        temporary.persist(&path, 0o644).map(|_| ())
    };
    replace().map_err(|source| StoreError::io("write", path.display().to_string(), source))
}
