//! Content on its way to the disk while more of it comes, so that little is left to wait for when it has to
//! survive a crash.
//!
//! | of what was written | the kernel is asked | who waits |
//! |---|---|---|
//! | every 8 MiB, and the rest at the end | to begin writing it to the disk | nobody |
//! | every 16 MiB, and a rest that is large | to finish, down to what the disk itself keeps back | one thread of the store |
//!
//! What that thread runs into, the kernel tells once and not again to whoever syncs the file later. So it
//! is kept: the blob cannot be committed any more, or, where it was by then, not be made durable.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use oci::Digest;
use rustix::fs::{Advice, fadvise};

/// How much is written before the kernel is asked to begin.
const BEGIN_BYTES: u64 = 8 << 20;
/// How much before somebody waits until it is done. Less than this is not worth a commit of the file
/// system's journal: at the end, those of many small files are one.
const FINISH_BYTES: u64 = 16 << 20;
/// How much at the end.
const REST_BYTES: u64 = 4 << 20;

/// The file of one blob.
pub(super) struct WriteBack {
    file: Arc<File>,
    crew: Arc<Crew>,
    begun: u64,
    ordered: u64,
    order: Arc<Order>,
}

impl WriteBack {
    /// Returns what looks after a file whose first `written` bytes are somebody else's business.
    pub fn new(file: Arc<File>, crew: Arc<Crew>, written: u64) -> Self {
        Self { file, crew, begun: written, ordered: written, order: Arc::default() }
    }

    /// Returns how much of the file the kernel was asked to bring to the disk.
    #[cfg(test)]
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Starts again with an empty file.
    pub fn restart(&mut self) {
        (self.begun, self.ordered) = (0, 0);
    }

    /// Takes note that the file at `path` has `written` bytes now.
    pub fn reached(&mut self, written: u64, path: &Path) {
        if written - self.begun < BEGIN_BYTES {
            return;
        }
        begin(&self.file, self.begun, written);
        self.begun = written;
        if written - self.ordered >= FINISH_BYTES && self.crew.order(&self.order, path) {
            self.ordered = written;
        }
    }

    /// Takes note that the file at `path` is complete and about to become the blob `digest`.
    ///
    /// # Errors
    /// A part of it could not be written to the disk.
    pub fn complete(&mut self, written: u64, path: &Path, digest: &Digest) -> io::Result<()> {
        begin(&self.file, self.begun, written);
        if written - self.ordered >= REST_BYTES {
            self.crew.order(&self.order, path);
        }
        self.crew.name(digest, &self.order)
    }

    /// Gives the room of a file back that is about to be removed: whoever still waits for the disk holds it.
    pub fn discard(&self) -> io::Result<()> {
        if self.order.is_open() { self.file.set_len(0) } else { Ok(()) }
    }
}

/// Has the kernel begin to write to the disk what was just written between two offsets of a file. The advice drops only
/// pages that are clean already, which those are not; a kernel that ignores it costs nothing.
pub(super) fn begin(file: &File, from: u64, to: u64) {
    if let Some(length) = NonZeroU64::new(to.saturating_sub(from)) {
        let _ = fadvise(file, from, Some(length), Advice::DontNeed);
    }
}

/// What is waited for of one file: one thing at a time.
#[derive(Default)]
pub(super) struct Order {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    open: bool,
    problem: Option<io::Error>,
}

impl Order {
    fn is_open(&self) -> bool {
        lock(&self.state).open
    }

    /// Opens it unless it is open.
    fn open(&self) -> bool {
        !std::mem::replace(&mut lock(&self.state).open, true)
    }

    fn close(&self, result: io::Result<()>) {
        let mut state = lock(&self.state);
        state.open = false;
        state.problem = state.problem.take().or(result.err());
        drop(state);
        self.changed.notify_all();
    }

    /// Returns what went wrong so far.
    fn problem(&self) -> io::Result<()> {
        told(&lock(&self.state))
    }

    /// Waits until nothing is waited for, and returns what went wrong.
    fn wait(&self) -> io::Result<()> {
        let state = self.changed.wait_while(lock(&self.state), |state| state.open);
        told(&state.unwrap_or_else(PoisonError::into_inner))
    }
}

fn told(state: &State) -> io::Result<()> {
    match &state.problem {
        None => Ok(()),
        Some(problem) => {
            Err(problem.raw_os_error().map_or(problem.kind().into(), io::Error::from_raw_os_error))
        }
    }
}

/// The thread of one store that waits for the disk. It ends when there is nothing to wait for.
#[derive(Default)]
pub(super) struct Crew {
    work: Mutex<Work>,
}

#[derive(Default)]
struct Work {
    orders: VecDeque<(File, Arc<Order>)>,
    runs: bool,
    /// Orders of blobs that were open, or had failed, when these were committed.
    named: HashMap<Digest, Arc<Order>>,
}

impl Crew {
    /// Has somebody wait until what is in the file is on the disk; `false` where that is being done already,
    /// or cannot be.
    fn order(self: &Arc<Self>, order: &Arc<Order>, path: &Path) -> bool {
        if !order.open() {
            return false;
        }
        // A file of its own: locks and positions stay with the writer's.
        let Ok(file) = File::open(path) else {
            order.close(Ok(()));
            return false;
        };
        let mut work = lock(&self.work);
        work.orders.push_back((file, order.clone()));
        if work.runs {
            return true;
        }
        let crew = self.clone();
        let thread = std::thread::Builder::new().name("write-back".to_owned());
        work.runs = thread.spawn(move || crew.run()).is_ok();
        if !work.runs {
            work.orders.drain(..).for_each(|(_, order)| order.close(Ok(())));
        }
        work.runs
    }

    /// Ties an order to the blob that its file becomes.
    fn name(&self, digest: &Digest, order: &Arc<Order>) -> io::Result<()> {
        let mut work = lock(&self.work);
        // Under the lock, so that one that closes meanwhile finds its name.
        order.problem()?;
        match order.is_open() {
            true => work.named.insert(*digest, order.clone()),
            false => work.named.remove(digest),
        };
        Ok(())
    }

    /// Waits for what is being done for a blob.
    ///
    /// # Errors
    /// A part of it did not reach the disk.
    pub fn wait(&self, digest: &Digest) -> io::Result<()> {
        let order = lock(&self.work).named.get(digest).cloned();
        order.map_or(Ok(()), |order| order.wait())
    }

    fn run(&self) {
        loop {
            let next = {
                let mut work = lock(&self.work);
                let next = work.orders.pop_front();
                work.runs = next.is_some();
                next
            };
            let Some((file, order)) = next else { return };
            let result = file.sync_data();
            let mut work = lock(&self.work);
            if result.is_ok() && order.problem().is_ok() {
                work.named.retain(|_, named| !Arc::ptr_eq(named, &order));
            }
            order.close(result);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in there panics half way through.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::of(b"a blob")
    }

    #[test]
    fn what_did_not_reach_the_disk_is_told_at_the_commit() {
        let (crew, order) = (Crew::default(), Arc::new(Order::default()));
        assert!(order.open() && !order.open(), "one thing at a time");
        order.close(Err(io::Error::from_raw_os_error(5)));
        assert_eq!(crew.name(&digest(), &order).unwrap_err().raw_os_error(), Some(5));
    }

    #[test]
    fn what_fails_after_the_commit_is_told_to_whoever_makes_the_blob_durable() {
        let (crew, order) = (Crew::default(), Arc::new(Order::default()));
        order.open();
        crew.name(&digest(), &order).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| crew.wait(&digest()));
            order.close(Err(io::Error::from_raw_os_error(5)));
            assert_eq!(waiting.join().unwrap().unwrap_err().raw_os_error(), Some(5));
        });
        assert!(crew.wait(&digest()).is_err(), "and to the next one");
        // The same content, written again.
        crew.name(&digest(), &Arc::default()).unwrap();
        crew.wait(&digest()).unwrap();
    }

    #[test]
    fn files_reach_the_disk_in_turn_and_the_thread_ends() {
        let folder = tempfile::tempdir().unwrap();
        let crew = Arc::new(Crew::default());
        let orders: Vec<Arc<Order>> = (0..20)
            .map(|number| {
                let path = folder.path().join(number.to_string());
                std::fs::write(&path, vec![1; 100_000]).unwrap();
                let order = Arc::new(Order::default());
                assert!(crew.order(&order, &path));
                crew.name(&Digest::of(number.to_string().as_bytes()), &order).unwrap();
                order
            })
            .collect();
        orders.iter().for_each(|order| order.wait().unwrap());
        assert!(!crew.order(&orders[0], &folder.path().join("gone")), "nothing to wait for");
        assert!(!orders[0].is_open());
        assert!(lock(&crew.work).named.is_empty());
    }

    #[test]
    fn a_file_that_is_waited_for_gives_its_room_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        std::fs::write(&path, b"part").unwrap();
        let file = Arc::new(File::options().write(true).open(&path).unwrap());
        let write_back = WriteBack::new(file, Arc::default(), 0);
        write_back.discard().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 4, "closing it is enough");
        write_back.order.open();
        write_back.discard().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }
}
