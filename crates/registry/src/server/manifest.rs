//! Manifests and indexes. Source: distribution-spec v1.1, "Pulling manifests", "Pushing manifests".

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, ETAG, HeaderName, LOCATION, RETRY_AFTER};
use hyper::{HeaderMap, StatusCode};
use oci::manifest::MAX_DOCUMENT_BYTES;
use oci::{Algorithm, Document, InvalidDocument, MediaType, Repository, Tag};
use store::{StoreError, TagRule};

use super::answer;
use super::body::Content;
use super::patience::Pace;
use super::refusal::{Refusal, placeless};
use super::routes::{Answer, Question, State, algorithm};
use super::shelf::Shelved;
use super::storage::StoredRepository;
use super::webhook::{Announced, Happening};
use crate::protocol::{DOCKER_CONTENT_DIGEST, Endpoint, ErrorCode, ManifestName, OCI_SUBJECT, OCI_TAG};

/// How many tags one request sets at most.
const MAX_TAGS: usize = 64;
/// How much of manifests that are still coming is held at once, without the first part of each.
const ALL_COMING_BYTES: usize = 32 << 20;
const UNCOUNTED_BYTES: usize = 16 << 10;

/// Answers GET and HEAD of a manifest.
pub(super) fn get(state: &State, question: &Question, name: &Repository, wanted: &ManifestName) -> Answer {
    let repository = state.repository(name);
    let found = match state.shelf.find(&repository, wanted) {
        Some(found) => found,
        None => state.on_disk(|| state.shelf.read(&repository, wanted)).map_err(unknown)?,
    };
    describe(question, wanted, found)
}

/// Answers with a manifest, where the request accepts its type.
pub(super) fn describe(question: &Question, wanted: &ManifestName, found: Shelved) -> Answer {
    if !accepts(&question.head.headers, &found.media_type) {
        let message = format!("{wanted} is of type {}, which the request does not accept", found.media_type);
        return Err(Refusal::new(StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown, message));
    }
    let size = found.raw.len() as u64;
    let content = if question.is_head() { Content::Empty } else { Content::Bytes(Some(found.raw)) };
    let response = answer::content(StatusCode::OK, found.media_type.as_str(), size, content);
    let response = answer::with(response, HeaderName::from_static(DOCKER_CONTENT_DIGEST), found.digest);
    Ok(answer::with(response, ETAG, format!("\"{}\"", found.digest)))
}

/// Answers PUT of a manifest, by tag or by its digest.
pub(super) async fn put(
    state: &State,
    question: &Question,
    name: &Repository,
    wanted: &ManifestName,
    body: Incoming,
) -> Answer {
    let raw = receive(state, body).await?;
    let content_type = question.header(CONTENT_TYPE).map(|text| MediaType::from(without_parameters(text)));
    let document = Document::parse(raw, content_type.as_ref()).map_err(invalid)?;
    let document = named(document, question, wanted)?;
    let tags = wanted_tags(question, wanted)?;
    state.on_disk(|| {
        let size = document.descriptor().size;
        state.quotas.check(&state.repository(name), &document.digest(), size)?;
        let told = announce(state, question, || {
            let previous = |tag: &Tag| state.repository(name).resolve(tag).ok().map(|found| found.digest);
            Happening::of_push(name, &document, &tags, previous)
        });
        store(state, name, &tags, &document).map_err(|error| refused(error, &tags))?;
        told.confirm();
        state.quotas.add(name, size);
        Ok::<_, Refusal>(())
    })?;
    let digest = document.digest();
    let location = Endpoint::Manifest(name.clone(), ManifestName::Digest(digest));
    let response = answer::with(answer::empty(StatusCode::CREATED), LOCATION, location);
    let mut response = answer::with(response, HeaderName::from_static(DOCKER_CONTENT_DIGEST), digest);
    for tag in question.queries("tag") {
        response = answer::and(response, HeaderName::from_static(OCI_TAG), tag);
    }
    Ok(match document.subject() {
        Some(subject) => answer::with(response, HeaderName::from_static(OCI_SUBJECT), subject.digest),
        None => response,
    })
}

/// Answers DELETE: of a tag alone, or of a manifest with all tags that point to it.
pub(super) fn delete(state: &State, question: &Question, name: &Repository, wanted: &ManifestName) -> Answer {
    let repository = state.repository(name);
    let deleted = state.on_disk(|| {
        let staying = staying_tag(state, name, &repository, wanted)?;
        if staying.is_some() {
            return Ok(staying);
        }
        // What is a cache of another registry only lets go of something that is still there.
        let told = announce(state, question, || match name.registry().is_local() {
            true => removed(name, &repository, wanted),
            false => Vec::new(),
        });
        match wanted {
            ManifestName::Tag(tag) => repository.untag(tag)?,
            ManifestName::Digest(digest) => repository.delete_document(digest)?,
        }
        told.confirm();
        Ok(None)
    });
    match deleted.map_err(unknown)? {
        None => {
            state.quotas.forget(name);
            Ok(answer::empty(StatusCode::ACCEPTED))
        }
        Some(tag) => {
            let message =
                format!("tag {tag} is immutable, so neither it nor what it points to can be removed");
            Err(Refusal::new(StatusCode::CONFLICT, ErrorCode::Denied, message))
        }
    }
}

/// Writes down what is about to happen, where anybody wants to know.
fn announce<'a>(
    state: &'a State,
    question: &Question,
    happenings: impl FnOnce() -> Vec<Happening>,
) -> Announced<'a> {
    match &state.hooks {
        Some(hooks) => hooks.announce(question.who(), &happenings()),
        None => Announced::nothing(),
    }
}

/// Returns what happens where a tag goes, or a manifest with its tags.
fn removed(name: &Repository, repository: &StoredRepository, wanted: &ManifestName) -> Vec<Happening> {
    let target = |tag: &Tag| repository.resolve(tag).ok().map(|found| found.digest);
    match wanted {
        ManifestName::Tag(tag) => vec![Happening::of_untag(name, tag, target(tag))],
        ManifestName::Digest(digest) => {
            // A list that cannot be read fails the deletion itself a moment later.
            let mut tags = repository.tags().unwrap_or_default();
            tags.retain(|tag| target(tag) == Some(*digest));
            Happening::of_removal(name, *digest, &tags)
        }
    }
}

/// Returns an immutable tag that a deletion would take away.
fn staying_tag(
    state: &State,
    name: &Repository,
    repository: &StoredRepository,
    wanted: &ManifestName,
) -> Result<Option<Tag>, StoreError> {
    let stays = |tag: &Tag| rule(state, name, tag) == TagRule::Stays;
    match wanted {
        _ if state.immutable.get().is_empty() => Ok(None),
        ManifestName::Tag(tag) => Ok(stays(tag).then(|| tag.clone())),
        ManifestName::Digest(digest) => {
            for tag in repository.tags()?.into_iter().filter(stays) {
                if repository.resolve(&tag)?.digest == *digest {
                    return Ok(Some(tag));
                }
            }
            Ok(None)
        }
    }
}

/// Takes the content of a request into memory: not too much, not too slowly, and not of too many at once.
async fn receive(state: &State, mut body: Incoming) -> Result<Bytes, Refusal> {
    let limit = usize::try_from(MAX_DOCUMENT_BYTES).expect("a few MiB fit usize");
    let (mut pace, mut content) = (Pace::new(state.options.patience), Vec::new());
    let mut counted = Counted { all: &state.manifest_bytes, mine: 0 };
    loop {
        let frame = pace.wait(body.frame()).await.ok_or_else(|| {
            Refusal::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::ManifestInvalid, pace.too_slow())
                .with(CONNECTION, "close")
        })?;
        let Some(frame) = frame else { return Ok(content.into()) };
        let frame =
            frame.map_err(|_| Refusal::bad_request(ErrorCode::ManifestInvalid, "the manifest broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        pace.moved(data.len() as u64);
        content.extend_from_slice(&data);
        if content.len() > limit {
            let message = format!("manifests may have at most {MAX_DOCUMENT_BYTES} bytes");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid, message));
        }
        if content.len() > UNCOUNTED_BYTES && !counted.add(data.len()) {
            let message = "too many large manifests are coming at once";
            let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message);
            return Err(refusal.with(RETRY_AFTER, "1"));
        }
    }
}

/// Bytes of manifests that count for the limit of all, until it is dropped.
struct Counted<'a> {
    all: &'a AtomicUsize,
    mine: usize,
}

impl Counted<'_> {
    /// Whether there is room for so many more.
    fn add(&mut self, bytes: usize) -> bool {
        self.mine += bytes;
        self.all.fetch_add(bytes, Ordering::Relaxed) + bytes <= ALL_COMING_BYTES
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.mine, Ordering::Relaxed);
    }
}

fn store(state: &State, name: &Repository, tags: &[Tag], document: &Document) -> Result<(), StoreError> {
    let tags: Vec<(Tag, TagRule)> = tags.iter().map(|tag| (tag.clone(), rule(state, name, tag))).collect();
    let repository = state.repository(name);
    // What was found to be there must not be collected before the manifest holds it.
    let _lock = state.storage().lock_shared()?;
    match tags.as_slice() {
        [] => repository.put_document(document),
        tags => repository.set_tags(tags, document),
    }
}

fn rule(state: &State, name: &Repository, tag: &Tag) -> TagRule {
    match state.immutable.get().iter().any(|rule| rule.covers(name, tag)) {
        true => TagRule::Stays,
        false => TagRule::Moves,
    }
}

/// Returns the document by the digest the client knows it by: that of the path, or by the algorithm
/// of the query; SHA-256 where it names none.
fn named(document: Document, question: &Question, wanted: &ManifestName) -> Result<Document, Refusal> {
    let ManifestName::Digest(expected) = wanted else {
        return Ok(document.known_by(algorithm(question)?.unwrap_or(Algorithm::Sha256)));
    };
    let document = document.known_by(expected.algorithm());
    if document.digest() == *expected {
        return Ok(document);
    }
    let message = format!("the content has the digest {}, not {expected}", document.digest());
    Err(Refusal::bad_request(ErrorCode::DigestInvalid, message))
}

/// Returns the tags to set: that of the path and those of the query, each once.
fn wanted_tags(question: &Question, wanted: &ManifestName) -> Result<Vec<Tag>, Refusal> {
    let mut tags: Vec<Tag> = Vec::new();
    if let ManifestName::Tag(tag) = wanted {
        tags.push(tag.clone());
    }
    for text in question.queries("tag") {
        let tag: Tag = text.parse().map_err(|error: oci::InvalidTag| {
            Refusal::bad_request(ErrorCode::ManifestInvalid, error.to_string())
        })?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    if tags.len() > MAX_TAGS {
        let message = format!("one request sets at most {MAX_TAGS} tags");
        return Err(Refusal::new(StatusCode::URI_TOO_LONG, ErrorCode::ManifestInvalid, message));
    }
    Ok(tags)
}

fn invalid(error: InvalidDocument) -> Refusal {
    let status = match error {
        InvalidDocument::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        InvalidDocument::Json { .. } | InvalidDocument::Schema1 | InvalidDocument::Unsupported { .. } => {
            StatusCode::BAD_REQUEST
        }
    };
    Refusal::new(status, ErrorCode::ManifestInvalid, error.to_string())
}

/// A manifest whose parts are missing is the client's fault; so is a tag that must not move,
/// which is a conflict and not a matter of rights.
fn refused(error: StoreError, tags: &[Tag]) -> Refusal {
    match error {
        StoreError::NotFound { what } => Refusal::bad_request(
            ErrorCode::ManifestBlobUnknown,
            format!("{} does not exist", placeless(&what)),
        ),
        StoreError::Corrupt { what, reason } => {
            Refusal::bad_request(ErrorCode::ManifestInvalid, format!("{}: {reason}", placeless(&what)))
        }
        StoreError::Denied { reason, .. } => {
            let names: Vec<&str> = tags.iter().map(Tag::as_str).collect();
            let message = match names.as_slice() {
                [one] => format!("tag {one} does not move: {reason}"),
                _ => format!("tags {} do not all move: {reason}", names.join(", ")),
            };
            Refusal::new(StatusCode::CONFLICT, ErrorCode::Denied, message)
        }
        error => unknown(error),
    }
}

fn unknown(error: StoreError) -> Refusal {
    Refusal::store(error, ErrorCode::ManifestUnknown)
}

/// Whether a request accepts the type. One that names no type of manifest at all accepts every one.
fn accepts(headers: &HeaderMap, media_type: &MediaType) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut accepted = accepted.flat_map(|value| value.split(',')).map(without_parameters).peekable();
    accepted.peek().is_none()
        || accepted.any(|one| matches!(one, "*/*" | "application/*") || one == media_type.as_str())
}

fn without_parameters(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_accepts(values: &[&'static str], expected: bool) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT, value.parse().unwrap());
        }
        assert_eq!(accepts(&headers, &MediaType::OciManifest), expected, "{values:?}");
    }

    #[test]
    fn accept_in_every_spelling() {
        check_accepts(&[], true);
        check_accepts(&["*/*"], true);
        check_accepts(&["application/vnd.oci.image.manifest.v1+json"], true);
        check_accepts(&["text/html, application/vnd.oci.image.manifest.v1+json;q=0.5"], true);
        check_accepts(&["text/html", "application/vnd.oci.image.manifest.v1+json"], true);
        check_accepts(&["application/vnd.docker.distribution.manifest.v2+json"], false);
    }
}
