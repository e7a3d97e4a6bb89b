//! An image layout in a folder that belongs to others too: `oci:DIR` of skopeo, `buildx -o type=oci`.
//!
//! Unlike the local store this folder holds nothing but what the specification names: names are in
//! `index.json` alone, which is replaced as a whole under a lock on the folder. Content is hashed while
//! it is read; files are never shared with the local store, because others may write to them.
//!
//! Source: image-spec v1.1, image-layout.md.

pub(crate) mod files;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use oci::annotations::{CONTAINERD_IMAGE_NAME, REF_NAME};
use oci::{Descriptor, Digest, Document, ImageIndex, Tag};
use rustix::fs::{FlockOperation, flock};

use self::files::Files;
use crate::archive::layout::{MAX_LIST_BYTES, images, platforms};
use crate::archive::{ArchivedImage, ArchivedName};
use crate::{Blob, BlobStore, ImageStore, Put, StoreError, referrer};

const INDEX: &str = "index.json";
const LAYOUT: (&str, &[u8]) = ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
/// An image layout in a folder.
pub struct OciFolder {
    files: Files,
}

impl OciFolder {
    /// Opens an image layout that is there.
    ///
    /// # Errors
    /// `NotFound` where there is no such folder; `Corrupt` where it is no image layout.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let folder = Self { files: Files::new(root, "image layout", place) };
        if !root.is_dir() {
            return Err(StoreError::NotFound { what: format!("the image layout {}", root.display()) });
        }
        folder.index()?;
        Ok(folder)
    }

    /// Opens an image layout, and makes one where the folder is not there or empty.
    ///
    /// # Errors
    /// `Corrupt` where the folder is neither empty nor an image layout; `Unreachable` where it cannot
    /// be written.
    pub fn create(root: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::io("make the image layout", root.display().to_string(), source);
        fs::create_dir_all(root).map_err(failed)?;
        let folder = Self { files: Files::new(root, "image layout", place) };
        folder.files.clear_leftovers()?;
        if !is_begun(root).map_err(failed)? {
            folder.index()?;
            return Ok(folder);
        }
        // The list comes last: who is killed before it leaves a folder that the next one makes whole.
        fs::create_dir_all(root.join("blobs/sha256")).map_err(failed)?;
        folder.files.write_file(LAYOUT.0, LAYOUT.1)?;
        folder.write_index(&ImageIndex::new(Vec::new()))?;
        Ok(folder)
    }

    /// Returns the images that `index.json` lists, in its order; may be empty.
    ///
    /// # Errors
    /// `Corrupt` where `index.json` or a manifest it lists cannot be read.
    pub fn images(&self) -> Result<Vec<ArchivedImage>, StoreError> {
        let mut images = images(&self.index()?);
        for image in &mut images {
            let document = self.document(&image.descriptor.digest)?;
            image.descriptor.media_type = document.descriptor().media_type.clone();
            if image.platforms.is_empty() || document.as_index().is_some() {
                image.platforms = platforms(&document, self);
            }
        }
        Ok(images)
    }

    /// Lists `document` without a name, unless it is listed already.
    ///
    /// # Errors
    /// As for `put_document`.
    pub fn add(&self, document: &Document) -> Result<(), StoreError> {
        self.put_document(document)?;
        self.list(document)
    }

    fn list(&self, document: &Document) -> Result<(), StoreError> {
        self.change(|entries| {
            if entries.iter().all(|entry| entry.digest != document.digest()) {
                entries.push(document.descriptor().clone());
            }
        })
    }

    fn index(&self) -> Result<ImageIndex, StoreError> {
        let corrupt =
            |reason| StoreError::Corrupt { what: self.root().join(INDEX).display().to_string(), reason };
        match self.files.read_file(INDEX, MAX_LIST_BYTES)? {
            None => Err(corrupt("it is not there, so the folder is no image layout".to_owned())),
            Some(raw) => serde_json::from_slice(&raw)
                .map_err(|error| corrupt(format!("it is not an image index: {error}"))),
        }
    }

    /// Changes the list while nobody else does.
    fn change<T>(&self, edit: impl FnOnce(&mut Vec<Descriptor>) -> T) -> Result<T, StoreError> {
        let lock = File::open(self.root()).and_then(|folder| {
            flock(&folder, FlockOperation::LockExclusive)?;
            Ok(folder)
        });
        let _lock =
            lock.map_err(|source| StoreError::io("lock", self.root().display().to_string(), source))?;
        let before = self.index()?;
        let mut index = before.clone();
        let result = edit(&mut index.manifests);
        if index != before {
            self.write_index(&index)?;
        }
        Ok(result)
    }

    fn write_index(&self, index: &ImageIndex) -> Result<(), StoreError> {
        self.files.write_file(INDEX, &serde_json::to_vec(index).expect("an index has only string keys"))
    }

    fn root(&self) -> &Path {
        self.files.root()
    }

    fn no_tag(&self, tag: &Tag) -> StoreError {
        StoreError::NotFound { what: format!("tag {tag} in the image layout {}", self.root().display()) }
    }
}

impl BlobStore for OciFolder {
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        self.files.blob_size(digest)
    }

    fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError> {
        self.files.open_blob(digest)
    }

    fn put_blob(&self, descriptor: &Descriptor, content: Blob) -> Result<Put, StoreError> {
        self.files.put_blob(descriptor, content)
    }
}

impl ImageStore for OciFolder {
    /// Returns the image with this tag: the one named by it alone, else the only one whose full name
    /// ends in it.
    fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        let images = images(&self.index()?);
        let alone = ArchivedName::Tag(tag.clone());
        if let Some(image) = images.iter().find(|image| image.names.contains(&alone)) {
            return Ok(image.descriptor.clone());
        }
        let has = |image: &&ArchivedImage| image.names.iter().any(|name| name.tag().as_ref() == Some(tag));
        let mut found = images.iter().filter(has);
        match (found.next(), found.next()) {
            (Some(image), None) => Ok(image.descriptor.clone()),
            (None, _) => Err(self.no_tag(tag)),
            (Some(_), Some(_)) => Err(StoreError::Denied {
                what: format!("tag {tag} in the image layout {}", self.root().display()),
                reason: "several images have it; say which by digest".to_owned(),
            }),
        }
    }

    fn document(&self, digest: &Digest) -> Result<Document, StoreError> {
        self.files.document(digest)
    }

    fn put_document(&self, document: &Document) -> Result<(), StoreError> {
        let files = &self.files;
        files.check_children(document, |child| Ok(files.blob_size(&child.digest)? == Some(child.size)))?;
        files.sync()?;
        files.put_blob(document.descriptor(), Blob::from_bytes(document.raw().clone()))?;
        files.sync()?;
        // Nothing leads to a referrer but the list.
        if document.subject().is_some() { self.list(document) } else { Ok(()) }
    }

    fn tag(&self, tag: &Tag, document: &Document) -> Result<(), StoreError> {
        self.put_document(document)?;
        self.change(|entries| {
            let same = |entry: &Descriptor| entry.digest == document.digest() && is_unnamed(entry);
            entries.retain(|entry| !is_named(entry, tag) && !same(entry));
            let mut entry = document.descriptor().clone();
            entry.annotations.insert(REF_NAME.to_owned(), tag.as_str().to_owned());
            entries.push(entry);
        })
    }

    fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        let removed = self.change(|entries| {
            let before = entries.len();
            entries.retain(|entry| !is_named(entry, tag));
            entries.len() < before
        })?;
        if removed { Ok(()) } else { Err(self.no_tag(tag)) }
    }

    fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        let images = images(&self.index()?);
        let mut tags: Vec<Tag> =
            images.iter().flat_map(|image| &image.names).filter_map(ArchivedName::tag).collect();
        tags.sort();
        tags.dedup();
        Ok(tags)
    }

    /// Returns the listed ones, and those that another tool listed under the fallback tag.
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        let mut listed: Vec<Digest> = self.index()?.manifests.iter().map(|entry| entry.digest).collect();
        if let Ok(list) = self.resolve(&referrer::fallback_tag(subject))
            && let Some(index) = self.document(&list.digest)?.as_index()
        {
            listed.extend(index.manifests.iter().map(|entry| entry.digest));
        }
        referrer::among(self, listed, subject)
    }

    fn delete_document(&self, digest: &Digest) -> Result<(), StoreError> {
        let removed = self.change(|entries| {
            let before = entries.len();
            entries.retain(|entry| entry.digest != *digest);
            entries.len() < before
        })?;
        if removed { Ok(()) } else { Err(StoreError::NotFound { what: self.files.what(digest) }) }
    }
}

fn is_named(entry: &Descriptor, tag: &Tag) -> bool {
    entry.annotations.get(REF_NAME).is_some_and(|name| name == tag.as_str())
}

fn is_unnamed(entry: &Descriptor) -> bool {
    !entry.annotations.contains_key(REF_NAME) && !entry.annotations.contains_key(CONTAINERD_IMAGE_NAME)
}

impl std::fmt::Debug for OciFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OciFolder({})", self.root().display())
    }
}

fn place(digest: &Digest) -> PathBuf {
    Path::new("blobs").join(digest.algorithm().as_str()).join(digest.hex())
}

/// Whether a folder is empty, or what a process left of it that was killed while it made a layout.
fn is_begun(root: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let is_ours = match entry.file_name().to_str() {
            Some("oci-layout") => fs::read(entry.path()).is_ok_and(|content| content == LAYOUT.1),
            Some("blobs") => has_no_file(&entry.path())?,
            _ => false,
        };
        if !is_ours {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a folder of blobs holds at most an empty folder for each algorithm.
fn has_no_file(blobs: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(blobs)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() || fs::read_dir(entry.path())?.next().is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
