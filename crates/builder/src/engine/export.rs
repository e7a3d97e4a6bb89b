//! Writing what builds used to a cache outside this machine: blobs it does not have, then what it says it has, then
//! its name.
//!
//! Whoever writes last wins: the name leads to one whole cache or to another. Who finds that somebody wrote in the
//! meantime takes that in and writes again, as long as it is not for ever.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use oci::{Descriptor, DiffId, Digest, Document, Hasher};
use store::{Blob, LayoutStore, Put, StoreError};

use super::Workspace;
use super::elsewhere::Elsewhere;
use super::kept_mounts::{MountWriter, Outgoing};
use crate::cache::{
    CACHE_TYPE, CacheArtifact, Found, INDEX_TYPE, INPUTS_TYPE, InputsEntry, Limits, MAX_CONFIG_BYTES,
    MAX_INDEX_BYTES, SharedInputs, Tier, TierName, Usage, Used, merge,
};

/// How many blobs are sent at the same time.
const AT_ONCE: usize = 4;
/// How often somebody else may write first.
const TRIES: usize = 3;

/// Writes to caches; it may outlive the workspace.
#[derive(Clone)]
pub struct Exporter {
    store: LayoutStore,
    indexes: PathBuf,
    elsewhere: Arc<Elsewhere>,
    mounts: Arc<MountWriter>,
}

/// What was written to a cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Whether there was anything to write.
    pub is_new: bool,
    /// Records that the cache has now; 0 where nothing was written.
    pub steps: usize,
    /// Ids of the cache mounts that were written.
    pub mounts: Vec<String>,
    /// Why cache mounts were not written, for people.
    pub problems: Vec<String>,
    /// Blobs that were sent.
    pub blobs_moved: usize,
    /// Sum of their sizes.
    pub bytes_moved: u64,
}

impl Workspace {
    /// Returns what writes to caches.
    pub fn exporter(&self) -> Exporter {
        Exporter {
            store: self.store.clone(),
            indexes: self.root().join("indexes"),
            elsewhere: Arc::clone(&self.elsewhere),
            mounts: Arc::new(MountWriter::new(self.lazy_sandbox(), self.root().to_owned())),
        }
    }
}

impl Exported {
    /// Says what was written to the cache of this name, a sentence each.
    pub fn told(&self, label: &str) -> Vec<String> {
        let megabytes = self.bytes_moved as f64 / 1e6;
        let (steps, blobs) = (self.steps, self.blobs_moved);
        let all = format!("the cache {label} has {steps} steps now; {blobs} blobs sent ({megabytes:.1} MB)");
        let mounts = self.mounts.iter().map(|id| format!("the cache {label} has the cache mount {id} anew"));
        self.is_new.then_some(all).into_iter().chain(mounts).collect()
    }

    fn add(&mut self, more: Self) {
        self.is_new |= more.is_new;
        self.steps = self.steps.max(more.steps);
        self.blobs_moved += more.blobs_moved;
        self.bytes_moved += more.bytes_moved;
    }
}

impl Exporter {
    /// Writes what builds used, each with the name of its scope, to `tier`. A tier that is attached to an image gets
    /// `subject` as that image, and no cache mounts. These come when the layers are there, which others wait for.
    ///
    /// # Errors
    /// What the store says. The cache is then what it was.
    pub fn write(
        &self,
        tier: &Tier,
        used: &[(String, Used)],
        subject: Option<&Descriptor>,
        limits: Limits,
    ) -> Result<Exported, StoreError> {
        let outgoing = Mutex::default();
        let mut now = CacheArtifact::default();
        for (scope, used) in used {
            let part = used.artifact(scope, |diff_id| self.index(diff_id, &outgoing));
            now.layers.extend(part.layers);
            now.steps.extend(part.steps);
            now.inputs.extend(inputs(scope, used, &outgoing).map(|inputs| (scope.clone(), inputs)));
        }
        self.drop_unavailable(&mut now);
        let outgoing = outgoing.into_inner().unwrap_or_else(PoisonError::into_inner);
        let refresh = |before: &CacheArtifact| {
            let mut now = now.clone();
            for (scope, used) in used {
                let known =
                    used.mounts.keys().filter_map(|key| Some((*key, before.mounts.get(key)?.used_by(scope))));
                now.mounts.extend(known);
            }
            now
        };
        let mut exported = self.write_merged(tier, refresh, &outgoing, subject, limits)?;
        if matches!(tier.name, TierName::Tag(_)) {
            self.write_mounts(tier, used, limits, &mut exported)?;
        }
        Ok(exported)
    }

    /// Writes the cache mounts whose content is another one than the tier has.
    fn write_mounts(
        &self,
        tier: &Tier,
        used: &[(String, Used)],
        limits: Limits,
        exported: &mut Exported,
    ) -> Result<(), StoreError> {
        let is_written = |used: &Used| used.mounts.values().any(|mount| mount.folder.is_some());
        if !used.iter().any(|(_, used)| is_written(used)) {
            return Ok(());
        }
        let before = tier.read().or_else(unreadable_is_none)?.artifact;
        let (mut outgoing, mut now) = (Outgoing::default(), CacheArtifact::default());
        for (scope, used) in used {
            for (key, mount) in &used.mounts {
                match self.mounts.news((key, mount), before.mounts.get(key), scope, &mut outgoing) {
                    Ok(news) => now.mounts.extend(news.map(|news| (*key, news))),
                    Err(reason) => exported.problems.push(format!("the cache mount {}: {reason}", mount.id)),
                }
            }
        }
        exported.problems.sort();
        exported.problems.dedup();
        if now.mounts.is_empty() {
            return Ok(());
        }
        let written = self.write_merged(tier, |_| now.clone(), &outgoing, None, limits)?;
        exported.mounts = now.mounts.values().map(|mount| mount.id.clone()).collect();
        exported.add(written);
        Ok(())
    }

    /// Writes what is there and what comes new, as `now` says over what is there.
    fn write_merged(
        &self,
        tier: &Tier,
        now: impl Fn(&CacheArtifact) -> CacheArtifact,
        outgoing: &Outgoing,
        subject: Option<&Descriptor>,
        limits: Limits,
    ) -> Result<Exported, StoreError> {
        let mut tries = 0;
        loop {
            let before = match &tier.name {
                TierName::Tag(_) => tier.read().or_else(unreadable_is_none)?,
                TierName::Attached(_) => Found::default(),
            };
            let Some(merged) = merge(&before.artifact, now(&before.artifact), limits) else {
                return Ok(Exported::default());
            };
            let (document, exported) = self.send(tier, &before.artifact, &merged, outgoing, subject)?;
            tries += 1;
            let is_first = || -> Result<bool, StoreError> {
                let found = tier.document()?.map(|document| document.digest());
                Ok(found == before.document.as_ref().map(Document::digest))
            };
            match &tier.name {
                TierName::Attached(_) => tier.store.put_document(&document)?,
                TierName::Tag(_) if tries < TRIES && !is_first()? => continue,
                TierName::Tag(tag) => tier.store.tag(tag, &document)?,
            }
            return Ok(exported);
        }
    }

    /// Sends everything but the name.
    fn send(
        &self,
        tier: &Tier,
        before: &CacheArtifact,
        merged: &CacheArtifact,
        outgoing: &Outgoing,
        subject: Option<&Descriptor>,
    ) -> Result<(Document, Exported), StoreError> {
        let config = merged.to_bytes();
        if config.len() as u64 > MAX_CONFIG_BYTES {
            let reason = format!("what it would say of itself has {} bytes", config.len());
            return Err(StoreError::Denied { what: format!("the cache {}", tier.label), reason });
        }
        let descriptor = Descriptor::of(CACHE_TYPE.into(), &config);
        let mut manifest = merged.manifest(descriptor.clone());
        manifest.subject = subject.cloned();
        let there = before.manifest(descriptor.clone());
        let there: BTreeSet<Digest> = there.layers.iter().map(|blob| blob.digest).collect();
        let missing: Vec<&Descriptor> =
            manifest.layers.iter().filter(|blob| !there.contains(&blob.digest)).collect();
        let mut exported = self.send_blobs(tier, &missing, outgoing)?;
        exported.steps = merged.steps.len();
        exported.is_new = true;
        tier.store.put_blob(&descriptor, Blob::from_bytes(config))?;
        Ok((Document::from_manifest(manifest), exported))
    }

    fn send_blobs(
        &self,
        tier: &Tier,
        blobs: &[&Descriptor],
        outgoing: &Outgoing,
    ) -> Result<Exported, StoreError> {
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let outcome: Mutex<(Exported, Option<StoreError>)> = Mutex::default();
        let work = || {
            while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let sent = self.send_blob(tier, blob, outgoing);
                let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                match sent {
                    Ok(Put::Written) => {
                        outcome.0.blobs_moved += 1;
                        outcome.0.bytes_moved += blob.size;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        stop.store(true, Ordering::Relaxed);
                        outcome.1.get_or_insert(error);
                    }
                }
            }
        };
        std::thread::scope(|threads| {
            for _ in 1..AT_ONCE.min(blobs.len()) {
                threads.spawn(work);
            }
            work();
        });
        match outcome.into_inner().unwrap_or_else(PoisonError::into_inner) {
            (exported, None) => Ok(exported),
            (_, Some(error)) => Err(error),
        }
    }

    fn send_blob(&self, tier: &Tier, blob: &Descriptor, outgoing: &Outgoing) -> Result<Put, StoreError> {
        let digest = &blob.digest;
        if tier.store.blob_size(digest)? == Some(blob.size) {
            return Ok(Put::Present);
        }
        if let Some(opened) = outgoing.open(digest) {
            let unreadable = |source: std::io::Error| {
                let what = format!("blob {digest}");
                StoreError::Unreachable { action: "read", what, transient: false, source: source.into() }
            };
            return tier.store.put_blob(blob, opened.map_err(unreadable)?);
        }
        let content = match self.store.open_blob(digest) {
            Err(StoreError::NotFound { .. } | StoreError::Corrupt { .. }) => self.open_elsewhere(digest)?,
            opened => opened?,
        };
        tier.store.put_blob(blob, content)
    }

    /// Opens a blob of another tier, to pass it on.
    fn open_elsewhere(&self, digest: &Digest) -> Result<Blob, StoreError> {
        match self.elsewhere.holder(digest) {
            Some(origin) => origin.store.open_blob(digest),
            None => Err(StoreError::NotFound { what: format!("blob {digest}") }),
        }
    }

    /// Returns the blob with the index of a layer, and notes the file where it is here.
    fn index(&self, diff_id: DiffId, kept: &Mutex<Outgoing>) -> Option<Descriptor> {
        let path = self.indexes.join(diff_id.0.hex());
        match blob_of(&path) {
            Some(blob) => {
                kept.lock().unwrap_or_else(PoisonError::into_inner).add_file(&blob, path);
                Some(blob)
            }
            None => self.elsewhere.index(diff_id).map(|(descriptor, _)| descriptor),
        }
    }

    /// Leaves out steps whose layers are nowhere any more.
    fn drop_unavailable(&self, artifact: &mut CacheArtifact) {
        let is_here = |digest: &Digest| matches!(self.store.blob_size(digest), Ok(Some(_)));
        artifact.layers.retain(|digest, layer| {
            layer.base.is_some() || is_here(digest) || self.elsewhere.origin(digest).is_some()
        });
        let CacheArtifact { layers, steps, .. } = artifact;
        steps.retain(|_, step| layers.contains_key(&step.layer));
    }
}

/// Returns the blob with what the steps of a scope were made of, and keeps its bytes.
fn inputs(scope: &str, used: &Used, kept: &Mutex<Outgoing>) -> Option<InputsEntry> {
    if used.inputs.is_empty() {
        return None;
    }
    let bytes = SharedInputs::new(&used.inputs).to_bytes()?;
    let blob = Descriptor::of(INPUTS_TYPE.into(), &bytes);
    kept.lock().unwrap_or_else(PoisonError::into_inner).add(&blob, bytes);
    Some(InputsEntry { blob, usage: Usage::now(scope) })
}

/// Returns the index of a layer in this file as a blob; `None` where it cannot be read, or is too large.
fn blob_of(path: &Path) -> Option<Descriptor> {
    let mut file = File::open(path).ok()?;
    let (mut hasher, mut size, mut piece) = (Hasher::default(), 0, vec![0; 64 << 10]);
    while let count @ 1.. = file.read(&mut piece).ok()? {
        size += count as u64;
        if size > MAX_INDEX_BYTES {
            return None;
        }
        hasher.update(&piece[..count]);
    }
    Some(Descriptor::new(INDEX_TYPE.into(), hasher.finish(), size))
}

/// A cache that cannot be read any more is written anew.
fn unreadable_is_none(error: StoreError) -> Result<Found, StoreError> {
    match error {
        StoreError::Corrupt { .. } | StoreError::NotFound { .. } => Ok(Found::default()),
        error => Err(error),
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Exporter({})", self.store.root().display())
    }
}
