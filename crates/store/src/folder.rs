//! An image layout in a folder that belongs to others too: `oci:DIR` of skopeo, `buildx -o type=oci`.
//!
//! Unlike the local store this folder holds nothing but what the specification names: names are in
//! `index.json` alone, which is replaced as a whole under a lock on the folder. Content is hashed while
//! it is read; files are never shared with the local store, because others may write to them.
//!
//! Source: image-spec v1.1, image-layout.md.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use oci::annotations::{CONTAINERD_IMAGE_NAME, REF_NAME};
use oci::manifest::MAX_DOCUMENT_BYTES;
use oci::{Descriptor, Digest, Document, ImageIndex, Tag};
use rustix::fs::{FlockOperation, flock};

use crate::archive::layout::{MAX_LIST_BYTES, images, platforms};
use crate::archive::{ArchivedImage, ArchivedName};
use crate::children::children;
use crate::layout::{Stamp, TemporaryFile, copy_in_kernel, sweep};
use crate::{Blob, BlobStore, CheckedReader, ImageStore, Put, Source, StoreError, referrer};

const INDEX: &str = "index.json";
const LAYOUT: (&str, &[u8]) = ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
/// Size of the buffer with which content is hashed.
const BUFFER: usize = 256 << 10;

/// An image layout in a folder.
pub struct OciFolder {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Blobs whose content was found to have their digest, as they were then.
    verified: HashMap<Digest, Stamp>,
    /// Blobs written and not synced yet.
    written: HashSet<Digest>,
}

impl OciFolder {
    /// Opens an image layout that is there.
    ///
    /// # Errors
    /// `NotFound` where there is no such folder; `Corrupt` where it is no image layout.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let folder = Self { root: root.to_owned(), state: Mutex::default() };
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
        let folder = Self { root: root.to_owned(), state: Mutex::default() };
        sweep(root)?;
        if !is_begun(root).map_err(failed)? {
            folder.index()?;
            return Ok(folder);
        }
        // The list comes last: who is killed before it leaves a folder that the next one makes whole.
        fs::create_dir_all(root.join("blobs/sha256")).map_err(failed)?;
        folder.write_file(LAYOUT.0, LAYOUT.1)?;
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
        let path = self.root.join(INDEX);
        let corrupt = |reason| StoreError::Corrupt { what: path.display().to_string(), reason };
        let file = File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => {
                corrupt("it is not there, so the folder is no image layout".to_owned())
            }
            _ => StoreError::io("read", path.display().to_string(), source),
        })?;
        let mut raw = Vec::new();
        let read = file.take(MAX_LIST_BYTES + 1).read_to_end(&mut raw);
        read.map_err(|source| StoreError::io("read", path.display().to_string(), source))?;
        if raw.len() as u64 > MAX_LIST_BYTES {
            return Err(corrupt(format!("it has more than the {MAX_LIST_BYTES} bytes allowed")));
        }
        serde_json::from_slice(&raw).map_err(|error| corrupt(format!("it is not an image index: {error}")))
    }

    /// Changes the list while nobody else does.
    fn change<T>(&self, edit: impl FnOnce(&mut Vec<Descriptor>) -> T) -> Result<T, StoreError> {
        let lock = File::open(&self.root).and_then(|folder| {
            flock(&folder, FlockOperation::LockExclusive)?;
            Ok(folder)
        });
        let _lock = lock.map_err(|source| StoreError::io("lock", self.root.display().to_string(), source))?;
        let before = self.index()?;
        let mut index = before.clone();
        let result = edit(&mut index.manifests);
        if index != before {
            self.write_index(&index)?;
        }
        Ok(result)
    }

    fn write_index(&self, index: &ImageIndex) -> Result<(), StoreError> {
        self.write_file(INDEX, &serde_json::to_vec(index).expect("an index has only string keys"))
    }

    fn write_file(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let path = self.root.join(name);
        let write = || -> io::Result<()> {
            let temporary = TemporaryFile::create(&self.root)?;
            temporary.file().write_all(content)?;
            temporary.file().sync_data()?;
            temporary.persist(&path, 0o644)?;
            File::open(&self.root)?.sync_all()
        };
        write().map_err(|source| StoreError::io("write", path.display().to_string(), source))
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }

    fn what(&self, digest: &Digest) -> String {
        format!("blob {digest} in the image layout {}", self.root.display())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the file carries the local store's stamp or was hashed before.
    fn is_verified(&self, digest: &Digest, file: &File) -> io::Result<bool> {
        let stamp = Stamp::of(file)?;
        Ok(self.state().verified.get(digest) == Some(&stamp) || stamp.is_on(file))
    }

    /// Whether the blob is there, with this size and its own content.
    fn has_intact(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let present = match self.open_blob(digest) {
            Ok(blob) if blob.size() == size => blob,
            Ok(_) | Err(StoreError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let Source::Stream(mut present) = present.into_source() else { return Ok(true) };
        let mut buffer = vec![0; BUFFER];
        loop {
            match present.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(false),
                Err(error) => return Err(self.failed("read", digest, error)),
            }
        }
    }

    fn write_blob(&self, descriptor: &Descriptor, content: Blob) -> io::Result<Stamp> {
        let Descriptor { digest, size, .. } = descriptor;
        let known = content.verified_as() == Some(*digest) && content.size() == *size;
        let temporary = TemporaryFile::create(&self.root)?;
        let content_size = content.size();
        match content.into_source() {
            Source::File(mut file) if known => {
                let offset = file.stream_position()?;
                copy_in_kernel(&file, offset, *size, temporary.file())?;
            }
            source => {
                let blob = Blob::new(content_size, source);
                io::copy(&mut CheckedReader::new(blob, *digest, *size), &mut temporary.file())?;
            }
        }
        let path = self.blob_path(digest);
        fs::create_dir_all(path.parent().expect("blobs lie in a folder"))?;
        Stamp::of(&*temporary.persist(&path, 0o644)?)
    }

    /// Makes what was written survive a crash.
    fn sync(&self) -> Result<(), StoreError> {
        let written = std::mem::take(&mut self.state().written);
        for digest in &written {
            let path = self.blob_path(digest);
            let folder = path.parent().expect("blobs lie in a folder");
            File::open(&path)
                .and_then(|file| file.sync_data())
                .and_then(|()| File::open(folder)?.sync_all())
                .map_err(|source| StoreError::io("sync", path.display().to_string(), source))?;
        }
        Ok(())
    }

    fn failed(&self, action: &'static str, digest: &Digest, error: io::Error) -> StoreError {
        let error = match error.downcast::<StoreError>() {
            // The other store failed while it was read.
            Ok(of_source) => return of_source,
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                StoreError::Corrupt { what: self.what(digest), reason: error.to_string() }
            }
            _ => StoreError::io(action, self.what(digest), error),
        }
    }

    fn no_tag(&self, tag: &Tag) -> StoreError {
        StoreError::NotFound { what: format!("tag {tag} in the image layout {}", self.root.display()) }
    }
}

impl BlobStore for OciFolder {
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        match fs::metadata(self.blob_path(digest)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::io("read", self.what(digest), source)),
        }
    }

    fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError> {
        let file = File::open(self.blob_path(digest)).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound { what: self.what(digest) },
            _ => StoreError::io("read", self.what(digest), source),
        })?;
        let unreadable = |source| StoreError::io("read", self.what(digest), source);
        let size = file.metadata().map_err(unreadable)?.len();
        if self.is_verified(digest, &file).map_err(unreadable)? {
            return Ok(Blob::verified(*digest, size, Source::File(file)));
        }
        Ok(Blob::unverified(*digest, size, file))
    }

    fn put_blob(&self, descriptor: &Descriptor, content: Blob) -> Result<Put, StoreError> {
        let digest = &descriptor.digest;
        if self.has_intact(digest, descriptor.size)? {
            return Ok(Put::Present);
        }
        let stamp =
            self.write_blob(descriptor, content).map_err(|error| self.failed("write", digest, error))?;
        let mut state = self.state();
        state.verified.insert(*digest, stamp);
        state.written.insert(*digest);
        Ok(Put::Written)
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
                what: format!("tag {tag} in the image layout {}", self.root.display()),
                reason: "several images have it; say which by digest".to_owned(),
            }),
        }
    }

    fn document(&self, digest: &Digest) -> Result<Document, StoreError> {
        let blob = self.open_blob(digest)?;
        let corrupt = |reason| StoreError::Corrupt { what: self.what(digest), reason };
        if blob.size() > MAX_DOCUMENT_BYTES {
            return Err(corrupt(format!("it has {} bytes, too many for a manifest", blob.size())));
        }
        let mut raw = Vec::new();
        let mut blob = blob;
        blob.read_to_end(&mut raw).map_err(|error| self.failed("read", digest, error))?;
        Document::parse(raw.into(), None).map_err(|error| corrupt(error.to_string()))
    }

    fn put_document(&self, document: &Document) -> Result<(), StoreError> {
        for child in children(document).iter().filter(|child| !child.optional) {
            let digest = &child.descriptor.digest;
            if self.blob_size(digest)? != Some(child.descriptor.size) {
                let what = format!("{}, part of manifest {},", self.what(digest), document.digest());
                return Err(StoreError::NotFound { what });
            }
        }
        self.sync()?;
        self.put_blob(document.descriptor(), Blob::from_bytes(document.raw().clone()))?;
        self.sync()?;
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
        if removed { Ok(()) } else { Err(StoreError::NotFound { what: self.what(digest) }) }
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
        write!(f, "OciFolder({})", self.root.display())
    }
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
