//! What containerd's refusals mean for a store.

use store::StoreError;
use tonic::{Code, Status};

use crate::connection::words;

/// containerd's words.
#[derive(Debug, thiserror::Error)]
#[error("containerd says: {words}")]
struct Refused {
    words: String,
}

/// Returns what a refusal means for `what`, which names the thing and the store.
pub(crate) fn of_status(action: &'static str, what: String, status: &Status) -> StoreError {
    let words = words(status);
    match status.code() {
        Code::NotFound => StoreError::NotFound { what },
        Code::PermissionDenied | Code::Unauthenticated => StoreError::Denied { what, reason: words },
        // Of what was written: another size or digest than was said.
        Code::FailedPrecondition => StoreError::Corrupt { what, reason: words },
        code => {
            let transient = matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Aborted);
            StoreError::Unreachable { action, what, transient, source: Box::new(Refused { words }) }
        }
    }
}

/// Returns what an answer that cannot be right means.
pub(crate) fn nonsense(what: String, reason: impl Into<String>) -> StoreError {
    StoreError::Corrupt { what, reason: reason.into() }
}

/// Returns `None` for what is not there.
pub(crate) fn found<T>(answer: Result<T, Status>) -> Result<Option<T>, Status> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}
