//! Base images for builds: services of the same run first, then whatever a place can be.

use std::collections::BTreeMap;

use builder::{Base, BaseRequest, Bases};
use oci::Document;
use store::{LayoutRepository, image_for_platform};

use crate::place::{Place, Places};

/// Finds base images.
pub(crate) struct PlanBases<'a> {
    /// By the name that the Dockerfile uses, images that this run built.
    pub named: BTreeMap<String, (Document, LayoutRepository)>,
    pub places: &'a Places,
}

impl Bases for PlanBases<'_> {
    fn find(&self, request: &BaseRequest<'_>) -> Result<Base, Box<dyn std::error::Error + Send + Sync>> {
        if let Some((document, repository)) = self.named.get(request.name) {
            let manifest = image_for_platform(repository, document.descriptor(), request.platform)?;
            return Ok(Base { manifest, store: Box::new(repository.clone()) });
        }
        let place: Place = request.name.parse()?;
        let located = self.places.find(&place)?;
        let manifest =
            image_for_platform(located.store.as_ref(), located.document.descriptor(), request.platform)?;
        Ok(Base { manifest, store: located.store })
    }
}
