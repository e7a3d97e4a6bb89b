//! The threads that compress, as many as there are processors, for all layers of the process together.
//!
//! Work is taken in the order in which it was given. It never waits for other work, so that whoever waits for a
//! piece of it gets it however many others there are.

use std::io;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};

type Work = Box<dyn FnOnce() + Send>;

static POOL: LazyLock<(Sender<Work>, Receiver<Work>)> = LazyLock::new(crossbeam_channel::unbounded);
static THREADS: AtomicUsize = AtomicUsize::new(0);
/// Work that was given and is not done.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Has work done by one of the threads.
pub(super) fn give(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    start_thread(queue(work))
}

/// Does the same for work that is done with what was given before: no further thread is needed for it.
pub(super) fn go_on(work: impl FnOnce() + Send + 'static) {
    queue(work);
}

/// Returns how much is open with this.
fn queue(work: impl FnOnce() + Send + 'static) -> usize {
    let open = OPEN.fetch_add(1, Ordering::Relaxed) + 1;
    let counted = move || {
        let _done = Counted(&OPEN);
        work();
    };
    POOL.0.send(Box::new(counted)).expect("the process holds a receiver of its own queue");
    open
}

/// Starts a thread where all that run have work, and there is a processor for one more.
fn start_thread(open: usize) -> io::Result<()> {
    let more = |threads: usize| (threads < super::processors() && threads < open).then_some(threads + 1);
    let Ok(before) = THREADS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) else { return Ok(()) };
    let counted = Counted(&THREADS);
    let work = move || {
        let _counted = counted;
        POOL.1.iter().for_each(|work| work());
    };
    match std::thread::Builder::new().name("layer-blocks".to_owned()).spawn(work) {
        // Those that run are enough, only slower.
        Err(_) if before > 0 => Ok(()),
        started => started.map(drop),
    }
}

/// One less when dropped.
struct Counted(&'static AtomicUsize);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_work_is_done_by_few_threads() {
        let (done, results) = crossbeam_channel::unbounded();
        for number in 0..1000 {
            let done = done.clone();
            give(move || done.send((number, std::thread::current().id())).unwrap()).unwrap();
        }
        drop(done);
        let results: Vec<_> = results.iter().collect();
        let threads: std::collections::HashSet<_> = results.iter().map(|(_, thread)| *thread).collect();
        assert_eq!(results.len(), 1000);
        assert!((1..=super::super::processors()).contains(&threads.len()), "{threads:?}");
    }
}
