//! What all requests to one host may spend on being made again: a host that is dead is given up soon,
//! however many requests there are, and one that fails now and then is not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use oci::Registry;

/// How many answers give one retry back.
const ANSWERS_FOR_ONE: u64 = 5;

/// The budgets of all hosts.
#[derive(Debug, Default)]
pub(crate) struct Budgets(Mutex<HashMap<Registry, Arc<Budget>>>);

/// The budget of one host.
#[derive(Debug, Default)]
pub(crate) struct Budget(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Retries that were made, times [`ANSWERS_FOR_ONE`], without what answers gave back.
    spent: u64,
    trouble: Option<Trouble>,
}

/// Attempts that failed without one that was answered in between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trouble {
    /// When the first of them failed.
    pub since: Timestamp,
    pub attempts: u32,
}

const LOCK: &str = "nothing panics while it holds the lock";

impl Budgets {
    pub fn of(&self, registry: &Registry) -> Arc<Budget> {
        let mut budgets = self.0.lock().expect(LOCK);
        match budgets.get(registry) {
            Some(budget) => budget.clone(),
            None => budgets.entry(registry.clone()).or_default().clone(),
        }
    }
}

impl Budget {
    /// Takes note of an attempt that failed, and returns what it is part of.
    pub fn failed(&self, now: Timestamp) -> Trouble {
        let mut state = self.0.lock().expect(LOCK);
        let trouble = state.trouble.get_or_insert(Trouble { since: now, attempts: 0 });
        // A clock that was set back begins anew.
        trouble.since = trouble.since.min(now);
        trouble.attempts = trouble.attempts.saturating_add(1);
        *trouble
    }

    /// Takes note of an answer, which need not be a good one.
    pub fn answered(&self) {
        let mut state = self.0.lock().expect(LOCK);
        state.trouble = None;
        state.spent = state.spent.saturating_sub(1);
    }

    /// Takes one of `most` retries; `false` where none is left.
    pub fn spend(&self, most: u32) -> bool {
        let mut state = self.0.lock().expect(LOCK);
        let spent = state.spent + ANSWERS_FOR_ONE;
        let is_left = spent <= u64::from(most) * ANSWERS_FOR_ONE;
        if is_left {
            state.spent = spent;
        }
        is_left
    }
}
