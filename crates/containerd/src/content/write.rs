//! Writing a blob. containerd keeps what arrived of it under a name of ours, so that another try goes on behind
//! it; only when size and digest are right does it become a blob.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_core::Stream;
use hyper::http::uri::PathAndQuery;
use oci::Descriptor;
use store::{Blob, Put, StoreError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

use super::Content;
use crate::connection::with_scope;
use crate::fault::{nonsense, of_status};
use crate::protocol::{AbortRequest, Empty, WriteAction, WriteContentRequest, WriteContentResponse, method};

/// How much is sent at once. What is no larger goes in one message without a question before.
const PIECE_BYTES: usize = 256 << 10;
/// How many pieces wait until containerd takes them.
const WAITING_PIECES: usize = 2;
/// How long containerd may take no piece.
const PIECE_LIMIT: Duration = Duration::from_secs(120);
/// How long it may take to write everything to its disk.
const COMMIT_LIMIT: Duration = Duration::from_secs(600);
/// How long to wait until another run of ours is done with the same blob.
const LOCKED_LIMIT: Duration = Duration::from_secs(600);
const LOCKED_PAUSE: Duration = Duration::from_millis(100);

/// One blob on its way.
pub(crate) struct Upload<'a> {
    pub content: &'a Content,
    pub blob: &'a Descriptor,
    pub labels: HashMap<String, String>,
}

/// Where the bytes come from. containerd computes the digest, so a file is not hashed on this side.
enum Origin {
    /// A file, and where in it the blob begins.
    File(File, u64),
    Stream(Blob),
}

/// Where an upload begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Behind what containerd has from another try.
    Behind,
    /// At the first byte; what was there goes.
    Anew,
}

/// Why a blob did not get there.
enum Failure {
    /// What arrived is not what was announced, and a part of it was there before, or none.
    Wrong { status: Status, was_resumed: bool },
    /// containerd refused or went away.
    Status(Status),
    /// It cannot be read.
    Source(io::Error),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// An upload that containerd knows of.
struct Session {
    /// Takes what is sent; closed where containerd wants no more.
    sender: mpsc::Sender<WriteContentRequest>,
    answers: Streaming<WriteContentResponse>,
    /// The answer to the first message.
    first: WriteContentResponse,
}

impl Upload<'_> {
    /// Sends the blob; what containerd has of it already is not sent.
    pub fn send(&self, content: Blob) -> Result<Put, StoreError> {
        if content.size() != self.blob.size {
            let reason = format!("expected {} bytes, found {}", self.blob.size, content.size());
            return Err(nonsense(self.what(), reason));
        }
        let sent = Origin::of(content).map_err(Failure::Source).and_then(|mut origin| match self.blob.size {
            size if size <= PIECE_BYTES as u64 => self.at_once(&mut origin),
            _ => self.in_pieces(&mut origin),
        });
        match sent {
            Err(Failure::Status(status)) if status.code() == Code::AlreadyExists => Ok(Put::Present),
            sent => sent.map_err(|failure| self.failed(failure)),
        }
    }

    /// Sends a small blob in one message, which takes away what there was of it.
    fn at_once(&self, origin: &mut Origin) -> Result<Put, Failure> {
        let data = origin.piece(self.blob.size).map_err(Failure::Source)?;
        let message = WriteContentRequest { data, ..self.message(WriteAction::Commit, 0) };
        let Session { sender, answers, first } = self.begin(&message)?;
        drop(sender);
        if first.action() != WriteAction::Commit {
            self.content
                .connection
                .wait(COMMIT_LIMIT, committed(answers))
                .map_err(|status| wrong(status, false))?;
        }
        Ok(Put::Written)
    }

    fn in_pieces(&self, origin: &mut Origin) -> Result<Put, Failure> {
        let sent = self.pieces(origin, Start::Behind);
        let is_wrong = match &sent {
            Err(Failure::Wrong { .. }) => true,
            Err(Failure::Source(error)) => error.kind() == io::ErrorKind::InvalidData,
            _ => false,
        };
        if !is_wrong {
            return sent;
        }
        // Whoever tries again must not go on behind it.
        self.abort();
        if matches!(sent, Err(Failure::Wrong { was_resumed: true, .. })) && origin.rewind() {
            return self.pieces(origin, Start::Anew).inspect_err(|_| self.abort());
        }
        sent
    }

    fn pieces(&self, origin: &mut Origin, start: Start) -> Result<Put, Failure> {
        let connection = &self.content.connection;
        let Session { sender, answers, first } = self.begin(&self.message(WriteAction::Stat, 0))?;
        let size = self.blob.size;
        let there = u64::try_from(first.offset).ok().filter(|there| start == Start::Behind && *there <= size);
        let mut at = there.unwrap_or(0);
        let (was_resumed, put) = (at > 0, if at == size { Put::Mounted } else { Put::Written });
        origin.skip(at).map_err(Failure::Source)?;
        let mut end = connection.runtime().spawn(committed(answers));
        while at < size {
            let data = origin.piece((size - at).min(PIECE_BYTES as u64)).map_err(Failure::Source)?;
            let length = data.len() as u64;
            let message = WriteContentRequest { data, ..self.message(WriteAction::Write, at) };
            self.pass(&sender, message, &mut end, was_resumed)?;
            at += length;
        }
        self.pass(&sender, self.message(WriteAction::Commit, size), &mut end, was_resumed)?;
        connection.wait(COMMIT_LIMIT, ended(&mut end)).map_err(|status| wrong(status, was_resumed))?;
        Ok(put)
    }

    /// Passes a message on; where containerd takes no more, says why.
    fn pass(
        &self,
        sender: &mpsc::Sender<WriteContentRequest>,
        message: WriteContentRequest,
        end: &mut JoinHandle<Result<(), Status>>,
        was_resumed: bool,
    ) -> Result<(), Failure> {
        let passed = self.content.connection.wait(PIECE_LIMIT, async {
            match sender.send(message).await {
                Ok(()) => Ok(()),
                Err(_) => ended(end).await.and(Err(broke_off())),
            }
        });
        passed.map_err(|status| wrong(status, was_resumed))
    }

    /// Begins an upload, and waits while another client sends the same blob.
    fn begin(&self, first: &WriteContentRequest) -> Result<Session, Status> {
        let begun = Instant::now();
        loop {
            match self.content.connection.wait(COMMIT_LIMIT, self.open(first.clone())) {
                Err(status) if is_locked(&status) && begun.elapsed() < LOCKED_LIMIT => {
                    std::thread::sleep(LOCKED_PAUSE);
                }
                begun => return begun,
            }
        }
    }

    async fn open(&self, first: WriteContentRequest) -> Result<Session, Status> {
        let (sender, receiver) = mpsc::channel(WAITING_PIECES);
        sender.try_send(first).map_err(|error| Status::internal(error.to_string()))?;
        let request = with_scope(tonic::Request::new(Messages(receiver)), Some(&self.content.scope))?;
        let codec: ProstCodec<WriteContentRequest, WriteContentResponse> = ProstCodec::default();
        let path = PathAndQuery::from_static(method::WRITE);
        let answer = self.content.connection.client().await?.streaming(request, path, codec).await?;
        let mut answers = answer.into_inner();
        let first = answers.message().await?.ok_or_else(broke_off)?;
        Ok(Session { sender, answers, first })
    }

    fn message(&self, action: WriteAction, offset: u64) -> WriteContentRequest {
        let is_last = action == WriteAction::Commit;
        WriteContentRequest {
            action: action.into(),
            reference: self.reference(),
            total: in_protocol(self.blob.size),
            expected: if action == WriteAction::Write { String::new() } else { self.blob.digest.to_string() },
            offset: in_protocol(offset),
            data: Bytes::new(),
            labels: if is_last { self.labels.clone() } else { HashMap::new() },
        }
    }

    /// What the blob is called until it is one; of ours, so that no other client is disturbed.
    fn reference(&self) -> String {
        format!("plimsoll-{}", self.blob.digest)
    }

    fn abort(&self) {
        let request = AbortRequest { reference: self.reference() };
        let content = self.content;
        // What cannot be thrown away now goes with the lease.
        drop(content.connection.ask::<_, Empty>(&content.scope, method::ABORT, request));
    }

    fn what(&self) -> String {
        self.content.what(&self.blob.digest)
    }

    fn failed(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::Wrong { status, .. } | Failure::Status(status) => {
                of_status("write", self.what(), &status)
            }
            Failure::Source(error) if error.kind() == io::ErrorKind::InvalidData => {
                nonsense(format!("blob {}", self.blob.digest), error.to_string())
            }
            Failure::Source(error) => StoreError::io("read", format!("blob {}", self.blob.digest), error),
        }
    }
}

impl Origin {
    fn of(content: Blob) -> io::Result<Self> {
        match content.into_file() {
            Ok(mut file) => {
                let start = file.stream_position()?;
                Ok(Self::File(file, start))
            }
            Err(content) => Ok(Self::Stream(content)),
        }
    }

    /// Returns the next `length` bytes.
    fn piece(&mut self, length: u64) -> io::Result<Bytes> {
        let mut piece = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        match self {
            Self::File(file, _) => file.read_exact(&mut piece)?,
            Self::Stream(stream) => stream.read_exact(&mut piece)?,
        }
        Ok(piece.into())
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        match self {
            Self::File(file, start) => {
                let target = start.checked_add(length).ok_or(io::ErrorKind::InvalidInput)?;
                file.seek(SeekFrom::Start(target)).map(drop)
            }
            // It is checked while it is read, from its first byte on.
            Self::Stream(stream) => io::copy(&mut stream.take(length), &mut io::sink()).map(drop),
        }
    }

    /// Goes back to the first byte, where that is possible.
    fn rewind(&mut self) -> bool {
        match self {
            Self::File(file, start) => file.seek(SeekFrom::Start(*start)).is_ok(),
            Self::Stream(_) => false,
        }
    }
}

/// Reads answers until the blob is one.
async fn committed(mut answers: Streaming<WriteContentResponse>) -> Result<(), Status> {
    while let Some(answer) = answers.message().await? {
        if answer.action() == WriteAction::Commit {
            return Ok(());
        }
    }
    Err(broke_off())
}

async fn ended(end: &mut JoinHandle<Result<(), Status>>) -> Result<(), Status> {
    end.await.map_err(|error| Status::internal(error.to_string()))?
}

fn wrong(status: Status, was_resumed: bool) -> Failure {
    match status.code() {
        Code::FailedPrecondition => Failure::Wrong { status, was_resumed },
        _ => Failure::Status(status),
    }
}

fn is_locked(status: &Status) -> bool {
    status.code() == Code::Unavailable && status.message().contains("locked")
}

fn broke_off() -> Status {
    Status::aborted("it broke off in the middle of a blob")
}

/// Sizes that the protocol cannot say are no sizes of anything that exists.
fn in_protocol(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// What is sent, as a stream.
struct Messages(mpsc::Receiver<WriteContentRequest>);

impl Stream for Messages {
    type Item = WriteContentRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<WriteContentRequest>> {
        self.0.poll_recv(context)
    }
}
