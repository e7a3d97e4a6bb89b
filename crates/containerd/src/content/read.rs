//! Reading a blob: a stream of pieces, which can begin anywhere.

use std::io::{self, Read};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::http::uri::PathAndQuery;
use oci::Digest;
use store::{Blob, Resumable, StoreError};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

use super::Content;
use crate::connection::{with_scope, words};
use crate::protocol::{ReadContentRequest, ReadContentResponse, method};

/// How long the next piece may take.
const PIECE_LIMIT: Duration = Duration::from_secs(120);
/// How many pieces without a byte may follow each other.
const MAX_EMPTY_PIECES: usize = 100;

impl Content {
    /// Opens a blob for reading; what is read is checked.
    pub fn open(&self, digest: &Digest) -> Result<Blob, StoreError> {
        let size = self.size(digest)?.ok_or_else(|| StoreError::NotFound { what: self.what(digest) })?;
        let reading = Reading {
            content: self.clone(),
            digest: *digest,
            at: 0,
            piece: Bytes::new(),
            state: State::Unopened,
        };
        Ok(Blob::resumable(*digest, size, reading))
    }
}

struct Reading {
    content: Content,
    digest: Digest,
    /// Where the stream is to begin.
    at: u64,
    /// What arrived and was not read.
    piece: Bytes,
    state: State,
}

enum State {
    Unopened,
    Open(Box<Streaming<ReadContentResponse>>),
    Ended,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut empty = 0;
        while self.piece.is_empty() {
            match self.next().map_err(|status| self.failed(&status))? {
                None => return Ok(0),
                Some(piece) if piece.is_empty() && empty == MAX_EMPTY_PIECES => {
                    let reason =
                        format!("{} comes in pieces without content", self.content.what(&self.digest));
                    return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                }
                Some(piece) => self.piece = piece,
            }
            empty += 1;
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Resumable for Reading {
    fn resume_at(&mut self, offset: u64) {
        self.at = offset;
        self.piece = Bytes::new();
        self.state = State::Unopened;
    }
}

impl Reading {
    /// Returns the next piece; `None` at the end.
    fn next(&mut self) -> Result<Option<Bytes>, Status> {
        if matches!(self.state, State::Unopened) {
            self.state = State::Open(Box::new(self.begin()?));
        }
        let State::Open(pieces) = &mut self.state else { return Ok(None) };
        let piece = self.content.connection.wait(PIECE_LIMIT, pieces.message())?;
        if piece.is_none() {
            self.state = State::Ended;
        }
        Ok(piece.map(|piece| piece.data))
    }

    fn begin(&self) -> Result<Streaming<ReadContentResponse>, Status> {
        let offset = i64::try_from(self.at).map_err(|error| Status::out_of_range(error.to_string()))?;
        let question = ReadContentRequest { digest: self.digest.to_string(), offset, size: 0 };
        let request = with_scope(tonic::Request::new(question), Some(&self.content.scope))?;
        let connection = &self.content.connection;
        connection.wait(PIECE_LIMIT, async {
            let codec: ProstCodec<ReadContentRequest, ReadContentResponse> = ProstCodec::default();
            let path = PathAndQuery::from_static(method::READ);
            let answer = connection.client().await?.server_streaming(request, path, codec).await?;
            Ok(answer.into_inner())
        })
    }

    fn failed(&self, status: &Status) -> io::Error {
        let kind = match status.code() {
            Code::NotFound => io::ErrorKind::NotFound,
            Code::PermissionDenied => io::ErrorKind::PermissionDenied,
            Code::DeadlineExceeded => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::ConnectionAborted,
        };
        io::Error::new(kind, format!("{}: {}", self.content.what(&self.digest), words(status)))
    }
}
