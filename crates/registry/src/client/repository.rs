//! One repository of a registry as a store.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::header::HeaderName;
use hyper::{Method, StatusCode, Uri};
use oci::{Descriptor, Digest, Document, Repository, Tag};
use store::{Blob, BlobStore, ImageStore, Put, StoreError};

use super::host::{Call, Host};
use super::manifest::Listed;
use super::payload::Payload;
use super::remove::Removal;
use super::route::Answers;
use super::scope::Scope;
use super::{Failure, download, list, manifest, referrers, upload};
use crate::protocol::{Endpoint, ErrorCode, MAX_MOUNTS, ManifestName};

/// Blobs up to this size are sent unasked to a repository that is new.
const UNASKED_BYTES: u64 = 1 << 20;

/// A repository of a registry. All methods block; all of them may be called from several threads.
///
/// Transient failures were retried as the client's policy says before a method returns them.
pub struct RemoteRepository {
    pub(super) host: Host,
    pub(super) repository: Repository,
    pub(super) mount_from: Vec<Repository>,
    /// Blobs that the registry said it does not have: they need not be asked for again before an upload.
    pub(super) absent: Mutex<HashSet<Digest>>,
    /// Whether the registry said that it knows no such repository, and nothing was named in it since.
    is_new: AtomicBool,
    /// A repository of the registry that has all blobs which are put here.
    source: Option<Repository>,
    /// Sessions that began where a blob of `source` was not linked, for who puts it next.
    pub(super) begun: Mutex<HashMap<Digest, upload::Session>>,
    /// Blobs that are there, as was said before they were asked for.
    had: Mutex<HashMap<Digest, Put>>,
    /// Whether the registry does not link blobs of `source`.
    links_nothing: AtomicBool,
    /// Blobs that may be had elsewhere, as the manifests that were read say.
    elsewhere: Mutex<HashMap<Digest, Descriptor>>,
    /// Asked for content before the registry itself, in order.
    mirrors: Vec<(RemoteRepository, Answers)>,
}

impl RemoteRepository {
    pub(super) fn new(host: Host, repository: Repository) -> Self {
        Self {
            host,
            repository,
            mount_from: Vec::new(),
            absent: Mutex::default(),
            is_new: AtomicBool::new(false),
            source: None,
            begun: Mutex::default(),
            had: Mutex::default(),
            links_nothing: AtomicBool::new(false),
            elsewhere: Mutex::default(),
            mirrors: Vec::new(),
        }
    }

    pub(super) fn with_mirrors(mut self, mirrors: Vec<(Self, Answers)>) -> Self {
        self.mirrors = mirrors;
        self
    }

    /// Returns who may have content with a digest, the registry itself last.
    pub(super) fn places_of_content(&self) -> impl Iterator<Item = &Self> {
        let mirrors = self.mirrors.iter().filter(|(_, answers)| answers.digests).map(|(mirror, _)| mirror);
        mirrors.filter(|mirror| !mirror.host.has_failed()).chain([self])
    }

    /// Asks one place after the other until one answers; what the last one says counts.
    fn ask_in_turn<'a, T>(
        &'a self,
        places: impl Iterator<Item = &'a Self>,
        ask: impl Fn(&Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut places = places.peekable();
        loop {
            let place = places.next().expect("the registry itself is the last place");
            match (ask(place), places.peek()) {
                (Err(failure), Some(next)) => place.host.go_on(&place.repository, &failure, &next.repository),
                (answer, _) => return answer,
            }
        }
    }

    /// Returns this view with a repository whose blobs may be linked instead of sent. One of
    /// another registry changes nothing.
    pub fn mount_from(mut self, source: &Repository) -> Self {
        if source.registry() == self.repository.registry() && *source != self.repository {
            self.mount_from.push(source.clone());
        }
        self
    }

    /// The same for a repository that has every blob which is put here: linking is tried before anything else is asked,
    /// for as long as the registry does it.
    pub fn copied_from(self, source: &Repository) -> Self {
        let is_other = source.registry() == self.repository.registry() && *source != self.repository;
        let source = is_other.then(|| source.clone());
        Self { source, ..self }
    }

    /// Takes note of an answer that there is no such repository: it has no blob either.
    fn note_new(&self, failure: &Failure) {
        if failure.code() == Some(ErrorCode::NameUnknown) {
            self.is_new.store(true, Ordering::Relaxed);
        }
    }

    fn note_absent(&self, digest: &Digest) {
        self.absent.lock().expect("nothing panics while it holds the lock").insert(*digest);
    }

    /// Links a blob from the repository that has all of them; `None` where that is not to be had.
    fn link(&self, digest: &Digest) -> Option<Put> {
        let source = self.source.as_ref().filter(|_| !self.links_nothing.load(Ordering::Relaxed))?;
        match upload::link(self, digest, source) {
            Ok(upload::Start::Mounted) => return Some(Put::Mounted),
            Ok(upload::Start::Session(session)) => {
                let mut begun = self.begun.lock().expect("nothing panics while it holds the lock");
                begun.insert(*digest, session);
            }
            Err(failure) => tracing::debug!(%failure, %digest, %source, "not mounted"),
        }
        self.links_nothing.store(true, Ordering::Relaxed);
        None
    }

    /// Returns the repository's name.
    pub fn name(&self) -> &Repository {
        &self.repository
    }

    /// Makes `tag` point to `document` unless it points to something else already.
    ///
    /// # Errors
    /// `Denied`, naming both digests, where it does. Registries have no atomic form of this:
    /// somebody who pushes the same tag in the same moment is not noticed.
    pub fn tag_immutable(&self, tag: &Tag, document: &Document) -> Result<(), StoreError> {
        match self.resolve(tag) {
            Ok(found) if found.digest == document.digest() => Ok(()),
            Ok(found) => Err(StoreError::Denied {
                what: self.name_of_tag(tag),
                reason: format!(
                    "the tag is immutable and points to {}; it cannot move to {}",
                    found.digest,
                    document.digest()
                ),
            }),
            Err(StoreError::NotFound { .. }) => self.tag(tag, document),
            Err(error) => Err(error),
        }
    }

    pub(super) fn name_of_blob(&self, digest: &Digest) -> String {
        format!("blob {digest} in {}", self.repository)
    }

    pub(super) fn name_of_tag(&self, tag: &Tag) -> String {
        format!("manifest {}:{tag}", self.repository)
    }

    pub(super) fn name_of_document(&self, digest: &Digest) -> String {
        format!("manifest {}@{digest}", self.repository)
    }

    pub(super) fn address(&self, endpoint: &Endpoint) -> Result<Uri, Failure> {
        self.host.at(&endpoint.to_string())
    }

    /// Returns a request for `address` without headers and body.
    pub(super) fn call(&self, method: Method, address: Uri, scope: Scope, what: String) -> Call<'_> {
        Call {
            method,
            address,
            headers: Vec::new(),
            payload: Payload::empty(),
            repository: Some(&self.repository),
            scope,
            expected: &[StatusCode::OK],
            what,
        }
    }

    /// Returns all tags in ascending order; `None` where the registry does not know the repository.
    ///
    /// # Errors
    /// As for [`ImageStore::tags`].
    pub fn tags_if_known(&self) -> Result<Option<Vec<Tag>>, StoreError> {
        match list::tags(&self.host, &self.repository) {
            Err(failure) if failure.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
            listed => listed.map(Some).map_err(|failure| {
                failure.into_store_error("list", format!("the tags of {}", self.repository))
            }),
        }
    }

    /// Takes note of the blobs of a manifest that may be had elsewhere.
    fn note_urls(&self, document: &Document) {
        if !self.host.shared.options.follow_urls {
            return;
        }
        let blobs = document.as_image().into_iter().flat_map(|manifest| manifest.blobs());
        let mut elsewhere = self.elsewhere.lock().expect("nothing panics while it holds the lock");
        for blob in blobs.filter(|blob| !blob.urls.is_empty()) {
            elsewhere.entry(blob.digest).or_insert_with(|| blob.clone());
        }
    }

    fn elsewhere(&self, digest: &Digest) -> Option<Descriptor> {
        self.elsewhere.lock().expect("nothing panics while it holds the lock").get(digest).cloned()
    }

    /// Stores a document, and enters it in the list of referrers where the registry keeps none.
    fn put(&self, name: ManifestName, document: &Document) -> Result<(), Failure> {
        let listed = manifest::put(self, name, document)?;
        self.is_new.store(false, Ordering::Relaxed);
        if listed == Listed::No { referrers::enter(self, document) } else { Ok(()) }
    }
}

impl fmt::Debug for RemoteRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteRepository({})", self.repository)
    }
}

impl BlobStore for RemoteRepository {
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let size = download::size(self, digest)
            .map_err(|failure| failure.into_store_error("look for", self.name_of_blob(digest)))?;
        let mut absent = self.absent.lock().expect("nothing panics while it holds the lock");
        match size {
            Some(_) => absent.remove(digest),
            None => absent.insert(*digest),
        };
        Ok(size)
    }

    fn have_blob(&self, descriptor: &Descriptor) -> Result<Option<Put>, StoreError> {
        let digest = &descriptor.digest;
        let had = self.had.lock().expect("nothing panics while it holds the lock").remove(digest);
        if had.is_some() {
            return Ok(had);
        }
        if let Some(put) = self.link(digest) {
            return Ok(Some(put));
        }
        // Some know a repository only by its manifests, and have blobs of a push that was broken off: no large one is
        // sent twice for a question less.
        if self.is_new.load(Ordering::Relaxed) && descriptor.size <= UNASKED_BYTES {
            self.note_absent(digest);
            return Ok(None);
        }
        let is_there = self.blob_size(digest)? == Some(descriptor.size);
        if is_there {
            upload::forget(self, digest);
        }
        Ok(is_there.then_some(Put::Present))
    }

    /// A registry on this machine is often one that has the content already, as the store that it comes from: it is
    /// asked to link all of it at once.
    fn expect_blobs(&self, blobs: &[&Descriptor]) {
        if !self.repository.registry().is_loopback() || self.source.is_some() || !self.mount_from.is_empty() {
            return;
        }
        for some in blobs.chunks(MAX_MOUNTS).filter(|some| some.len() > 1) {
            let had = upload::link_all(self, some).unwrap_or_else(|failure| {
                tracing::debug!(%failure, "not mounted at once");
                Vec::new()
            });
            if had.is_empty() {
                return;
            }
            self.had.lock().expect("nothing panics while it holds the lock").extend(had);
        }
    }

    fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError> {
        let failure = match download::open(&self.places_of_content().collect::<Vec<_>>(), digest) {
            Ok(blob) => return Ok(blob),
            Err(failure) => failure,
        };
        let is_missing = failure.status() == Some(StatusCode::NOT_FOUND);
        match self.elsewhere(digest).filter(|_| is_missing) {
            Some(blob) => download::elsewhere::open(self, &blob),
            None => Err(failure.into_store_error("pull", self.name_of_blob(digest))),
        }
    }

    fn put_blob(&self, descriptor: &Descriptor, content: Blob) -> Result<Put, StoreError> {
        upload::put(self, descriptor, content).map_err(|failure| {
            let what = self.name_of_blob(&descriptor.digest);
            match failure {
                // The blob itself cannot be missing where it is being put: the repository is.
                Failure::Status { status: StatusCode::NOT_FOUND, .. } => StoreError::Denied {
                    what,
                    reason: format!("no such repository, or no right to push to it: {failure}"),
                },
                failure => failure.into_store_error("push", what),
            }
        })
    }
}

impl ImageStore for RemoteRepository {
    fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        let mirrors = self.mirrors.iter().filter(|(_, answers)| answers.tags).map(|(mirror, _)| mirror);
        let places = mirrors.filter(|mirror| !mirror.host.has_failed()).chain([self]);
        self.ask_in_turn(places, |place| manifest::resolve(place, tag))
            .inspect_err(|failure| self.note_new(failure))
            .map_err(|failure| failure.into_store_error("resolve", self.name_of_tag(tag)))
    }

    fn document(&self, digest: &Digest) -> Result<Document, StoreError> {
        let name = ManifestName::Digest(*digest);
        let document = self
            .ask_in_turn(self.places_of_content(), |place| manifest::get(place, &name))
            .map_err(|failure| failure.into_store_error("pull", self.name_of_document(digest)))?;
        self.note_urls(&document);
        Ok(document)
    }

    fn put_document(&self, document: &Document) -> Result<(), StoreError> {
        self.put(ManifestName::Digest(document.digest()), document)
            .map_err(|failure| refusal(failure, self.name_of_document(&document.digest())))
    }

    fn tag(&self, tag: &Tag, document: &Document) -> Result<(), StoreError> {
        self.put(ManifestName::Tag(tag.clone()), document)
            .map_err(|failure| refusal(failure, self.name_of_tag(tag)))
    }

    fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        done(self.remove_tag(tag)?, || self.name_of_tag(tag))
    }

    fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        Ok(self.tags_if_known()?.unwrap_or_default())
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        referrers::list(self, subject).map_err(|failure| {
            failure.into_store_error("list", format!("what refers to {}", self.name_of_document(subject)))
        })
    }

    /// Removes a manifest, and its entry in a fallback list of referrers.
    fn delete_document(&self, digest: &Digest) -> Result<(), StoreError> {
        done(self.remove_document(digest)?, || self.name_of_document(digest))
    }
}

fn done(removal: Removal, what: impl Fn() -> String) -> Result<(), StoreError> {
    match removal {
        Removal::Done => Ok(()),
        Removal::Unsupported(reason) => Err(StoreError::Denied { what: what(), reason }),
    }
}

/// A manifest that is put and answered with 404 lacks its blobs or its repository.
fn refusal(failure: Failure, what: String) -> StoreError {
    match failure {
        Failure::Status { status: StatusCode::NOT_FOUND, .. } => {
            StoreError::Denied { what, reason: failure.to_string() }
        }
        failure => failure.into_store_error("push", what),
    }
}

/// Returns a header of a call.
pub(super) fn header(name: HeaderName, value: impl Into<String>) -> (HeaderName, String) {
    (name, value.into())
}
