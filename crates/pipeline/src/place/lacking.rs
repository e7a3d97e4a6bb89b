//! Images outside of registries that lack layers which registries do not hand on: these come from where their
//! manifests say that they are, as they do for an image of a registry.

use std::collections::BTreeMap;
use std::ops::Deref;

use oci::{Descriptor, Digest, Document, Tag};
use registry::client::Client;
use store::{Blob, BlobStore, Foreign, ImageStore, Put, StoreError, missing_parts};

use super::open::{Located, PlaceError, Places, absent_is_none};

/// A store with what it lacks of one image.
pub(crate) struct Completed<S> {
    store: S,
    client: Option<Client>,
    /// What is to be had elsewhere; empty where there is no client.
    lacking: BTreeMap<Digest, Descriptor>,
    place: String,
}

impl Places {
    /// Returns `store` with what it lacks of the image `descriptor` and what is named elsewhere; `place` is what the
    /// store is called. Nothing is asked yet.
    ///
    /// # Errors
    /// `Client` or `Credential` where something is lacking and no client can be had.
    pub(crate) fn completed<S>(
        &self,
        store: S,
        descriptor: &Descriptor,
        place: String,
    ) -> Result<Completed<S>, PlaceError>
    where
        S: Deref<Target: ImageStore> + Send + Sync,
    {
        let whole = Completed { store, client: None, lacking: BTreeMap::new(), place };
        // What else is wrong with the image is told when it is copied.
        let Ok(missing) = missing_parts(&whole, descriptor, Foreign::Copied) else { return Ok(whole) };
        let lacking: BTreeMap<Digest, Descriptor> = missing
            .into_iter()
            .filter(|blob| !blob.urls.is_empty())
            .map(|blob| (blob.digest, blob))
            .collect();
        if lacking.is_empty() || !self.client()?.follows_urls() {
            return Ok(whole);
        }
        Ok(Completed { client: Some(self.client()?.clone()), lacking, ..whole })
    }

    pub(super) fn with_lacking(&self, found: Located) -> Result<Located, PlaceError> {
        let place = found.name.to_string();
        let store = self.completed(found.store, found.document.descriptor(), place)?;
        Ok(Located { store: if store.client.is_some() { Box::new(store) } else { store.store }, ..found })
    }
}

impl<S: Deref<Target: ImageStore> + Send + Sync> BlobStore for Completed<S> {
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        match self.store.blob_size(digest)? {
            None => Ok(self.lacking.get(digest).map(|blob| blob.size)),
            found => Ok(found),
        }
    }

    fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError> {
        match (&self.client, self.lacking.get(digest)) {
            (Some(client), Some(blob)) => match absent_is_none(self.store.open_blob(digest))? {
                None => client.open_elsewhere(blob, &self.place),
                Some(found) => Ok(found),
            },
            _ => self.store.open_blob(digest),
        }
    }

    fn put_blob(&self, descriptor: &Descriptor, content: Blob) -> Result<Put, StoreError> {
        self.store.put_blob(descriptor, content)
    }
}

impl<S: Deref<Target: ImageStore> + Send + Sync> ImageStore for Completed<S> {
    fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        self.store.resolve(tag)
    }

    fn document(&self, digest: &Digest) -> Result<Document, StoreError> {
        self.store.document(digest)
    }

    fn put_document(&self, document: &Document) -> Result<(), StoreError> {
        self.store.put_document(document)
    }

    fn tag(&self, tag: &Tag, document: &Document) -> Result<(), StoreError> {
        self.store.tag(tag, document)
    }

    fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        self.store.untag(tag)
    }

    fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        self.store.tags()
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        self.store.referrers(subject)
    }

    fn delete_document(&self, digest: &Digest) -> Result<(), StoreError> {
        self.store.delete_document(digest)
    }
}
