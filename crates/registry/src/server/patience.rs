//! How long slow clients are waited for.
//!
//! Time alone would not bound a client that sends, or takes, a byte a minute; so content has to move at a
//! least pace: of the time that the server only waits for the client, no [`Patience::window`] may pass in
//! which fewer than [`Patience::least_bytes`] move. Time that the server itself needs does not count.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// How long clients are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the whole head of a request, and for a request at all while a connection is open.
    pub head: Duration,
    /// For the agreement on TLS.
    pub handshake: Duration,
    /// In which content has to move, in whichever direction.
    pub window: Duration,
    /// How many bytes, unless the content ends before.
    pub least_bytes: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(60),
            handshake: Duration::from_secs(10),
            window: Duration::from_secs(60),
            least_bytes: 60 * 256,
        }
    }
}

/// How content moves.
#[derive(Debug)]
pub(super) struct Pace {
    patience: Patience,
    waited: Duration,
    moved: u64,
}

impl Pace {
    pub fn new(patience: Patience) -> Self {
        Self { patience, waited: Duration::ZERO, moved: 0 }
    }

    /// Waits for the client; `None` where it takes too long.
    pub async fn wait<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let begun = Instant::now();
        let done = tokio::time::timeout(self.left(), work).await;
        self.waited += begun.elapsed();
        done.ok()
    }

    /// Notes that so many bytes came or went.
    pub fn moved(&mut self, bytes: u64) {
        self.moved = self.moved.saturating_add(bytes);
        if self.moved >= self.patience.least_bytes {
            (self.moved, self.waited) = (0, Duration::ZERO);
        }
    }

    /// Returns what to tell a client whose content comes too slowly.
    pub fn too_slow(&self) -> String {
        let Patience { window, least_bytes, .. } = self.patience;
        format!("the content came too slowly: fewer than {least_bytes} bytes in {window:?}")
    }

    fn left(&self) -> Duration {
        self.patience.window.saturating_sub(self.waited)
    }
}

/// The same for what is written, from inside a task's poll.
#[derive(Debug)]
pub(super) struct WritePace {
    pace: Pace,
    /// Since when the client takes nothing.
    since: Option<Instant>,
    /// Wakes the task; it may do so too early.
    timer: Option<Pin<Box<Sleep>>>,
}

impl WritePace {
    pub fn new(patience: Patience) -> Self {
        Self { pace: Pace::new(patience), since: None, timer: None }
    }

    /// Lets go of what is not needed while nothing is written.
    pub fn rest(&mut self) {
        self.timer = None;
    }

    /// Turns waiting into an error where it takes too long.
    pub fn check(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = written else { return self.waits(context) };
        if let Some(since) = self.since.take() {
            self.pace.waited += since.elapsed();
        }
        self.pace.moved(written.as_ref().map_or(0, |count| *count as u64));
        Poll::Ready(written)
    }

    fn waits(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let most = self.pace.left();
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(most)));
        while timer.as_mut().poll(context).is_ready() {
            let left = most.saturating_sub(since.elapsed());
            if left.is_zero() {
                let reason = "the client takes its answer too slowly";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)));
            }
            timer.as_mut().reset(tokio::time::Instant::now() + left);
        }
        Poll::Pending
    }
}

/// A connection on which nobody reads too slowly; for what is encrypted above it.
pub(super) struct Paced {
    socket: TcpStream,
    pace: WritePace,
}

impl Paced {
    pub fn new(socket: TcpStream, patience: Patience) -> Self {
        Self { socket, pace: WritePace::new(patience) }
    }

    pub fn into_socket(self) -> TcpStream {
        self.socket
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, buffer);
        self.pace.check(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, buffers);
        self.pace.check(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        head: Duration::ZERO,
        handshake: Duration::ZERO,
        window: Duration::from_secs(3600),
        least_bytes: 100,
    };

    #[tokio::test]
    async fn waiting_adds_up_until_enough_has_moved() {
        let mut pace = Pace::new(PATIENCE);
        pace.waited = Duration::from_secs(3599);
        pace.moved(99);
        assert_eq!(pace.left(), Duration::from_secs(1));
        pace.moved(1);
        assert_eq!((pace.left(), pace.moved), (PATIENCE.window, 0));
        pace.waited = PATIENCE.window;
        assert_eq!(pace.wait(std::future::pending::<()>()).await, None);
        assert_eq!(pace.too_slow(), "the content came too slowly: fewer than 100 bytes in 3600s");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up_and_one_that_does_is_not() {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut writing = WritePace::new(PATIENCE);
        assert!(writing.check(&mut context, Poll::Pending).is_pending());
        assert!(matches!(writing.check(&mut context, Poll::Ready(Ok(10))), Poll::Ready(Ok(10))));
        assert!(writing.since.is_none() && writing.timer.is_some());
        writing.rest();
        assert!(writing.timer.is_none());
        writing.pace.waited = PATIENCE.window;
        let given_up = std::future::poll_fn(|context| writing.check(context, Poll::Pending)).await;
        assert_eq!(given_up.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
