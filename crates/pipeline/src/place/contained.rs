//! Which image of an archive, a layout or a repository is meant.

use std::path::Path;

use oci::{Digest, Document, Reference};
use store::archive::principal;
use store::{ArchiveStore, ArchivedImage, ArchivedName, FlatFolder, ImageStore, OciFolder, StoreError};

use super::open::{ImageName, Located, PlaceError};
use super::{Place, Selector};

/// Finds the wanted image of an archive, or the only one.
pub(super) fn in_archive(
    place: &Place,
    archive: ArchiveStore,
    wanted: Option<&ArchivedName>,
) -> Result<Located, PlaceError> {
    let images = match wanted {
        Some(_) => archive.images().iter().collect(),
        None => principal(&archive, archive.images())?,
    };
    let fits = |image: &ArchivedImage| wanted.is_none_or(|wanted| image.names.contains(wanted));
    let document = archive.document(&the_one(place, &images, fits)?)?;
    Ok(Located { name: ImageName::Place(place.clone()), store: Box::new(archive), document, local: None })
}

/// Finds the wanted image of a layout in a folder, or the only one.
pub(super) fn in_layout(
    place: &Place,
    folder: &Path,
    wanted: Option<&Selector>,
) -> Result<Located, PlaceError> {
    let layout = OciFolder::open(folder)?;
    let digest = match wanted {
        Some(Selector::Tag(tag)) => layout.resolve(tag)?.digest,
        Some(Selector::Digest(digest)) => *digest,
        None => the_one(place, &principal(&layout, &layout.images()?)?, |_| true)?,
    };
    let document = layout.document(&digest)?;
    Ok(Located { name: ImageName::Place(place.clone()), store: Box::new(layout), document, local: None })
}

/// Finds the image of a folder of its own.
pub(super) fn in_folder(place: &Place, folder: &Path) -> Result<Located, PlaceError> {
    let folder = FlatFolder::open(folder)?;
    let document = folder.image()?;
    Ok(Located { name: ImageName::Place(place.clone()), store: Box::new(folder), document, local: None })
}

/// Finds an image by its name in a repository.
pub(super) fn in_repository(
    place: &Place,
    repository: Box<dyn ImageStore>,
    reference: &Reference,
) -> Result<Located, PlaceError> {
    let document = named(&*repository, reference)?;
    Ok(Located { name: ImageName::Place(place.clone()), store: repository, document, local: None })
}

/// Returns what a name points to in its repository.
pub(super) fn named(repository: &dyn ImageStore, reference: &Reference) -> Result<Document, StoreError> {
    let digest = match (reference.digest(), reference.tag_or_latest()) {
        (Some(digest), _) => digest,
        (None, Some(tag)) => repository.resolve(&tag)?.digest,
        (None, None) => unreachable!("without a digest the tag is latest"),
    };
    repository.document(&digest)
}

/// Returns the only image that fits.
fn the_one(
    place: &Place,
    images: &[&ArchivedImage],
    fits: impl Fn(&ArchivedImage) -> bool,
) -> Result<Digest, PlaceError> {
    let mut fitting = images.iter().filter(|image| fits(image));
    match (fitting.next(), fitting.next()) {
        (Some(image), None) => Ok(image.descriptor.digest),
        (None, _) => Err(StoreError::NotFound { what: format!("{place} (it has {})", names(images)) }.into()),
        (Some(_), Some(_)) => Err(PlaceError::Several { place: place.to_string(), names: names(images) }),
    }
}

fn names(images: &[&ArchivedImage]) -> String {
    if images.is_empty() {
        return "no image".to_owned();
    }
    let names = images.iter().map(|image| match image.names.first() {
        Some(name) => name.to_string(),
        None => image.descriptor.digest.to_string(),
    });
    names.collect::<Vec<_>>().join(", ")
}
