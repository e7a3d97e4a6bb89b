//! Images from one job to the next: an archive for each service beside the ledger, and the proof
//! that what arrives is what was built, for the commit that was asked for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use oci::{Descriptor, Digest, Document, Pinned, Reference, Repository, Tag};
use store::{
    ArchiveFormat, ArchiveImage, ArchiveOptions, ArchiveStore, CopyOptions, Fallback, ImageStore, StoreError,
    copy_image, save_to_path,
};

use crate::configuration::{Archive, Name};
use crate::event::CommitId;
use crate::image::{Image, ImageError};
use crate::ledger::{Ledger, ServiceRecord};
use crate::tools::Tools;

/// Why images could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// A service of the ledger has no image.
    #[error("service {service} has no image in the ledger: {reason}")]
    NoImage {
        /// The service.
        service: Name,
        /// Why, as the ledger has it.
        reason: String,
    },
    /// The image is neither in the local store nor in its registry nor in its archive.
    #[error("the image {image} of service {service} is nowhere: {}", tried.join("; "))]
    Nowhere {
        /// The service.
        service: Name,
        /// The image.
        image: Pinned,
        /// Where it was looked for, and what was found there.
        tried: Vec<String>,
    },
    /// The image was built from another commit.
    #[error("stale image: {image} of service {service} was built from {found}, expected {expected}")]
    Stale {
        /// The service.
        service: Name,
        /// The image.
        image: Pinned,
        /// What its revision label says.
        found: String,
        /// The commit it should be of.
        expected: CommitId,
    },
    /// An archive cannot be written or read.
    #[error("cannot {action} the archive {}", path.display())]
    Archive {
        /// `read` or `write`.
        action: &'static str,
        /// The archive.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where an image was found by [`get`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was here already.
    Local,
    /// It came from its registry.
    Registry,
    /// It came from its archive.
    Archive(PathBuf),
}

/// What an archive of the hand-over holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Everything, in this form.
    Whole(Archive),
    /// An OCI archive without the layers that the image's repository has in its registry: who gets
    /// the image takes them from there.
    Thin,
}

/// Writes the archive of each image in the ledger into `folder` and notes it in the ledger. An
/// archive of the same image that is there already is kept.
///
/// # Errors
/// `Archive` or `Store`; for a thin one also what the registry says. Nothing half written is left.
pub fn put(
    ledger: &mut Ledger,
    before: Option<&Ledger>,
    form: Form,
    folder: &Path,
    tools: &Tools<'_>,
) -> Result<(), HandoverError> {
    let base = tools.ledger.parent().unwrap_or(Path::new(""));
    for (name, record) in &mut ledger.services {
        let Some(image) = record.pinned() else { continue };
        let path = folder.join(match form {
            Form::Whole(_) => format!("{name}.tar"),
            Form::Thin => format!("{name}.thin.tar"),
        });
        let named = path.strip_prefix(base).unwrap_or(&path).to_owned();
        let known = before.and_then(|before| before.services.get(name));
        let kept = known.is_some_and(|known| known.pinned() == Some(image.clone()))
            && known.is_some_and(|known| known.archive.as_ref() == Some(&named))
            && path.is_file();
        if !kept {
            write(name, &image, form, &path, tools)?;
        }
        record.archive = Some(named);
    }
    Ok(())
}

fn write(
    name: &Name,
    image: &Pinned,
    form: Form,
    path: &Path,
    tools: &Tools<'_>,
) -> Result<(), HandoverError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| HandoverError::Archive {
        action: "write",
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| failed(error.into()))?;
    }
    let local = tools.local(image.repository());
    let document = local.document(&image.digest())?;
    let names = vec![local_name(name).map_err(|error| failed(error.into()))?];
    let (format, omit) = match form {
        Form::Whole(Archive::DockerArchive) => (ArchiveFormat::DockerArchive, BTreeSet::new()),
        Form::Whole(Archive::OciArchive) => (ArchiveFormat::OciArchive, BTreeSet::new()),
        Form::Thin => {
            let remote = tools.remote(image.repository()).map_err(|error| failed(error.into()))?;
            (ArchiveFormat::OciArchive, there(&local, &document, &remote)?)
        }
    };
    let image = ArchiveImage { source: &local, descriptor: document.descriptor().clone(), names };
    let options = ArchiveOptions { omit, ..ArchiveOptions::default() };
    let saved = save_to_path(&[image], format, &options, path);
    saved.map(drop).map_err(|error| failed(error.into()))
}

/// Returns the layers of an image that a registry has.
fn there(
    local: &dyn ImageStore,
    document: &Document,
    remote: &dyn ImageStore,
) -> Result<BTreeSet<Digest>, StoreError> {
    let mut found = BTreeSet::new();
    for child in images(document) {
        let child = local.document(&child)?;
        for layer in child.as_image().map(|manifest| manifest.layers.as_slice()).unwrap_or_default() {
            if !found.contains(&layer.digest) && remote.blob_size(&layer.digest)? == Some(layer.size) {
                found.insert(layer.digest);
            }
        }
    }
    Ok(found)
}

/// The name that archives and daemons give a service's image: `NAME:local`.
pub fn local_name(service: &Name) -> Result<Reference, oci::InvalidReference> {
    let repository: Repository = service.as_str().to_ascii_lowercase().parse()?;
    let tag: Tag = "local".parse().expect("a literal tag of the grammar");
    Ok(repository.tagged(tag))
}

/// Brings the image of a service into the local store: it is there, or its registry has it, or its
/// archive. Whatever it comes from, it has the digest of the ledger.
///
/// # Errors
/// `Nowhere`, naming each place that was tried.
pub fn get(
    service: &Name,
    record: &ServiceRecord,
    archives: &Path,
    tools: &Tools<'_>,
) -> Result<Found, HandoverError> {
    let image = pinned(service, record)?;
    let local = tools.local(image.repository());
    let mut tried = Vec::new();
    if is_complete(&local, image.digest())? {
        return Ok(Found::Local);
    }
    let remote = tools.remote(image.repository());
    let fetched = remote.and_then(|remote| Ok(copy(&remote, &local, image.digest())?));
    match fetched {
        Ok(()) => return Ok(Found::Registry),
        Err(error) => tried.push(format!("{}: {}", image.repository(), chain_of(&error))),
    }
    let Some(path) = &record.archive else {
        tried.push("the ledger names no archive".to_owned());
        return Err(HandoverError::Nowhere { service: service.clone(), image, tried });
    };
    let path = if path.is_absolute() { path.clone() } else { archives.join(path) };
    let from_archive = ArchiveStore::open(&path, tools.store.root()).and_then(|archive| {
        // What a thin archive leaves out lies in the registry.
        match tools.remote(image.repository()) {
            Ok(remote) => copy(&Fallback { first: &archive, then: &remote }, &local, image.digest()),
            Err(_) => copy(&archive, &local, image.digest()),
        }
    });
    match from_archive {
        Ok(()) => return Ok(Found::Archive(path)),
        Err(error) => {
            let thin = if is_thin(&path, image.digest(), tools) {
                " (it was left out of the thin archive, so the registry must have it)"
            } else {
                ""
            };
            tried.push(format!("{}: {}{thin}", path.display(), chain_of(&error)));
        }
    }
    Err(HandoverError::Nowhere { service: service.clone(), image, tried })
}

/// Whether an archive has the image without some of its content, as thin ones do.
fn is_thin(path: &Path, digest: Digest, tools: &Tools<'_>) -> bool {
    let Ok(archive) = ArchiveStore::open(path, tools.store.root()) else { return false };
    archive.document(&digest).is_ok() && matches!(is_complete(&archive, digest), Ok(false))
}

/// Proves that the image of a service is to be had and was built from `expected`; returns it.
///
/// What was promoted because nothing of it had changed keeps the label of the commit it was built
/// from: in a ledger of `expected`, that commit is the one to be found.
///
/// # Errors
/// `Nowhere` where no place has it, `Stale` where it is of another commit.
pub fn check(
    service: &Name,
    ledger: &Ledger,
    expected: &CommitId,
    archives: &Path,
    tools: &Tools<'_>,
) -> Result<Pinned, HandoverError> {
    let no_record = || HandoverError::NoImage {
        service: service.clone(),
        reason: "the ledger has no such service".to_owned(),
    };
    let record = ledger.services.get(service).ok_or_else(no_record)?;
    let image = pinned(service, record)?;
    get(service, record, archives, tools)?;
    let origin = record.built_from.as_ref().filter(|_| ledger.revision == *expected);
    let expected = origin.unwrap_or(expected);
    let local = tools.local(image.repository());
    let document = local.document(&image.digest())?;
    for child in images(&document) {
        let found = Image::open(&local, &local.document(&child)?, None)?.revision();
        if found.as_deref() != Some(expected.as_str()) {
            let found = found.unwrap_or_else(|| "a commit its labels do not name".to_owned());
            let expected = expected.clone();
            return Err(HandoverError::Stale { service: service.clone(), image, found, expected });
        }
    }
    Ok(image)
}

fn pinned(service: &Name, record: &ServiceRecord) -> Result<Pinned, HandoverError> {
    record.pinned().ok_or_else(|| HandoverError::NoImage {
        service: service.clone(),
        reason: record.reason.clone().unwrap_or_else(|| "it says nothing of it".to_owned()),
    })
}

fn images(document: &Document) -> Vec<Digest> {
    match document.as_index() {
        None => vec![document.digest()],
        Some(index) => {
            let real =
                |child: &&Descriptor| child.platform.as_ref().is_none_or(|platform| platform.os != "unknown");
            index.manifests.iter().filter(real).map(|child| child.digest).collect()
        }
    }
}

fn is_complete(store: &dyn ImageStore, digest: Digest) -> Result<bool, StoreError> {
    let document = match store.document(&digest) {
        Ok(document) => document,
        Err(StoreError::NotFound { .. } | StoreError::Corrupt { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    for child in images(&document) {
        let Ok(child) = store.document(&child) else { return Ok(false) };
        let Some(manifest) = child.as_image() else { return Ok(false) };
        for blob in manifest.blobs() {
            if store.blob_size(&blob.digest)? != Some(blob.size) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn copy(source: &dyn ImageStore, local: &dyn ImageStore, digest: Digest) -> Result<(), StoreError> {
    let document = source.document(&digest)?;
    copy_image(source, local, document.descriptor(), &CopyOptions::default(), &|_| {})?;
    Ok(())
}

/// An error with its causes on one line.
fn chain_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
