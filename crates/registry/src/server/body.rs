//! The content of answers.

use std::fs::File;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use store::Blob;
use tokio::sync::mpsc;

use super::outlet::Outlet;

/// What is sent.
pub(super) enum Content {
    Empty,
    Bytes(Option<Bytes>),
    Blob {
        blob: Blob,
        remaining: u64,
        /// How much is read and handed on at once.
        piece: usize,
    },
    /// A file that the connection sends itself.
    File {
        outlet: Outlet,
        file: Arc<File>,
        offset: u64,
        remaining: u64,
    },
    /// What is still coming from somewhere; fewer pieces than announced break the connection.
    Coming {
        pieces: mpsc::Receiver<io::Result<Bytes>>,
        remaining: u64,
    },
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let next = match &mut *self {
            Self::Coming { remaining: 0, .. } => None,
            Self::Coming { pieces, remaining } => {
                let piece = std::task::ready!(pieces.poll_recv(context)).unwrap_or_else(|| Err(broke_off()));
                Some(piece.inspect(|piece| *remaining = remaining.saturating_sub(piece.len() as u64)))
            }
            Self::Empty => None,
            Self::Bytes(bytes) => bytes.take().map(Ok),
            Self::Blob { remaining: 0, .. } | Self::File { remaining: 0, .. } => None,
            // The reading thread gives its place in the runtime to another one meanwhile: the
            // disk may take its time.
            Self::Blob { blob, remaining, piece } => {
                Some(tokio::task::block_in_place(|| read(blob, remaining, *piece)))
            }
            Self::File { outlet, file, offset, remaining } => {
                let piece = outlet.put(file, *offset, *remaining);
                *offset += piece.len() as u64;
                *remaining -= piece.len() as u64;
                Some(Ok(piece))
            }
        };
        Poll::Ready(next.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Bytes(bytes) => bytes.is_none(),
            Self::Blob { remaining, .. } | Self::File { remaining, .. } | Self::Coming { remaining, .. } => {
                *remaining == 0
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Blob { remaining, .. } | Self::File { remaining, .. } | Self::Coming { remaining, .. } => {
                *remaining
            }
        })
    }
}

fn broke_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "what comes from another registry broke off")
}

fn read(blob: &mut Blob, remaining: &mut u64, piece: usize) -> io::Result<Bytes> {
    let length = usize::try_from(*remaining).unwrap_or(usize::MAX).min(piece);
    let mut chunk = vec![0; length];
    blob.read_exact(&mut chunk)?;
    *remaining -= length as u64;
    Ok(chunk.into())
}
