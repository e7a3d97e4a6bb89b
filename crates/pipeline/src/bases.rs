//! Base images for builds: services of the same run first, then whatever a place can be.

use std::collections::BTreeMap;

use builder::{Base, BaseReference, BaseRequest, Bases};
use oci::Document;
use store::{LayoutRepository, image_for_platform};

use crate::place::{ImageName, Located, Place, Places};

/// Finds base images.
pub(crate) struct PlanBases<'a> {
    /// By the name that the Dockerfile uses, images that this run built.
    pub named: BTreeMap<String, (Document, LayoutRepository)>,
    pub places: &'a Places,
    /// Whether a registry is asked even where the local store has the image.
    pub anew: bool,
}

impl Bases for PlanBases<'_> {
    fn find(&self, request: &BaseRequest<'_>) -> Result<Base, Box<dyn std::error::Error + Send + Sync>> {
        if let Some((document, repository)) = self.named.get(request.name) {
            let manifest = image_for_platform(repository, document.descriptor(), request.platform)?;
            let name = repository.name().to_string();
            let reference = Some(BaseReference { name, digest: document.digest() });
            let store = Box::new(repository.clone());
            return Ok(Base { manifest, store, repository: None, reference });
        }
        let place: Place = request.name.parse()?;
        let located = if self.anew { self.places.find_anew(&place)? } else { self.places.find(&place)? };
        let manifest =
            image_for_platform(located.store.as_ref(), located.document.descriptor(), request.platform)?;
        let reference = base_reference(&located);
        let repository = located.remote().cloned();
        Ok(Base { manifest, store: located.store, repository, reference })
    }
}

/// Returns what others know a base image by; `None` where it is no name of a registry.
fn base_reference(located: &Located) -> Option<BaseReference> {
    let ImageName::Reference(reference) = &located.name else { return None };
    let repository = reference.repository().clone();
    let name = match reference.tag_or_latest() {
        Some(tag) => repository.tagged(tag).to_string(),
        None => repository.to_string(),
    };
    Some(BaseReference { name, digest: located.document.digest() })
}
