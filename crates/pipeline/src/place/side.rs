//! Names of registries have two sides: what the local store has under them, and what their registry has.

use oci::{Descriptor, Digest, Document, Tag};
use store::{Blob, BlobStore, Fallback, ImageStore, LayoutRepository, Put, StoreError};

use super::Place;
use super::open::{Located, PlaceError, Places, absent_is_none};

/// Where names of registries are looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// In the local store, and where it does not have them in their registry.
    #[default]
    Nearest,
    /// In the local store alone.
    Local,
    /// In their registry, whatever the local store has.
    Registry,
}

impl Places {
    /// Finds the image at `place`; a name of a registry is looked up at that side.
    ///
    /// # Errors
    /// As for [`Self::find`].
    pub fn find_at(&self, place: &Place, side: Side) -> Result<Located, PlaceError> {
        match (place, side) {
            (Place::Name(reference), Side::Registry) => self.find_remote(reference),
            (Place::Name(reference), Side::Local) => {
                Ok(self.find_local(reference)?.ok_or_else(|| self.not_here(reference))?)
            }
            _ => self.find(place),
        }
    }

    /// Returns an image of the local store with what refers to it in the registry that its name names: what
    /// others have said about it since is only there. Every other image is returned as it is.
    ///
    /// # Errors
    /// `Offline` where that registry must not be asked. Nothing is asked of it yet.
    pub fn with_referrers(&self, found: Located) -> Result<Located, PlaceError> {
        let elsewhere = found.name.repository().filter(|name| !name.registry().is_local());
        let (Some(here), Some(there)) = (&found.local, elsewhere) else { return Ok(found) };
        let held = Held { here: self.local().repository(here), there: Box::new(self.remote(there)?) };
        Ok(Located { store: Box::new(held), ..found })
    }
}

/// Content of the local store, and from the registry what it lacks; what refers to it, and the tags that say so,
/// are those of both. Where both have a tag, the registry's counts: others may have signed since.
struct Held {
    here: LayoutRepository,
    there: Box<dyn ImageStore>,
}

impl Held {
    fn both(&self) -> Fallback<'_> {
        Fallback { first: &self.here, then: &*self.there }
    }
}

impl BlobStore for Held {
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        self.both().blob_size(digest)
    }

    fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError> {
        match absent_is_none(self.here.open_blob(digest))? {
            None => self.there.open_blob(digest),
            Some(found) => Ok(found),
        }
    }

    fn put_blob(&self, descriptor: &Descriptor, content: Blob) -> Result<Put, StoreError> {
        self.here.put_blob(descriptor, content)
    }
}

impl ImageStore for Held {
    fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        match absent_is_none(self.there.resolve(tag))? {
            None => self.here.resolve(tag),
            Some(found) => Ok(found),
        }
    }

    fn document(&self, digest: &Digest) -> Result<Document, StoreError> {
        match absent_is_none(self.here.document(digest))? {
            None => self.there.document(digest),
            Some(found) => Ok(found),
        }
    }

    fn put_document(&self, document: &Document) -> Result<(), StoreError> {
        self.here.put_document(document)
    }

    fn tag(&self, tag: &Tag, document: &Document) -> Result<(), StoreError> {
        self.here.tag(tag, document)
    }

    fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        self.here.untag(tag)
    }

    fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        self.both().tags()
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        self.both().referrers(subject)
    }

    fn delete_document(&self, digest: &Digest) -> Result<(), StoreError> {
        self.here.delete_document(digest)
    }
}
