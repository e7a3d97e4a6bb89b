//! One repository of the local store.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use oci::manifest::MAX_DOCUMENT_BYTES;
use oci::{Descriptor, Digest, Document, Repository, Tag};

use super::durable::Names;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};

use super::index::Change;
use super::names::{self, RepositoryFolder};
use super::{LayoutStore, durable};
use crate::children::{Child, ChildKind, children};
use crate::{Blob, BlobStore, ImageStore, Put, StoreError, referrer};

/// A repository of a [`LayoutStore`].
#[derive(Clone)]
pub struct LayoutRepository {
    store: LayoutStore,
    repository: Repository,
    folder: RepositoryFolder,
    options: RepositoryOptions,
}

/// How strict a view of a repository is. The default is what programs on this machine want; a
/// registry server, whose clients must not reach each other's content, asks for more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepositoryOptions {
    /// Which blobs count as present.
    pub reach: Reach,
    /// What a document needs.
    pub children: Children,
}

/// Which blobs count as present in a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Every blob of the store, so that content is never stored or moved twice.
    #[default]
    Store,
    /// Only those that were put or mounted into the repository.
    Repository,
}

/// What a document needs before it may be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Children {
    /// All its children, blobs and manifests.
    #[default]
    Required,
    /// Nothing: distribution-spec v1.1 lets a client push an index of which it has only a part.
    Sparse,
    /// As `Sparse`, and an image may lack layers as long as its configuration is there.
    SparseLayers,
    /// Nothing at all: a cache has of an image what somebody asked for.
    Nothing,
}

impl Children {
    /// Whether `document` may be stored without `child`.
    pub(crate) fn may_lack(self, document: &Document, child: &Child<'_>) -> bool {
        let is_index = document.as_index().is_some();
        let is_configuration =
            document.as_image().is_some_and(|image| image.config.digest == child.descriptor.digest);
        child.optional
            || match self {
                Self::Required => false,
                Self::Sparse => is_index,
                Self::SparseLayers => is_index || !is_configuration,
                Self::Nothing => true,
            }
    }
}

/// Which version of a fact is there. A fact that changes gets a new file, with another number and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactVersion {
    inode: u64,
    changed: (i64, i64),
    size: u64,
}

/// Whether a tag may be made to point elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagRule {
    /// It may.
    Moves,
    /// It stays where it is once it was set.
    Stays,
}

impl LayoutRepository {
    pub(super) fn new(store: LayoutStore, repository: Repository, options: RepositoryOptions) -> Self {
        let folder = RepositoryFolder::new(&store.path("repositories"), &repository);
        Self { store, repository, folder, options }
    }

    /// Returns the repository's name.
    pub fn name(&self) -> &Repository {
        &self.repository
    }

    /// Returns the store it is part of.
    pub fn store(&self) -> &LayoutStore {
        &self.store
    }

    /// Returns the manifests and indexes of the repository, ascending by digest.
    ///
    /// # Errors
    /// `Corrupt` where the file about one cannot be read.
    pub fn manifests(&self) -> Result<Vec<Descriptor>, StoreError> {
        let mut found = Vec::new();
        for digest in self.folder.manifests()? {
            found.extend(names::read_descriptor(&self.folder.manifest(&digest))?);
        }
        Ok(found)
    }

    /// Whether the repository has the manifest, by a look at its name alone; `false` also where the
    /// folder cannot be read.
    pub fn has_manifest(&self, digest: &Digest) -> bool {
        fs::symlink_metadata(self.folder.manifest(digest)).is_ok()
    }

    /// Returns what tells whether the tag was moved or removed since; `None` where there is no such tag.
    pub fn tag_version(&self, tag: &Tag) -> Option<FactVersion> {
        fs::symlink_metadata(self.folder.tag(tag)).ok().map(|metadata| FactVersion {
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.len(),
        })
    }

    /// Whether the blob was put or mounted into this very repository, and is still there.
    ///
    /// # Errors
    /// `Unreachable` where the folder cannot be read.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(exists(&self.folder.blob(digest))? && self.store.blob_size(digest)?.is_some())
    }

    /// Returns the sum of the sizes of the blobs and manifests that were put here, in bytes.
    ///
    /// # Errors
    /// `Unreachable` where a folder cannot be read.
    pub fn used_bytes(&self) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for digest in self.folder.blobs()?.iter().chain(&self.folder.manifests()?) {
            bytes += self.store.blob_size(digest)?.unwrap_or(0);
        }
        Ok(bytes)
    }

    /// Makes a blob of `from` a blob of this repository too, without moving bytes; `false` where
    /// `from` does not have it.
    ///
    /// # Errors
    /// `Unreachable` where the fact cannot be written.
    pub fn mount_blob(&self, digest: &Digest, from: &Self) -> Result<bool, StoreError> {
        let there = from.has_blob(digest)?;
        if there {
            self.mark_blob(digest)?;
        }
        Ok(there)
    }

    /// Notes that a blob which was committed to the store belongs to this repository.
    ///
    /// # Errors
    /// `NotFound` where the store does not have the blob.
    pub fn adopt_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        match self.store.blob_size(digest)? {
            Some(_) => self.mark_blob(digest),
            None => Err(StoreError::NotFound { what: self.store.what(digest) }),
        }
    }

    /// Notes that somebody was told the blob is here, so that it is not collected before they name
    /// it in a manifest. It is no matter where that cannot be noted.
    pub fn refresh_blob(&self, digest: &Digest) {
        refresh(&self.folder.blob(digest));
    }

    /// Notes that the manifest was asked for; [`LayoutStore::documents_by_use`] tells when. It is no
    /// matter where that cannot be noted.
    pub fn refresh_document(&self, digest: &Digest) {
        refresh(&self.folder.manifest(digest));
    }

    /// Takes the blob out of the repository; the content stays until garbage collection.
    ///
    /// # Errors
    /// `NotFound` where the repository does not have it.
    pub fn delete_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        if names::remove(&self.folder.blob(digest))? {
            return Ok(());
        }
        Err(StoreError::NotFound { what: format!("blob {digest} of {}", self.repository) })
    }

    /// Makes `tag` point to `document` where it does not exist yet or points there already.
    ///
    /// # Errors
    /// `Denied`, naming both digests, where it points elsewhere.
    pub fn tag_immutable(&self, tag: &Tag, document: &Document) -> Result<(), StoreError> {
        self.set_tags(&[(tag.clone(), TagRule::Stays)], document)
    }

    /// Makes each of `tags` point to `document`, which is stored as well where it is not there yet:
    /// all of them, or none where one must not move. All files survive a crash by one round of syncing.
    ///
    /// # Errors
    /// `Denied`, naming both digests, where a tag that stays points elsewhere.
    pub fn set_tags(&self, tags: &[(Tag, TagRule)], document: &Document) -> Result<(), StoreError> {
        let mut names = Names::default();
        self.prepare_document(document, &mut names)?;
        let target = document.descriptor();
        let mut change = Change::begin(&self.store)?;
        let mut moving = Vec::new();
        for (tag, rule) in tags {
            match names::read_descriptor(&self.folder.tag(tag)) {
                Ok(Some(old)) if old.digest == target.digest => {}
                Ok(Some(old)) if *rule == TagRule::Stays => {
                    change.finish()?;
                    self.store.write_names(names)?;
                    let reason =
                        format!("it is immutable and points to {}, not {}", old.digest, target.digest);
                    return Err(StoreError::Denied { what: self.what_tag(tag), reason });
                }
                // A tag file that cannot be read is repaired by being written.
                Ok(_) | Err(StoreError::Corrupt { .. }) => moving.push(self.folder.tag(tag)),
                Err(error) => return Err(error),
            }
        }
        for path in moving {
            names.add(&self.store, path, &to_json(target))?;
        }
        self.store.write_names(names)?;
        for (tag, _) in tags {
            change.set(&self.repository, tag, Some(target));
        }
        change.finish()
    }

    /// Writes all that stands before the document's name, and notes what has to be synced for it.
    fn prepare_document(&self, document: &Document, names: &mut Names) -> Result<(), StoreError> {
        let needed = self.needed(document)?;
        let digests = needed.iter().map(|child| child.descriptor.digest);
        if self.has_document(&document.digest())? {
            // What it needs was made durable before its name was written; only repairs are new.
            names.blobs.extend(self.store.written_of(digests));
            return Ok(());
        }
        names.blobs.extend(self.store.not_synced_of(digests));
        let content = Blob::from_bytes(document.raw().clone());
        self.store.put_blob(document.descriptor(), content)?;
        names.blobs.extend(self.store.not_synced_of([document.digest()]));
        self.adopt(&needed, names)?;
        let path = self.folder.manifest(&document.digest());
        names.add(&self.store, path, &to_json(document.descriptor()))
    }

    /// Returns the blobs and manifests that `document` needs and the store has, and refuses it
    /// where one is missing.
    fn needed<'a>(&self, document: &'a Document) -> Result<Vec<Child<'a>>, StoreError> {
        let mut present = Vec::new();
        for child in children(document) {
            let descriptor = child.descriptor;
            let have = match child.kind {
                ChildKind::Document => self.has_child(descriptor)?,
                ChildKind::Blob => self.blob_size(&descriptor.digest)?,
            };
            match have {
                Some(size) if size == descriptor.size => present.push(child),
                Some(size) => return Err(child.wrong_size(document, &self.repository, size)),
                None if self.options.children.may_lack(document, &child) => {}
                None => return Err(child.missing(document, &self.repository)),
            }
        }
        Ok(present)
    }

    fn has_child(&self, child: &Descriptor) -> Result<Option<u64>, StoreError> {
        let member = exists(&self.folder.manifest(&child.digest))?;
        match (self.options.reach, member) {
            (Reach::Repository, false) => Ok(None),
            _ => self.store.blob_size(&child.digest),
        }
    }

    /// Notes that what the document is made of belongs to this repository.
    fn adopt(&self, children: &[Child<'_>], names: &mut Names) -> Result<(), StoreError> {
        for Child { descriptor, kind, .. } in children {
            let path = self.folder.manifest(&descriptor.digest);
            match kind {
                ChildKind::Blob => {
                    self.mark_blob(&descriptor.digest)?;
                    names.folder(folder_of(&self.folder.blob(&descriptor.digest)), self.store.root());
                }
                ChildKind::Document if exists(&path)? => {}
                ChildKind::Document => {
                    let (media_type, size) = (descriptor.media_type.clone(), descriptor.size);
                    let plain = Descriptor::new(media_type, descriptor.digest, size);
                    names.add(&self.store, path, &to_json(&plain))?;
                }
            }
        }
        Ok(())
    }

    fn mark_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.folder.blob(digest);
        let failed = |source| StoreError::io("write", path.display().to_string(), source);
        if exists(&path)? {
            self.refresh_blob(digest);
            return Ok(());
        }
        durable::make_folders(folder_of(&path))?;
        OpenOptions::new().create(true).append(true).open(&path).map(|_| ()).map_err(failed)
    }

    fn has_document(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(exists(&self.folder.manifest(digest))? && self.store.blob_size(digest)?.is_some())
    }

    fn what_tag(&self, tag: &Tag) -> String {
        format!("tag {}:{tag} in the store at {}", self.repository, self.store.root().display())
    }

    fn what_document(&self, digest: &Digest) -> String {
        format!("manifest {}@{digest} in the store at {}", self.repository, self.store.root().display())
    }
}

impl BlobStore for LayoutRepository {
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        match self.options.reach {
            Reach::Repository if !exists(&self.folder.blob(digest))? => Ok(None),
            _ => self.store.blob_size(digest),
        }
    }

    fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError> {
        match self.blob_size(digest)? {
            Some(_) => self.store.open_blob(digest),
            None => Err(StoreError::NotFound { what: format!("blob {digest} of {}", self.repository) }),
        }
    }

    fn put_blob(&self, descriptor: &Descriptor, content: Blob) -> Result<Put, StoreError> {
        let member = exists(&self.folder.blob(&descriptor.digest))?;
        let put = self.store.put_blob(descriptor, content)?;
        self.mark_blob(&descriptor.digest)?;
        Ok(if put == Put::Present && !member { Put::Mounted } else { put })
    }
}

impl ImageStore for LayoutRepository {
    fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        names::read_descriptor(&self.folder.tag(tag))?
            .ok_or_else(|| StoreError::NotFound { what: self.what_tag(tag) })
    }

    fn document(&self, digest: &Digest) -> Result<Document, StoreError> {
        let known = names::read_descriptor(&self.folder.manifest(digest))?
            .ok_or_else(|| StoreError::NotFound { what: self.what_document(digest) })?;
        let raw = self.store.read_blob(digest, MAX_DOCUMENT_BYTES)?;
        let document = Document::parse(raw, Some(&known.media_type)).map_err(|error| {
            StoreError::Corrupt { what: self.what_document(digest), reason: error.to_string() }
        })?;
        Ok(document.known_by(digest.algorithm()))
    }

    fn put_document(&self, document: &Document) -> Result<(), StoreError> {
        let mut names = Names::default();
        self.prepare_document(document, &mut names)?;
        self.store.write_names(names)
    }

    fn tag(&self, tag: &Tag, document: &Document) -> Result<(), StoreError> {
        self.set_tags(&[(tag.clone(), TagRule::Moves)], document)
    }

    fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        let mut change = Change::begin(&self.store)?;
        let removed = names::remove(&self.folder.tag(tag))?;
        change.set(&self.repository, tag, None);
        change.finish()?;
        if removed { Ok(()) } else { Err(StoreError::NotFound { what: self.what_tag(tag) }) }
    }

    fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        self.folder.tags()
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        referrer::among(self, self.folder.manifests()?, subject)
    }

    fn delete_document(&self, digest: &Digest) -> Result<(), StoreError> {
        let mut change = Change::begin(&self.store)?;
        for tag in self.folder.tags()? {
            let target = names::read_descriptor(&self.folder.tag(&tag))?;
            if target.is_some_and(|target| target.digest == *digest) {
                names::remove(&self.folder.tag(&tag))?;
                change.set(&self.repository, &tag, None);
            }
        }
        let removed = names::remove(&self.folder.manifest(digest))?;
        change.finish()?;
        if removed { Ok(()) } else { Err(StoreError::NotFound { what: self.what_document(digest) }) }
    }
}

impl std::fmt::Debug for LayoutRepository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LayoutRepository({} in {})", self.repository, self.store.root().display())
    }
}

fn folder_of(mark: &Path) -> &Path {
    mark.parent().expect("marks lie in a folder of their repository")
}

/// Gives the file the time it is, as the machine of the file system has it.
fn refresh(path: &Path) {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    let _ = utimensat(CWD, path, &times, AtFlags::empty());
}

fn to_json(descriptor: &Descriptor) -> Vec<u8> {
    serde_json::to_vec(descriptor).expect("a descriptor has only string keys")
}

fn exists(path: &Path) -> Result<bool, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(source) => Err(StoreError::io("read", path.display().to_string(), source)),
    }
}
