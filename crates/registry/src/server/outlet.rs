//! Files that the kernel sends without this process reading them.
//!
//! The HTTP library knows only bytes in memory. So the content of a file is handed to it as pieces
//! of [`STAND_IN`], an array that nobody ever looks at, while the file itself is put into the
//! connection's [`Outlet`]. Where the library writes a piece of the array, the socket sends as much
//! of the file. The order of the pieces is that of the answers, so the two cannot get apart.
//! Plain connections only: under TLS the content has to be encrypted here.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::net::TcpStream;

/// How much of a file one piece stands for at most: long enough that a call of the kernel's ends when the
/// socket is full, and not before.
const PIECE_BYTES: usize = 4 << 20;
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
    pub fn send(&self, socket: &TcpStream, count: usize) -> io::Result<usize> {
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

/// Whether a buffer is a piece of the array, and not content.
pub(super) fn stands_for_a_file(buffer: &[u8]) -> bool {
    !buffer.is_empty() && STAND_IN.as_ptr_range().contains(&buffer.as_ptr())
}
