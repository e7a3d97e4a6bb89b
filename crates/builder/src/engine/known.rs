//! A step's layer: looked up by its key, made where it is not known, and noted.

use std::time::Instant;

use super::compression::KnownLayer;
use super::layers::{LayerRef, UnfinishedLayer};
use super::stage::{Outcome, StageRun, Step};
use crate::cache::{CacheKey, KeyGuard};
use crate::request::StepSource;
use crate::{BuildError, BuildEvent};

/// What the work of a step gives.
pub(crate) enum Made {
    /// A layer with its blob.
    Whole(LayerRef),
    /// One whose blob is still to be finished.
    Unfinished(UnfinishedLayer),
}

impl From<LayerRef> for Made {
    fn from(layer: LayerRef) -> Self {
        Self::Whole(layer)
    }
}

impl From<UnfinishedLayer> for Made {
    fn from(layer: UnfinishedLayer) -> Self {
        Self::Unfinished(layer)
    }
}

impl StageRun<'_> {
    /// Returns what is known of `key`, here or in a cache elsewhere, where it can be used.
    pub fn known(&self, key: &CacheKey) -> Result<Option<KnownLayer>, BuildError> {
        let request = self.build.request;
        if (request.no_cache || self.is_filtered()) && !request.options.made.contains(key) {
            return Ok(None);
        }
        let known = match self.build.workspace.known_layer(key)? {
            Some(known) => Some(known),
            None => self.build.known_elsewhere(key)?,
        };
        if let Some(known) = &known {
            self.build.note_used(key, known.record.clone());
        }
        Ok(known)
    }

    /// Whether steps of this stage run even where their results are known.
    fn is_filtered(&self) -> bool {
        let is_named = |name: &String| {
            self.stage.name.as_ref().is_some_and(|own| own.text.eq_ignore_ascii_case(name))
                || *name == self.stage.index.to_string()
        };
        self.build.request.options.no_cache_filter.iter().any(is_named)
    }

    /// Returns the layer of `key`, making it where it is not known. Whoever else needs the same key
    /// waits and finds it known.
    pub fn known_or<M: Into<Made>>(
        &self,
        step: &Step,
        key: &CacheKey,
        make: impl FnOnce() -> Result<M, BuildError>,
    ) -> Result<Outcome, BuildError> {
        step.asked.get_or_init(|| key.clone());
        if let Some(known) = self.known(key)? {
            if !self.build.take_made_ahead(key) {
                return Ok(Outcome::known(known));
            }
            self.explain(step, step.asked.get().unwrap_or(key));
            return Ok(Outcome::ran(known.layer));
        }
        let guard = self.lock(key)?;
        if let Some(known) = self.known(key)? {
            return Ok(Outcome::known(known));
        }
        let _permit = self.build.schedule.permit(self.stage.index)?;
        self.explain(step, step.asked.get().unwrap_or(key));
        let started = Instant::now();
        let made = make()?.into();
        let milliseconds = started.elapsed().as_millis() as u64;
        match made {
            Made::Whole(layer) => {
                self.remember(key, &layer, &step.location.instruction, milliseconds)?;
                Ok(Outcome::ran(layer))
            }
            Made::Unfinished(unfinished) => {
                let layer = unfinished.layer().clone();
                self.finish_later(step, key, guard, unfinished, milliseconds);
                Ok(Outcome { is_unfinished: true, ..Outcome::ran(layer) })
            }
        }
    }

    /// Has the blob of a layer finished beside the steps that follow. Until then the key stays locked and the step is
    /// not known.
    fn finish_later(
        &self,
        step: &Step,
        key: &CacheKey,
        guard: KeyGuard,
        unfinished: UnfinishedLayer,
        milliseconds: u64,
    ) {
        let (key, number, location, started) =
            (key.clone(), step.number, step.location.clone(), step.started);
        self.build.finishing.hand_over(Box::new(move |build| {
            let finish = || {
                let layer = unfinished.finish()?;
                build.remember(&key, &layer, &location.instruction, milliseconds)?;
                Ok(layer.descriptor()?.size)
            };
            let layer_bytes = finish().map_err(|error: BuildError| error.at(&location))?;
            drop(guard);
            let (source, duration) = (StepSource::Ran, started.elapsed());
            (build.observer)(BuildEvent::StepFinished { number, source, duration, layer_bytes });
            Ok(())
        }));
    }

    /// Keeps others from working on a key.
    pub fn lock(&self, key: &CacheKey) -> Result<KeyGuard, BuildError> {
        let records = &self.build.workspace.records;
        records.lock(key).map_err(|error| BuildError::layer("lock a step of the cache", error))
    }

    /// Notes that `key` gives `layer`.
    pub fn remember(
        &self,
        key: &CacheKey,
        layer: &LayerRef,
        instruction: &str,
        milliseconds: u64,
    ) -> Result<(), BuildError> {
        self.build.remember(key, layer, instruction, milliseconds)
    }
}
