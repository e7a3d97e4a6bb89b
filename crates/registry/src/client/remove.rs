//! Removing tags and manifests, and telling apart what a registry refuses from what it cannot do.
//!
//! | what is asked for | a registry of the specification | others |
//! |---|---|---|
//! | a tag | 202, the manifest stays | 400, 405 or 501: only manifests can be removed, or nothing |
//! | a manifest | 202, its tags go as well | 400 where its tags must go first; 405 where nothing is removed |
//!
//! Source: distribution-spec v1.1, "Content Management".

use hyper::{Method, StatusCode};
use oci::{Descriptor, Digest, Document, Tag};
use store::StoreError;

use super::repository::RemoteRepository;
use super::scope::Scope;
use super::{Failure, manifest, referrers};
use crate::protocol::{Endpoint, ErrorCode, ManifestName};

/// What a registry answered to the wish to have something removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is gone.
    Done,
    /// The registry does not do that; these are its words.
    Unsupported(String),
}

impl RemoteRepository {
    /// Removes a tag; what it pointed to stays.
    ///
    /// # Errors
    /// `NotFound` where there is no such tag and the registry knows how to remove one, `Denied` where
    /// it is not allowed.
    pub fn remove_tag(&self, tag: &Tag) -> Result<Removal, StoreError> {
        let what = self.name_of_tag(tag);
        let removed = self.remove(ManifestName::Tag(tag.clone()), &what);
        removal(removed).map_err(|failure| failure.into_store_error("remove", what))
    }

    /// Removes a manifest, with its tags where the registry does so, and its entry in a fallback list of
    /// referrers.
    ///
    /// # Errors
    /// `NotFound` where there is no such manifest, `Denied` where it is not allowed.
    pub fn remove_document(&self, digest: &Digest) -> Result<Removal, StoreError> {
        let what = self.name_of_document(digest);
        let failed = |failure: Failure| failure.into_store_error("remove", what.clone());
        let document = manifest::get(self, &ManifestName::Digest(*digest));
        let removed = self.remove(ManifestName::Digest(*digest), &what);
        let removal = removal(removed).map_err(failed)?;
        if removal == Removal::Done
            && let Some(subject) = document.as_ref().ok().and_then(Document::subject)
        {
            referrers::strike(self, digest, &subject.digest).map_err(failed)?;
        }
        Ok(removal)
    }

    /// Returns what a tag points to at the registry itself, whatever its mirrors have.
    ///
    /// # Errors
    /// As for `resolve`.
    pub fn resolve_at_origin(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        manifest::resolve(self, tag)
            .map_err(|failure| failure.into_store_error("resolve", self.name_of_tag(tag)))
    }

    fn remove(&self, name: ManifestName, what: &str) -> Result<(), Failure> {
        let address = self.address(&Endpoint::Manifest(self.repository.clone(), name))?;
        let scope = Scope::delete(&self.repository);
        let mut call = self.call(Method::DELETE, address, scope, format!("removal of {what}"));
        call.expected = &[StatusCode::ACCEPTED, StatusCode::OK, StatusCode::NO_CONTENT];
        self.host.call(&call)?.body.discard();
        Ok(())
    }
}

fn removal(removed: Result<(), Failure>) -> Result<Removal, Failure> {
    match removed {
        Ok(()) => Ok(Removal::Done),
        Err(failure) if is_unsupported(&failure) => Ok(Removal::Unsupported(failure.to_string())),
        Err(failure) => Err(failure),
    }
}

fn is_unsupported(failure: &Failure) -> bool {
    let by_status = matches!(failure.status().map(|status| status.as_u16()), Some(400 | 405 | 501));
    by_status || failure.code() == Some(ErrorCode::Unsupported)
}
