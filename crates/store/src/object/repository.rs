//! One repository of a bucket.

use bytes::Bytes;
use oci::{Descriptor, Digest, Document, Repository, Tag};

use super::bucket::Depth;
use super::keys::{self, RepositoryKeys};
use super::{MAX_FACT_BYTES, ObjectStore, parallel};
use crate::children::{Child, ChildKind, children};
use crate::layout::{Reach, RepositoryOptions, TagRule};
use crate::{Blob, BlobStore, ImageStore, Put, StoreError, referrer};

/// A repository of an [`ObjectStore`].
#[derive(Clone, Debug)]
pub struct ObjectRepository {
    store: ObjectStore,
    repository: Repository,
    keys: RepositoryKeys,
    options: RepositoryOptions,
}

impl ObjectRepository {
    pub(super) fn new(store: ObjectStore, repository: Repository, options: RepositoryOptions) -> Self {
        let keys = RepositoryKeys::new(&repository);
        Self { store, repository, keys, options }
    }

    /// Returns the repository's name.
    pub fn name(&self) -> &Repository {
        &self.repository
    }

    /// Returns the store it is part of.
    pub fn store(&self) -> &ObjectStore {
        &self.store
    }

    /// Returns the digests of the repository's manifests and indexes, in ascending order.
    ///
    /// # Errors
    /// `Denied` or `Unreachable`.
    pub fn manifests(&self) -> Result<Vec<Digest>, StoreError> {
        self.digests(&self.keys.manifests())
    }

    /// Whether the repository has the manifest, by a look at its name alone.
    ///
    /// # Errors
    /// `Denied` or `Unreachable`.
    pub fn has_manifest(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.store.bucket().look(&self.keys.manifest(digest))?.is_some())
    }

    /// Whether the blob was put or mounted into this very repository.
    ///
    /// # Errors
    /// `Denied`, `Unreachable`, or `Corrupt` where the note about it cannot be read.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.noted_size(digest)?.is_some())
    }

    /// Returns the sum of the sizes of the blobs and manifests that were put here, in bytes. It
    /// takes a request for each.
    ///
    /// # Errors
    /// `Denied` or `Unreachable`.
    pub fn used_bytes(&self) -> Result<u64, StoreError> {
        let blobs = parallel(&self.digests(&self.keys.blobs())?, |digest| self.noted_size(digest))?;
        let manifests = parallel(&self.manifests()?, |digest| {
            Ok(self.fact(&self.keys.manifest(digest))?.map(|found| found.size))
        })?;
        Ok(blobs.into_iter().chain(manifests).flatten().sum())
    }

    /// Makes a blob of `from` a blob of this repository too, without moving bytes; `false` where
    /// `from` does not have it.
    ///
    /// # Errors
    /// `Denied` or `Unreachable`.
    pub fn mount_blob(&self, digest: &Digest, from: &Self) -> Result<bool, StoreError> {
        let Some(size) = from.noted_size(digest)? else { return Ok(false) };
        self.note_blob(digest, size)?;
        // The note keeps the content from now on; what went before it was written is gone.
        match self.store.blob_size(digest)? {
            Some(_) => Ok(true),
            None => self.store.bucket().remove(&self.keys.blob(digest)).map(|()| false),
        }
    }

    /// Notes that somebody was told the blob is here, so that it is not collected before they name
    /// it in a manifest. It is no matter where that cannot be noted.
    pub fn refresh_blob(&self, digest: &Digest) {
        if let Ok(Some(size)) = self.noted_size(digest) {
            let _ = self.note_blob(digest, size);
        }
    }

    /// Takes the blob out of the repository; the content stays until garbage collection.
    ///
    /// # Errors
    /// `NotFound` where the repository does not have it.
    pub fn delete_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        if self.has_blob(digest)? {
            return self.store.bucket().remove(&self.keys.blob(digest));
        }
        Err(StoreError::NotFound { what: format!("blob {digest} of {}", self.repository) })
    }

    /// Makes each of `tags` point to `document`, which is stored as well where it is not there yet;
    /// none where one must not move. A tag that stays is set by a request that the bucket refuses
    /// where the tag exists, so two writers cannot both set it.
    ///
    /// # Errors
    /// `Denied`, naming both digests, where a tag that stays points elsewhere.
    pub fn set_tags(&self, tags: &[(Tag, TagRule)], document: &Document) -> Result<(), StoreError> {
        let _held = self.store.hold();
        self.put_held(document)?;
        let target = document.descriptor();
        for (tag, rule) in tags {
            if *rule == TagRule::Stays {
                self.check_stays(tag, target)?;
            }
        }
        for (tag, rule) in tags {
            let (key, fact) = (self.keys.tag(tag), to_json(target));
            match rule {
                TagRule::Moves => self.store.bucket().put(&key, fact)?,
                TagRule::Stays if self.store.bucket().put_new(&key, fact)? => {}
                TagRule::Stays => self.check_stays(tag, target)?,
            }
        }
        Ok(())
    }

    fn check_stays(&self, tag: &Tag, target: &Descriptor) -> Result<(), StoreError> {
        match self.fact(&self.keys.tag(tag))? {
            Some(old) if old.digest != target.digest => {
                let reason = format!("it is immutable and points to {}, not {}", old.digest, target.digest);
                Err(StoreError::Denied { what: self.what_tag(tag), reason })
            }
            _ => Ok(()),
        }
    }

    /// Stores the document while no collection of this process is in its turn.
    fn put_held(&self, document: &Document) -> Result<(), StoreError> {
        let digest = document.digest();
        let is_there =
            self.has_manifest(&digest)? && self.store.blob_size(&digest)? == Some(document.descriptor().size);
        if is_there {
            // All it is made of was there before its name was written, and stays as long as that does.
            return Ok(());
        }
        let needed = self.needed(document)?;
        self.store.put_blob(document.descriptor(), Blob::from_bytes(document.raw().clone()))?;
        parallel(&needed, |child| self.adopt(child))?;
        self.store.bucket().put(&self.keys.manifest(&digest), to_json(document.descriptor()))?;
        if let Some(subject) = document.subject() {
            let fact = to_json(&referrer::describe(document));
            self.store.bucket().put(&self.keys.referrer(&subject.digest, &digest), fact)?;
        }
        Ok(())
    }

    /// Returns the blobs and manifests that `document` needs and the store has, and refuses it
    /// where one is missing.
    fn needed<'a>(&self, document: &'a Document) -> Result<Vec<Child<'a>>, StoreError> {
        let all = children(document);
        let sizes = parallel(&all, |child| match child.kind {
            ChildKind::Document => self.child_size(child.descriptor),
            ChildKind::Blob => self.blob_size(&child.descriptor.digest),
        })?;
        let mut present = Vec::new();
        for (child, have) in all.into_iter().zip(sizes) {
            match have {
                Some(size) if size == child.descriptor.size => present.push(child),
                Some(size) => {
                    return Err(child.wrong_size(document, &self.repository, size));
                }
                None if self.options.children.may_lack(document, &child) => {}
                None => return Err(child.missing(document, &self.repository)),
            }
        }
        Ok(present)
    }

    fn child_size(&self, child: &Descriptor) -> Result<Option<u64>, StoreError> {
        match self.fact(&self.keys.manifest(&child.digest))? {
            Some(known) => Ok(Some(known.size)),
            None if self.options.reach == Reach::Repository => Ok(None),
            None => self.store.blob_size(&child.digest),
        }
    }

    /// Notes that a part of a document belongs to this repository.
    fn adopt(&self, child: &Child<'_>) -> Result<(), StoreError> {
        let Descriptor { digest, size, media_type, .. } = child.descriptor;
        match child.kind {
            // In a strict view it was found by its note.
            ChildKind::Blob if self.options.reach == Reach::Repository => Ok(()),
            ChildKind::Blob => self.note_blob(digest, *size),
            ChildKind::Document if self.fact(&self.keys.manifest(digest))?.is_some() => Ok(()),
            ChildKind::Document => {
                let plain = Descriptor::new(media_type.clone(), *digest, *size);
                self.store.bucket().put(&self.keys.manifest(digest), to_json(&plain))
            }
        }
    }

    fn note_blob(&self, digest: &Digest, size: u64) -> Result<(), StoreError> {
        self.store.bucket().put(&self.keys.blob(digest), size.to_string())
    }

    /// Returns the size of a blob that the repository has a note of.
    fn noted_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let key = self.keys.blob(digest);
        let Some(raw) = self.store.bucket().get(&key, 64)? else { return Ok(None) };
        let size = std::str::from_utf8(&raw).ok().and_then(|text| text.trim().parse().ok());
        let reason = || "it is not a number of bytes; remove it and push the blob again".to_owned();
        size.map(Some)
            .ok_or_else(|| StoreError::Corrupt { what: self.store.bucket().what(&key), reason: reason() })
    }

    fn fact(&self, key: &str) -> Result<Option<Descriptor>, StoreError> {
        let Some(raw) = self.store.bucket().get(key, MAX_FACT_BYTES)? else { return Ok(None) };
        serde_json::from_slice(&raw).map(Some).map_err(|error| {
            let reason = format!("it is not a descriptor ({error}); remove it and push again");
            StoreError::Corrupt { what: self.store.bucket().what(key), reason }
        })
    }

    fn digests(&self, prefix: &str) -> Result<Vec<Digest>, StoreError> {
        let names = self.store.bucket().list(prefix, Depth::One)?;
        let mut digests: Vec<Digest> = names.iter().filter_map(|entry| keys::digest(&entry.name)).collect();
        digests.sort();
        Ok(digests)
    }

    fn what_tag(&self, tag: &Tag) -> String {
        format!("tag {}:{tag} in the store at {}", self.repository, self.store.name())
    }

    fn what_document(&self, digest: &Digest) -> String {
        format!("manifest {}@{digest} in the store at {}", self.repository, self.store.name())
    }
}

impl BlobStore for ObjectRepository {
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        match self.options.reach {
            // A note whose content another program collected counts as none, so that it is sent again.
            Reach::Repository => match self.noted_size(digest)? {
                Some(_) => self.store.blob_size(digest),
                None => Ok(None),
            },
            Reach::Store => self.store.blob_size(digest),
        }
    }

    fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError> {
        let size = match self.options.reach {
            Reach::Repository => self.noted_size(digest)?,
            Reach::Store => self.store.blob_size(digest)?,
        };
        match size {
            Some(size) => Ok(self.store.open_sized(digest, size)),
            None => Err(StoreError::NotFound { what: format!("blob {digest} of {}", self.repository) }),
        }
    }

    fn put_blob(&self, descriptor: &Descriptor, content: Blob) -> Result<Put, StoreError> {
        let put = self.store.put_blob(descriptor, content)?;
        if put != Put::Present {
            self.note_blob(&descriptor.digest, descriptor.size)?;
            return Ok(put);
        }
        let is_member = self.has_blob(&descriptor.digest)?;
        self.note_blob(&descriptor.digest, descriptor.size)?;
        // It could be collected until it was noted, and stays from then on.
        match self.store.blob_size(&descriptor.digest)? {
            Some(_) if is_member => Ok(Put::Present),
            Some(_) => Ok(Put::Mounted),
            None => {
                let source = "it was removed by a collection just now; put it again".into();
                let what = self.store.what(&descriptor.digest);
                Err(StoreError::Unreachable { action: "write", what, transient: true, source })
            }
        }
    }
}

impl ImageStore for ObjectRepository {
    fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        let found = self.fact(&self.keys.tag(tag))?;
        found.ok_or_else(|| StoreError::NotFound { what: self.what_tag(tag) })
    }

    fn document(&self, digest: &Digest) -> Result<Document, StoreError> {
        let missing = || StoreError::NotFound { what: self.what_document(digest) };
        let known = self.fact(&self.keys.manifest(digest))?.ok_or_else(missing)?;
        let raw: Bytes = self.store.read_document(digest)?.ok_or_else(missing)?;
        let document = Document::parse(raw, Some(&known.media_type)).map_err(|error| {
            StoreError::Corrupt { what: self.what_document(digest), reason: error.to_string() }
        })?;
        Ok(document.known_by(digest.algorithm()))
    }

    fn put_document(&self, document: &Document) -> Result<(), StoreError> {
        let _held = self.store.hold();
        self.put_held(document)
    }

    fn tag(&self, tag: &Tag, document: &Document) -> Result<(), StoreError> {
        self.set_tags(&[(tag.clone(), TagRule::Moves)], document)
    }

    fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        let key = self.keys.tag(tag);
        match self.store.bucket().look(&key)? {
            Some(_) => self.store.bucket().remove(&key),
            None => Err(StoreError::NotFound { what: self.what_tag(tag) }),
        }
    }

    fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        let names = self.store.bucket().list(&self.keys.tags(), Depth::One)?;
        let mut tags: Vec<Tag> = names.iter().filter_map(|entry| entry.name.parse().ok()).collect();
        tags.sort();
        Ok(tags)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        let prefix = self.keys.referrers(subject);
        let found =
            parallel(&self.digests(&prefix)?, |digest| self.fact(&self.keys.referrer(subject, digest)))?;
        Ok(found.into_iter().flatten().collect())
    }

    /// It takes a request for each tag of the repository. The name goes last: a deletion that
    /// breaks off is done again.
    fn delete_document(&self, digest: &Digest) -> Result<(), StoreError> {
        let key = self.keys.manifest(digest);
        if self.store.bucket().look(&key)?.is_none() {
            return Err(StoreError::NotFound { what: self.what_document(digest) });
        }
        let tagged = parallel(&self.tags()?, |tag| {
            let target = self.fact(&self.keys.tag(tag))?;
            Ok(target.filter(|target| target.digest == *digest).map(|_| self.keys.tag(tag)))
        })?;
        let mut keys: Vec<String> = tagged.into_iter().flatten().collect();
        match self.document(digest) {
            Ok(document) => {
                keys.extend(document.subject().map(|subject| self.keys.referrer(&subject.digest, digest)));
            }
            // What it was about cannot be known any more.
            Err(StoreError::NotFound { .. } | StoreError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        self.store.bucket().remove_all(keys)?;
        self.store.bucket().remove(&key)
    }
}

fn to_json(descriptor: &Descriptor) -> Bytes {
    serde_json::to_vec(descriptor).expect("a descriptor has only strings, numbers and maps of them").into()
}
