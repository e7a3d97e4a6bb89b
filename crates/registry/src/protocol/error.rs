//! Error bodies. Source: distribution-spec v1.1, "Error Codes".

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a registry says went wrong; codes outside the specification are carried as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the code that `as_str` prints")]
pub enum ErrorCode {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    Other(String),
}

const CODES: &[(ErrorCode, &str)] = &[
    (ErrorCode::BlobUnknown, "BLOB_UNKNOWN"),
    (ErrorCode::BlobUploadInvalid, "BLOB_UPLOAD_INVALID"),
    (ErrorCode::BlobUploadUnknown, "BLOB_UPLOAD_UNKNOWN"),
    (ErrorCode::DigestInvalid, "DIGEST_INVALID"),
    (ErrorCode::ManifestBlobUnknown, "MANIFEST_BLOB_UNKNOWN"),
    (ErrorCode::ManifestInvalid, "MANIFEST_INVALID"),
    (ErrorCode::ManifestUnknown, "MANIFEST_UNKNOWN"),
    (ErrorCode::NameInvalid, "NAME_INVALID"),
    (ErrorCode::NameUnknown, "NAME_UNKNOWN"),
    (ErrorCode::SizeInvalid, "SIZE_INVALID"),
    (ErrorCode::Unauthorized, "UNAUTHORIZED"),
    (ErrorCode::Denied, "DENIED"),
    (ErrorCode::Unsupported, "UNSUPPORTED"),
    (ErrorCode::TooManyRequests, "TOOMANYREQUESTS"),
];

impl ErrorCode {
    /// Returns the code as it stands in the body.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(text) => text,
            known => CODES.iter().find(|(code, _)| code == known).expect("every known code is in CODES").1,
        }
    }
}

impl From<&str> for ErrorCode {
    fn from(text: &str) -> Self {
        let known = CODES.iter().find(|(_, name)| *name == text);
        known.map_or_else(|| Self::Other(text.to_owned()), |(code, _)| code.clone())
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The body of an answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// One entry for each thing that is wrong; servers send one.
    pub errors: Vec<ErrorEntry>,
}

/// One error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorEntry {
    /// The code, upper case.
    #[serde(default)]
    pub code: String,
    /// A sentence for people; some servers leave it out.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub message: String,
    /// Anything; not read by us.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub detail: serde_json::Value,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::<String>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl ErrorBody {
    /// Returns a body with one error.
    pub fn new(code: &ErrorCode, message: impl Into<String>) -> Self {
        let entry = ErrorEntry {
            code: code.as_str().to_owned(),
            message: message.into(),
            detail: serde_json::Value::Null,
        };
        Self { errors: vec![entry] }
    }

    /// Reads a body; `None` where it is something else, such as a proxy's HTML page.
    pub fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// Returns the code of the first error.
    pub fn code(&self) -> Option<ErrorCode> {
        self.errors.first().map(|entry| entry.code.as_str().into())
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, entry) in self.errors.iter().take(5).enumerate() {
            let joint = if index == 0 { "" } else { "; " };
            write!(f, "{joint}{}: {}", entry.code, entry.message)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for (code, name) in CODES {
            assert_eq!(&ErrorCode::from(*name), code);
            assert_eq!(code.as_str(), *name);
        }
        assert_eq!(ErrorCode::from("ODD").as_str(), "ODD");
    }

    #[test]
    fn reads_what_servers_send() {
        let body = ErrorBody::new(&ErrorCode::Denied, "no");
        assert_eq!(ErrorBody::parse(&serde_json::to_vec(&body).unwrap()), Some(body.clone()));
        assert_eq!(body.to_string(), "DENIED: no");
        let sparse = ErrorBody::parse(br#"{"errors":[{"code":"X","message":null,"detail":[1]}]}"#).unwrap();
        assert_eq!(sparse.code(), Some(ErrorCode::Other("X".to_owned())));
        assert_eq!(ErrorBody::parse(b"<html>"), None);
    }
}
