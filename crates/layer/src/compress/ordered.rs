//! Work on blocks by several threads with the results in the order of the blocks; blocks under way are bounded.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender};

use super::pool;

/// Makes a function from a block to its result.
type Start<J, R> = dyn Fn() -> Function<J, R> + Send + Sync;
type Function<J, R> = Box<dyn FnMut(J) -> R + Send>;

/// A queue of blocks that are worked on side by side, by the threads that all layers share.
pub(crate) struct Ordered<J, R> {
    shared: Arc<Shared<J, R>>,
    pending: VecDeque<Receiver<R>>,
    max_threads: usize,
}

struct Shared<J, R> {
    start: Arc<Start<J, R>>,
    state: Mutex<State<J, R>>,
}

struct State<J, R> {
    waiting: VecDeque<(J, Sender<R>)>,
    /// Functions that nobody uses now: what they hold is used again.
    idle: Vec<Function<J, R>>,
    /// How many threads work for this queue.
    threads: usize,
}

impl<J: Send + 'static, R: Send + 'static> Ordered<J, R> {
    /// Returns an empty queue that up to `max_threads` threads work for at a time; `start` is called for each.
    pub(crate) fn new(max_threads: usize, start: Arc<Start<J, R>>) -> Self {
        let state = Mutex::new(State { waiting: VecDeque::new(), idle: Vec::new(), threads: 0 });
        Self { shared: Arc::new(Shared { start, state }), pending: VecDeque::new(), max_threads }
    }

    /// Whether as many blocks are under way as are good for the threads: every thread has one in
    /// work and one to go on with.
    pub(crate) fn is_full(&self) -> bool {
        self.pending.len() >= 2 * self.max_threads
    }

    /// Returns how many blocks are under way beyond those that are good for the threads.
    pub(crate) fn surplus(&self) -> usize {
        self.pending.len().saturating_sub(2 * self.max_threads)
    }

    /// Whether the oldest block is done.
    pub(crate) fn is_ready(&self) -> bool {
        self.pending.front().is_some_and(|oldest| !oldest.is_empty())
    }

    /// Adds a block; the caller keeps to [`Self::is_full`].
    pub(crate) fn push(&mut self, job: J) -> io::Result<()> {
        let (done, result) = crossbeam_channel::bounded(1);
        self.pending.push_back(result);
        let mut state = self.shared.state();
        state.waiting.push_back((job, done));
        if state.threads == self.max_threads {
            return Ok(());
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(&self.shared);
        pool::give(move || work_by_turns(shared))
    }

    /// Waits for the oldest block and returns its result; `None` where nothing is under way.
    pub(crate) fn pop(&mut self) -> Option<io::Result<R>> {
        let oldest = self.pending.pop_front()?;
        Some(oldest.recv().map_err(|_| io::Error::other("a thread of the compression pool ended early")))
    }
}

/// What nobody waits for any more is not worked on.
impl<J, R> Drop for Ordered<J, R> {
    fn drop(&mut self) {
        self.shared.state().waiting.clear();
    }
}

impl<J, R> Shared<J, R> {
    fn state(&self) -> MutexGuard<'_, State<J, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the next block; says whether there are more.
    fn work(&self) -> bool {
        let mut state = self.state();
        let Some((job, done)) = state.waiting.pop_front() else {
            state.threads -= 1;
            return false;
        };
        let function = state.idle.pop();
        drop(state);
        let mut function = function.unwrap_or_else(|| (self.start)());
        // Whoever waited may have given up; the next block has its own.
        let _ = done.send(function(job));
        let mut state = self.state();
        state.idle.push(function);
        let is_more = !state.waiting.is_empty();
        state.threads -= usize::from(!is_more);
        is_more
    }
}

/// Works on a block, and again when it was the turn of other layers, until there is none.
fn work_by_turns<J: Send + 'static, R: Send + 'static>(shared: Arc<Shared<J, R>>) {
    if shared.work() {
        pool::go_on(move || work_by_turns(shared));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn squares(max_threads: usize) -> Ordered<u64, u64> {
        Ordered::new(max_threads, Arc::new(|| Box::new(|number| number * number)))
    }

    #[test]
    fn many_queues_at_once_come_to_their_ends() {
        let mut queues: Vec<_> = (0..50).map(|_| squares(4)).collect();
        for number in 0..200 {
            queues.iter_mut().for_each(|queue| queue.push(number).unwrap());
        }
        // The last one first: none waits for another.
        for queue in queues.iter_mut().rev() {
            let results: Vec<_> = std::iter::from_fn(|| queue.pop()).map(Result::unwrap).collect();
            assert_eq!(results, (0..200).map(|number| number * number).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_more_work_for_a_queue_at_a_time_than_it_asked_for() {
        static WORKING: AtomicUsize = AtomicUsize::new(0);
        let work = |number: u64| {
            assert_eq!(WORKING.fetch_add(1, Ordering::SeqCst), 0);
            (0..1000).for_each(|_| std::hint::spin_loop());
            WORKING.fetch_sub(1, Ordering::SeqCst);
            number
        };
        let mut queue = Ordered::new(1, Arc::new(move || -> Function<u64, u64> { Box::new(work) }));
        (0..100).for_each(|number| queue.push(number).unwrap());
        assert_eq!(std::iter::from_fn(|| queue.pop()).filter(Result::is_ok).count(), 100);
    }

    #[test]
    fn a_queue_that_is_given_up_leaves_the_threads_to_others() {
        for _ in 0..100 {
            let mut given_up = squares(2);
            (0..20).for_each(|number| given_up.push(number).unwrap());
        }
        let mut queue = squares(2);
        queue.push(7).unwrap();
        assert_eq!(queue.pop().unwrap().unwrap(), 49);
    }
}
