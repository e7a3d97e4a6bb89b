//! Garbage collection while the server runs.

use std::sync::Arc;
use std::time::Duration;

use oci::Digest;
use store::{CollectOptions, Collected, StoreError};

use super::routes::State;
use super::storage::Storage;

/// When what nothing needs is removed from the store.
#[derive(Clone)]
pub struct Collection {
    /// How long is waited between two collections.
    pub every: Duration,
    /// How long content stays that nothing needs yet.
    pub grace: Duration,
    /// Returns blobs that stay although no image needs them, such as those of a build cache.
    pub keep: Keep,
    /// Told of each collection.
    pub report: CollectionReport,
}

/// Asked at the beginning of a collection; what it returns says which blobs stay.
pub type Keep = Arc<dyn Fn() -> Box<dyn Fn(&Digest) -> bool + Send> + Send + Sync>;

/// Who is told of collections.
pub type CollectionReport = Arc<dyn Fn(&Result<Collected, StoreError>) + Send + Sync>;

impl std::fmt::Debug for Collection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Collection(every {:?})", self.every)
    }
}

/// Collects until the server ends.
pub(super) async fn run(state: Arc<State>) {
    let Some(collection) = state.options.collection.clone() else { return };
    let every = collection.every.max(Duration::from_millis(10));
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (collected_here, collection) = (state.clone(), collection.clone());
        let done = tokio::task::spawn_blocking(move || {
            let result = collect(&collected_here, &collection);
            if let Ok(collected) = &result {
                collected_here.metrics.collected(collected);
            }
            (collection.report)(&result);
        });
        // The next round may do better.
        if let Err(error) = done.await {
            state.note_defect("a collection", &error.into());
        }
    }
}

fn collect(state: &State, collection: &Collection) -> Result<Collected, StoreError> {
    let options = CollectOptions { grace: collection.grace, patience: Duration::from_secs(30) };
    if let Some(proxy) = &state.proxy {
        proxy.evict()?;
    }
    let keep = (collection.keep)();
    let mut collected = state.storage().collect(&options, &*keep)?;
    if state.options.bucket.is_some() && state.proxy.is_some() {
        // What is kept of other registries lies in the folder.
        let cached = Storage::Folder(&state.options.store).collect(&options, &*keep)?;
        collected.blobs += cached.blobs;
        collected.bytes += cached.bytes;
        collected.interrupted |= cached.interrupted;
    }
    state.quotas.forget_all();
    Ok(collected)
}
