//! Blobs that clients read. Source: distribution-spec v1.1, "Pulling blobs"; RFC 9110, "Range".

use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{ACCEPT_RANGES, CONTENT_RANGE, ETAG, HeaderName, LOCATION, RANGE};
use oci::{Digest, Repository};
use store::{Blob, Source, StoreError};

use super::answer as respond;
use super::body::Content;
use super::refusal::Refusal;
use super::routes::{Answer, Question, State};
use super::storage::InBucket;
use crate::protocol::{ByteRange, ChunkRange, DOCKER_CONTENT_DIGEST, ErrorCode};

const MEDIA_TYPE: &str = "application/octet-stream";

/// Answers GET and HEAD of a blob.
pub(super) fn get(state: &State, question: &Question, name: &Repository, digest: &Digest) -> Answer {
    let repository = state.repository(name);
    let missing = |error| Refusal::store(error, ErrorCode::BlobUnknown);
    if question.is_head() {
        let size = state.on_disk(|| repository.blob_size(digest)).map_err(missing)?;
        let size = size.ok_or_else(|| unknown(name, digest))?;
        // A client that hears this will not send the blob before it names it in a manifest.
        state.on_disk(|| repository.refresh_blob(digest));
        return Ok(describe(digest, respond::content(StatusCode::OK, MEDIA_TYPE, size, Content::Empty)));
    }
    let blob = state.on_disk(|| repository.open_blob(digest)).map_err(missing)?;
    if let Some(address) = state.on_disk(|| elsewhere(state, name, digest)).map_err(missing)? {
        let response = respond::with(respond::empty(StatusCode::TEMPORARY_REDIRECT), LOCATION, address);
        return Ok(describe(digest, response));
    }
    answer(question, digest, blob.size(), |offset, length| {
        let is_part = (offset, length) != (0, blob.size());
        let (blob, skipped) = match is_part.then(|| repository.open_part(digest, offset, length)).flatten() {
            Some(part) => (part, 0),
            None => (blob, offset),
        };
        state.on_disk(|| content(question, blob, skipped, length, state.share())).map_err(missing)
    })
}

/// Answers with what is asked for of a blob of `size` bytes; `content` is given where it begins and how
/// long it is.
pub(super) fn answer(
    question: &Question,
    digest: &Digest,
    size: u64,
    content: impl FnOnce(u64, u64) -> Result<Content, Refusal>,
) -> Answer {
    let Some(range) = question.header(RANGE).and_then(ByteRange::parse).filter(|_| !question.is_head())
    else {
        let content = content(0, size)?;
        return Ok(describe(digest, respond::content(StatusCode::OK, MEDIA_TYPE, size, content)));
    };
    let Some((offset, length)) = range.within(size) else {
        let refusal = Refusal::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            ErrorCode::SizeInvalid,
            format!("the blob has {size} bytes"),
        );
        return Err(refusal.with(CONTENT_RANGE, format!("bytes */{size}")));
    };
    let content = content(offset, length)?;
    let response = respond::content(StatusCode::PARTIAL_CONTENT, MEDIA_TYPE, length, content);
    let range = format!("bytes {}/{size}", ChunkRange::new(offset, length));
    Ok(describe(digest, respond::with(response, CONTENT_RANGE, range)))
}

/// Answers DELETE of a blob: it leaves this repository; others that have it keep it.
pub(super) fn delete(state: &State, name: &Repository, digest: &Digest) -> Answer {
    let repository = state.repository(name);
    state
        .on_disk(|| repository.delete_blob(digest))
        .map_err(|error| Refusal::store(error, ErrorCode::BlobUnknown))?;
    state.quotas.forget(name);
    Ok(respond::empty(StatusCode::ACCEPTED))
}

/// Returns where clients read the blob instead, where they are sent to the bucket.
fn elsewhere(state: &State, name: &Repository, digest: &Digest) -> Result<Option<String>, StoreError> {
    match &state.options.bucket {
        // What is kept of other registries is not in the bucket.
        _ if !name.registry().is_local() => Ok(None),
        Some(InBucket { store, redirect: Some(valid) }) => store.presign_blob(digest, *valid),
        _ => Ok(None),
    }
}

fn describe(digest: &Digest, response: hyper::Response<Content>) -> hyper::Response<Content> {
    let response = respond::with(response, HeaderName::from_static(DOCKER_CONTENT_DIGEST), digest);
    let response = respond::with(response, ETAG, format!("\"{digest}\""));
    respond::with(response, ACCEPT_RANGES, "bytes")
}

pub(super) fn unknown(name: &Repository, digest: &Digest) -> Refusal {
    let message = format!("there is no blob {digest} in {}", name.path());
    Refusal::new(StatusCode::NOT_FOUND, ErrorCode::BlobUnknown, message)
}

/// Returns a part of a blob, to be sent by the kernel where that can be.
fn content(
    question: &Question,
    blob: Blob,
    offset: u64,
    length: u64,
    piece: usize,
) -> Result<Content, StoreError> {
    let size = blob.size();
    let content = || -> std::io::Result<Content> {
        let source = match (blob.into_source(), question.wire.as_ref().map(|wire| &wire.outlet)) {
            (Source::File(file), Some(outlet)) => {
                return Ok(Content::File {
                    outlet: outlet.clone(),
                    file: Arc::new(file),
                    offset,
                    remaining: length,
                });
            }
            (Source::File(mut file), None) => {
                file.seek(SeekFrom::Current(i64::try_from(offset).unwrap_or(i64::MAX)))?;
                Source::File(file)
            }
            (Source::Bytes(bytes), _) => Source::Bytes(
                bytes.slice(usize::try_from(offset).expect("an offset within memory fits usize")..),
            ),
            (Source::Stream(mut stream), _) => {
                std::io::copy(&mut stream.by_ref().take(offset), &mut std::io::sink())?;
                Source::Stream(stream)
            }
        };
        Ok(Content::Blob { blob: Blob::new(size - offset, source), remaining: length, piece })
    };
    content().map_err(|error| StoreError::io("read", "the blob", error))
}
