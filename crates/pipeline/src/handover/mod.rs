//! Images from one job to the next: an archive for each service beside the ledger, and the proof
//! that what arrives is what was built, for the commit that was asked for.

mod thin;

use std::path::{Path, PathBuf};

use oci::{Descriptor, Digest, Document, Pinned, Reference, Repository, Tag};
use store::{
    ArchiveFormat, ArchiveImage, ArchiveOptions, ArchiveStore, CopyOptions, ImageStore, StoreError,
    copy_image, save_to_path,
};

use crate::archive::ArchiveFault;
use crate::configuration::{Archive, Name};
use crate::event::CommitId;
use crate::image::{Image, ImageError};
use crate::ledger::{Ledger, ServiceRecord};
use crate::place::PlaceError;
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
    /// Layers that a thin archive leaves out are nowhere to be had.
    #[error(
        "{image} of service {service} cannot be completed: the thin archive {} leaves out {}, and none of {} has it",
        archive.display(), join(layers), join(asked)
    )]
    Incomplete {
        /// The service.
        service: Name,
        /// The image.
        image: Pinned,
        /// The archive.
        archive: PathBuf,
        /// The layers.
        layers: Vec<Digest>,
        /// Who was asked.
        asked: Vec<Repository>,
    },
    /// An archive cannot be written.
    #[error(transparent)]
    Archive(#[from] ArchiveFault),
    /// A place cannot be asked.
    #[error(transparent)]
    Place(#[from] PlaceError),
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
pub enum Form<'a> {
    /// Everything, in this form.
    Whole(Archive),
    /// An OCI archive without the layers that whoever gets the image takes from elsewhere: the image's own
    /// repository in its registry, that of its base image, and these.
    Thin(&'a [Repository]),
}

fn join(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Writes the archive of each image in the ledger into `folder` and notes it in the ledger. An
/// archive of the same image that is there already is kept.
///
/// # Errors
/// `Archive` or `Store`; for a thin one also what the registry says. Nothing half written is left.
pub fn put(
    ledger: &mut Ledger,
    before: Option<&Ledger>,
    form: Form<'_>,
    folder: &Path,
    tools: &Tools<'_>,
) -> Result<(), HandoverError> {
    let base = tools.ledger.parent().unwrap_or(Path::new(""));
    for (name, record) in &mut ledger.services {
        let Some(image) = record.pinned() else { continue };
        let path = folder.join(match form {
            Form::Whole(_) => format!("{name}.tar"),
            Form::Thin(_) => format!("{name}.thin.tar"),
        });
        let named = path.strip_prefix(base).unwrap_or(&path).to_owned();
        let known = before.and_then(|before| before.services.get(name));
        let kept = known.is_some_and(|known| known.pinned() == Some(image.clone()))
            && known.is_some_and(|known| known.archive.as_ref() == Some(&named))
            && path.is_file();
        record.layers_from = match known {
            Some(known) if kept => known.layers_from.clone(),
            _ => write(name, &image, form, &path, tools)?,
        };
        record.archive = Some(named);
    }
    Ok(())
}

/// Writes an archive and returns who has what it leaves out, beside the image's own repository.
fn write(
    name: &Name,
    image: &Pinned,
    form: Form<'_>,
    path: &Path,
    tools: &Tools<'_>,
) -> Result<Vec<Repository>, HandoverError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| ArchiveFault {
        action: "write",
        what: format!("the archive {}", path.display()),
        source,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| failed(error.into()))?;
    }
    let local = tools.local(image.repository());
    let document = local.document(&image.digest())?;
    let names = vec![local_name(name).map_err(|error| failed(error.into()))?];
    let (format, elsewhere) = match form {
        Form::Whole(Archive::DockerArchive) => (ArchiveFormat::DockerArchive, thin::Elsewhere::default()),
        Form::Whole(Archive::OciArchive) => (ArchiveFormat::OciArchive, thin::Elsewhere::default()),
        Form::Thin(named) => {
            let elsewhere = thin::look(&local, &document, image.repository(), named, tools)?;
            (ArchiveFormat::OciArchive, elsewhere)
        }
    };
    let image = ArchiveImage { source: &local, descriptor: document.descriptor().clone(), names };
    let options = ArchiveOptions { omit: elsewhere.omit, ..ArchiveOptions::default() };
    save_to_path(&[image], format, &options, path).map_err(|error| failed(error.into()))?;
    Ok(elsewhere.from)
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
/// Layers that a thin archive leaves out come from the image's repository, those that the ledger names, and `more`.
///
/// # Errors
/// `Nowhere`, naming each place that was tried; `Incomplete` where a layer is left out that none of them has. Nothing
/// is written then.
pub fn get(
    service: &Name,
    record: &ServiceRecord,
    archives: &Path,
    more: &[Repository],
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
        Err(error) => tried.push(format!("{}: {}", image.repository(), store::with_causes(&error))),
    }
    let Some(path) = &record.archive else {
        tried.push("the ledger names no archive".to_owned());
        return Err(HandoverError::Nowhere { service: service.clone(), image, tried });
    };
    let path = if path.is_absolute() { path.clone() } else { archives.join(path) };
    match from_archive(service, record, image.clone(), &path, more, tools) {
        Ok(()) => Ok(Found::Archive(path)),
        Err(error @ HandoverError::Incomplete { .. }) => Err(error),
        Err(error) => {
            tried.push(format!("{}: {}", path.display(), store::with_causes(&error)));
            Err(HandoverError::Nowhere { service: service.clone(), image, tried })
        }
    }
}

fn from_archive(
    service: &Name,
    record: &ServiceRecord,
    image: Pinned,
    path: &Path,
    more: &[Repository],
    tools: &Tools<'_>,
) -> Result<(), HandoverError> {
    let local = tools.local(image.repository());
    let archive = ArchiveStore::open(path, tools.store.root())?;
    let document = archive.document(&image.digest())?;
    let own = std::iter::once(image.repository());
    let sources: Vec<Repository> = own.chain(&record.layers_from).chain(more).cloned().collect();
    let mut completion = thin::complete(&archive, &local, &document, &sources, tools)?;
    match (completion.missing.is_empty(), completion.failed.pop()) {
        (true, _) => {}
        (false, Some((name, error))) => {
            return Err(ArchiveFault {
                action: "complete",
                what: format!("what was left out of the thin archive, which {name} may have"),
                source: error.into(),
            }
            .into());
        }
        (false, None) => {
            let (service, archive) = (service.clone(), path.to_owned());
            let layers = completion.missing;
            return Err(HandoverError::Incomplete { service, image, archive, layers, asked: sources });
        }
    }
    let digest = image.digest();
    Ok(thin::with_all(&archive, &completion.remotes, &|source| copy(source, &local, digest))?)
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
    more: &[Repository],
    tools: &Tools<'_>,
) -> Result<Pinned, HandoverError> {
    let no_record = || HandoverError::NoImage {
        service: service.clone(),
        reason: "the ledger has no such service".to_owned(),
    };
    let record = ledger.services.get(service).ok_or_else(no_record)?;
    let image = pinned(service, record)?;
    get(service, record, archives, more, tools)?;
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
    copy_image(source, local, document.descriptor(), &CopyOptions::whole(), &|_| {})?;
    Ok(())
}
