//! Who goes first of several layers that are sent at the same time: the lowest.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// So long a layer waits for a lower one before it goes on with one piece: the borrower may not be reading that one.
const PATIENCE: Duration = Duration::from_millis(200);

/// The layers that are being sent.
#[derive(Default)]
pub(super) struct Turns {
    /// How many connections send each.
    heights: Mutex<BTreeMap<usize, usize>>,
    changed: Condvar,
}

/// That one layer is being sent.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    height: usize,
}

impl Turns {
    fn heights(&self) -> MutexGuard<'_, BTreeMap<usize, usize>> {
        self.heights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a layer with so many below it.
    pub fn take(&self, height: usize) -> Turn<'_> {
        *self.heights().entry(height).or_default() += 1;
        Turn { turns: self, height }
    }
}

impl Turn<'_> {
    /// Waits while lower layers are being sent, though not for long.
    pub fn wait(&self) {
        let is_lowest = |heights: &BTreeMap<usize, usize>| heights.keys().next() == Some(&self.height);
        let wait = self
            .turns
            .changed
            .wait_timeout_while(self.turns.heights(), PATIENCE, |heights| !is_lowest(heights));
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut heights = self.turns.heights();
        if let Some(count) = heights.get_mut(&self.height) {
            *count -= 1;
            if *count == 0 {
                heights.remove(&self.height);
            }
        }
        drop(heights);
        self.turns.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_lowest_does_not_wait_and_the_others_not_for_ever() {
        let turns = Turns::default();
        let (low, high) = (turns.take(0), turns.take(2));
        let start = Instant::now();
        low.wait();
        assert!(start.elapsed() < PATIENCE / 2);
        high.wait();
        assert!(start.elapsed() >= PATIENCE);
        let again = turns.take(0);
        drop(low);
        drop(again);
        let start = Instant::now();
        high.wait();
        assert!(start.elapsed() < PATIENCE / 2);
    }
}
