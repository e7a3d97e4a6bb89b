//! Base images of one target: what its contexts name, then images by their names.

use std::collections::BTreeMap;

use builder::{Base, BaseRequest, Bases};
use oci::{Document, Reference};
use pipeline::bake::{Job, NamedBase};
use pipeline::place::Places;
use store::image_for_platform;

use super::build::repository;

/// Images made so far, by target; `None` where a build failed.
pub(super) type Made = BTreeMap<String, Option<Document>>;

/// Where base images of a target are found.
pub(super) struct TargetBases<'a> {
    pub job: &'a Job,
    pub made: Made,
    pub places: &'a Places,
}

#[derive(Debug, thiserror::Error)]
#[error("it is linked to the target {0}, which was not built")]
pub(super) struct NotBuilt(String);

impl TargetBases<'_> {
    pub fn check(&self) -> Result<(), NotBuilt> {
        for base in self.job.bases.values() {
            if let NamedBase::Target(name) = base
                && self.made.get(name).is_none_or(Option::is_none)
            {
                return Err(NotBuilt(name.clone()));
            }
        }
        Ok(())
    }

    /// A context goes for the name as it is written, and for the image that the name means.
    fn named(&self, wanted: &str) -> Option<&NamedBase> {
        let full = |name: &str| {
            name.parse::<Reference>().ok().map(|name| (name.repository().clone(), name.tag_or_latest()))
        };
        let same =
            |name: &&String| *name == wanted || full(name).is_some_and(|name| Some(name) == full(wanted));
        let exact = self.job.bases.get(wanted);
        exact.or_else(|| self.job.bases.keys().find(same).and_then(|name| self.job.bases.get(name)))
    }
}

impl Bases for TargetBases<'_> {
    fn find(&self, request: &BaseRequest<'_>) -> Result<Base, Box<dyn std::error::Error + Send + Sync>> {
        let place = match self.named(request.name) {
            Some(NamedBase::Target(target)) => {
                let document =
                    self.made.get(target).cloned().flatten().ok_or_else(|| NotBuilt(target.clone()))?;
                let store = self.places.local().repository(&repository(target));
                let manifest = image_for_platform(&store, document.descriptor(), request.platform)?;
                return Ok(Base { manifest, store: Box::new(store), repository: None, reference: None });
            }
            Some(NamedBase::Image(place)) => place.clone(),
            Some(NamedBase::Folder(_) | NamedBase::Address(_)) | None => request.name.parse()?,
        };
        let located =
            if self.job.pull { self.places.find_anew(&place)? } else { self.places.find(&place)? };
        let repository = located.remote().cloned();
        let store = located.store;
        let manifest = image_for_platform(store.as_ref(), located.document.descriptor(), request.platform)?;
        Ok(Base { manifest, store, repository, reference: None })
    }
}
