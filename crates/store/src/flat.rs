//! One image in a folder of its own: `dir:PATH` of skopeo, for people who look at images with `ls` and `cat`.
//!
//! | file | what |
//! |---|---|
//! | `version` | [`VERSION`] |
//! | `manifest.json` | the image's manifest or index, byte for byte |
//! | `HEX.manifest.json` | a manifest of that index, or one that refers to the image, by its digest |
//! | `HEX` | a blob by its digest |
//!
//! It has no tags: every tag leads to the one image. What another image left in the folder goes when the
//! new one is whole.
//!
//! Source: containers-transports(5); the names of files as skopeo 1.22 writes them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci::manifest::MAX_DOCUMENT_BYTES;
use oci::{Descriptor, Digest, Document, Tag};

use crate::children::children;
use crate::folder::files::Files;
use crate::{Blob, BlobStore, ImageStore, Put, StoreError, referrer};

const VERSION_FILE: &str = "version";
/// What the file `version` says.
pub const VERSION: &str = "Directory Transport Version: 1.1\n";
/// What it says in all versions.
const ANY_VERSION: &str = "Directory Transport Version: ";
const MANIFEST: &str = "manifest.json";
/// How the file of another manifest than the image's own ends.
const OTHER_MANIFEST: &str = ".manifest.json";

/// An image in a folder of its own.
pub struct FlatFolder {
    files: Files,
}

impl FlatFolder {
    /// Opens a folder with an image.
    ///
    /// # Errors
    /// `NotFound` where there is no such folder or no image in it, `Corrupt` where it is something else.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let folder = Self::at(root);
        if !root.is_dir() {
            return Err(StoreError::NotFound { what: folder.files.called() });
        }
        folder.image()?;
        Ok(folder)
    }

    /// Opens a folder to put an image into, and makes it where it is not there.
    ///
    /// # Errors
    /// `Corrupt` where the folder holds something else.
    pub fn create(root: &Path) -> Result<Self, StoreError> {
        let folder = Self::at(root);
        let failed = |source| StoreError::io("make", folder.files.called(), source);
        fs::create_dir_all(root).map_err(failed)?;
        folder.files.clear_leftovers()?;
        let version = folder.files.read_file(VERSION_FILE, 1 << 10)?;
        match version.map(|version| version.starts_with(ANY_VERSION.as_bytes())) {
            Some(true) => {}
            None if fs::read_dir(root).map_err(failed)?.next().is_none() => {
                folder.files.write_file(VERSION_FILE, VERSION.as_bytes())?;
            }
            Some(false) | None => {
                let reason = format!("it is neither empty nor has a file {VERSION_FILE:?} of such a folder");
                return Err(StoreError::Corrupt { what: folder.files.called(), reason });
            }
        }
        Ok(folder)
    }

    fn at(root: &Path) -> Self {
        Self { files: Files::new(root, "image folder", |digest| PathBuf::from(digest.hex())) }
    }

    /// Returns the image's manifest or index.
    ///
    /// # Errors
    /// `NotFound` where there is none, `Corrupt` where it cannot be read.
    pub fn image(&self) -> Result<Document, StoreError> {
        self.read(MANIFEST)?
            .ok_or_else(|| StoreError::NotFound { what: format!("{MANIFEST} in {}", self.files.called()) })
    }

    /// Makes `document` the image of the folder; what only the one before had is removed.
    ///
    /// # Errors
    /// `NotFound` where a part of it is not there.
    pub fn set(&self, document: &Document) -> Result<(), StoreError> {
        self.check(document)?;
        self.files.write_file(MANIFEST, document.raw())?;
        self.clear(document)
    }

    fn read(&self, name: &str) -> Result<Option<Document>, StoreError> {
        let corrupt =
            |reason| StoreError::Corrupt { what: format!("{name} in {}", self.files.called()), reason };
        let Some(raw) = self.files.read_file(name, MAX_DOCUMENT_BYTES)? else { return Ok(None) };
        Document::parse(raw.into(), None).map(Some).map_err(|error| corrupt(error.to_string()))
    }

    /// Refuses a document that is not whole, and makes its parts survive a crash.
    fn check(&self, document: &Document) -> Result<(), StoreError> {
        self.files.check_children(document, |child| match document.as_index() {
            // Only some platforms of an index may have been asked for.
            Some(_) => Ok(true),
            None => Ok(self.files.blob_size(&child.digest)? == Some(child.size)),
        })?;
        self.files.sync()
    }

    /// Removes what neither belongs to `document` nor says something about a part of it.
    fn clear(&self, document: &Document) -> Result<(), StoreError> {
        let mut kept = vec![document.clone()];
        let mut others = self.others()?;
        // Each round keeps what the ones before lead to.
        while let Some(at) = others.iter().position(|other| belongs(other, &kept)) {
            kept.push(others.swap_remove(at));
        }
        let blobs: Vec<Digest> =
            kept.iter().flat_map(children).map(|child| child.descriptor.digest).collect();
        let failed = |source| StoreError::io("clear", self.files.called(), source);
        for entry in fs::read_dir(self.files.root()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let is_kept = match name.strip_suffix(OTHER_MANIFEST) {
                Some(hex) => !is_hex(hex) || kept[1..].iter().any(|other| other.digest().hex() == hex),
                None => !is_hex(&name) || blobs.iter().any(|blob| blob.hex() == name),
            };
            if !is_kept {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Returns the manifests besides the image's own; what cannot be read as one is none.
    fn others(&self) -> Result<Vec<Document>, StoreError> {
        let failed = |source| StoreError::io("read", self.files.called(), source);
        let mut others = Vec::new();
        for entry in fs::read_dir(self.files.root()).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str().filter(|name| name.ends_with(OTHER_MANIFEST)) else { continue };
            match self.read(name) {
                Ok(Some(document)) if name == other_manifest(&document.digest()) => others.push(document),
                Ok(_) | Err(StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(others)
    }
}

impl BlobStore for FlatFolder {
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

impl ImageStore for FlatFolder {
    fn resolve(&self, _: &Tag) -> Result<Descriptor, StoreError> {
        Ok(self.image()?.descriptor().clone())
    }

    fn document(&self, digest: &Digest) -> Result<Document, StoreError> {
        let name = other_manifest(digest);
        let corrupt = |reason: &str| StoreError::Corrupt {
            what: format!("{name} in {}", self.files.called()),
            reason: reason.to_owned(),
        };
        match self.read(&name)? {
            Some(document) if document.digest() == *digest => return Ok(document),
            Some(_) => return Err(corrupt("its content has another digest")),
            None => {}
        }
        match self.read(MANIFEST)?.filter(|document| document.digest() == *digest) {
            Some(document) => Ok(document),
            None => {
                Err(StoreError::NotFound { what: format!("manifest {digest} in {}", self.files.called()) })
            }
        }
    }

    fn put_document(&self, document: &Document) -> Result<(), StoreError> {
        self.check(document)?;
        self.files.write_file(&other_manifest(&document.digest()), document.raw())
    }

    /// Makes it the image of the folder, whatever the tag.
    fn tag(&self, _: &Tag, document: &Document) -> Result<(), StoreError> {
        self.set(document)
    }

    fn untag(&self, tag: &Tag) -> Result<(), StoreError> {
        Err(StoreError::NotFound { what: format!("tag {tag} in {}: it has none", self.files.called()) })
    }

    fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        Ok(Vec::new())
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        let others: Vec<Digest> = self.others()?.iter().map(Document::digest).collect();
        referrer::among(self, others, subject)
    }

    fn delete_document(&self, digest: &Digest) -> Result<(), StoreError> {
        match fs::remove_file(self.files.root().join(other_manifest(digest))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let what = format!("manifest {digest} in {}", self.files.called());
                Err(StoreError::NotFound { what })
            }
            removed => removed.map_err(|source| StoreError::io("clear", self.files.called(), source)),
        }
    }
}

impl std::fmt::Debug for FlatFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FlatFolder({})", self.files.root().display())
    }
}

fn other_manifest(digest: &Digest) -> String {
    format!("{}{OTHER_MANIFEST}", digest.hex())
}

/// Whether a manifest is part of one of `kept`, or about one.
fn belongs(document: &Document, kept: &[Document]) -> bool {
    let is_part =
        |of: &Document| children(of).iter().any(|child| child.descriptor.digest == document.digest());
    let is_about = |of: &Document| document.subject().is_some_and(|subject| subject.digest == of.digest());
    kept.iter().any(|of| is_part(of) || is_about(of))
}

/// Whether a name is the digits of a digest.
fn is_hex(name: &str) -> bool {
    matches!(name.len(), 64 | 128) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
