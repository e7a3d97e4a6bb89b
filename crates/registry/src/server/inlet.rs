//! Content of requests that the kernel moves from the socket to a file.
//!
//! The HTTP library knows the bounds of a request and has to go on knowing them, but it would carry
//! every byte through memory of its own. So a request with much content *holds* its connection: the
//! library then gets nothing from the socket, and hands on what it had read before. When it asks for
//! more, the request takes the rest from the socket itself, and afterwards has the library read as many
//! bytes that stand for it. Nothing ever looks at those. Plain connections only, and only content whose
//! length is known: under TLS and in a chunked request what comes is not the content itself.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The side of a connection that receives.
#[derive(Clone)]
pub(super) struct Inlet {
    socket: Arc<TcpStream>,
    gate: Arc<Mutex<Gate>>,
}

#[derive(Default)]
struct Gate {
    /// A request reads from the socket itself.
    held: bool,
    /// The library asked for more than it was given: it holds nothing back.
    dry: bool,
    /// It waits for the socket, which comes to the same.
    waits: bool,
    /// It did so last of all: nothing was read or written since.
    idle: bool,
    /// How many bytes the library has still to read that stand for others.
    owed: u64,
    library: Option<Waker>,
    request: Option<Waker>,
}

/// Where the library's next bytes come from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    Socket,
    /// This many bytes that stand for others.
    StandIn(usize),
    /// From nowhere until it is woken.
    Nothing,
}

impl Inlet {
    pub fn new(socket: Arc<TcpStream>) -> Self {
        Self { socket, gate: Arc::default() }
    }

    /// Returns what the library, which wants up to `most` bytes, is to read.
    pub fn source(&self, context: &mut Context<'_>, most: usize) -> Source {
        let mut gate = self.gate();
        gate.idle = false;
        if gate.owed > 0 {
            let count = usize::try_from(gate.owed).unwrap_or(usize::MAX).min(most);
            gate.owed -= count as u64;
            return Source::StandIn(count);
        }
        if !gate.held {
            gate.waits = false;
            return Source::Socket;
        }
        gate.library = Some(context.waker().clone());
        gate.dry = true;
        gate.request.take().into_iter().for_each(Waker::wake);
        Source::Nothing
    }

    /// Notes that the socket had nothing for the library.
    pub fn wait(&self, context: &mut Context<'_>) {
        let mut gate = self.gate();
        gate.waits = true;
        gate.idle = true;
        gate.library = Some(context.waker().clone());
    }

    /// Notes that the library writes.
    pub fn writing(&self) {
        self.gate().idle = false;
    }

    /// Whether the library has nothing to write and waits for the socket.
    pub fn is_idle(&self) -> bool {
        self.gate().idle
    }

    /// Waits until something can be read from the socket, be it its end.
    pub async fn readable(&self) -> io::Result<()> {
        let socket = &self.socket;
        loop {
            socket.readable().await?;
            // The runtime does not know what was read behind its back: it is shown.
            let look = || Ok(recv(&**socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT)?);
            match socket.try_io(Interest::READABLE, look) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                found => return found.map(drop),
            }
        }
    }

    /// Keeps the library from the socket until the value is dropped.
    pub fn hold(&self) -> Hold<'_> {
        let mut gate = self.gate();
        gate.held = true;
        gate.dry = gate.waits;
        Hold(self)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        // Nothing in there panics half way through.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is held.
pub(super) struct Hold<'a>(&'a Inlet);

impl Hold<'_> {
    /// Whether the library has handed on all it had; otherwise the task is woken when it has.
    pub fn is_dry(&self, context: &mut Context<'_>) -> bool {
        let mut gate = self.0.gate();
        gate.request = Some(context.waker().clone());
        gate.dry
    }

    /// Has the library read `count` bytes more, which the request took from the socket.
    pub fn owe(&self, count: u64) {
        let mut gate = self.0.gate();
        gate.owed += count;
        gate.library.take().into_iter().for_each(Waker::wake);
    }

    /// Waits until something can be read from the socket, be it its end.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    /// Returns the socket.
    pub fn socket(&self) -> Arc<TcpStream> {
        self.0.socket.clone()
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut gate = self.0.gate();
        gate.held = false;
        gate.request = None;
        gate.library.take().into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn the_library_reads_what_stands_for_content_and_then_the_socket_again() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let inlet = Inlet::new(Arc::new(listener.accept().await.unwrap().0));
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(inlet.source(&mut context, 10), Source::Socket);
        let hold = inlet.hold();
        assert!(!hold.is_dry(&mut context), "the library may hold something back");
        assert_eq!(inlet.source(&mut context, 10), Source::Nothing);
        assert!(hold.is_dry(&mut context));
        client.write_all(b"content").unwrap();
        hold.readable().await.unwrap();
        assert_eq!(rustix::io::read(&*hold.socket(), &mut [0; 100]).unwrap(), 7);
        hold.owe(7);
        assert_eq!(inlet.source(&mut context, 4), Source::StandIn(4));
        drop(hold);
        assert_eq!(inlet.source(&mut context, 10), Source::StandIn(3));
        assert_eq!(inlet.source(&mut context, 10), Source::Socket);
        inlet.wait(&mut context);
        assert!(inlet.hold().is_dry(&mut context), "who waits for the socket has nothing");
    }
}
