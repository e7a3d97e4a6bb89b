//! Layers as the engine passes them on, also before their blobs are whole.
//!
//! What a step depends on is the diff ids of the layers below it, and those are known when the step's tar has been
//! written. Its blob is then still being compressed; that is waited for by a thread of the build, while the next
//! step works. The step counts as known only when that is done: its record is written then, so a build that is killed
//! before runs it again. Whoever needs a blob, or what it is called, waits for it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};

use oci::{Descriptor, DiffId};
use store::layout::Ingest;

use super::build::Build;
use crate::BuildError;

/// A layer by both its names.
#[derive(Clone, Debug)]
pub(crate) struct LayerRef {
    pub diff_id: DiffId,
    blob: BlobRef,
}

#[derive(Clone, Debug)]
enum BlobRef {
    Whole(Descriptor),
    /// `None` where it could not be made.
    Coming(Arc<OnceLock<Option<Descriptor>>>),
}

impl LayerRef {
    /// Returns a layer whose blob is whole.
    pub fn new(diff_id: DiffId, descriptor: Descriptor) -> Self {
        Self { diff_id, blob: BlobRef::Whole(descriptor) }
    }

    /// Returns the descriptor of the blob, waiting until that is whole.
    ///
    /// # Errors
    /// `Dependency` where the blob could not be made; the step says why.
    pub fn descriptor(&self) -> Result<&Descriptor, BuildError> {
        let found = match &self.blob {
            BlobRef::Whole(descriptor) => Some(descriptor),
            BlobRef::Coming(coming) => coming.wait().as_ref(),
        };
        found.ok_or_else(|| BuildError::Dependency { stage: "of the step before".to_owned() })
    }
}

/// Layers are what is in them.
impl PartialEq for LayerRef {
    fn eq(&self, other: &Self) -> bool {
        self.diff_id == other.diff_id
    }
}

/// A layer of which everything is known but its blob.
#[derive(Debug)]
pub(crate) struct UnfinishedLayer {
    blob: Option<layer::Sealed<Ingest>>,
    what: String,
    coming: Arc<OnceLock<Option<Descriptor>>>,
    layer: LayerRef,
}

impl UnfinishedLayer {
    /// Returns the layer that `what` makes, of which `blob` is what is left to do.
    pub fn new(diff_id: DiffId, blob: layer::Sealed<Ingest>, what: &str) -> Self {
        let coming = Arc::<OnceLock<_>>::default();
        let layer = LayerRef { diff_id, blob: BlobRef::Coming(Arc::clone(&coming)) };
        Self { blob: Some(blob), what: what.to_owned(), coming, layer }
    }

    /// Returns the layer for whoever need not wait for its blob.
    pub fn layer(&self) -> &LayerRef {
        &self.layer
    }

    /// Compresses what is left, keeps the blob and returns the layer.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn finish(mut self) -> Result<LayerRef, BuildError> {
        let blob = self.blob.take().expect("only this takes it, once");
        let (ingest, descriptor) = blob
            .finish()
            .map_err(|error| BuildError::layer(format!("write the layer of {}", self.what), error))?;
        ingest.commit(&descriptor.digest, descriptor.size)?;
        let _ = self.coming.set(Some(descriptor.clone()));
        Ok(LayerRef::new(self.layer.diff_id, descriptor))
    }
}

impl Drop for UnfinishedLayer {
    fn drop(&mut self) {
        // Where nothing came of it, nobody is to wait for it.
        let _ = self.coming.set(None);
    }
}

/// What is left to do for a layer.
type Job = Box<dyn FnOnce(&Build<'_>) -> Result<(), BuildError> + Send>;

/// Layers that may wait to be finished beside the one that is: each holds memory.
const WAITING: usize = 0;

/// The layers of a build that are finished beside its steps, one after the other.
pub(crate) struct Finishing {
    jobs: Mutex<Option<SyncSender<Job>>>,
    queue: Mutex<Option<Receiver<Job>>>,
    failure: Mutex<Option<BuildError>>,
}

impl Finishing {
    pub fn new() -> Self {
        let (jobs, queue) = sync_channel(WAITING);
        Self { jobs: Mutex::new(Some(jobs)), queue: Mutex::new(Some(queue)), failure: Mutex::default() }
    }

    /// Hands over what is left to do for a layer; only while [`Self::beside`] works.
    pub fn hand_over(&self, job: Job) {
        let jobs = self.jobs.lock().expect("no holder panics").clone();
        // Without a listener the job is dropped, and whoever waits for its layer is told so.
        let _ = jobs.map(|jobs| jobs.send(job));
    }

    /// Does `work`, and beside it what is handed over; returns when all of that is done as well.
    ///
    /// # Errors
    /// That of `work`, or of the first layer that could not be finished: where there are both, the one that stands first in
    /// the Dockerfile.
    pub fn beside<T>(
        &self,
        build: &Build<'_>,
        work: impl FnOnce() -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let queue = self.queue.lock().expect("no holder panics").take();
        let result = std::thread::scope(|threads| {
            threads.spawn(move || queue.into_iter().flatten().for_each(|job| self.carry_out(build, job)));
            let result = work();
            self.jobs.lock().expect("no holder panics").take();
            result
        });
        match (result, self.failure.lock().expect("no holder panics").take()) {
            (Ok(_), Some(failure)) => Err(failure),
            (Err(error), Some(failure)) => Err(first(error, failure)),
            (result, None) => result,
        }
    }

    fn carry_out(&self, build: &Build<'_>, job: Job) {
        if let Err(error) = job(build) {
            build.schedule.stop();
            self.failure.lock().expect("no holder panics").get_or_insert(error);
        }
    }
}

/// Returns which of two errors stands first in the Dockerfile. What only follows from others does not count, and what has
/// no place comes last.
fn first(error: BuildError, failure: BuildError) -> BuildError {
    let line = |error: &BuildError| error.location().map_or(u32::MAX, |location| location.line);
    let follows = matches!(error, BuildError::Dependency { .. });
    if !follows && line(&error) < line(&failure) { error } else { failure }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use layer::{LayerWriter, Settings};
    use oci::Compression;
    use store::layout::LayoutStore;

    use super::*;
    use crate::error::Location;

    fn unfinished(store: &LayoutStore) -> UnfinishedLayer {
        let mut writer = LayerWriter::new(store.ingest().unwrap(), Settings::new(Compression::Gzip)).unwrap();
        writer.write_all(&[0; 1024]).unwrap();
        let (index, blob) = writer.seal().unwrap();
        UnfinishedLayer::new(index.diff_id, blob, "RUN true")
    }

    #[test]
    fn of_two_errors_the_first_in_the_dockerfile_is_told() {
        let at = |line| {
            let location =
                Location { file: "Dockerfile".to_owned(), line, instruction: "RUN true".to_owned() };
            BuildError::Instruction { location, reason: String::new() }
        };
        let follows = || BuildError::Dependency { stage: "of the step before".to_owned() };
        let placeless = || BuildError::layer("write a file", std::io::Error::other("no"));
        let told = |error, failure| first(error, failure).location().map(|location| location.line);
        assert_eq!(told(at(3), at(2)), Some(2));
        assert_eq!(told(at(2), at(3)), Some(2));
        assert_eq!(told(follows(), at(3)), Some(3));
        assert_eq!(told(placeless(), at(3)), Some(3));
    }

    #[test]
    fn who_needs_the_blob_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = LayoutStore::open(folder.path()).unwrap();
        let unfinished = unfinished(&store);
        let coming = unfinished.layer().clone();
        let waiting = std::thread::spawn(move || coming.descriptor().cloned());
        let whole = unfinished.finish().unwrap();
        let descriptor = waiting.join().unwrap().unwrap();
        assert_eq!(descriptor, *whole.descriptor().unwrap());
        assert_eq!(store.blob_size(&descriptor.digest).unwrap(), Some(descriptor.size));
    }

    #[test]
    fn a_layer_that_comes_to_nothing_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let store = LayoutStore::open(folder.path()).unwrap();
        let unfinished = unfinished(&store);
        let coming = unfinished.layer().clone();
        drop(unfinished);
        assert!(matches!(coming.descriptor(), Err(BuildError::Dependency { .. })));
    }
}
