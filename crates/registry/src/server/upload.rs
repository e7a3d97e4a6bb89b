//! Blobs that clients send: in one request, in one stream, in chunks, or by linking.
//! Source: distribution-spec v1.1, "Pushing blobs".
//!
//! Content is hashed while it is written and becomes a blob of the repository only when the
//! digest that the client names is its own. What a broken connection delivered stays in the
//! session, so that the client can go on from there.

use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, LOCATION, RANGE};
use hyper::{Response, StatusCode};
use oci::{Algorithm, Digest, Repository};
use store::{Ingest, StoreError};

use super::answer;
use super::body::Content;
use super::holders::most_asked;
use super::intake;
use super::refusal::Refusal;
use super::routes::{Answer, Question, State, algorithm};
use super::session::{Held, own};
use super::storage::StoredRepository;
use crate::protocol::{
    ChunkRange, DOCKER_CONTENT_DIGEST, DOCKER_UPLOAD_UUID, Endpoint, ErrorCode, MAX_MOUNTS, PLIMSOLL_MOUNTED,
    PLIMSOLL_PRESENT,
};

/// Answers POST: links a blob, takes one that comes with the request, or begins a session.
pub(super) async fn begin(state: &State, question: &Question, name: &Repository, body: Incoming) -> Answer {
    if question.queries("mount").nth(1).is_some() {
        return mount_all(state, question, name);
    }
    if let Some(digest) = question.query("mount") {
        let digest = parse_digest(digest)?;
        if state.on_disk(|| mount(state, question, name, &digest))? {
            return Ok(created(name, &digest));
        }
        return open(state, name, digest.algorithm());
    }
    let Some(digest) = question.query("digest") else {
        return open(state, name, algorithm(question)?.unwrap_or(Algorithm::Sha256));
    };
    let digest = parse_digest(digest)?;
    let held = own(state.on_disk(|| new_ingest(state, digest.algorithm()))?);
    let (mut held, received) = intake::receive(state, question, name, Some(&digest), held, body).await;
    received?;
    // A client that only announces the digest sends the content later.
    if held.is_some() && written(&held) == 0 && !is_empty_blob(&digest) {
        return open(state, name, digest.algorithm());
    }
    state.on_disk(|| commit(state, name, held.take(), &digest))
}

/// Answers GET of a session: how much arrived.
pub(super) async fn status(state: &State, name: &Repository, session: &str) -> Answer {
    let held = state.sessions.hold(name, session).await?;
    Ok(progress(StatusCode::NO_CONTENT, name, session, &held))
}

/// Answers PATCH: one more chunk, or a stream of unknown length.
pub(super) async fn append(
    state: &State,
    question: &Question,
    name: &Repository,
    session: &str,
    body: Incoming,
) -> Answer {
    let held = state.sessions.hold(name, session).await?;
    check_order(question, name, session, &held)?;
    let held = receive_chunk(state, question, name, session, None, held, body).await?;
    Ok(progress(StatusCode::ACCEPTED, name, session, &held))
}

/// Answers PUT: the last chunk, or all of the content, or nothing more; and the digest.
pub(super) async fn finish(
    state: &State,
    question: &Question,
    name: &Repository,
    session: &str,
    body: Incoming,
) -> Answer {
    let digest = question.query("digest").ok_or_else(|| {
        Refusal::bad_request(ErrorCode::DigestInvalid, "the query must name the digest of the blob")
    })?;
    let digest = parse_digest(digest)?;
    let held = state.sessions.hold(name, session).await?;
    check_order(question, name, session, &held)?;
    let mut held = receive_chunk(state, question, name, session, Some(&digest), held, body).await?;
    let committed = state.on_disk(|| commit(state, name, held.take(), &digest));
    // Right or wrong, the content is gone from the session.
    state.sessions.close(name, session)?;
    committed
}

/// Answers DELETE of a session.
pub(super) fn cancel(state: &State, name: &Repository, session: &str) -> Answer {
    state.sessions.close(name, session)?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

fn open(state: &State, name: &Repository, algorithm: Algorithm) -> Answer {
    let ingest = state.on_disk(|| new_ingest(state, algorithm))?;
    let session = state.sessions.open(name, ingest)?;
    Ok(describe(StatusCode::ACCEPTED, name, &session, 0))
}

/// The client names the digest only at the end. Where it turns out to be of another algorithm than
/// was announced, the store reads the content once more.
fn new_ingest(state: &State, algorithm: Algorithm) -> Result<Ingest, Refusal> {
    let ingest = state.options.store.ingest().map_err(refusal)?.hashing(algorithm);
    Ok(if state.options.bucket.is_some() { ingest.passing() } else { ingest })
}

/// Links as many of several blobs as can be linked and says which; begins a session where none can.
fn mount_all(state: &State, question: &Question, name: &Repository) -> Answer {
    let digests = question.queries("mount").map(parse_digest).collect::<Result<Vec<Digest>, _>>()?;
    if digests.len() > MAX_MOUNTS {
        let message = format!("one request links at most {MAX_MOUNTS} blobs");
        return Err(Refusal::bad_request(ErrorCode::Unsupported, message));
    }
    let (mut mounted, mut present) = (Vec::new(), Vec::new());
    state.on_disk(|| {
        let repository = state.repository(name);
        for digest in digests.iter().copied() {
            let is_whole = || state.storage().blob_size(&digest).map_err(refusal);
            if repository.has_blob(&digest).map_err(refusal)? && is_whole()?.is_some() {
                present.push(digest);
            } else if mount(state, question, name, &digest)? {
                mounted.push(digest);
            }
        }
        Ok::<_, Refusal>(())
    })?;
    let Some(first) = mounted.first().or(present.first()) else {
        return open(state, name, digests[0].algorithm());
    };
    let mut response = created(name, first);
    for (header, digests) in [(PLIMSOLL_MOUNTED, &mounted), (PLIMSOLL_PRESENT, &present)] {
        let names: Vec<String> = digests.iter().map(Digest::to_string).collect();
        response = answer::with(response, HeaderName::from_static(header), names.join(", "));
    }
    Ok(response)
}

/// Links the blob from the repository the client names, or from any other one of this registry.
fn mount(state: &State, question: &Question, name: &Repository, digest: &Digest) -> Result<bool, Refusal> {
    let target = state.repository(name);
    if let Some(from) = question.query("from") {
        let Ok(from) = Repository::new(name.registry().clone(), from) else { return Ok(false) };
        if !question.may_pull_from(&from) {
            return Ok(false);
        }
        return mount_from(state, &target, digest, &from);
    }
    if state.storage().blob_size(digest).map_err(refusal)?.is_none() {
        return Ok(false);
    }
    let may_pull = |from: &Repository| from.registry() == name.registry() && question.may_pull_from(from);
    for from in state.holders.remembered(digest).iter().filter(|from| may_pull(from)) {
        if mount_from(state, &target, digest, from)? {
            return Ok(true);
        }
    }
    let holders = state.holders.list(state.storage(), name.registry()).map_err(refusal)?;
    for from in holders.iter().filter(|from| may_pull(from)).take(most_asked(state.storage())) {
        if mount_from(state, &target, digest, from)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn mount_from(
    state: &State,
    target: &StoredRepository,
    digest: &Digest,
    from: &Repository,
) -> Result<bool, Refusal> {
    let from = state.repository(from);
    // First of all: of what lies where the client may not pull from it hears nothing, not even the size.
    if !from.has_blob(digest).map_err(refusal)? {
        return Ok(false);
    }
    let size = state.storage().blob_size(digest).map_err(refusal)?.unwrap_or(0);
    state.quotas.check(target, digest, size)?;
    let is_new = !target.has_blob(digest).map_err(refusal)?;
    // The blob must not be collected between the look and the note.
    let _lock = state.storage().lock_shared().map_err(refusal)?;
    let mounted = target.mount_blob(digest, &from).map_err(refusal)?;
    if mounted {
        state.holders.remember(digest, target.name());
    }
    if mounted && is_new {
        state.quotas.add(target.name(), size);
    }
    Ok(mounted)
}

/// A chunk that says where it belongs must follow on what is there.
fn check_order(question: &Question, name: &Repository, session: &str, held: &Held) -> Result<(), Refusal> {
    let Some(range) = question.header(CONTENT_RANGE) else { return Ok(()) };
    let range: ChunkRange = range
        .parse()
        .map_err(|_| Refusal::bad_request(ErrorCode::BlobUploadInvalid, "Content-Range is not FIRST-LAST"))?;
    let written = written(held);
    if range.first != written {
        let message =
            format!("{written} bytes arrived so far; a chunk from {} on does not follow", range.first);
        let refusal = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::BlobUploadInvalid, message);
        let location = Endpoint::Upload(name.clone(), session.to_owned()).to_string();
        return Err(refusal.with(LOCATION, location).with(RANGE, ChunkRange::new(0, written).to_string()));
    }
    let length = question.header(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if length.is_some_and(|length| length != range.length()) {
        let message = "Content-Length and Content-Range do not agree";
        return Err(Refusal::bad_request(ErrorCode::SizeInvalid, message));
    }
    Ok(())
}

/// Takes the body of a request into the session. Content that is too large, or not what its
/// range says, ends the session.
async fn receive_chunk(
    state: &State,
    question: &Question,
    name: &Repository,
    session: &str,
    digest: Option<&Digest>,
    held: Held,
    body: Incoming,
) -> Result<Held, Refusal> {
    let before = written(&held);
    let (mut held, received) = intake::receive(state, question, name, digest, held, body).await;
    state.sessions.touch(session);
    let arrived = written(&held).saturating_sub(before);
    let range = question.header(CONTENT_RANGE).and_then(|text| text.parse::<ChunkRange>().ok());
    let result = match received {
        Ok(()) if range.is_some_and(|range| range.length() != arrived) => {
            held.take();
            Err(Refusal::bad_request(ErrorCode::SizeInvalid, "the chunk is not as long as its Content-Range"))
        }
        received => received,
    };
    if held.is_none() {
        state.sessions.close(name, session)?;
    }
    result.map(|()| held)
}

/// Makes what was received a blob of the repository.
fn commit(state: &State, name: &Repository, ingest: Option<Ingest>, digest: &Digest) -> Answer {
    let Some(ingest) = ingest else {
        return Err(Refusal::bad_request(ErrorCode::BlobUploadInvalid, "the upload has ended"));
    };
    // From here to the note that the blob belongs to the repository it must not be collected.
    let _lock = state.storage().lock_shared().map_err(refusal)?;
    let size = ingest.written();
    let repository = state.repository(name);
    let is_new = !repository.has_blob(digest).map_err(refusal)?;
    state.quotas.check(&repository, digest, size)?;
    repository.take(ingest, digest, size).map_err(|error| match error {
        StoreError::Corrupt { reason, .. } => Refusal::bad_request(ErrorCode::DigestInvalid, reason),
        error => refusal(error),
    })?;
    state.holders.remember(digest, name);
    if is_new {
        state.quotas.add(name, size);
    }
    Ok(created(name, digest))
}

fn created(name: &Repository, digest: &Digest) -> Response<Content> {
    let response = answer::empty(StatusCode::CREATED);
    let response = answer::with(response, LOCATION, Endpoint::Blob(name.clone(), *digest));
    answer::with(response, HeaderName::from_static(DOCKER_CONTENT_DIGEST), digest)
}

fn progress(status: StatusCode, name: &Repository, session: &str, held: &Held) -> Response<Content> {
    describe(status, name, session, written(held))
}

fn describe(status: StatusCode, name: &Repository, session: &str, written: u64) -> Response<Content> {
    let response = answer::empty(status);
    let location = Endpoint::Upload(name.clone(), session.to_owned());
    let response = answer::with(response, LOCATION, location);
    let response = answer::with(response, RANGE, ChunkRange::new(0, written));
    answer::with(response, HeaderName::from_static(DOCKER_UPLOAD_UUID), session)
}

fn written(held: &Held) -> u64 {
    held.as_ref().map_or(0, Ingest::written)
}

fn is_empty_blob(digest: &Digest) -> bool {
    *digest == oci::Hasher::new(digest.algorithm()).finish()
}

fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|error: oci::InvalidDigest| {
        Refusal::bad_request(ErrorCode::DigestInvalid, error.to_string())
    })
}

pub(super) fn refusal(error: StoreError) -> Refusal {
    Refusal::store(error, ErrorCode::BlobUnknown)
}
