//! Two stores read as one: what the first lacks comes from the second.

use oci::{Descriptor, Digest, Document, Tag};

use crate::{Blob, BlobStore, ImageStore, Put, StoreError};

/// Reads from `first`, and from `then` what is not there. Writing goes to `first`.
pub struct Fallback<'a> {
    /// Asked first.
    pub first: &'a dyn ImageStore,
    /// Asked for what the first does not have.
    pub then: &'a dyn ImageStore,
}

impl Fallback<'_> {
    /// Returns what one of them has; of two that have nothing, what the first says.
    fn either<T>(&self, ask: impl Fn(&dyn ImageStore) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match ask(self.first) {
            Err(missing @ StoreError::NotFound { .. }) => match ask(self.then) {
                Err(StoreError::NotFound { .. }) => Err(missing),
                other => other,
            },
            found => found,
        }
    }
}

impl BlobStore for Fallback<'_> {
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        match self.first.blob_size(digest)? {
            None => self.then.blob_size(digest),
            found => Ok(found),
        }
    }

    fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError> {
        self.either(|store| store.open_blob(digest))
    }

    fn put_blob(&self, descriptor: &Descriptor, content: Blob) -> Result<Put, StoreError> {
        self.first.put_blob(descriptor, content)
    }
}

impl ImageStore for Fallback<'_> {
    fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        self.either(|store| store.resolve(tag))
    }

    fn document(&self, digest: &Digest) -> Result<Document, StoreError> {
        self.either(|store| store.document(digest))
    }

    fn put_document(&self, document: &Document) -> Result<(), StoreError> {
        self.first.put_document(document)
    }

    fn tag(&self, tag: &Tag, document: &Document) -> Result<(), StoreError> {
        self.first.tag(tag, document)
    }

    fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        self.first.untag(tag)
    }

    fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        let mut tags = self.first.tags()?;
        tags.extend(self.then.tags()?);
        tags.sort();
        tags.dedup();
        Ok(tags)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        let mut found = self.first.referrers(subject)?;
        found.extend(self.then.referrers(subject)?);
        found.sort_by_key(|descriptor| descriptor.digest);
        found.dedup_by_key(|descriptor| descriptor.digest);
        Ok(found)
    }

    fn delete_document(&self, digest: &Digest) -> Result<(), StoreError> {
        self.first.delete_document(digest)
    }
}

#[cfg(test)]
mod tests {
    use oci::{ImageManifest, MediaType};

    use super::*;
    use crate::{CopyOptions, MemoryStore, copy_image};

    fn put(store: &MemoryStore, media_type: MediaType, content: &'static str) -> Descriptor {
        let descriptor = Descriptor::of(media_type, content.as_bytes());
        store.put_blob(&descriptor, Blob::from_bytes(content)).unwrap();
        descriptor
    }

    #[test]
    fn an_image_in_two_halves_is_whole() {
        let (first, then, all) = (MemoryStore::new(), MemoryStore::new(), MemoryStore::new());
        let config = put(&first, MediaType::OciConfig, "{}");
        let (layer, other) = (put(&then, MediaType::OciLayer, "a"), put(&then, MediaType::OciLayer, "b"));
        let document = Document::from_manifest(ImageManifest::new(config.clone(), vec![layer, other]));
        for store in [&then, &all] {
            put(store, MediaType::OciConfig, "{}");
        }
        then.put_document(&document).unwrap();
        let both = Fallback { first: &first, then: &then };
        let copied =
            copy_image(&both, &all, document.descriptor(), &CopyOptions::default(), &|_| {}).unwrap();
        assert_eq!((copied.blobs_moved, copied.blobs_present), (2, 1));
        let nowhere = both.open_blob(&Digest::of(b"nowhere"));
        assert!(matches!(nowhere, Err(StoreError::NotFound { .. })));
        assert_eq!(both.blob_size(&config.digest).unwrap(), Some(2));
    }
}
