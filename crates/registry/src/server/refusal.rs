//! Answers that say no. Source: distribution-spec v1.1, "Error Codes".

use std::error::Error;
use std::io;

use hyper::header::{CONNECTION, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use store::StoreError;

use super::answer;
use super::body::Content;
use crate::protocol::{ErrorBody, ErrorCode, InvalidEndpoint};

/// Why a request is not done.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    code: ErrorCode,
    message: String,
    headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    pub fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    pub fn bad_request(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub fn with(mut self, header: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((header, value.into()));
        self
    }

    /// Returns the refusal for an error of the store; what is not there has the code `missing`.
    pub fn store(error: StoreError, missing: ErrorCode) -> Self {
        match &error {
            StoreError::NotFound { what } => {
                Self::new(StatusCode::NOT_FOUND, missing, format!("{} does not exist", placeless(what)))
            }
            // A bucket that refuses the server refuses no client: they are not to try other passwords.
            StoreError::Denied { what, .. } if what.contains(" in the store at s3://") => {
                Self::broken(&error)
            }
            StoreError::Denied { what, reason } => {
                let message = format!("{} was refused: {reason}", placeless(what));
                Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message)
            }
            StoreError::Corrupt { .. } | StoreError::Unsupported { .. } | StoreError::Unreachable { .. } => {
                Self::broken(&error)
            }
        }
    }

    /// The store cannot do its work. A full disk gets a status of its own, which no client tries
    /// again.
    fn broken(error: &StoreError) -> Self {
        tracing::error!(error = %store::with_causes(error), "the store failed");
        let (status, message) = match is_full(error) {
            true => (StatusCode::INSUFFICIENT_STORAGE, "the disk of the registry is full"),
            false => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the registry's store cannot do its work; the registry's log says why",
            ),
        };
        Self::new(status, ErrorCode::Other("UNKNOWN".to_owned()), message)
    }

    /// A panic of ours, which was told where it happened. What is left of the request is not read: nobody
    /// knows how far it was.
    pub fn defect() -> Self {
        let message = "the registry ran into a defect of its own; its log says which";
        let code = ErrorCode::Other("UNKNOWN".to_owned());
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, message).with(CONNECTION, "close")
    }

    pub fn into_response(self) -> Response<Content> {
        let body = serde_json::to_vec(&ErrorBody::new(&self.code, self.message))
            .expect("an error body has only strings");
        let mut response = answer::json(self.status, body);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

impl From<InvalidEndpoint> for Refusal {
    fn from(error: InvalidEndpoint) -> Self {
        let code = match &error {
            InvalidEndpoint::Unknown(_) => {
                return Self::new(StatusCode::NOT_FOUND, ErrorCode::Unsupported, error.to_string());
            }
            InvalidEndpoint::Name(_) => ErrorCode::NameInvalid,
            InvalidEndpoint::Digest(_) => ErrorCode::DigestInvalid,
            InvalidEndpoint::Tag(_) => ErrorCode::ManifestInvalid,
        };
        Self::bad_request(code, error.to_string())
    }
}

/// Leaves out where the store lies on this machine, and what it calls names that clients know without.
pub(super) fn placeless(what: &str) -> String {
    what.split(" in the store at ").next().unwrap_or(what).replace(" local/", " ")
}

fn is_full(error: &StoreError) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_hear_the_names_that_they_know() {
        assert_eq!(placeless("tag local/a/b:v1 in the store at /var/lib/x"), "tag a/b:v1");
        assert_eq!(placeless("blob x of docker.io/mylocal/a"), "blob x of docker.io/mylocal/a");
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = |kind: io::ErrorKind| {
            Refusal::store(StoreError::io("write", "x", kind.into()), ErrorCode::BlobUnknown)
        };
        assert_eq!(full(io::ErrorKind::StorageFull).status, StatusCode::INSUFFICIENT_STORAGE);
        assert_eq!(full(io::ErrorKind::Other).status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
