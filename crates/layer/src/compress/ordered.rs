//! Work on blocks by several threads with the results in the order of the blocks. Threads start
//! when there is work for them; blocks under way are bounded.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

/// Makes the function of one thread: from a block to its result.
type Start<J, R> = dyn Fn() -> Box<dyn FnMut(J) -> R> + Send + Sync;

/// A queue of blocks that are worked on side by side.
pub(crate) struct Ordered<J, R> {
    start: Arc<Start<J, R>>,
    jobs: Sender<(J, Sender<R>)>,
    queue: Receiver<(J, Sender<R>)>,
    pending: VecDeque<Receiver<R>>,
    threads: usize,
    max_threads: usize,
}

impl<J: Send + 'static, R: Send + 'static> Ordered<J, R> {
    /// Returns an empty queue for up to `max_threads` threads; `start` is called once in each.
    pub(crate) fn new(max_threads: usize, start: Arc<Start<J, R>>) -> Self {
        let (jobs, queue) = crossbeam_channel::unbounded();
        Self { start, jobs, queue, pending: VecDeque::new(), threads: 0, max_threads }
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
        if self.threads < self.max_threads && self.threads <= self.pending.len() {
            self.start_thread()?;
        }
        let (done, result) = crossbeam_channel::bounded(1);
        self.pending.push_back(result);
        self.jobs.send((job, done)).expect("this value holds a receiver of its own queue");
        Ok(())
    }

    /// Waits for the oldest block and returns its result; `None` where nothing is under way.
    pub(crate) fn pop(&mut self) -> Option<io::Result<R>> {
        let oldest = self.pending.pop_front()?;
        Some(oldest.recv().map_err(|_| io::Error::other("a thread of the compression pool ended early")))
    }

    fn start_thread(&mut self) -> io::Result<()> {
        let (start, queue) = (Arc::clone(&self.start), self.queue.clone());
        let work = move || {
            let mut function = start();
            for (job, done) in queue {
                // Whoever waited may have given up; the next block has its own.
                let _ = done.send(function(job));
            }
        };
        std::thread::Builder::new().name("layer-blocks".to_owned()).spawn(work)?;
        self.threads += 1;
        Ok(())
    }
}
