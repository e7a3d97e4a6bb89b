//! How many requests a host gets at once: the one place where the client's concurrency is bounded.
//!
//! Uploads and all other requests pass different gates. An upload may wait for bytes that a
//! download from the same host has to fetch again after a break; behind one gate, uploads alone
//! could fill it and wait for each other for ever.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};

/// What kind of request wants to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Sends the content of a blob.
    Upload,
    /// Everything else; passes until the head of the answer is there.
    Exchange,
}

/// How many other requests are under way for each upload that may be: they carry little, and what they
/// cost is the way there and back.
pub(super) const EXCHANGES: usize = 2;

impl Lane {
    fn breadth(self) -> usize {
        match self {
            Self::Upload => 1,
            Self::Exchange => EXCHANGES,
        }
    }
}

/// The gates of all hosts.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    gates: Mutex<HashMap<(String, Lane), Arc<Gate>>>,
}

#[derive(Debug, Default)]
struct Gate {
    inside: Mutex<usize>,
    left: Condvar,
}

/// The right to make a request; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Pass(Arc<Gate>);

impl Gates {
    /// Waits until a request to `host` may be made: `width` uploads and [`EXCHANGES`] times as many other requests
    /// pass at once.
    pub fn enter(&self, host: &str, lane: Lane, width: usize) -> Pass {
        let mut gates = self.gates.lock().expect("nothing panics while it holds the lock");
        let gate = gates.entry((host.to_owned(), lane)).or_default().clone();
        drop(gates);
        let inside = gate.inside.lock().expect("nothing panics while it holds the lock");
        let mut inside = gate
            .left
            .wait_while(inside, |inside| *inside >= width * lane.breadth())
            .expect("nothing panics while it holds the lock");
        *inside += 1;
        drop(inside);
        Pass(gate)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        *self.0.inside.lock().expect("nothing panics while it holds the lock") -= 1;
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_than_the_width_are_inside() {
        let gates = Gates::default();
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _pass = gates.enter("a", Lane::Upload, 3);
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
    }

    #[test]
    fn lanes_and_hosts_do_not_wait_for_each_other() {
        let gates = Gates::default();
        let _passes = [
            gates.enter("a", Lane::Upload, 1),
            gates.enter("a", Lane::Exchange, 1),
            gates.enter("b", Lane::Upload, 1),
        ];
    }
}
