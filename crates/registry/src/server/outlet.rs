//! Files that the kernel sends without this process reading them.
//!
//! The HTTP library knows only bytes in memory. So the content of a file is handed to it as pieces
//! of [`STAND_IN`], an array that nobody ever looks at, while the file itself is put into the
//! connection's [`Outlet`]. Where the library writes a piece of the array, the socket sends as much
//! of the file. The order of the pieces is that of the answers, so the two cannot get apart.
//! Plain connections only: under TLS the content has to be encrypted here.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// How much of a file one piece stands for at most.
const PIECE_BYTES: usize = 512 << 10;
/// Stands for content of files. It is never written to, so it takes no memory.
static STAND_IN: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

/// What a connection still has to send from files, in order.
#[derive(Clone, Default)]
pub(super) struct Outlet(Arc<Mutex<VecDeque<Piece>>>);

struct Piece {
    file: Arc<File>,
    offset: u64,
    length: usize,
}

impl Outlet {
    /// Takes the next piece of a file and returns what stands for it.
    pub fn put(&self, file: &Arc<File>, offset: u64, remaining: u64) -> Bytes {
        let length = usize::try_from(remaining).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let piece = Piece { file: file.clone(), offset, length };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(piece);
        Bytes::from_static(&STAND_IN[..length])
    }

    /// Sends up to `count` bytes of the first piece.
    fn send(&self, socket: &TcpStream, count: usize) -> io::Result<usize> {
        let mut pieces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = || io::Error::other("an answer has more content than its file");
        let piece = pieces.front_mut().ok_or_else(lost)?;
        let sent =
            rustix::fs::sendfile(socket, &*piece.file, Some(&mut piece.offset), count.min(piece.length))?;
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        piece.length -= sent;
        if piece.length == 0 {
            pieces.pop_front();
        }
        Ok(sent)
    }
}

/// A plain connection that knows what stands for files.
pub(super) struct Plain {
    socket: TcpStream,
    outlet: Outlet,
}

impl Plain {
    pub fn new(socket: TcpStream) -> (Self, Outlet) {
        let outlet = Outlet::default();
        (Self { socket, outlet: outlet.clone() }, outlet)
    }

    fn poll_send(&self, context: &mut Context<'_>, count: usize) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(context))?;
            match self.socket.try_io(Interest::WRITABLE, || self.outlet.send(&self.socket, count)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

fn stands_for_a_file(buffer: &[u8]) -> bool {
    !buffer.is_empty() && STAND_IN.as_ptr_range().contains(&buffer.as_ptr())
}

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
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
            false => Pin::new(&mut self.socket).poll_write(context, buffer),
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
            _ => Pin::new(&mut self.socket).poll_write_vectored(context, &buffers[..ordinary]),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
