//! Images at rest, and the seam between the stages: where an image lies is a [`BlobStore`] for its
//! content and an [`ImageStore`] for its names.
//!
//! A store value is *one repository's view*: a folder of the local layout, a repository of a
//! registry, an archive. Methods block; bounded parallelism is [`copy`]'s. Bytes that a store
//! hands out were checked against their digest, either now or when they were written and not
//! touched since; a mismatch is [`StoreError::Corrupt`] and is never retried.
//!
//! Source: image-spec v1.1, image-layout.md; distribution-spec v1.1 for the shape of the names.

use std::io;

use oci::{Descriptor, Digest, Document, Tag};

pub mod archive;
mod blob;
pub mod check;
pub mod children;
pub mod copy;
pub mod fallback;
pub mod flat;
pub mod folder;
mod graph;
pub mod layout;
pub mod memory;
pub mod object;
pub mod part;
pub mod referrer;

pub use archive::{
    ArchiveFormat, ArchiveImage, ArchiveOptions, ArchiveStore, ArchivedImage, ArchivedName, save_to_path,
    write_archive,
};
pub use blob::{Blob, Resumable, Source};
pub use check::CheckedReader;
pub use children::{Child, ChildKind, children};
pub use copy::{Company, Copied, CopyEvent, CopyOptions, Foreign, Platforms, Top, copy_image, missing_parts};
pub use fallback::Fallback;
pub use flat::FlatFolder;
pub use folder::OciFolder;
pub use graph::image_for_platform;
pub use layout::{
    Children, CollectOptions, Collected, CollectionPlan, FactVersion, Follower, Funnel, Ingest, IngestError,
    LayoutRepository, LayoutStore, Reach, RepositoryOptions, StoreLock, StoredBlob, TagRule, UsedDocument,
};
pub use memory::MemoryStore;
pub use object::{Bucket, ObjectRepository, ObjectStore, S3Place, S3Settings};
pub use part::PartFolder;

/// Returns the message of an error with those of its causes on one line, for places that keep only text.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Content by digest.
pub trait BlobStore: Send + Sync {
    /// Returns the size in bytes of the blob, or `None` where the store does not have it.
    ///
    /// # Errors
    /// `Denied` or `Unreachable`, never `NotFound`.
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError>;

    /// Returns how the blob is here where no content has to come for that: because it was, or could be linked from
    /// elsewhere in the store. `None` where its content has to be put.
    ///
    /// # Errors
    /// As for [`BlobStore::blob_size`].
    fn have_blob(&self, descriptor: &Descriptor) -> Result<Option<Put>, StoreError> {
        let is_there = self.blob_size(&descriptor.digest)? == Some(descriptor.size);
        Ok(is_there.then_some(Put::Present))
    }

    /// Is told which blobs [`BlobStore::have_blob`] is asked for next: who can have several at once has them after
    /// this. It is no more than an occasion; whatever goes wrong shows when they are asked for.
    fn expect_blobs(&self, blobs: &[&Descriptor]) {
        let _ = blobs;
    }

    /// Opens the blob for reading from its start. Reading gives an error of kind
    /// [`io::ErrorKind::InvalidData`] at the end where the content does not have the digest.
    ///
    /// # Errors
    /// `NotFound` where the store does not have it, `Corrupt` where that is already known.
    fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError>;

    /// Stores `content` under the digest and size that `descriptor` names; a blob that is there
    /// already is not written again. Nothing becomes visible unless digest and size are right.
    ///
    /// # Errors
    /// `Corrupt` where the content is not what the descriptor says.
    fn put_blob(&self, descriptor: &Descriptor, content: Blob) -> Result<Put, StoreError>;
}

/// Manifests and names over blobs.
pub trait ImageStore: BlobStore {
    /// Returns what `tag` points to. Only media type, digest and size are promised.
    ///
    /// # Errors
    /// `NotFound` where there is no such tag.
    fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError>;

    /// Returns the manifest or index with `digest`.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` where its bytes do not have the digest or cannot be read as a manifest.
    fn document(&self, digest: &Digest) -> Result<Document, StoreError>;

    /// Stores a manifest or index after everything it needs; a store may refuse one whose children
    /// it does not have. This is where durability happens: when it returns, the image survives a crash.
    fn put_document(&self, document: &Document) -> Result<(), StoreError>;

    /// Makes `tag` point to `document`, which is stored as well where it is not there yet.
    ///
    /// # Errors
    /// `Denied` where the tag is immutable and points elsewhere.
    fn tag(&self, tag: &Tag, document: &Document) -> Result<(), StoreError>;

    /// Removes a tag; what it pointed to stays.
    fn untag(&self, tag: &Tag) -> Result<(), StoreError>;

    /// Returns all tags in ascending order; empty where the repository is unknown.
    fn tags(&self) -> Result<Vec<Tag>, StoreError>;

    /// Returns the manifests that say something about `subject`, ascending by digest, with their
    /// type of artifact and their annotations; may be empty, also where nothing is known of it.
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError>;

    /// Removes a manifest from the repository together with the tags that point to it.
    fn delete_document(&self, digest: &Digest) -> Result<(), StoreError>;
}

/// Whether a write had to move bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The content was there already.
    Present,
    /// The content was transferred.
    Written,
    /// The content was linked from another repository, or from a store on the same file system,
    /// without moving bytes.
    Mounted,
}

/// Why a store could not do what it was asked for. `what` always names the thing and the store,
/// such as `blob sha256:... in the store at /var/lib/x` or `manifest ghcr.io/acme/api:main`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is not there.
    #[error("{what} does not exist")]
    NotFound {
        /// The thing and the store.
        what: String,
    },
    /// Its bytes are not what its digest, size or type says. Never retried.
    #[error("{what} is corrupt: {reason}")]
    Corrupt {
        /// The thing and the store.
        what: String,
        /// Expected and found.
        reason: String,
    },
    /// It is there, and of a kind that nothing here works with.
    #[error("{what} cannot be read: {reason}")]
    Unsupported {
        /// The thing and the store.
        what: String,
        /// What it is, and what to do about it.
        reason: String,
    },
    /// The store refuses: credentials, permissions, an immutable tag, a policy.
    #[error("{what} was refused: {reason}")]
    Denied {
        /// The thing and the store.
        what: String,
        /// The store's words.
        reason: String,
    },
    /// The store could not be reached, broke off, or has no space.
    #[error("cannot {action} {what}")]
    Unreachable {
        /// `read`, `write`, `push`, ...
        action: &'static str,
        /// The thing and the store.
        what: String,
        /// Whether the same request may succeed later.
        transient: bool,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether the same request may succeed when it is made again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { transient: true, .. })
    }

    /// Returns an `Unreachable` for a local input/output error; `what` names the file.
    pub fn io(action: &'static str, what: impl Into<String>, source: io::Error) -> Self {
        Self::Unreachable { action, what: what.into(), transient: false, source: Box::new(source) }
    }
}
