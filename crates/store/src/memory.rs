//! A store in memory, for tests and for images of a few kilobytes.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use oci::{Descriptor, Digest, Document, Hasher, Tag};

use crate::check::Mismatch;
use crate::children::{ChildKind, children};
use crate::{Blob, BlobStore, ImageStore, Put, Source, StoreError, referrer};

/// One repository in memory. Like every store it refuses a manifest whose children it does not have.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blobs: HashMap<Digest, Bytes>,
    documents: BTreeMap<Digest, Document>,
    tags: BTreeMap<Tag, Descriptor>,
}

impl MemoryStore {
    /// Returns an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one insertion or removal, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlobStore for MemoryStore {
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(self.state().blobs.get(digest).map(|content| content.len() as u64))
    }

    fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError> {
        let content = self.state().blobs.get(digest).cloned();
        let content =
            content.ok_or_else(|| StoreError::NotFound { what: format!("blob {digest} in memory") })?;
        Ok(Blob::verified(*digest, content.len() as u64, Source::Bytes(content)))
    }

    fn put_blob(&self, descriptor: &Descriptor, content: Blob) -> Result<Put, StoreError> {
        let digest = descriptor.digest;
        if self.blob_size(&digest)?.is_some() {
            return Ok(Put::Present);
        }
        let content = read(&digest, content)?;
        check(descriptor, &content)?;
        self.state().blobs.insert(digest, content);
        Ok(Put::Written)
    }
}

impl ImageStore for MemoryStore {
    fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        let found = self.state().tags.get(tag).cloned();
        found.ok_or_else(|| StoreError::NotFound { what: format!("tag {tag} in memory") })
    }

    fn document(&self, digest: &Digest) -> Result<Document, StoreError> {
        let found = self.state().documents.get(digest).cloned();
        found.ok_or_else(|| StoreError::NotFound { what: format!("manifest {digest} in memory") })
    }

    fn put_document(&self, document: &Document) -> Result<(), StoreError> {
        let mut state = self.state();
        for child in children(document).iter().filter(|child| !child.optional) {
            let digest = &child.descriptor.digest;
            let there = match child.kind {
                ChildKind::Document => state.documents.contains_key(digest),
                ChildKind::Blob => state.blobs.contains_key(digest),
            };
            if !there {
                let what =
                    format!("{} {digest} of manifest {}", child.descriptor.media_type, document.digest());
                return Err(StoreError::NotFound { what });
            }
        }
        state.documents.insert(document.digest(), document.clone());
        Ok(())
    }

    fn tag(&self, tag: &Tag, document: &Document) -> Result<(), StoreError> {
        self.put_document(document)?;
        self.state().tags.insert(tag.clone(), document.descriptor().clone());
        Ok(())
    }

    fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        let removed = self.state().tags.remove(tag);
        removed.map(|_| ()).ok_or_else(|| StoreError::NotFound { what: format!("tag {tag} in memory") })
    }

    fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        Ok(self.state().tags.keys().cloned().collect())
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        let state = self.state();
        let about = state.documents.values().filter(|document| referrer::is_about(document, subject));
        Ok(about.map(referrer::describe).collect())
    }

    fn delete_document(&self, digest: &Digest) -> Result<(), StoreError> {
        let mut state = self.state();
        state.tags.retain(|_, target| target.digest != *digest);
        let removed = state.documents.remove(digest);
        removed
            .map(|_| ())
            .ok_or_else(|| StoreError::NotFound { what: format!("manifest {digest} in memory") })
    }
}

/// Reads the whole content, one byte more than it should have at the most.
fn read(digest: &Digest, content: Blob) -> Result<Bytes, StoreError> {
    let size = content.size();
    let mut bytes = Vec::new();
    match content.take(size.saturating_add(1)).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes.into()),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(StoreError::Corrupt { what: format!("blob {digest}"), reason: error.to_string() })
        }
        Err(source) => Err(StoreError::io("read", format!("blob {digest}"), source)),
    }
}

fn check(descriptor: &Descriptor, content: &[u8]) -> Result<(), StoreError> {
    let expected = descriptor.digest;
    let mut hasher = Hasher::new(expected.algorithm());
    hasher.update(content);
    let found = hasher.finish();
    let mismatch = if content.len() as u64 != descriptor.size {
        Mismatch::Size { expected: descriptor.size, found: content.len() as u64 }
    } else if found != expected {
        Mismatch::Digest { expected, found }
    } else {
        return Ok(());
    };
    Err(StoreError::Corrupt { what: format!("blob {expected}"), reason: mismatch.to_string() })
}

#[cfg(test)]
mod tests {
    use oci::{ImageManifest, MediaType};

    use super::*;

    #[test]
    fn keeps_an_image_and_forgets_it() {
        let store = MemoryStore::new();
        let config = Descriptor::of(MediaType::OciConfig, b"{}");
        let document = Document::from_manifest(ImageManifest::new(config.clone(), Vec::new()));
        assert!(matches!(store.put_document(&document), Err(StoreError::NotFound { .. })));
        assert_eq!(store.put_blob(&config, Blob::from_bytes("{}")).unwrap(), Put::Written);
        assert_eq!(store.put_blob(&config, Blob::from_bytes("{}")).unwrap(), Put::Present);
        let tag: Tag = "t".parse().unwrap();
        store.tag(&tag, &document).unwrap();
        assert_eq!(store.document(&store.resolve(&tag).unwrap().digest).unwrap(), document);
        store.delete_document(&document.digest()).unwrap();
        assert!(store.tags().unwrap().is_empty());
        assert!(matches!(store.document(&document.digest()), Err(StoreError::NotFound { .. })));
    }

    #[test]
    fn refuses_wrong_content() {
        let store = MemoryStore::new();
        let descriptor = Descriptor::of(MediaType::OciLayer, b"right");
        for content in ["wrong", "rig", "right and more"] {
            let result = store.put_blob(&descriptor, Blob::from_bytes(content));
            assert!(matches!(result, Err(StoreError::Corrupt { .. })), "{content}");
        }
        assert_eq!(store.blob_size(&descriptor.digest).unwrap(), None);
    }
}
