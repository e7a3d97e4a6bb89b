//! An archive as a store that can be read.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use oci::manifest::MAX_DOCUMENT_BYTES;
use oci::{Descriptor, Digest, Document, ImageIndex, Platform, Tag};

use super::members::{Content, Located, Members};
use super::name::{ArchivedName, without_repetitions};
use super::{docker, layout};
use crate::{Blob, BlobStore, ImageStore, Put, StoreError, referrer};

/// An archive opened for reading. Writing to it is refused.
pub struct ArchiveStore {
    members: Members,
    images: Vec<ArchivedImage>,
    /// Manifests that the archive does not have and that were made for it.
    made: HashMap<Digest, Document>,
    blobs: HashMap<Digest, Located>,
    /// Blobs whose content was found to have their digest.
    verified: Mutex<HashSet<Digest>>,
}

/// An image of an archive, or of an image layout in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedImage {
    /// The manifest or index.
    pub descriptor: Descriptor,
    /// All its names, in the archive's order; empty where it has none.
    pub names: Vec<ArchivedName>,
    /// What it runs on; empty where it is no image to run.
    pub platforms: Vec<Platform>,
}

impl ArchiveStore {
    /// Opens the archive `path` and learns what is in it, without extracting anything. An archive that
    /// is compressed as a whole is uncompressed into a file without a name in the folder `spool`.
    ///
    /// # Errors
    /// `NotFound` where there is no such file; `Corrupt`, naming the member, where it is truncated,
    /// names something it does not have, or holds no image; `Unreachable` where it cannot be read.
    pub fn open(path: &Path, spool: &Path) -> Result<Self, StoreError> {
        let members = Members::open(path, spool)?;
        let mut store = Self {
            images: listed_images(&members)?,
            made: HashMap::new(),
            blobs: members.blobs(),
            verified: Mutex::default(),
            members,
        };
        let listed = docker::list(&store.members)?;
        if store.images.is_empty() {
            store.add_made(docker::images(&store.members, &listed)?);
        } else {
            store.complete(&listed)?;
        }
        if store.images.is_empty() {
            let what = format!("the archive {}", path.display());
            let reason = "it holds no image: neither index.json nor manifest.json lists one \
                          (archives of Docker before 1.10 are not supported)";
            return Err(StoreError::Corrupt { what, reason: reason.to_owned() });
        }
        Ok(store)
    }

    /// Returns the images, in the archive's order; at least one.
    pub fn images(&self) -> &[ArchivedImage] {
        &self.images
    }

    /// Returns the archive's path.
    pub fn path(&self) -> &Path {
        self.members.path()
    }

    fn add_made(&mut self, images: Vec<docker::MadeImage>) {
        for image in images {
            let descriptor = image.document.descriptor().clone();
            self.blobs.extend(image.blobs);
            self.verified().extend(image.hashed);
            let platforms = vec![image.config.platform()];
            // The same image listed twice is one image, as for Docker.
            match self.made.insert(descriptor.digest, image.document) {
                None => self.images.push(ArchivedImage { descriptor, names: image.names, platforms }),
                Some(_) => {
                    let same = |other: &&mut ArchivedImage| other.descriptor.digest == descriptor.digest;
                    let other = self.images.iter_mut().find(same).expect("made images are listed");
                    other.names.extend(image.names);
                }
            }
        }
    }

    /// Adds to the images of `index.json` what it does not say: platforms, and names that only
    /// `manifest.json` has.
    fn complete(&mut self, listed: &[docker::Listed]) -> Result<(), StoreError> {
        let names = self.names_by_config(listed);
        let mut images = std::mem::take(&mut self.images);
        for image in &mut images {
            let document = self.listed_document(&image.descriptor.digest)?;
            image.descriptor.media_type = document.descriptor().media_type.clone();
            if image.platforms.is_empty() || document.as_index().is_some() {
                image.platforms = layout::platforms(&document, self);
            }
            let Some(config) = document.as_image().map(|manifest| manifest.config.digest) else { continue };
            if image.names.iter().all(|name| name.reference().is_none())
                && let Some(names) = names.get(&config)
            {
                image.names.clone_from(names);
            }
        }
        self.images = images;
        Ok(())
    }

    fn listed_document(&self, digest: &Digest) -> Result<Document, StoreError> {
        self.document(digest).map_err(|error| match error {
            StoreError::NotFound { .. } => {
                let reason =
                    format!("it lists manifest {digest}, which is not there; is the archive truncated?");
                self.members.corrupt("index.json", &reason)
            }
            error => error,
        })
    }

    fn names_by_config(&self, listed: &[docker::Listed]) -> HashMap<Digest, Vec<ArchivedName>> {
        let digests: HashMap<Content, Digest> =
            self.blobs.iter().map(|(digest, located)| (located.content, *digest)).collect();
        let mut names: HashMap<Digest, Vec<ArchivedName>> = HashMap::new();
        for image in listed {
            let content = self.members.find(&image.config).ok().flatten();
            if let Some(digest) = content.and_then(|content| digests.get(&content)) {
                names.entry(*digest).or_default().extend(image.names());
            }
        }
        names.retain(|_, names| !names.is_empty());
        names.into_iter().map(|(digest, names)| (digest, without_repetitions(names))).collect()
    }

    fn located(&self, digest: &Digest) -> Result<&Located, StoreError> {
        self.blobs.get(digest).ok_or_else(|| StoreError::NotFound {
            what: format!("blob {digest} in the archive {}", self.path().display()),
        })
    }

    /// Hashes the content unless that was done before.
    fn verify(&self, digest: &Digest, located: &Located) -> Result<(), StoreError> {
        if self.verified().contains(digest) {
            return Ok(());
        }
        let found = self.members.hash(located.content, digest.algorithm())?;
        if found != *digest {
            return Err(self.members.corrupt(&located.member, &format!("expected {digest}, found {found}")));
        }
        self.verified().insert(*digest);
        Ok(())
    }

    fn verified(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_only(&self) -> StoreError {
        let what = format!("writing to the archive {}", self.path().display());
        StoreError::Denied { what, reason: "an archive is only read; save a new one instead".to_owned() }
    }
}

impl BlobStore for ArchiveStore {
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(self.blobs.get(digest).map(|located| located.content.size))
    }

    fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError> {
        let located = self.located(digest)?;
        self.verify(digest, located)?;
        let source = self.members.source(located.content);
        Ok(Blob::verified(*digest, located.content.size, source))
    }

    fn put_blob(&self, _: &Descriptor, _: Blob) -> Result<Put, StoreError> {
        Err(self.read_only())
    }
}

impl ImageStore for ArchiveStore {
    /// Returns the image with this tag, whatever its repository.
    ///
    /// # Errors
    /// `NotFound`; `Denied` where the tag stands for several images.
    fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        let has = |image: &&ArchivedImage| image.names.iter().any(|name| name.tag().as_ref() == Some(tag));
        let mut found = self.images.iter().filter(has);
        let what = || format!("tag {tag} in the archive {}", self.path().display());
        match (found.next(), found.next()) {
            (None, _) => Err(StoreError::NotFound { what: what() }),
            (Some(image), None) => Ok(image.descriptor.clone()),
            (Some(_), Some(_)) => {
                let reason = "several images have it; say which by name or digest".to_owned();
                Err(StoreError::Denied { what: what(), reason })
            }
        }
    }

    fn document(&self, digest: &Digest) -> Result<Document, StoreError> {
        if let Some(document) = self.made.get(digest) {
            return Ok(document.clone());
        }
        let located = self.located(digest)?;
        let corrupt = |reason: &str| self.members.corrupt(&located.member, reason);
        let raw = self.members.read(&located.member, MAX_DOCUMENT_BYTES)?.unwrap_or_default();
        self.verify(digest, located)?;
        Document::parse(raw, None).map_err(|error| corrupt(&error.to_string()))
    }

    fn put_document(&self, _: &Document) -> Result<(), StoreError> {
        Err(self.read_only())
    }

    fn tag(&self, _: &Tag, _: &Document) -> Result<(), StoreError> {
        Err(self.read_only())
    }

    fn untag(&self, _: &Tag) -> Result<(), StoreError> {
        Err(self.read_only())
    }

    fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        let mut tags: Vec<Tag> =
            self.images.iter().flat_map(|image| &image.names).filter_map(ArchivedName::tag).collect();
        tags.sort();
        tags.dedup();
        Ok(tags)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        referrer::among(self, self.images.iter().map(|image| image.descriptor.digest), subject)
    }

    fn delete_document(&self, _: &Digest) -> Result<(), StoreError> {
        Err(self.read_only())
    }
}

/// Returns what `index.json` lists; empty where there is no such member.
fn listed_images(members: &Members) -> Result<Vec<ArchivedImage>, StoreError> {
    let Some(raw) = members.read("index.json", layout::MAX_LIST_BYTES)? else { return Ok(Vec::new()) };
    let index: ImageIndex = serde_json::from_slice(&raw)
        .map_err(|error| members.corrupt("index.json", &format!("it is not an image index: {error}")))?;
    Ok(layout::images(&index))
}

impl std::fmt::Debug for ArchiveStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ArchiveStore({}, {} images)", self.path().display(), self.images.len())
    }
}
