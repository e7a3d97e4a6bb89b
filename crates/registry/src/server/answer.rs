//! Answers that say yes, and what all answers carry.

use std::fmt::Display;

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::body::Content;
use crate::protocol::API_VERSION;

/// Returns an answer without content.
pub(super) fn empty(status: StatusCode) -> Response<Content> {
    let mut response = Response::new(Content::Empty);
    *response.status_mut() = status;
    let (name, value) = API_VERSION;
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    if status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    response
}

/// Returns an answer of `length` bytes of `media_type`.
pub(super) fn content(
    status: StatusCode,
    media_type: &str,
    length: u64,
    content: Content,
) -> Response<Content> {
    let mut response = empty(status);
    *response.body_mut() = content;
    let response = with(response, CONTENT_LENGTH, length);
    with(response, CONTENT_TYPE, media_type)
}

/// Returns an answer of plain text.
pub(super) fn text(status: StatusCode, text: String) -> Response<Content> {
    let length = text.len() as u64;
    content(status, "text/plain; version=0.0.4; charset=utf-8", length, Content::Bytes(Some(text.into())))
}

/// Returns an answer of JSON that was written already.
pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Response<Content> {
    content(status, "application/json", body.len() as u64, Content::Bytes(Some(Bytes::from(body))))
}

/// Returns an answer of JSON.
pub(super) fn list(value: &impl Serialize) -> Response<Content> {
    json(StatusCode::OK, serde_json::to_vec(value).expect("lists of names have only strings"))
}

/// Returns the answer with one more header. A value that cannot stand in a header is left out;
/// all of ours are names and numbers.
pub(super) fn with(
    mut response: Response<Content>,
    name: HeaderName,
    value: impl Display,
) -> Response<Content> {
    if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Returns the answer with one more value of a header that may come several times.
pub(super) fn and(
    mut response: Response<Content>,
    name: HeaderName,
    value: impl Display,
) -> Response<Content> {
    if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
        response.headers_mut().append(name, value);
    }
    response
}
