//! What says something about a manifest: asked of the registry's own list, else kept by us in an
//! index under the fallback tag `sha256-<hex>`.
//!
//! | the registry | reading | pushing a manifest with a subject |
//! |---|---|---|
//! | lists referrers | the list, page by page | nothing more: `OCI-Subject` in the answer says so |
//! | does not (404) | the index under the fallback tag | read it, add the manifest, write it, read it again |
//!
//! Registries cannot change a tag on a condition. Who finds an own entry missing after writing was
//! overtaken by somebody, and merges again. Entries of others are never dropped.
//!
//! Source: distribution-spec v1.1, "Listing Referrers", "Pushing Manifests with Subject".

use std::sync::PoisonError;

use hyper::header::{ACCEPT, LINK};
use hyper::{Method, StatusCode};
use oci::manifest::MAX_DOCUMENT_BYTES;
use oci::{Descriptor, Digest, Document, ImageIndex, MediaType};
use store::referrer::{describe, fallback_tag};

use super::list::next_page;
use super::repository::{RemoteRepository, header};
use super::scope::Scope;
use super::{Failure, manifest};
use crate::protocol::{Endpoint, ManifestName, link};

/// How often the fallback list is written again because somebody overwrote it.
const MAX_RACES: u32 = 8;
const MAX_PAGES: usize = 1000;
/// How long a list may be, in all its pages.
const MAX_LIST_BYTES: u64 = 32 << 20;

/// Returns all manifests about `subject`, ascending by digest.
pub(crate) fn list(remote: &RemoteRepository, subject: &Digest) -> Result<Vec<Descriptor>, Failure> {
    let mut found = match of_registry(remote, subject)? {
        Some(listed) => listed,
        None => of_tag(remote, subject)?.unwrap_or_default(),
    };
    found.sort_by_key(|descriptor| descriptor.digest);
    found.dedup_by_key(|descriptor| descriptor.digest);
    Ok(found)
}

/// Enters a manifest with a subject that was pushed to a registry which lists no referrers.
pub(crate) fn enter(remote: &RemoteRepository, document: &Document) -> Result<(), Failure> {
    let Some(subject) = document.subject() else { return Ok(()) };
    change(remote, &subject.digest, |entries| {
        let missing = entries.iter().all(|entry| entry.digest != document.digest());
        if missing {
            entries.push(describe(document));
        }
        missing
    })
}

/// Takes a manifest that was deleted out of the fallback list of its subject.
pub(crate) fn strike(remote: &RemoteRepository, digest: &Digest, subject: &Digest) -> Result<(), Failure> {
    change(remote, subject, |entries| {
        let before = entries.len();
        entries.retain(|entry| entry.digest != *digest);
        entries.len() < before
    })
}

/// Edits the fallback list until it is as `edit` wants it, which says whether it had to do anything.
fn change(
    remote: &RemoteRepository,
    subject: &Digest,
    edit: impl Fn(&mut Vec<Descriptor>) -> bool,
) -> Result<(), Failure> {
    // Of our own threads only one at a time; other processes are found out by reading again.
    let _turn = remote.host.shared.fallback.lock().unwrap_or_else(PoisonError::into_inner);
    let tag = fallback_tag(subject);
    for _ in 0..=MAX_RACES {
        let mut entries = of_tag(remote, subject)?.unwrap_or_default();
        if !edit(&mut entries) {
            return Ok(());
        }
        let index = Document::from_index(ImageIndex::new(entries));
        manifest::put(remote, ManifestName::Tag(tag.clone()), &index)?;
    }
    Err(Failure::protocol(format!("others keep overwriting the list of referrers under the tag {tag}")))
}

/// Returns the registry's own list; `None` where it keeps none.
fn of_registry(remote: &RemoteRepository, subject: &Digest) -> Result<Option<Vec<Descriptor>>, Failure> {
    let origin = remote.host.origin()?;
    let endpoint = Endpoint::Referrers(remote.repository.clone(), *subject);
    let mut address = remote.address(&endpoint)?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    for page in 0..MAX_PAGES {
        let what = format!("list of what refers to {subject} in {}", remote.repository);
        let mut call = remote.call(Method::GET, address.clone(), Scope::pull(&remote.repository), what);
        call.headers.push(header(ACCEPT, MediaType::OciIndex.as_str()));
        let reply = match remote.host.call(&call) {
            Err(failure) if page == 0 && is_unknown(&failure) => return Ok(None),
            reply => reply?,
        };
        let next = reply.headers.get_all(LINK).iter().filter_map(|header| header.to_str().ok());
        let next = next.filter_map(link::parse_next).next().map(str::to_owned);
        let raw = reply.body.all(MAX_DOCUMENT_BYTES)?;
        // Pages of HTML and answers of proxies are no list.
        let Ok(index) = serde_json::from_slice::<ImageIndex>(&raw) else { return Ok(None) };
        found.extend(index.manifests);
        bytes += raw.len() as u64;
        if bytes > MAX_LIST_BYTES {
            return Err(Failure::protocol(format!(
                "the list of referrers is longer than {MAX_LIST_BYTES} bytes"
            )));
        }
        let Some(next) = next else { return Ok(Some(found)) };
        address = next_page(&origin, &address, &next)?;
    }
    Err(Failure::protocol(format!("the list of referrers has more than {MAX_PAGES} pages")))
}

/// Source: distribution-spec v1.1, "Unavailable Referrers API"; some answer 400, 405 or 501 instead.
fn is_unknown(failure: &Failure) -> bool {
    matches!(failure.status().map(|status| status.as_u16()), Some(400 | 404 | 405 | 406 | 415 | 501))
}

/// Returns the list under the fallback tag; `None` where there is none. GitLab answers such a tag with
/// the subject itself, which is no list of what refers to it.
fn of_tag(remote: &RemoteRepository, subject: &Digest) -> Result<Option<Vec<Descriptor>>, Failure> {
    let document = match manifest::get(remote, &ManifestName::Tag(fallback_tag(subject))) {
        Err(failure) if failure.status() == Some(StatusCode::NOT_FOUND) => return Ok(None),
        document => document?,
    };
    if document.digest() == *subject {
        return Ok(None);
    }
    Ok(document.as_index().map(|index| index.manifests.clone()))
}
