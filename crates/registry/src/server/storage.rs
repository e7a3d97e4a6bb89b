//! Where a server keeps images: in the folder of its store, or in a bucket. The set is closed, and
//! what differs between the two is here and nowhere else.
//!
//! With a bucket the folder is still where uploads are written while they come, so that sessions can be
//! gone on with; a whole upload goes to the bucket before its answer. Locks are the folder's: a
//! bucket has its own order of writing and removing.

use std::ops::Deref;
use std::time::Duration;

use oci::{Descriptor, Digest, MediaType, Registry, Repository, Tag};
use store::object::ObjectRange;
use store::{
    Blob, BlobStore as _, CollectOptions, Collected, ImageStore, Ingest, LayoutRepository, LayoutStore,
    ObjectRepository, ObjectStore, RepositoryOptions, Source, StoreError, StoreLock, TagRule,
};

use super::ServerOptions;

/// A bucket that holds the images of a server.
#[derive(Clone, Debug)]
pub struct InBucket {
    /// The store in it.
    pub store: ObjectStore,
    /// Sends clients that read a blob to the bucket, with an address that is valid for so long;
    /// otherwise content goes through the server.
    pub redirect: Option<Duration>,
}

/// Where all images are.
#[derive(Clone, Copy)]
pub(super) enum Storage<'a> {
    Folder(&'a LayoutStore),
    Bucket(&'a ObjectStore),
}

/// One repository. Both kinds are image stores; what they have beyond that is here.
pub(super) enum StoredRepository {
    Folder(LayoutRepository),
    Bucket(ObjectRepository),
}

impl<'a> Storage<'a> {
    /// Returns where a server with these options keeps images.
    pub fn of(options: &'a ServerOptions) -> Self {
        match &options.bucket {
            Some(bucket) => Self::Bucket(&bucket.store),
            None => Self::Folder(&options.store),
        }
    }

    /// Returns the view of one repository.
    pub fn repository(self, name: &Repository, options: RepositoryOptions) -> StoredRepository {
        match self {
            Self::Folder(store) => StoredRepository::Folder(store.repository_with(name, options)),
            Self::Bucket(store) => StoredRepository::Bucket(store.repository_with(name, options)),
        }
    }

    /// Returns the size of a blob, whichever repository has it.
    pub fn blob_size(self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Folder(store) => store.blob_size(digest),
            Self::Bucket(store) => store.blob_size(digest),
        }
    }

    /// Returns the repositories that clients see, in ascending order.
    pub fn repositories(self) -> Result<Vec<Repository>, StoreError> {
        match self {
            Self::Folder(store) => store.repositories(),
            Self::Bucket(store) => store.repositories(&Registry::local()),
        }
    }

    /// Returns the repositories of a registry that have blobs.
    pub fn repositories_with_blobs(self, registry: &Registry) -> Result<Vec<Repository>, StoreError> {
        match self {
            Self::Folder(store) => store.repositories_with_blobs(registry),
            Self::Bucket(store) => store.repositories_with_blobs(registry),
        }
    }

    /// Keeps collections of other processes away until what is returned is dropped.
    pub fn lock_shared(self) -> Result<Option<StoreLock>, StoreError> {
        match self {
            Self::Folder(store) => store.lock_shared().map(Some),
            Self::Bucket(_) => Ok(None),
        }
    }

    /// Whether images can be served.
    pub fn is_well(self) -> bool {
        match self {
            Self::Folder(store) => store.root().join("temporary").is_dir(),
            Self::Bucket(store) => store.check().is_ok(),
        }
    }

    /// Removes what nothing needs.
    pub fn collect(
        self,
        options: &CollectOptions,
        keep: &dyn Fn(&Digest) -> bool,
    ) -> Result<Collected, StoreError> {
        match self {
            Self::Folder(store) => store.apply_collection(store.plan_collection(options, keep)?, options),
            Self::Bucket(store) => store.apply_collection(store.plan_collection(options, keep)?, options),
        }
    }
}

impl StoredRepository {
    pub fn name(&self) -> &Repository {
        match self {
            Self::Folder(repository) => repository.name(),
            Self::Bucket(repository) => repository.name(),
        }
    }

    pub fn has_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        match self {
            Self::Folder(repository) => repository.has_blob(digest),
            Self::Bucket(repository) => repository.has_blob(digest),
        }
    }

    /// Whether it has the manifest; `false` also where that cannot be known.
    pub fn has_manifest(&self, digest: &Digest) -> bool {
        match self {
            Self::Folder(repository) => repository.has_manifest(digest),
            Self::Bucket(repository) => repository.has_manifest(digest).unwrap_or(false),
        }
    }

    /// Whether it has any manifest.
    pub fn has_manifests(&self) -> Result<bool, StoreError> {
        match self {
            Self::Folder(repository) => Ok(!repository.manifests()?.is_empty()),
            Self::Bucket(repository) => Ok(!repository.manifests()?.is_empty()),
        }
    }

    pub fn used_bytes(&self) -> Result<u64, StoreError> {
        match self {
            Self::Folder(repository) => repository.used_bytes(),
            Self::Bucket(repository) => repository.used_bytes(),
        }
    }

    /// Makes a blob of `from` one of this repository too; `false` where `from` does not have it.
    pub fn mount_blob(&self, digest: &Digest, from: &Self) -> Result<bool, StoreError> {
        match (self, from) {
            (Self::Folder(repository), Self::Folder(from)) => repository.mount_blob(digest, from),
            (Self::Bucket(repository), Self::Bucket(from)) => repository.mount_blob(digest, from),
            // A server has one storage.
            _ => Ok(false),
        }
    }

    pub fn refresh_blob(&self, digest: &Digest) {
        match self {
            Self::Folder(repository) => repository.refresh_blob(digest),
            Self::Bucket(repository) => repository.refresh_blob(digest),
        }
    }

    pub fn delete_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        match self {
            Self::Folder(repository) => repository.delete_blob(digest),
            Self::Bucket(repository) => repository.delete_blob(digest),
        }
    }

    pub fn set_tags(&self, tags: &[(Tag, TagRule)], document: &oci::Document) -> Result<(), StoreError> {
        match self {
            Self::Folder(repository) => repository.set_tags(tags, document),
            Self::Bucket(repository) => repository.set_tags(tags, document),
        }
    }

    /// Makes what was received a blob of the repository, where it has this digest.
    pub fn take(&self, upload: Ingest, digest: &Digest, size: u64) -> Result<(), StoreError> {
        match self {
            Self::Folder(repository) => {
                upload.commit_checked(digest, size)?;
                repository.adopt_blob(digest)
            }
            Self::Bucket(repository) => {
                let blob = upload.into_blob(digest, size)?;
                let media_type = MediaType::from("application/octet-stream");
                repository.put_blob(&Descriptor::new(media_type, *digest, size), blob).map(|_| ())
            }
        }
    }

    /// Opens a part of a blob that is read without what lies before it, where the storage can.
    pub fn open_part(&self, digest: &Digest, offset: u64, length: u64) -> Option<Blob> {
        match self {
            Self::Folder(_) => None,
            Self::Bucket(repository) => {
                let part: ObjectRange = repository.store().open_range(digest, offset, length);
                Some(Blob::new(length, Source::Stream(Box::new(part))))
            }
        }
    }
}

impl Deref for StoredRepository {
    type Target = dyn ImageStore;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Folder(repository) => repository,
            Self::Bucket(repository) => repository,
        }
    }
}
