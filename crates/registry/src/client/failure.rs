//! Why a request did not give what it was made for, and whether making it again may help.

use std::error::Error;
use std::io;
use std::time::Duration;

use hyper::StatusCode;
use store::StoreError;

use super::credentials::CredentialError;
use super::route::InvalidRoute;
use crate::protocol::{ErrorBody, ErrorCode};

type Source = Box<dyn Error + Send + Sync>;

/// Why a request failed. Addresses in it carry no query, since that may hold a signature.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection came about.
    #[error("no connection to {host}")]
    Connect {
        /// Host and port.
        host: String,
        /// Whether another try may succeed: not where a certificate was refused.
        transient: bool,
        /// What happened.
        #[source]
        source: Source,
    },
    /// The connection broke before the answer was complete.
    #[error("the connection to {host} broke off")]
    Broken {
        /// Host and port.
        host: String,
        /// What happened.
        #[source]
        source: Source,
    },
    /// Nothing moved for too long.
    #[error("{host} {limit}")]
    TimedOut {
        /// Host and port.
        host: String,
        /// What was waited for.
        limit: Limit,
    },
    /// The answer is an error.
    #[error("status {status}{}{limit}", detail(.body.as_ref(), .text))]
    Status {
        /// The status.
        status: StatusCode,
        /// The registry's own words, where it used the form of the specification.
        body: Option<ErrorBody>,
        /// The first words of anything else.
        text: String,
        /// Which limit of requests was reached, in words; mostly empty.
        limit: String,
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server wants to be left alone for longer than the policy waits.
    #[error("status {status}: the server asks for a wait of {} s, more than the {} s allowed", wait.as_secs(), limit.as_secs())]
    WaitTooLong {
        /// The status.
        status: StatusCode,
        /// What it asks for.
        wait: Duration,
        /// What the policy allows.
        limit: Duration,
    },
    /// The server does not let us in, also after a fresh token.
    #[error("not let in by {host}: {reason}")]
    Unauthorized {
        /// Host and port.
        host: String,
        /// What is missing and how to give it.
        reason: String,
    },
    /// Following the address would be wrong: too many redirects, or a place secrets must not go to.
    #[error("{address} is not followed: {reason}")]
    Address {
        /// Where the server points to.
        address: String,
        /// Why not.
        reason: String,
    },
    /// The answer does not keep to the protocol.
    #[error("the answer is not what the protocol says: {reason}")]
    Protocol {
        /// Expected and found.
        reason: String,
    },
    /// The content is not what its digest or size says.
    #[error("{reason}")]
    Corrupt {
        /// Expected and found.
        reason: String,
    },
    /// What came is nothing that can be worked with here.
    #[error("{reason}")]
    Unsupported {
        /// What it is, and what to do about it.
        reason: String,
    },
    /// The same request failed again and again.
    #[error(transparent)]
    GaveUp(GaveUp),
    /// A file about registries does not let it be asked.
    #[error(transparent)]
    Route(#[from] InvalidRoute),
    /// Credentials could not be had.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// What should be sent could not be read, or what came could not be kept.
    #[error("cannot {action} {what}")]
    Local {
        /// `read` or `write`.
        action: &'static str,
        /// The file or the content.
        what: String,
        /// What happened.
        #[source]
        source: io::Error,
    },
}

/// What the last of several attempts failed with, and how many there were over how long.
#[derive(Debug)]
pub struct GaveUp {
    /// The last of the failures.
    pub last: Box<Failure>,
    why: String,
}

impl std::fmt::Display for GaveUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.last, self.why)
    }
}

impl Error for GaveUp {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The failure itself is in the message already.
        self.last.source()
    }
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Nothing moved for so long.
    Silence(Duration),
    /// So few bytes came in so long that it would never end.
    Drip(u64, Duration),
    /// The time that the policy gives one request is over.
    Request,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silence(limit) => write!(f, "was silent for {} s", limit.as_secs()),
            Self::Drip(bytes, limit) => write!(f, "sent only {bytes} bytes in {} s", limit.as_secs()),
            Self::Request => f.write_str("took longer than one request may take (retry timeout)"),
        }
    }
}

fn detail(body: Option<&ErrorBody>, text: &str) -> String {
    match body {
        Some(body) => format!(": {body}"),
        None if text.is_empty() => String::new(),
        None => format!(": {text}"),
    }
}

impl Failure {
    /// Whether the same request may succeed when it is made again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { transient, .. } => *transient,
            Self::Broken { .. } | Self::TimedOut { .. } => true,
            Self::Status { status, .. } => is_transient(*status),
            Self::GaveUp(gave_up) => gave_up.last.is_transient(),
            _ => false,
        }
    }

    /// Returns the status of an answer that is an error.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } | Self::WaitTooLong { status, .. } => Some(*status),
            Self::GaveUp(gave_up) => gave_up.last.status(),
            _ => None,
        }
    }

    /// Returns the code of an answer that is an error in the form of the specification.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Status { body, .. } => body.as_ref()?.code(),
            Self::GaveUp(gave_up) => gave_up.last.code(),
            _ => None,
        }
    }

    /// Returns the failure of the last attempt, where there were several.
    pub fn last(&self) -> &Self {
        match self {
            Self::GaveUp(gave_up) => &gave_up.last,
            failure => failure,
        }
    }

    pub(crate) fn gave_up(self, why: String) -> Self {
        Self::GaveUp(GaveUp { last: Box::new(self), why })
    }

    pub(crate) fn protocol(reason: impl Into<String>) -> Self {
        Self::Protocol { reason: reason.into() }
    }

    /// Returns the failure as the error of a store; `what` names the thing and the repository.
    pub fn into_store_error(self, action: &'static str, what: impl Into<String>) -> StoreError {
        let what = what.into();
        match self {
            Self::Corrupt { reason } => StoreError::Corrupt { what, reason },
            Self::Unsupported { reason } => StoreError::Unsupported { what, reason },
            Self::Unauthorized { .. } | Self::Credential(_) | Self::Route(_) => {
                StoreError::Denied { what, reason: store::with_causes(&self) }
            }
            Self::Status { status, .. } if status == StatusCode::NOT_FOUND => StoreError::NotFound { what },
            Self::Status { status, .. } if status.is_client_error() && !is_transient(status) => {
                StoreError::Denied { what, reason: self.to_string() }
            }
            failure => StoreError::Unreachable {
                action,
                what,
                transient: failure.is_transient(),
                source: Box::new(failure),
            },
        }
    }
}

pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, body: Option<ErrorBody>) -> Failure {
        let status = StatusCode::from_u16(code).unwrap();
        Failure::Status { status, body, text: String::new(), limit: String::new(), retry_after: None }
    }

    #[test]
    fn only_what_may_pass_is_retried() {
        for code in [408, 429, 500, 502, 503, 504] {
            assert!(status(code, None).is_transient(), "{code}");
        }
        for code in [400, 401, 403, 404, 409, 413, 416, 501, 507] {
            assert!(!status(code, None).is_transient(), "{code}");
        }
        assert!(!Failure::Corrupt { reason: String::new() }.is_transient());
    }

    #[test]
    fn statuses_become_errors_of_a_store() {
        let refused = status(409, Some(ErrorBody::new(&ErrorCode::Denied, "immutable")));
        let error = refused.into_store_error("push", "tag");
        assert_eq!(error.to_string(), "tag was refused: status 409 Conflict: DENIED: immutable");
        assert!(matches!(status(404, None).into_store_error("read", "x"), StoreError::NotFound { .. }));
        assert!(status(503, None).into_store_error("read", "x").is_transient());
        assert!(!status(507, None).into_store_error("push", "x").is_transient());
    }
}
