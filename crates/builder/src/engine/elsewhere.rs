//! Blobs of layers that are known and not here: in which store each can be had, and fetching it when something
//! reads it. What is fetched is checked against its digest and stays in the local store.
//!
//! A layer of a cache that cannot be had, or is not what its digest says, is *lost*: it counts as unknown from then
//! on, and the build starts again without it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oci::{Descriptor, DiffId, Digest, Document, Repository, Tag};
use store::{Blob, BlobStore, ImageStore, LayoutRepository, LayoutStore, Put, Source, StoreError};

/// How many blobs are fetched at the same time.
const AT_ONCE: usize = 4;

/// A store that has a blob.
#[derive(Clone)]
pub(crate) struct Origin {
    pub store: Arc<dyn ImageStore>,
    /// The name of the cache, for people; `None` for a base image.
    pub cache: Option<String>,
    /// The store as a repository of a registry.
    pub repository: Option<Repository>,
}

/// Where blobs can be had that are not here.
#[derive(Default)]
pub(crate) struct Elsewhere {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Size in bytes, and who has it; in the order to ask.
    blobs: HashMap<Digest, (u64, Vec<Origin>)>,
    indexes: HashMap<DiffId, (Descriptor, Origin)>,
    lost: BTreeMap<Digest, String>,
    /// Blobs being fetched; who needs the same waits.
    fetching: HashMap<Digest, Arc<Mutex<()>>>,
}

impl Elsewhere {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `origin` has the blob. Origins are asked in the order they were noted.
    pub fn note(&self, blob: &Descriptor, origin: &Origin) {
        let mut state = self.state();
        let (_, origins) = state.blobs.entry(blob.digest).or_insert_with(|| (blob.size, Vec::new()));
        if !origins.iter().any(|known| known.cache == origin.cache && known.repository == origin.repository) {
            origins.push(origin.clone());
        }
    }

    /// Notes that `origin` has the index of a layer.
    pub fn note_index(&self, diff_id: DiffId, index: &Descriptor, origin: &Origin) {
        self.state().indexes.entry(diff_id).or_insert_with(|| (index.clone(), origin.clone()));
    }

    /// Returns the first origin of a blob; `None` where nobody has it or it is lost.
    pub fn origin(&self, digest: &Digest) -> Option<Origin> {
        self.origins(digest).into_iter().next()
    }

    fn origins(&self, digest: &Digest) -> Vec<Origin> {
        self.state().blobs.get(digest).map(|(_, origins)| origins.clone()).unwrap_or_default()
    }

    /// Returns the size of a blob that somebody has.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        self.state().blobs.get(digest).map(|(size, _)| *size)
    }

    /// Returns who has the index of a layer.
    pub fn index(&self, diff_id: DiffId) -> Option<(Descriptor, Origin)> {
        self.state().indexes.get(&diff_id).cloned()
    }

    /// Returns who has a blob, of a layer or of an index.
    pub fn holder(&self, digest: &Digest) -> Option<Origin> {
        let of_index = || {
            let state = self.state();
            let has = |(index, _): &&(Descriptor, Origin)| index.digest == *digest;
            state.indexes.values().find(has).map(|(_, origin)| origin.clone())
        };
        self.origin(digest).or_else(of_index)
    }

    /// Forgets an index that cannot be used.
    pub fn forget_index(&self, diff_id: DiffId) {
        self.state().indexes.remove(&diff_id);
    }

    /// Whether a cache had the blob and could not give it.
    pub fn is_lost(&self, digest: &Digest) -> bool {
        self.state().lost.contains_key(digest)
    }

    /// Returns what was lost so far, with the reason.
    pub fn losses(&self) -> BTreeMap<Digest, String> {
        self.state().lost.clone()
    }

    /// Brings a blob into the local store, where it is not there.
    ///
    /// # Errors
    /// `NotFound` where nobody has it; what the last store says that was asked.
    pub fn fetch(&self, local: &LayoutStore, descriptor: &Descriptor) -> Result<(), StoreError> {
        let digest = &descriptor.digest;
        let turn = Arc::clone(self.state().fetching.entry(*digest).or_default());
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if local.blob_size(digest)? == Some(descriptor.size) {
            return Ok(());
        }
        let mut failure = StoreError::NotFound { what: format!("blob {digest}") };
        for origin in self.origins(digest) {
            match origin.store.open_blob(digest).and_then(|blob| local.put_blob(descriptor, blob)) {
                Ok(_) => return Ok(()),
                Err(error) => {
                    self.strike(digest, &origin, &error);
                    failure = error;
                }
            }
        }
        Err(failure)
    }

    /// Takes an origin that could not give the blob off the list; the blob is lost with the last that is a cache.
    fn strike(&self, digest: &Digest, origin: &Origin, error: &StoreError) {
        let Some(cache) = &origin.cache else { return };
        let mut state = self.state();
        let Some((_, origins)) = state.blobs.get_mut(digest) else { return };
        origins.retain(|known| known.cache != origin.cache);
        if origins.is_empty() {
            state.blobs.remove(digest);
            state.lost.insert(*digest, format!("{cache}: {}", with_causes(error)));
        }
    }

    /// Brings several blobs, a few at a time.
    pub fn fetch_all(&self, local: &LayoutStore, blobs: &[&Descriptor]) -> Result<(), StoreError> {
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let work = || {
            while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.fetch(local, blob) {
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        std::thread::scope(|threads| {
            for _ in 1..AT_ONCE.min(blobs.len()) {
                threads.spawn(work);
            }
            work();
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Returns the repositories from which a registry can link blobs that are not in `local`, each once.
    pub fn repositories(&self, local: &LayoutStore, blobs: &[&Descriptor]) -> Vec<Repository> {
        let mut found: Vec<Repository> = Vec::new();
        let missing = blobs.iter().filter(|blob| !matches!(local.blob_size(&blob.digest), Ok(Some(_))));
        for origin in missing.flat_map(|blob| self.origins(&blob.digest)) {
            if let Some(repository) = origin.repository.filter(|repository| !found.contains(repository)) {
                found.push(repository);
            }
        }
        found
    }
}

/// An error with its causes on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// A repository of the local store together with what lies elsewhere: blobs that are not here are fetched when
/// they are read, and stay.
pub struct LazyRepository {
    local: LayoutRepository,
    elsewhere: Arc<Elsewhere>,
}

impl LazyRepository {
    pub(crate) fn new(local: LayoutRepository, elsewhere: Arc<Elsewhere>) -> Self {
        Self { local, elsewhere }
    }
}

/// Fetches a blob at the first read.
struct Fetching {
    local: LayoutStore,
    elsewhere: Arc<Elsewhere>,
    descriptor: Descriptor,
    open: Option<Blob>,
}

impl Read for Fetching {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let blob = match &mut self.open {
            Some(blob) => blob,
            none => {
                self.elsewhere.fetch(&self.local, &self.descriptor).map_err(io::Error::other)?;
                none.insert(self.local.open_blob(&self.descriptor.digest).map_err(io::Error::other)?)
            }
        };
        blob.read(buffer)
    }
}

impl BlobStore for LazyRepository {
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        match self.local.blob_size(digest)? {
            None => Ok(self.elsewhere.size(digest)),
            found => Ok(found),
        }
    }

    fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError> {
        let absent = match self.local.open_blob(digest) {
            Err(error @ (StoreError::NotFound { .. } | StoreError::Corrupt { .. })) => error,
            other => return other,
        };
        let Some(size) = self.elsewhere.size(digest) else { return Err(absent) };
        // Who gets the blob may not need its bytes: a registry links what it has.
        let reader = Fetching {
            local: self.local.store().clone(),
            elsewhere: Arc::clone(&self.elsewhere),
            descriptor: Descriptor::new(oci::MediaType::OciLayer, *digest, size),
            open: None,
        };
        Ok(Blob::verified(*digest, size, Source::Stream(Box::new(reader))))
    }

    fn put_blob(&self, descriptor: &Descriptor, content: Blob) -> Result<Put, StoreError> {
        self.local.put_blob(descriptor, content)
    }
}

impl ImageStore for LazyRepository {
    fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        self.local.resolve(tag)
    }

    fn document(&self, digest: &Digest) -> Result<Document, StoreError> {
        self.local.document(digest)
    }

    fn put_document(&self, document: &Document) -> Result<(), StoreError> {
        self.local.put_document(document)
    }

    fn tag(&self, tag: &Tag, document: &Document) -> Result<(), StoreError> {
        self.local.tag(tag, document)
    }

    fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        self.local.untag(tag)
    }

    fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        self.local.tags()
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        self.local.referrers(subject)
    }

    fn delete_document(&self, digest: &Digest) -> Result<(), StoreError> {
        self.local.delete_document(digest)
    }
}

impl std::fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        write!(f, "Elsewhere({} blobs, {} lost)", state.blobs.len(), state.lost.len())
    }
}
