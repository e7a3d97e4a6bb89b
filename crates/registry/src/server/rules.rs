//! What an administrator may change while the server runs: who may do what, which tags stay, and how much
//! repositories may hold. A request goes by what was in force when it asked.

use std::sync::{Arc, PoisonError, RwLock};

use super::access::Policy;
use super::immutable::Immutable;
use super::quota::Quota;

/// What is in force.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Who may do what. Whether it is asked at all does not change: without a policy at the start there is none later,
    /// and `None` leaves the one that was.
    pub policy: Option<Policy>,
    /// Tags that neither move nor go.
    pub immutable: Vec<Immutable>,
    /// How much repositories may hold.
    pub quotas: Vec<Quota>,
}

/// A value that many read and one replaces.
#[derive(Debug, Default)]
pub(super) struct Current<T>(RwLock<Arc<T>>);

impl<T> Current<T> {
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// Returns the value as it is now.
    pub fn get(&self) -> Arc<T> {
        // Nobody panics while it is replaced.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}
