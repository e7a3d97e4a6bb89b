//! How much repositories may hold.
//!
//! A blob counts in every repository that has it, as its users see it, although the store has it
//! once. What a repository holds is added up when it is first asked for and kept up to date from
//! then on; what other programs put into the store meanwhile is seen after a deletion or a restart.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hyper::StatusCode;
use oci::{Digest, Repository};
use store::StoreError;

use super::pattern::Pattern;
use super::refusal::Refusal;
use super::rules::Current;
use super::storage::StoredRepository;
use crate::protocol::ErrorCode;

/// How much a repository may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Which repositories, each by itself.
    pub repositories: Pattern,
    /// The sum of the sizes of its blobs and manifests, in bytes.
    pub bytes: u64,
}

/// The quotas and what is used of them.
pub(super) struct Quotas {
    quotas: Current<Vec<Quota>>,
    used: Mutex<HashMap<String, u64>>,
}

impl Quotas {
    pub fn new(quotas: Vec<Quota>) -> Self {
        Self { quotas: Current::new(quotas), used: Mutex::default() }
    }

    /// Goes by other quotas from now on.
    pub fn change(&self, quotas: Vec<Quota>) {
        self.quotas.set(quotas);
    }

    /// Returns how many bytes the repository may still take; `None` where there is no limit. The
    /// first quota that names the repository counts.
    pub fn room(&self, repository: &StoredRepository) -> Result<Option<u64>, StoreError> {
        let name = known_as(repository.name());
        let quotas = self.quotas.get();
        let Some(quota) = quotas.iter().find(|quota| quota.repositories.matches(&name)) else {
            return Ok(None);
        };
        let known = self.used.lock().unwrap_or_else(PoisonError::into_inner).get(&*name).copied();
        let used = match known {
            Some(used) => used,
            None => {
                let used = repository.used_bytes()?;
                self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into_owned(), used);
                used
            }
        };
        Ok(Some(quota.bytes.saturating_sub(used)))
    }

    /// Refuses content that the repository has no room for. What it has already needs none.
    pub fn check(&self, repository: &StoredRepository, digest: &Digest, size: u64) -> Result<(), Refusal> {
        let refusal = |error| Refusal::store(error, ErrorCode::NameUnknown);
        match self.room(repository).map_err(refusal)? {
            Some(room) if room < size && !repository.has_blob(digest).map_err(refusal)? => {
                Err(full(repository.name(), size))
            }
            _ => Ok(()),
        }
    }

    /// Notes that the repository has more than before.
    pub fn add(&self, repository: &Repository, size: u64) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = used.get_mut(&*known_as(repository)) {
            *used = used.saturating_add(size);
        }
    }

    /// Notes that any repository may have less than before.
    pub fn forget_all(&self) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Notes that the repository may have less than before.
    pub fn forget(&self, repository: &Repository) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).remove(&*known_as(repository));
    }
}

/// Returns the name that patterns of quotas cover: with the registry, where it is another one's.
fn known_as(repository: &Repository) -> Cow<'_, str> {
    match repository.registry().is_local() {
        true => repository.path().into(),
        false => repository.to_string().into(),
    }
}

/// Returns the refusal of `size` more bytes.
pub(super) fn full(repository: &Repository, size: u64) -> Refusal {
    let message =
        format!("the quota of {} has no room for {size} bytes more; remove images first", repository.path());
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::Denied, message)
}
