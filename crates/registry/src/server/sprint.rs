//! Short runs in which a thread does nothing but move content from one socket to its file.
//!
//! Waiting for content is the runtime's; but as long as it comes without a pause, handing every piece
//! from thread to thread would cost more than the pieces. So a run goes on until the socket stays empty
//! for a moment, and no longer than [`RUN_LIMIT`], so that many uploads take turns. A *companion*
//! hashes behind it on another processor, where one is free; otherwise the run hashes what it moved.
//!
//! | bounded by | what |
//! |---|---|
//! | [`RUNS`] | runs at once, and with them their buffers |
//! | the number of processors | companions at once |
//!
//! A run owns the session while it lasts. When the request is dropped meanwhile, the run still counts
//! what it moved before it lets the session go, so the next request finds all of it and nothing follows.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use store::{Follower, Funnel, Ingest, IngestError};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::defect::Defect;
use super::session::Held;

/// How many runs there are at once.
const RUNS: usize = 16;
/// How long one takes at most.
const RUN_LIMIT: Duration = Duration::from_millis(200);
/// How long it waits for more.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
/// How much is moved before the hash follows.
const PIECE_BYTES: u64 = 1 << 20;
/// Content that is shorter is not worth waking another thread for.
const COMPANY_BYTES: u64 = 2 << 20;

/// Where runs take place.
pub(super) struct Track {
    runs: Arc<Semaphore>,
    companions: Arc<Semaphore>,
}

impl Default for Track {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { runs: Arc::new(Semaphore::new(RUNS)), companions: Arc::new(Semaphore::new(processors)) }
    }
}

/// How a run ended.
pub(super) enum End {
    /// Nothing came for a moment, it had moved all that was wanted, or it was somebody else's turn.
    Paused,
    /// The other end sends no more, or the connection broke.
    Closed(io::Error),
    /// The file takes no more.
    Full(io::Error),
    /// The run panicked. It took the session along, and nobody knows how much it moved.
    Lost(Defect),
}

/// One after the other, the runs of one request.
pub(super) struct Runner {
    /// The session; `None` where a run that panicked took it along.
    held: Option<Held>,
    companion: Option<Companion>,
}

impl Runner {
    pub fn new(held: Held) -> Self {
        Self { held: Some(held), companion: None }
    }

    /// Moves up to `most` bytes from the socket to the session's file, and returns how many those were.
    pub async fn run(&mut self, track: &Track, socket: Arc<TcpStream>, most: u64) -> (u64, End) {
        let gone = || (0, End::Full(io::Error::other("the upload has ended")));
        // Neither semaphore is ever closed.
        let Ok(permit) = track.runs.clone().acquire_owned().await else { return gone() };
        let Some(mut held) = self.held.take() else { return gone() };
        let Some(ingest) = held.as_mut() else { return gone() };
        let companion = match self.companion.take() {
            None if most >= COMPANY_BYTES => Companion::start(ingest, &track.companions),
            companion => companion,
        };
        let run = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let ran =
                held.as_mut().map_or_else(gone, |ingest| run(ingest, &socket, most, companion.as_ref()));
            (held, companion, ran)
        });
        let (held, companion, (arrived, end)) = match run.await {
            Ok(ran) => ran,
            Err(error) => return (0, End::Lost(error.into())),
        };
        self.held = Some(held);
        match (companion, &end) {
            // Through a pause nobody is kept waiting: the companion ends when it has caught up.
            (Some(companion), End::Paused) if arrived < most => self.companion = Some(companion),
            // It holds the file too: when the refusal is answered, the room is free again.
            (Some(companion), End::Full(_)) => companion.finish().await,
            _ => {}
        }
        (arrived, end)
    }

    /// Returns the session when everything is hashed that can be.
    pub async fn finish(mut self) -> Option<Held> {
        if let Some(companion) = self.companion.take() {
            companion.finish().await;
        }
        self.held
    }
}

fn run(ingest: &mut Ingest, socket: &TcpStream, most: u64, companion: Option<&Companion>) -> (u64, End) {
    #[cfg(test)]
    assert_ne!(most, tests::PANICS, "a run of the test");
    let started = Instant::now();
    let mut arrived = 0;
    let end = match Funnel::new() {
        Err(error) => End::Full(error),
        Ok(funnel) => loop {
            if arrived >= most || started.elapsed() >= RUN_LIMIT {
                break End::Paused;
            }
            match draw(ingest, socket, &funnel, most - arrived, companion) {
                Ok(count) => arrived += count,
                Err(Some(end)) => break end,
                Err(None) if !is_waiting(socket) => break End::Paused,
                Err(None) => {}
            }
        },
    };
    (arrived, end)
}

/// Moves a piece; `None` as the error where there is nothing just now.
fn draw(
    ingest: &mut Ingest,
    socket: &TcpStream,
    funnel: &Funnel,
    most: u64,
    companion: Option<&Companion>,
) -> Result<u64, Option<End>> {
    let most = usize::try_from(most.min(PIECE_BYTES)).expect("a piece fits usize");
    let count = match ingest.draw(socket, funnel, most) {
        Ok(0) => return Err(Some(End::Closed(io::ErrorKind::UnexpectedEof.into()))),
        Ok(count) => count as u64,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(None),
        Err(error) if error.get_ref().is_some_and(|inner| inner.is::<IngestError>()) => {
            return Err(Some(End::Full(error)));
        }
        Err(error) => return Err(Some(End::Closed(error))),
    };
    match (companion, ingest.follower()) {
        (Some(companion), _) => companion.tell(ingest.written()),
        // What cannot be read now is read when the upload ends, and reported then.
        (None, Some(follower)) => drop(follower.catch_up(ingest.written())),
        (None, None) => {}
    }
    Ok(count)
}

/// Waits a moment for content.
fn is_waiting(socket: &TcpStream) -> bool {
    poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&PAUSE)).is_ok_and(|ready| ready > 0)
}

/// Hashes what a run moves, on another thread.
struct Companion {
    order: Arc<(Mutex<Order>, Condvar)>,
    done: JoinHandle<()>,
}

/// What there is to do.
#[derive(Clone, Copy)]
struct Order {
    /// Up to where.
    written: u64,
    /// Nothing more will come.
    last: bool,
}

impl Companion {
    /// Starts one where a processor is free and a hash is wanted.
    fn start(ingest: &Ingest, places: &Arc<Semaphore>) -> Option<Self> {
        let follower = ingest.follower()?.clone();
        let place = places.clone().try_acquire_owned().ok()?;
        let order = Order { written: ingest.written(), last: false };
        let order = Arc::new((Mutex::new(order), Condvar::new()));
        let orders = order.clone();
        let done = tokio::task::spawn_blocking(move || follow(&follower, &orders, place));
        Some(Self { order, done })
    }

    fn tell(&self, written: u64) {
        lock(&self.order.0).written = written;
        self.order.1.notify_one();
    }

    async fn finish(mut self) {
        self.end();
        // What it could not do is done again, and reported, by whoever commits the blob.
        let _ = (&mut self.done).await;
    }

    fn end(&self) {
        lock(&self.order.0).last = true;
        self.order.1.notify_one();
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.end();
    }
}

fn follow(follower: &Follower, orders: &(Mutex<Order>, Condvar), _place: OwnedSemaphorePermit) {
    let mut done = 0;
    loop {
        let order = {
            let waiting = |order: &mut Order| order.written <= done && !order.last;
            let (order, condition) = orders;
            *condition.wait_while(lock(order), waiting).unwrap_or_else(PoisonError::into_inner)
        };
        if follower.catch_up(order.written).is_err() || order.last {
            return;
        }
        done = order.written;
    }
}

fn lock(order: &Mutex<Order>) -> MutexGuard<'_, Order> {
    order.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use store::LayoutStore;

    use super::super::session::Sessions;
    use super::*;

    /// So much content makes a run panic.
    pub(super) const PANICS: u64 = COMPANY_BYTES + 7;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_run_that_panics_ends_the_session_and_gives_its_place_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = LayoutStore::open(folder.path()).unwrap();
        let (sessions, track) = (Sessions::new(Duration::from_secs(60)), Track::default());
        let name = "local/a".parse().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = Arc::new(listener.accept().await.unwrap().0);
        for _ in 0..2 * RUNS {
            let session = sessions.open(&name, store.ingest().unwrap()).unwrap();
            let mut runner = Runner::new(sessions.hold(&name, &session).await.unwrap());
            let (arrived, end) = runner.run(&track, socket.clone(), PANICS).await;
            assert!(matches!(&end, End::Lost(Defect(text)) if text.contains("a run of the test")));
            assert_eq!(arrived, 0);
            assert!(runner.finish().await.is_none());
            assert!(sessions.hold(&name, &session).await.is_err());
        }
        assert_eq!((sessions.count(), track.runs.available_permits()), (0, RUNS));
        assert_eq!(std::fs::read_dir(folder.path().join("temporary")).unwrap().count(), 0);
    }
}
