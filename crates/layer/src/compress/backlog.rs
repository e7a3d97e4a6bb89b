//! Blocks of layers that wait for a processor, beyond those that keep the threads of a layer busy.
//!
//! They let the writing of a tar run ahead of its compression, so that its end, and with it the diff id, is known
//! early: what is left is compressed while the next step works. All layers of the process share the places, a MiB each,
//! so that memory stays bounded.

use std::sync::atomic::{AtomicUsize, Ordering};

const PLACES: usize = 32;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// The places that one layer has taken.
#[derive(Debug, Default)]
pub(super) struct Backlog(usize);

impl Backlog {
    /// Takes one place more; whether there was one.
    pub fn take(&mut self) -> bool {
        let more = |taken: usize| (taken < PLACES).then_some(taken + 1);
        let taken = TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        self.0 += usize::from(taken);
        taken
    }

    /// Gives back what is held beyond `needed` places.
    pub fn shrink(&mut self, needed: usize) {
        let spare = self.0.saturating_sub(needed);
        self.0 -= spare;
        TAKEN.fetch_sub(spare, Ordering::Relaxed);
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let mut backlog = Backlog::default();
        while backlog.take() {}
        assert!(backlog.0 <= PLACES);
        let held = backlog.0;
        backlog.shrink(held - held.min(2));
        // Other tests of this process may take what was given back, but not more than there is.
        let mut other = Backlog::default();
        assert!((0..=PLACES).take_while(|_| other.take()).count() + backlog.0 <= PLACES);
        drop((backlog, other));
        assert!(TAKEN.load(Ordering::Relaxed) <= PLACES);
    }
}
