//! A blob on its way here: fetched once, whoever asks for it meanwhile.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use oci::{Digest, Repository};
use store::{Blob, BlobStore as _, Ingest, StoreError};
use tokio::sync::watch;

use super::Proxy;
use crate::server::quota::Quotas;
use crate::server::routes::State;
use crate::server::storage::StoredRepository;

/// How much is read from the other registry and written at once.
const CHUNK_BYTES: usize = 128 << 10;

/// How far a blob has come.
#[derive(Clone)]
pub(super) enum Stage {
    /// The other registry did not answer yet.
    Opening,
    /// Its content comes.
    Coming {
        /// Holds it, also after it was kept.
        file: Arc<File>,
        size: u64,
        /// How many bytes may be read. The last one is held back until all were checked.
        come: u64,
    },
    /// It was here already.
    Kept,
    Failed(Arc<StoreError>),
}

/// All blobs that are on their way.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<(Repository, Digest), watch::Receiver<Stage>>>);

/// An entry of the list, which goes with this, also where the fetch panics.
struct Listed<'a> {
    flights: &'a Flights,
    key: (Repository, Digest),
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// What a fetch needs of the server.
struct Limits {
    quotas: Arc<Quotas>,
    max_bytes: Option<u64>,
}

impl Proxy {
    /// Returns how far the blob has come; has it fetched where nobody does yet.
    pub(super) fn join(
        self: &Arc<Self>,
        state: &State,
        upstream: &Repository,
        digest: &Digest,
    ) -> watch::Receiver<Stage> {
        let key = (upstream.clone(), *digest);
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&key) {
            return flight.clone();
        }
        let (sender, receiver) = watch::channel(Stage::Opening);
        flights.insert(key.clone(), receiver.clone());
        let limits = Limits { quotas: state.quotas.clone(), max_bytes: state.options.max_blob_bytes };
        let proxy = self.clone();
        tokio::spawn(async move {
            let listed = Listed { flights: &proxy.flights, key };
            let place = proxy.places.acquire().await.expect("it is never closed");
            let (upstream, digest) = &listed.key.clone();
            let result = tokio::task::block_in_place(|| proxy.fetch(&limits, upstream, digest, &sender));
            drop(place);
            // Out of the list first: whoever comes now finds the blob in the store, or tries anew.
            drop(listed);
            if let Err(error) = result {
                proxy.note_failure(upstream, &error);
                proxy.report(format!("blob {digest} of {upstream}"), &error, false);
                sender.send_replace(Stage::Failed(Arc::new(error)));
            }
        });
        receiver
    }

    fn fetch(
        &self,
        limits: &Limits,
        upstream: &Repository,
        digest: &Digest,
        stage: &watch::Sender<Stage>,
    ) -> Result<(), StoreError> {
        let view = self.view(upstream);
        if view.has_blob(digest)? {
            stage.send_replace(Stage::Kept);
            return Ok(());
        }
        self.check_silence(upstream)?;
        let remote = self.options.client.repository(upstream);
        if let Some(size) = self.store.blob_size(digest)?
            && remote.blob_size(digest)? == Some(size)
            && limits.has_room(&view, size)?
        {
            // Another repository's content, and the other registry says that it is this one's too.
            self.adopt(limits, &view, digest, size)?;
            stage.send_replace(Stage::Kept);
            return Ok(());
        }
        let blob = remote.open_blob(digest)?;
        self.counts.misses.fetch_add(1, Relaxed);
        let size = blob.size();
        if let Some(most) = limits.max_bytes.filter(|most| size > *most) {
            let reason = format!("it has {size} bytes, more than the {most} that are taken here");
            return Err(StoreError::Denied { what: format!("blob {digest}"), reason });
        }
        let ingest = self.store.ingest()?;
        let file = Arc::new(ingest.reader()?);
        let ingest = self.take(blob, ingest, digest, |come| {
            stage.send_replace(Stage::Coming { file: file.clone(), size, come });
        })?;
        if limits.has_room(&view, size)? {
            ingest.commit(digest, size)?;
            self.adopt(limits, &view, digest, size)?;
        }
        stage.send_replace(Stage::Coming { file, size, come: size });
        Ok(())
    }

    /// Writes the content down and says how much of it may be read.
    fn take(
        &self,
        mut blob: Blob,
        mut ingest: Ingest,
        digest: &Digest,
        come: impl Fn(u64),
    ) -> Result<Ingest, StoreError> {
        let size = blob.size();
        let what = || format!("blob {digest}");
        let mut chunk = vec![0; CHUNK_BYTES];
        come(0);
        loop {
            let count = blob.read(&mut chunk).map_err(|error| broken(what(), error))?;
            if count == 0 {
                return Ok(ingest);
            }
            ingest.write_all(&chunk[..count]).map_err(|error| StoreError::io("write", what(), error))?;
            self.counts.fetched_bytes.fetch_add(count as u64, Relaxed);
            come(ingest.written().min(size.saturating_sub(1)));
        }
    }

    fn adopt(
        &self,
        limits: &Limits,
        view: &store::LayoutRepository,
        digest: &Digest,
        size: u64,
    ) -> Result<(), StoreError> {
        let _lock = self.store.lock_shared()?;
        view.adopt_blob(digest)?;
        limits.quotas.add(view.name(), size);
        Ok(())
    }
}

impl Limits {
    fn has_room(&self, view: &store::LayoutRepository, size: u64) -> Result<bool, StoreError> {
        Ok(self.quotas.room(&StoredRepository::Folder(view.clone()))?.is_none_or(|room| room >= size))
    }
}

/// Returns the error of the other registry, which comes through a reader.
fn broken(what: String, error: std::io::Error) -> StoreError {
    if error.kind() == std::io::ErrorKind::InvalidData {
        return StoreError::Corrupt { what, reason: error.to_string() };
    }
    StoreError::Unreachable { action: "fetch", what, transient: true, source: Box::new(error) }
}
