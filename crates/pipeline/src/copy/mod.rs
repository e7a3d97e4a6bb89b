//! Copying images from place to place: content first, tags last.
//!
//! | room | owns |
//! |---|---|
//! | here | one image |
//! | `repository` | all images of a repository: plan, apply, verify |
//! | `rename` | the rules by which tags get other names |

mod rename;
pub mod repository;

use std::path::Path;

use containerd::Namespace;
use oci::{Descriptor, Digest, Document, Platform, Reference, Tag};
use registry::client::RemoteRepository;
use store::copy::{Company, Copied, CopyEvent, CopyOptions, Foreign, Platforms, Top, copy_image};
use store::{Children, FlatFolder, ImageStore, OciFolder, RepositoryOptions, StoreError};

use crate::daemon::{DaemonError, Loaded};
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
    /// The container daemon failed.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
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

/// What of an image is copied, and what with it.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The image of this platform alone, under its own digest.
    pub platform: Option<Platform>,
    /// What comes along.
    pub company: Company,
    /// What becomes of non-distributable layers where the destination is a registry. Other places get them.
    pub foreign: Foreign,
}

impl Default for Choice {
    fn default() -> Self {
        Self { platform: None, company: Company::Alone, foreign: Foreign::LeftOut }
    }
}

impl Choice {
    fn options(&self) -> CopyOptions {
        CopyOptions { company: self.company, foreign: self.foreign, ..CopyOptions::default() }
    }

    /// The same for a place that others do not pull from.
    fn whole(&self) -> CopyOptions {
        CopyOptions { company: self.company, ..CopyOptions::whole() }
    }
}

/// Copies `image` to `destination`. Of a registry whose tag is the very image already nothing more is
/// asked, unless company is to come along.
///
/// # Errors
/// What the places say. What arrived stays, so that the next try is shorter; no tag was moved.
pub fn copy(
    places: &Places,
    image: &Located,
    destination: &Reference,
    choice: &Choice,
    observe: CopyObserver<'_>,
) -> Result<Outcome, CopyError> {
    let document = of_platform(image, choice.platform.as_ref())?;
    check_digest(&document, destination)?;
    let tag = destination.tag_or_latest();
    let name = destination.repository();
    let copied = if name.registry().is_local() {
        let _lock = places.local().lock_shared().map_err(PlaceError::from)?;
        transfer(image, &document, &places.local().repository(name), tag.as_ref(), &choice.whole(), observe)?
    } else {
        let remote = mountable(places.remote(name)?, image);
        // What is asked for beyond the image itself has to be looked for.
        let is_plain = choice.company == Company::Alone && choice.foreign == Foreign::LeftOut;
        let known = tag.as_ref().filter(|_| is_plain);
        let there = known.map(|tag| is_there(&remote, tag, &document)).transpose()?.flatten();
        if let Some(copied) = there {
            return Ok(Outcome { digest: document.digest(), destination: destination.clone(), copied });
        }
        transfer(image, &document, &remote, tag.as_ref(), &choice.options(), observe)?
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
    choice: &Choice,
    observe: CopyObserver<'_>,
) -> Result<(Digest, Copied), CopyError> {
    let document = of_platform(image, choice.platform.as_ref())?;
    let layout = OciFolder::create(folder)?;
    let copied = transfer(image, &document, &layout, tag, &choice.whole(), observe)?;
    if tag.is_none() {
        layout.add(&document)?;
    }
    Ok((document.digest(), copied))
}

/// Copies `image` into a folder of its own, which is made where it is not there; what only another image
/// had there before is removed.
///
/// # Errors
/// What the places say; `Corrupt` where the folder is something else.
pub fn copy_to_folder(
    image: &Located,
    folder: &Path,
    choice: &Choice,
    observe: CopyObserver<'_>,
) -> Result<(Digest, Copied), CopyError> {
    let document = of_platform(image, choice.platform.as_ref())?;
    let folder = FlatFolder::create(folder)?;
    let options = CopyOptions { top: Top::LeftToTag, ..choice.whole() };
    let copied = copy_image(&*image.store, &folder, document.descriptor(), &options, observe)?;
    folder.set(&document)?;
    Ok((document.digest(), copied))
}

/// Copies `image` into the container daemon as `name`: the image of one platform, by default this
/// machine's.
///
/// # Errors
/// `Daemon`, also where the daemon said yes and does not have the image under that name.
pub fn copy_to_daemon(
    places: &Places,
    image: &Located,
    name: &Reference,
    platform: Option<&Platform>,
) -> Result<(Digest, Loaded), CopyError> {
    let loaded =
        places.daemon()?.load(std::slice::from_ref(name), &*image.store, &image.document, platform)?;
    Ok((image.document.digest(), loaded))
}

/// Copies `image` into containerd as `name`, in the usual namespace where none is named. Without
/// `choice.platform` all of it goes.
///
/// # Errors
/// What the places say; `OtherDigest` where `name` has another digest than the image.
pub fn copy_to_containerd(
    places: &Places,
    image: &Located,
    namespace: Option<&Namespace>,
    name: &Reference,
    choice: &Choice,
    observe: CopyObserver<'_>,
) -> Result<(Digest, Copied), CopyError> {
    let document = of_platform(image, choice.platform.as_ref())?;
    check_digest(&document, name)?;
    let found = places.containerd()?;
    let repository = found.containerd.repository(namespace.unwrap_or(&found.namespace), name.repository());
    let repository = repository.held(found.now)?.coming_from(image.remote());
    let tag = name.tag_or_latest();
    let copied = transfer(image, &document, &repository, tag.as_ref(), &choice.whole(), observe)?;
    if tag.is_none() {
        repository.name_digest(&document)?;
    }
    Ok((document.digest(), copied))
}

fn check_digest(document: &Document, name: &Reference) -> Result<(), CopyError> {
    match name.digest().filter(|wanted| *wanted != document.digest()) {
        Some(wanted) => {
            Err(CopyError::OtherDigest { found: document.digest().to_string(), wanted: wanted.to_string() })
        }
        None => Ok(()),
    }
}

/// Returns what is there already where `tag` is the document and nothing of it is missing. A registry that has a manifest
/// has its blobs, or would have refused it; of an index it may have a part.
fn is_there(remote: &dyn ImageStore, tag: &Tag, document: &Document) -> Result<Option<Copied>, StoreError> {
    match remote.resolve(tag) {
        Ok(found) if found.digest != document.digest() => return Ok(None),
        Err(StoreError::NotFound { .. }) => return Ok(None),
        found => found?,
    };
    let mut copied = Copied::default();
    copied.add(&blobs_of(document));
    for child in document.as_index().map(|index| index.manifests.as_slice()).unwrap_or_default() {
        match remote.document(&child.digest) {
            Err(StoreError::NotFound { .. }) => return Ok(None),
            found => copied.add(&left_out_of(&found?)),
        };
    }
    Ok(Some(copied))
}

/// Counts the blobs of a manifest that is at a registry.
fn blobs_of(document: &Document) -> Copied {
    let copied = left_out_of(document);
    let blobs = document.as_image().map_or(0, |manifest| manifest.blobs().count() as u64);
    Copied { blobs_present: blobs.saturating_sub(copied.left_out.len() as u64), ..copied }
}

fn left_out_of(document: &Document) -> Copied {
    let layers = document.as_image().map(|manifest| manifest.layers.as_slice()).unwrap_or_default();
    let mut left_out: Vec<Descriptor> =
        layers.iter().filter(|layer| layer.media_type.is_nondistributable()).cloned().collect();
    left_out.sort_by_key(|layer| layer.digest);
    left_out.dedup_by_key(|layer| layer.digest);
    Copied { left_out, ..Copied::default() }
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
    let options = CopyOptions { platforms, ..CopyOptions::whole() };
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
    let Some(tag) = tag else {
        return copy_image(&*image.store, destination, document.descriptor(), options, observe);
    };
    // What refers to the image needs it to be there; else one request stores it and sets the tag.
    let top = if options.company == Company::Alone { Top::LeftToTag } else { Top::Copied };
    let options = CopyOptions { top, ..options.clone() };
    let copied = copy_image(&*image.store, destination, document.descriptor(), &options, observe)?;
    destination.tag(tag, document)?;
    Ok(copied)
}

/// Blobs that another repository of the same registry has need not be sent.
fn mountable(remote: RemoteRepository, image: &Located) -> RemoteRepository {
    match image.name.repository() {
        Some(source) if image.local.is_none() => remote.copied_from(source),
        _ => remote,
    }
}
