//! Caches outside this machine: what one has, and removing it.

use std::fmt;

use builder::cache::{CacheArtifact, MountEntry, StepEntry, TierName};
use oci::Digest;
use pipeline::caches::{CacheAccess, CacheName};
use serde::Serialize;
use store::StoreError;

use crate::error::Error;
use crate::session::Session;
use crate::ui::quantity;
use crate::ui::table::{Align, Table};

#[derive(Debug, Serialize)]
struct Listing {
    cache: String,
    digest: Option<Digest>,
    steps: Vec<Step>,
    mounts: Vec<Mount>,
    layers: usize,
    total_bytes: u64,
}

/// The folder of a cache mount.
#[derive(Debug, Serialize)]
struct Mount {
    id: String,
    content: Digest,
    /// Of its files.
    unpacked_bytes: u64,
    /// As it lies there.
    bytes: u64,
    pieces: Vec<Digest>,
    scope: String,
    /// Exports of the scope since one that used it.
    unused: u32,
}

#[derive(Debug, Serialize)]
struct Step {
    instruction: String,
    layer: Digest,
    seconds: f64,
    bytes: u64,
    scope: String,
    /// Exports of the scope since one that used it.
    unused: u32,
}

#[derive(Debug, Serialize)]
struct Removed {
    removed: String,
    dry_run: bool,
}

/// Lists the steps of a cache, those used last first.
pub fn list(session: &Session, cache: &CacheName) -> Result<(), Error> {
    let tier = cache.open(&session.places()?, &session.environment.folder, CacheAccess::Read, &[])?;
    let found = tier.map(|tier| tier.read()).transpose()?.unwrap_or_default();
    let mut steps: Vec<Step> =
        found.artifact.steps.values().map(|step| Step::of(step, &found.artifact)).collect();
    steps.sort_by(|a, b| (a.unused, &a.scope, &a.instruction).cmp(&(b.unused, &b.scope, &b.instruction)));
    let listing = Listing {
        cache: cache.to_string(),
        digest: found.document.map(|document| document.digest()),
        steps,
        mounts: found.artifact.mounts.values().map(Mount::of).collect(),
        layers: found.artifact.layers.len(),
        total_bytes: found.artifact.bytes().saturating_add(found.artifact.mount_bytes()),
    };
    session.ui.answer("cache-elsewhere", &listing)
}

/// Takes the name of a cache away; what it led to is the store's to collect.
pub fn remove(session: &Session, cache: &CacheName) -> Result<(), Error> {
    let tier = cache.open(&session.places()?, &session.environment.folder, CacheAccess::Read, &[])?;
    let absent = || StoreError::NotFound { what: format!("the cache {cache}") };
    let tier = tier.ok_or_else(absent)?;
    let document = tier.document()?.ok_or_else(absent)?;
    if !session.global.dry_run {
        match &tier.name {
            TierName::Tag(tag) => tier.store.untag(tag)?,
            TierName::Attached(_) => tier.store.delete_document(&document.digest())?,
        }
    }
    session.ui.answer("cache-rm", &Removed { removed: cache.to_string(), dry_run: session.global.dry_run })
}

impl Step {
    fn of(step: &StepEntry, artifact: &CacheArtifact) -> Self {
        Self {
            instruction: step.instruction.clone(),
            layer: step.layer,
            seconds: step.milliseconds as f64 / 1000.0,
            bytes: artifact.layers.get(&step.layer).map_or(0, |layer| layer.blob.size),
            scope: step.usage.scope.clone(),
            unused: step.usage.unused,
        }
    }
}

impl Mount {
    fn of(mount: &MountEntry) -> Self {
        Self {
            id: mount.id.clone(),
            content: mount.content,
            unpacked_bytes: mount.bytes,
            bytes: mount.stored_bytes(),
            pieces: mount.pieces.iter().map(|piece| piece.digest).collect(),
            scope: mount.usage.scope.clone(),
            unused: mount.usage.unused,
        }
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.digest.is_none() {
            return writeln!(f, "{} has nothing", self.cache);
        }
        let mut table = Table::new(&[
            ("SIZE", Align::Right),
            ("TOOK", Align::Right),
            ("UNUSED", Align::Right),
            ("SCOPE", Align::Left),
            ("STEP", Align::Left),
        ]);
        for step in &self.steps {
            let took = format!("{:.1} s", step.seconds);
            table.row(vec![
                quantity::size(step.bytes),
                took,
                step.unused.to_string(),
                step.scope.clone(),
                step.instruction.clone(),
            ]);
        }
        write!(f, "{table}")?;
        if !self.mounts.is_empty() {
            let mut table = Table::new(&[
                ("SIZE", Align::Right),
                ("UNPACKED", Align::Right),
                ("UNUSED", Align::Right),
                ("SCOPE", Align::Left),
                ("CACHE MOUNT", Align::Left),
            ]);
            for mount in &self.mounts {
                let (stored, unpacked) = (quantity::size(mount.bytes), quantity::size(mount.unpacked_bytes));
                let unused = mount.unused.to_string();
                table.row(vec![stored, unpacked, unused, mount.scope.clone(), mount.id.clone()]);
            }
            write!(f, "{table}")?;
        }
        writeln!(f, "{} layers, {}", self.layers, quantity::size(self.total_bytes))
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", if self.dry_run { "would remove" } else { "removed" }, self.removed)
    }
}
