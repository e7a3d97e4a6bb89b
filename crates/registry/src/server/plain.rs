//! A connection without encryption, between the socket and the HTTP library.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::inlet::{Inlet, Source};
use super::outlet::{Outlet, stands_for_a_file};
use super::patience::{Patience, WritePace};

/// The connection as the library sees it.
pub(super) struct Plain {
    socket: Arc<TcpStream>,
    wire: Wire,
    /// What was read already and comes first.
    before: Bytes,
    pace: WritePace,
}

/// The connection as requests see it: what moves content past the library.
#[derive(Clone)]
pub(super) struct Wire {
    pub outlet: Outlet,
    pub inlet: Inlet,
}

impl Plain {
    pub fn new(socket: TcpStream, patience: Patience) -> (Self, Wire) {
        let socket = Arc::new(socket);
        let wire = Wire { outlet: Outlet::default(), inlet: Inlet::new(socket.clone()) };
        let pace = WritePace::new(patience);
        (Self { socket, wire: wire.clone(), before: Bytes::new(), pace }, wire)
    }

    /// Puts back what was read and not used.
    pub fn put_back(&mut self, bytes: Bytes) {
        debug_assert!(self.before.is_empty(), "what comes first was read first");
        // A copy: even none of the library's bytes would keep its whole buffer, for as long as the client thinks.
        self.before = Bytes::copy_from_slice(&bytes);
        self.pace.rest();
    }

    /// Whether something was put back.
    pub fn has_more(&self) -> bool {
        !self.before.is_empty()
    }

    /// Does `work` on the socket when something can be written to it.
    fn poll_writing(
        &mut self,
        context: &mut Context<'_>,
        work: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.wire.inlet.writing();
        let written = write_when_ready(&self.socket, context, work);
        self.pace.check(context, written)
    }

    fn poll_send(&mut self, context: &mut Context<'_>, count: usize) -> Poll<io::Result<usize>> {
        let outlet = self.wire.outlet.clone();
        self.poll_writing(context, |socket| socket.try_io(Interest::WRITABLE, || outlet.send(socket, count)))
    }

    fn poll_receive(&self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.socket.poll_read_ready(context) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => {
                    self.wire.inlet.wait(context);
                    return Poll::Pending;
                }
            }
            match self.socket.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done.map(drop)),
            }
        }
    }
}

fn write_when_ready(
    socket: &TcpStream,
    context: &mut Context<'_>,
    mut work: impl FnMut(&TcpStream) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(context))?;
        match work(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return Poll::Ready(done),
        }
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_more() {
            let count = self.before.len().min(buffer.remaining());
            buffer.put_slice(&self.before.split_to(count));
            if self.before.is_empty() {
                self.before = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        match self.wire.inlet.source(context, buffer.remaining()) {
            Source::Socket => self.poll_receive(context, buffer),
            Source::Nothing => Poll::Pending,
            Source::StandIn(count) => {
                buffer.initialize_unfilled_to(count);
                buffer.advance(count);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Plain {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        match stands_for_a_file(buffer) {
            true => self.poll_send(context, buffer.len()),
            false => self.poll_writing(context, |socket| socket.try_write(buffer)),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let ordinary = buffers.iter().take_while(|buffer| !stands_for_a_file(buffer)).count();
        match buffers.get(ordinary) {
            Some(first) if ordinary == 0 => self.poll_send(context, first.len()),
            _ => self.poll_writing(context, |socket| socket.try_write_vectored(&buffers[..ordinary])),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was written is the kernel's already.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(shutdown(&*self.socket, Shutdown::Write)?))
    }
}
