//! Images into archives and out of them.

use std::path::Path;

use oci::{Digest, Document, Platform, Reference, Repository, Tag};
use store::copy::{Company, Copied};
use store::{
    ArchiveFormat, ArchiveImage, ArchiveOptions, ArchiveStore, ArchivedImage, CopyOptions, ImageStore,
    StoreError, copy_image, save_to_path, write_archive,
};

use crate::copy::CopyObserver;
use crate::image::{self, Image, ImageError};
use crate::place::{ImageName, Located, PlaceError, Places};

use store::archive::principal;
pub use store::archive::{OldReaders, Output, Saved};

/// The tag under which images travel: what receives them knows them by their service's name.
const TRAVEL_TAG: &str = "local";

/// An image that is to be saved, with the names it gets in the archive.
pub struct Parcel {
    located: Located,
    document: Document,
    names: Vec<Reference>,
}

/// An archive on its way to somebody else could not be made, written or completed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {what}")]
pub struct ArchiveFault {
    /// `make`, `write` or `complete`.
    pub action: &'static str,
    /// Which archive.
    pub what: String,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why an archive could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store or the archive failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A place failed.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// There is no image of the platform.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The archive does not say what its image is called.
    #[error("the image {digest} of {archive} has no name that the local store can use")]
    Nameless {
        /// The image.
        digest: String,
        /// The archive.
        archive: String,
    },
    /// One name was given for several images.
    #[error("{archive} has {count} images, and one name was given")]
    Several {
        /// The archive.
        archive: String,
        /// How many.
        count: usize,
    },
}

/// An image that was loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its name in the local store.
    pub name: Reference,
    /// Its digest.
    pub digest: Digest,
    /// What had to be moved.
    pub copied: Copied,
}

impl Parcel {
    /// Packs `located`: the image of one platform, or everything behind its name. Of an index that is
    /// here in part, the image of this machine is packed. Without `names` it keeps the name it has; one
    /// known by its digest alone is called after its repository, `NAME:local`.
    ///
    /// # Errors
    /// `Image` where there is no such platform.
    pub fn new(
        located: Located,
        platform: Option<&Platform>,
        names: Vec<Reference>,
    ) -> Result<Self, ArchiveError> {
        let whole = platform.is_none() && image::is_complete(&*located.store, &located.document)?;
        let document = if whole {
            located.document.clone()
        } else {
            Image::open(&*located.store, &located.document, platform)?.document().clone()
        };
        let names = if names.is_empty() { travel_name(&located.name).into_iter().collect() } else { names };
        Ok(Self { located, document, names })
    }

    /// Returns the digest of what is packed.
    pub fn digest(&self) -> Digest {
        self.document.digest()
    }

    /// Returns the names in the archive.
    pub fn names(&self) -> &[Reference] {
        &self.names
    }

    fn image(&self) -> ArchiveImage<'_> {
        ArchiveImage {
            source: &*self.located.store,
            descriptor: self.document.descriptor().clone(),
            names: self.names.clone(),
        }
    }
}

fn travel_name(name: &ImageName) -> Option<Reference> {
    let ImageName::Reference(reference) = name else { return None };
    match reference.tag_or_latest() {
        Some(tag) => Some(reference.repository().clone().tagged(tag)),
        None => local_name(reference.repository()),
    }
}

/// Returns `NAME:local` for the last part of a repository's path.
fn local_name(repository: &Repository) -> Option<Reference> {
    let last = repository.path().rsplit('/').next()?;
    let short: Repository = last.parse().ok()?;
    Some(short.tagged(TRAVEL_TAG.parse().expect("it is a tag")))
}

/// Writes an archive; what was at `file` is replaced when the new one is complete.
///
/// # Errors
/// What the stores say, or the file.
pub fn save(
    parcels: &[Parcel],
    format: ArchiveFormat,
    options: &ArchiveOptions,
    file: &Path,
) -> Result<Saved, ArchiveError> {
    let images: Vec<ArchiveImage<'_>> = parcels.iter().map(Parcel::image).collect();
    Ok(save_to_path(&images, format, options, file)?)
}

/// Writes an archive to a stream.
///
/// # Errors
/// What the stores say, or the stream.
pub fn stream(
    parcels: &[Parcel],
    format: ArchiveFormat,
    options: &ArchiveOptions,
    output: &mut dyn std::io::Write,
) -> Result<Saved, ArchiveError> {
    let images: Vec<ArchiveImage<'_>> = parcels.iter().map(Parcel::image).collect();
    Ok(write_archive(&images, format, options, Output::Stream(output))?)
}

/// Copies all images of an archive into the local store, under the names they have there or, where the
/// archive has one image, under `name`.
///
/// # Errors
/// `Nameless` and `Several` before anything is copied; then what the archive and the store say.
pub fn load(
    places: &Places,
    file: &Path,
    name: Option<&Reference>,
    observe: CopyObserver<'_>,
) -> Result<Vec<Loaded>, ArchiveError> {
    let archive = places.archive(file)?;
    let named = named(&archive, name)?;
    let _lock = places.local().lock_shared()?;
    named.into_iter().map(|(name, image)| load_one(places, &archive, image, name, observe)).collect()
}

/// Returns the names and digests that [`load`] would put into the local store.
///
/// # Errors
/// As for [`load`], without those of the store.
pub fn planned(
    places: &Places,
    file: &Path,
    name: Option<&Reference>,
) -> Result<Vec<(Reference, Digest)>, ArchiveError> {
    let archive = places.archive(file)?;
    let named = named(&archive, name)?;
    Ok(named.into_iter().map(|(name, image)| (name, image.descriptor.digest)).collect())
}

/// Returns the images of an archive, once for each name they get.
fn named<'a>(
    archive: &'a ArchiveStore,
    name: Option<&Reference>,
) -> Result<Vec<(Reference, &'a ArchivedImage)>, ArchiveError> {
    let images = principal(archive, archive.images())?;
    if name.is_some() && images.len() > 1 {
        let archive = archive.path().display().to_string();
        return Err(ArchiveError::Several { archive, count: images.len() });
    }
    let mut named = Vec::new();
    for image in images {
        named.extend(names_of(archive, image, name)?.into_iter().map(|name| (name, image)));
    }
    Ok(named)
}

fn names_of(
    archive: &ArchiveStore,
    image: &ArchivedImage,
    name: Option<&Reference>,
) -> Result<Vec<Reference>, ArchiveError> {
    if let Some(name) = name {
        return Ok(vec![name.clone()]);
    }
    let names: Vec<Reference> = image.names.iter().filter_map(|name| name.reference().cloned()).collect();
    if names.is_empty() {
        let digest = image.descriptor.digest.to_string();
        return Err(ArchiveError::Nameless { digest, archive: archive.path().display().to_string() });
    }
    Ok(names)
}

fn load_one(
    places: &Places,
    archive: &ArchiveStore,
    image: &ArchivedImage,
    name: Reference,
    observe: CopyObserver<'_>,
) -> Result<Loaded, ArchiveError> {
    let repository = places.local().repository(name.repository());
    // An archive has nothing that was not to come along.
    let options = CopyOptions { company: Company::Referrers, ..CopyOptions::whole() };
    let place = archive.path().display().to_string();
    let whole = places.completed(archive, &image.descriptor, place)?;
    let copied = copy_image(&whole, &repository, &image.descriptor, &options, observe)?;
    let digest = image.descriptor.digest;
    let tag: Option<Tag> = name.tag_or_latest();
    if let Some(tag) = tag {
        repository.tag(&tag, &repository.document(&digest)?)?;
    }
    Ok(Loaded { name, digest, copied })
}
