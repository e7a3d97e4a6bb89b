//! What lies in the folder of the cache besides layers, and how large it is.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use oci::DiffId;

use super::Workspace;
use crate::cache::{CachedLayer, GRACE, Kept, KeptKind};

impl Workspace {
    /// Returns all that is kept besides `layers`, in no order. What killed processes left in `scratch` is among it, where it
    /// is older than a day by `now`.
    ///
    /// Nothing is an error: what cannot be read is not listed.
    pub fn kept_besides(&self, layers: &[CachedLayer], scratch: &Path, now: SystemTime) -> Vec<Kept> {
        let root = self.root();
        let mut kept = Vec::new();
        for (path, name) in entries(root) {
            match name.split_once('-') {
                Some(("caches", _)) => kept.extend(entries(&path).filter_map(mount)),
                Some(("merged", _)) => {
                    kept.extend(entries(&path).filter_map(|one| tree(one, KeptKind::Merged)))
                }
                _ => {}
            }
        }
        let files = |folder: &str, kind: KeptKind| {
            entries(&root.join(folder))
                .filter_map(move |(path, name)| file(path, name, kind))
                .collect::<Vec<_>>()
        };
        kept.extend(files("places", KeptKind::Inputs));
        kept.extend(files("contexts", KeptKind::Digests));
        // The index of a base image's layer is dear to make and outlives its unpacked form.
        let steps =
            layers.iter().filter(|layer| layer.instruction.is_some()).map(|layer| layer.diff_id).collect();
        let all = layers.iter().map(|layer| layer.diff_id).collect();
        let unknown = |folder, kind, known: BTreeSet<DiffId>| {
            let is_known =
                move |one: &Kept| diff_id(&one.name).is_some_and(|diff_id| known.contains(&diff_id));
            files(folder, kind).into_iter().filter(move |one| !is_known(one))
        };
        kept.extend(unknown("indexes", KeptKind::Index, steps));
        kept.extend(unknown("variants", KeptKind::Variant, all));
        kept.extend(leftovers(&root.join("work")));
        let is_old = |one: &Kept| now.duration_since(one.used).is_ok_and(|age| age > GRACE);
        kept.extend(entries(scratch).filter_map(|one| tree(one, KeptKind::Leftover)).filter(is_old));
        kept
    }

    /// Returns the files that say of a layer which blob it is in another compression.
    pub(super) fn variants(&self) -> Vec<(DiffId, PathBuf)> {
        let variant = |(path, name): (PathBuf, String)| Some((diff_id(&name)?, path));
        entries(&self.root().join("variants")).filter_map(variant).collect()
    }
}

/// Adds up the sizes of files in a folder, as far as they can be seen from here.
pub(crate) fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_of(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.map(size).fold(0, u64::saturating_add)
}

fn entries(folder: &Path) -> impl Iterator<Item = (PathBuf, String)> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))
}

/// The diff id in front of a name.
fn diff_id(name: &str) -> Option<DiffId> {
    let hex = name.split('-').next()?;
    format!("sha256:{hex}").parse().ok().map(DiffId)
}

fn mount((path, name): (PathBuf, String)) -> Option<Kept> {
    // The time of the lock is that of the last use.
    let used = modified(&fs::metadata(path.join("lock")).ok()?);
    let id = fs::read_to_string(path.join("id")).unwrap_or(name);
    Some(Kept { kind: KeptKind::Mount, name: id, used, bytes: size_of(&path), paths: vec![path] })
}

fn tree((path, name): (PathBuf, String), kind: KeptKind) -> Option<Kept> {
    let found = fs::symlink_metadata(&path).ok()?;
    let bytes = if found.is_dir() { size_of(&path) } else { found.len() };
    Some(Kept { kind, name, used: modified(&found), bytes, paths: vec![path] })
}

fn file(path: PathBuf, name: String, kind: KeptKind) -> Option<Kept> {
    let found = fs::symlink_metadata(&path).ok().filter(Metadata::is_file)?;
    let used = found.accessed().map_or_else(|_| modified(&found), |read| read.max(modified(&found)));
    Some(Kept { kind, name, used, bytes: found.len(), paths: vec![path] })
}

/// Folders of steps that nobody is at: their lock is free or gone.
fn leftovers(work: &Path) -> impl Iterator<Item = Kept> {
    let is_free = |lock: &Path| match fs::File::open(lock) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(_) => true,
    };
    let leftover = move |one: (PathBuf, String)| {
        let is_lock = one.0.extension().is_some_and(|word| word == "lock");
        let lock = if is_lock { one.0.clone() } else { one.0.with_extension("lock") };
        // With a folder goes its lock; a lock alone counts by itself.
        if is_lock && one.0.with_extension("").exists() || !is_free(&lock) {
            return None;
        }
        let mut kept = tree(one, KeptKind::Leftover)?;
        kept.paths.extend(lock.exists().then_some(lock).filter(|_| !is_lock));
        Some(kept)
    };
    entries(work).filter_map(leftover)
}

fn modified(found: &Metadata) -> SystemTime {
    found.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}
