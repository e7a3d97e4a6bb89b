//! Copying images from place to place: content first, tags last.

use std::path::Path;

use oci::{Digest, Document, Platform, Reference, Tag};
use registry::client::RemoteRepository;
use store::copy::{Copied, CopyEvent, CopyOptions, Platforms, copy_image};
use store::{Children, ImageStore, OciFolder, RepositoryOptions, StoreError};

use crate::image::{Image, ImageError};
use crate::place::{Located, PlaceError, Places};

/// Who is told how a copy goes, from several threads.
pub type CopyObserver<'a> = &'a (dyn Fn(CopyEvent<'_>) + Sync);

/// What came of a copy.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The image's digest, the same on both sides.
    pub digest: Digest,
    /// The image's name where it is now.
    pub destination: Reference,
    /// What had to be moved.
    pub copied: Copied,
}

/// Why an image could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A place failed.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The image has no such platform.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The destination names another digest than the source has.
    #[error("{found} would be stored as {wanted}")]
    OtherDigest {
        /// What the source has.
        found: String,
        /// What the destination says.
        wanted: String,
    },
}

impl From<StoreError> for CopyError {
    fn from(error: StoreError) -> Self {
        Self::Place(error.into())
    }
}

/// Copies `image` to `destination`. With a platform, the image of that platform alone is copied,
/// under its own digest.
///
/// # Errors
/// What the places say. What arrived stays, so that the next try is shorter; no tag was moved.
pub fn copy(
    places: &Places,
    image: &Located,
    destination: &Reference,
    platform: Option<&Platform>,
    observe: CopyObserver<'_>,
) -> Result<Outcome, CopyError> {
    let document = of_platform(image, platform)?;
    if let Some(wanted) = destination.digest().filter(|wanted| *wanted != document.digest()) {
        let (found, wanted) = (document.digest().to_string(), wanted.to_string());
        return Err(CopyError::OtherDigest { found, wanted });
    }
    let options = CopyOptions::default();
    let tag = destination.tag_or_latest();
    let name = destination.repository();
    let copied = if name.registry().is_local() {
        let _lock = places.local().lock_shared().map_err(PlaceError::from)?;
        transfer(image, &document, &places.local().repository(name), tag.as_ref(), &options, observe)?
    } else {
        let remote = mountable(places.remote(name)?, image);
        transfer(image, &document, &remote, tag.as_ref(), &options, observe)?
    };
    Ok(Outcome { digest: document.digest(), destination: destination.clone(), copied })
}

/// Copies `image` into an image layout in a folder, which is made where it is not there; under `tag`,
/// or listed without a name.
///
/// # Errors
/// What the places say; `Corrupt` where the folder is something else.
pub fn copy_to_layout(
    image: &Located,
    folder: &Path,
    tag: Option<&Tag>,
    platform: Option<&Platform>,
    observe: CopyObserver<'_>,
) -> Result<(Digest, Copied), CopyError> {
    let document = of_platform(image, platform)?;
    let layout = OciFolder::create(folder)?;
    let copied = transfer(image, &document, &layout, tag, &CopyOptions::default(), observe)?;
    if tag.is_none() {
        layout.add(&document)?;
    }
    Ok((document.digest(), copied))
}

fn of_platform(image: &Located, platform: Option<&Platform>) -> Result<Document, ImageError> {
    match platform {
        Some(platform) => Ok(Image::open(&*image.store, &image.document, Some(platform))?.document().clone()),
        None => Ok(image.document.clone()),
    }
}

/// Copies an image of a registry into the local store under the same name. Without platforms all of an
/// index is copied; with some, the index keeps its digest and only their children come along.
///
/// # Errors
/// What the registry and the store say.
pub fn pull(
    places: &Places,
    reference: &Reference,
    platforms: &[Platform],
    observe: CopyObserver<'_>,
) -> Result<Outcome, CopyError> {
    let image = places.find_remote(reference)?;
    let only_some = image.document.as_index().is_some() && !platforms.is_empty();
    let platforms = if only_some { Platforms::Only(platforms.to_vec()) } else { Platforms::All };
    let options = CopyOptions { platforms, ..CopyOptions::default() };
    let sparse = RepositoryOptions { children: Children::Sparse, ..RepositoryOptions::default() };
    let _lock = places.local().lock_shared().map_err(PlaceError::from)?;
    let local = places.local().repository_with(reference.repository(), sparse);
    let tag = reference.tag_or_latest();
    let copied = transfer(&image, &image.document, &local, tag.as_ref(), &options, observe)?;
    Ok(Outcome { digest: image.document.digest(), destination: reference.clone(), copied })
}

fn transfer(
    image: &Located,
    document: &Document,
    destination: &dyn ImageStore,
    tag: Option<&Tag>,
    options: &CopyOptions,
    observe: CopyObserver<'_>,
) -> Result<Copied, StoreError> {
    let copied = copy_image(&*image.store, destination, document.descriptor(), options, observe)?;
    if let Some(tag) = tag {
        destination.tag(tag, document)?;
    }
    Ok(copied)
}

/// Blobs that another repository of the same registry has need not be sent.
fn mountable(remote: RemoteRepository, image: &Located) -> RemoteRepository {
    match image.name.repository() {
        Some(source) if image.local.is_none() => remote.mount_from(source),
        _ => remote,
    }
}
