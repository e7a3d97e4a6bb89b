//! What says something about a manifest. Source: distribution-spec v1.1, "Listing Referrers".

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hyper::header::HeaderName;
use hyper::{Response, StatusCode};
use oci::{Descriptor, Digest, Document, ImageIndex, MediaType, Repository};
use store::referrer::describe;
use store::{ImageStore as _, LayoutRepository, StoreError};

use super::answer;
use super::body::Content;
use super::refusal::Refusal;
use super::routes::{Answer, Question, State};
use super::storage::StoredRepository;
use crate::protocol::{ErrorCode, OCI_FILTERS_APPLIED};

/// How many manifests are remembered before all are read again.
const MAX_KNOWN: usize = 100_000;

/// What manifests are about. Their digests are their identity, so this is never out of date.
#[derive(Default)]
pub(super) struct Referrers {
    known: Mutex<HashMap<Digest, Option<Referrer>>>,
}

#[derive(Clone)]
struct Referrer {
    subject: Digest,
    descriptor: Descriptor,
}

/// Answers the list of referrers; empty where there are none.
pub(super) fn list(state: &State, question: &Question, name: &Repository, subject: &Digest) -> Answer {
    let repository = state.repository(name);
    let found = state.on_disk(|| state.referrers.of(&repository, subject));
    let found = found.map_err(|error| Refusal::store(error, ErrorCode::NameUnknown))?;
    Ok(answer_with(question, found))
}

/// Answers with those of the referrers that the request asks for.
pub(super) fn answer_with(question: &Question, mut found: Vec<Descriptor>) -> Response<Content> {
    let filter = question.query("artifactType").filter(|wanted| !wanted.is_empty());
    if let Some(wanted) = filter {
        found.retain(|descriptor| descriptor.artifact_type.as_deref() == Some(wanted));
    }
    let index = Document::from_index(ImageIndex::new(found));
    let content = if question.is_head() { Content::Empty } else { Content::Bytes(Some(index.raw().clone())) };
    let size = index.descriptor().size;
    let response = answer::content(StatusCode::OK, MediaType::OciIndex.as_str(), size, content);
    match filter {
        Some(_) => answer::with(response, HeaderName::from_static(OCI_FILTERS_APPLIED), "artifactType"),
        None => response,
    }
}

impl Referrers {
    /// Returns the descriptors of all manifests in the repository whose subject is `subject`,
    /// ascending by digest.
    pub fn of(&self, repository: &StoredRepository, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        match repository {
            StoredRepository::Folder(repository) => self.of_folder(repository, subject),
            // A bucket keeps lists of them.
            StoredRepository::Bucket(repository) => repository.referrers(subject),
        }
    }

    pub fn of_folder(
        &self,
        repository: &LayoutRepository,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, StoreError> {
        let mut found = Vec::new();
        for manifest in repository.manifests()? {
            let referrer = match self.known(&manifest.digest) {
                Some(known) => known,
                None => self.learn(repository, &manifest.digest)?,
            };
            found.extend(referrer.filter(|one| one.subject == *subject).map(|one| one.descriptor));
        }
        Ok(found)
    }

    fn known(&self, digest: &Digest) -> Option<Option<Referrer>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    fn learn(&self, repository: &LayoutRepository, digest: &Digest) -> Result<Option<Referrer>, StoreError> {
        let document = match repository.document(digest) {
            // Deleted meanwhile: about nothing any more.
            Err(StoreError::NotFound { .. }) => return Ok(None),
            document => document?,
        };
        let referrer = document
            .subject()
            .map(|subject| Referrer { subject: subject.digest, descriptor: describe(&document) });
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(*digest, referrer.clone());
        Ok(referrer)
    }
}
