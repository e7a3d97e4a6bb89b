//! Steps that caches outside this machine know: asked for in the order of the tiers, the first time that the local
//! store does not know something, and used without their bytes.

use std::path::Path;

use oci::{Descriptor, DiffId, ImageManifest};
use store::ImageStore;

use super::build::Build;
use super::caches::{Cache, HeldCache};
use super::compression::KnownLayer;
use super::elsewhere::{Origin, with_causes};
use super::state::State;
use super::workspace::{Holder, LayerRef};
use crate::BuildError;
use crate::cache::{Answer, CacheArtifact, CacheKey, Found, OnCacheError, StepRecord, Tier, UsedMount};
use crate::request::{BuildEvent, Settle};

impl Build<'_> {
    /// Returns the first thing that `find` finds at a tier.
    pub(super) fn ask_tiers<T>(
        &self,
        mut find: impl FnMut(&Tier, &Found) -> Result<Option<T>, BuildError>,
    ) -> Result<Option<T>, BuildError> {
        let Some(tiers) = &self.request.options.tiers else { return Ok(None) };
        for Answer { tier, found, is_news } in tiers.answers() {
            match found {
                Ok(found) => {
                    if is_news {
                        self.take_note(tier, &found.artifact);
                    }
                    if let Some(thing) = find(tier, found)? {
                        return Ok(Some(thing));
                    }
                }
                Err(error) if tiers.on_error == OnCacheError::Fail => {
                    return Err(BuildError::layer(
                        format!("read the cache {}", tier.label),
                        with_causes(error),
                    ));
                }
                Err(error) if is_news => {
                    let message = format!("the cache {} is not used: {}", tier.label, with_causes(error));
                    (self.observer)(BuildEvent::Warning(message));
                }
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Notes where the blobs of a tier can be had.
    fn take_note(&self, tier: &Tier, artifact: &CacheArtifact) {
        let origin = Origin {
            store: tier.store.clone(),
            cache: Some(tier.label.clone()),
            repository: tier.repository.clone(),
        };
        let elsewhere = &self.workspace.elsewhere;
        for layer in artifact.layers.values() {
            if layer.base.is_none() && !elsewhere.is_lost(&layer.blob.digest) {
                elsewhere.note(&layer.blob, &origin);
            }
            if let Some(index) = &layer.index {
                elsewhere.note_index(layer.diff_id, index, &origin);
            }
        }
    }

    /// Returns the layer that a tier's record of `key` names, and keeps the record here.
    pub fn known_elsewhere(&self, key: &CacheKey) -> Result<Option<KnownLayer>, BuildError> {
        let workspace = self.workspace;
        self.ask_tiers(|_, found| {
            let Some(record) = found.artifact.record(&key.digest()) else { return Ok(None) };
            let Some(known) = workspace.recorded_layer(record)? else { return Ok(None) };
            let kept = workspace.records.put(key, &known.record);
            kept.map_err(|error| BuildError::layer("write a step of the cache", error))?;
            Ok(Some(known))
        })
    }

    /// Makes the layers of a base image available: those with an index when something reads them, the others now,
    /// because whatever is done over them needs to know what is in them.
    pub fn take_base(
        &self,
        name: &str,
        store: std::sync::Arc<dyn ImageStore>,
        repository: Option<oci::Repository>,
        manifest: &ImageManifest,
        diff_ids: &[DiffId],
    ) -> Result<(), BuildError> {
        let workspace = self.workspace;
        let is_here = |blob: &Descriptor| matches!(workspace.store.blob_size(&blob.digest), Ok(Some(size)) if size == blob.size);
        let missing: Vec<_> =
            diff_ids.iter().zip(&manifest.layers).filter(|(_, layer)| !is_here(layer)).collect();
        let mut unknown: Vec<&Descriptor> = Vec::new();
        let origin = Origin { store, cache: None, repository };
        for (diff_id, layer) in missing {
            workspace.elsewhere.note(layer, &origin);
            let has_index = || workspace.has_index(*diff_id).then_some(());
            if has_index().is_none() && self.ask_tiers(|_, _| Ok(has_index()))?.is_none() {
                unknown.push(layer);
            }
        }
        if !unknown.is_empty() {
            (self.observer)(BuildEvent::BaseStarted { name: name.to_owned() });
        }
        Ok(workspace.elsewhere.fetch_all(&workspace.store, &unknown)?)
    }

    /// Takes note of a step's record, for caches that are written.
    pub fn note_used(&self, key: &CacheKey, record: StepRecord) {
        self.used_records().steps.insert(key.digest(), record);
    }

    /// Takes note of a cache mount, for caches that are written, where that was asked for; `held` where a step that
    /// runs has it.
    pub fn note_mount(&self, cache: &Cache<'_>, held: Option<&HeldCache>) {
        let Some(limit) = self.request.options.kept_mounts else { return };
        let folder = held.map(|held| held.folder.clone());
        let mount = UsedMount { id: cache.id.clone(), folder, limit };
        self.used_records().add_mount(cache.key().digest(), mount);
    }

    /// Takes note of what a step was made of, for caches that are written.
    pub fn note_inputs(&self, place: String, key: &CacheKey) {
        self.used_records().inputs.insert(place, key.shared_inputs());
    }

    /// Returns what a step is called in caches elsewhere, which know no folders of this machine.
    pub fn shared_place(&self, stage: &str, number: u32) -> String {
        let file = Path::new(&self.request.dockerfile_name).file_name().unwrap_or_default().to_string_lossy();
        format!("{file} {} {stage} {number}", self.request.platform)
    }

    /// Brings the layers of the image here, as far as the request wants them.
    pub fn settle(&self, state: &State) -> Result<(), BuildError> {
        let workspace = self.workspace;
        let mut missing: Vec<&LayerRef> = Vec::new();
        for layer in &state.layers {
            let blob = layer.descriptor()?;
            if workspace.store.blob_size(&blob.digest)? != Some(blob.size) {
                missing.push(layer);
            }
        }
        if let Settle::Target { store, repository } = &self.request.options.settle {
            let links = |layer: &LayerRef| {
                // The loop above asked every layer for its blob already, and failed where one has none.
                let blob = layer.descriptor().ok();
                let origin = blob.and_then(|blob| workspace.elsewhere.origin(&blob.digest)?.repository);
                origin.is_some_and(|origin| origin.registry() == repository.registry())
            };
            let is_there = present(store.as_ref(), &missing);
            let wanted = missing.iter().zip(is_there).filter(|(layer, there)| !there && !links(layer));
            missing = wanted.map(|(layer, _)| *layer).collect();
        }
        workspace.bring(&missing)
    }
}

/// Says of each layer whether a store has it, asking for several at once; one that cannot be asked has none.
fn present(store: &dyn ImageStore, layers: &[&LayerRef]) -> Vec<bool> {
    const AT_ONCE: usize = 4;
    let ask = |layer: &&LayerRef| {
        let Ok(blob) = layer.descriptor() else { return false };
        matches!(store.blob_size(&blob.digest), Ok(Some(size)) if size == blob.size)
    };
    let mut answers = Vec::with_capacity(layers.len());
    std::thread::scope(|threads| {
        let share = layers.len().div_ceil(AT_ONCE).max(1);
        let parts: Vec<_> = layers
            .chunks(share)
            .map(|part| threads.spawn(move || part.iter().map(ask).collect::<Vec<bool>>()))
            .collect();
        for part in parts {
            answers.extend(part.join().expect("asking returns its errors and does not panic"));
        }
    });
    answers
}

impl Holder {
    /// Returns the name of the cache that a step came from; `None` for the local store.
    pub fn into_cache(self) -> Option<String> {
        match self {
            Self::Here => None,
            Self::Cache(name) => Some(name),
        }
    }
}
