//! Content: reading and writing it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use containerd::protocol::*;
use futures_core::Stream;
use hyper::body::Incoming;
use oci::Digest;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::answers::{Answering, Server, lease_of, namespace_of};
use super::{Kept, Lie};

/// As the real one: pieces of this size.
const PIECE: usize = 32 << 10;

/// What a task sends, as a stream.
struct Answers<T>(mpsc::Receiver<Result<T, Status>>);

impl<T> Stream for Answers<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

impl Server {
    pub(crate) async fn read(&self, request: hyper::Request<Incoming>) -> hyper::Response<Body> {
        let codec: ProstCodec<ReadContentResponse, ReadContentRequest> = ProstCodec::default();
        let service = Answering(|question: Request<ReadContentRequest>| {
            let space = namespace_of(&question);
            let question = question.into_inner();
            let (lie, kept) = {
                let state = self.state();
                (state.lie, state.blobs.get(&(space, question.digest)).cloned())
            };
            let mut bytes = kept.ok_or_else(|| Status::not_found("no such content"))?.bytes;
            match lie {
                Lie::OtherBytes => bytes.iter_mut().for_each(|byte| *byte ^= 1),
                Lie::HalfOfIt => bytes.truncate(bytes.len() / 2),
                _ => {}
            }
            let from = usize::try_from(question.offset).unwrap_or(0);
            let bytes = Bytes::from(bytes);
            let bytes = (from <= bytes.len())
                .then(|| bytes.slice(from..))
                .ok_or_else(|| Status::out_of_range("past its end"))?;
            let (sender, receiver) = mpsc::channel(4);
            tokio::spawn(pieces(bytes, lie, sender));
            Ok(Answers(receiver))
        });
        Grpc::new(codec).server_streaming(service, request).await
    }

    pub(crate) async fn write(&self, request: hyper::Request<Incoming>) -> hyper::Response<Body> {
        let codec: ProstCodec<WriteContentResponse, WriteContentRequest> = ProstCodec::default();
        let service = Answering(|messages: Request<Streaming<WriteContentRequest>>| {
            let (space, lease) = (namespace_of(&messages), lease_of(&messages));
            let (sender, receiver) = mpsc::channel(4);
            let writing = Writing { server: self.clone(), space, lease, first: None, locked: None };
            tokio::spawn(writing.run(messages.into_inner(), sender));
            Ok(Answers(receiver))
        });
        Grpc::new(codec).streaming(service, request).await
    }
}

async fn pieces(bytes: Bytes, lie: Lie, sender: mpsc::Sender<Result<ReadContentResponse, Status>>) {
    let piece = |data: Bytes| Ok(ReadContentResponse { offset: 0, data });
    for at in (0..bytes.len()).step_by(PIECE) {
        if sender.send(piece(bytes.slice(at..bytes.len().min(at + PIECE)))).await.is_err() {
            return;
        }
    }
    let more = match lie {
        Lie::EndlessBytes => Bytes::from(vec![0; PIECE]),
        Lie::EmptyPieces => Bytes::new(),
        _ => return,
    };
    while sender.send(piece(more.clone())).await.is_ok() {}
}

/// One stream of messages.
struct Writing {
    server: Server,
    space: String,
    lease: Option<String>,
    first: Option<WriteContentRequest>,
    /// What nobody else may write meanwhile.
    locked: Option<(String, String)>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(key) = self.locked.take() {
            self.server.state().locked.remove(&key);
        }
    }
}

impl Writing {
    async fn run(
        mut self,
        mut messages: Streaming<WriteContentRequest>,
        sender: mpsc::Sender<Result<WriteContentResponse, Status>>,
    ) {
        while let Ok(Some(message)) = messages.message().await {
            let answer = self.take(message);
            let is_last = !matches!(&answer, Ok(answer) if answer.action() != WriteAction::Commit);
            if sender.send(answer).await.is_err() || is_last {
                return;
            }
        }
    }

    fn take(&mut self, message: WriteContentRequest) -> Result<WriteContentResponse, Status> {
        let mut state = self.server.state();
        let state = &mut *state;
        let first = self.first.get_or_insert_with(|| message.clone());
        let key = (self.space.clone(), first.reference.clone());
        let blob = (self.space.clone(), first.expected.clone());
        let held = self.lease.as_ref().and_then(|lease| state.leases.get_mut(lease));
        if let Some(lease) = held {
            lease.held.insert(first.expected.clone());
        }
        if state.blobs.contains_key(&blob) {
            return Err(Status::new(Code::AlreadyExists, "content exists"));
        }
        match &mut state.lie {
            Lie::Locked(tries) if *tries > 0 => {
                *tries -= 1;
                return Err(Status::unavailable("ref is locked"));
            }
            Lie::FullDisk => return Err(Status::unknown("write /x: no space left on device")),
            _ => {}
        }
        if self.locked.is_none() {
            if !state.locked.insert(key.clone()) {
                return Err(Status::unavailable("ref is locked"));
            }
            self.locked = Some(key.clone());
        }
        let shared = state.blobs.iter().find(|((_, digest), _)| *digest == first.expected);
        let shared = shared.map(|(_, kept)| kept.bytes.clone());
        let bytes = state.ingests.entry(key.clone()).or_insert_with(|| shared.unwrap_or_default());
        let offset = usize::try_from(message.offset).unwrap_or(0);
        if message.action() != WriteAction::Stat {
            match offset {
                0 => bytes.clear(),
                offset if offset != bytes.len() => return Err(Status::out_of_range("not at its end")),
                _ => {}
            }
            bytes.extend_from_slice(&message.data);
            state.received += message.data.len() as u64;
        }
        let there = bytes.len() as i64;
        if message.action() == WriteAction::Commit {
            if there != first.total || Digest::of(bytes).to_string() != message.expected {
                return Err(Status::failed_precondition("unexpected commit size or digest"));
            }
            let bytes = state.ingests.remove(&key).unwrap_or_default();
            state.blobs.insert(blob, Kept { bytes, labels: message.labels.clone() });
        }
        if matches!(state.lie, Lie::BreaksAfter(bytes) if state.received >= bytes) {
            state.lie = Lie::Honest;
            self.server.breaking.notify_one();
            return Err(Status::unavailable("it goes away"));
        }
        if let Some((_, act)) = state.at_bytes.take_if(|(bytes, _)| state.received >= *bytes) {
            act();
        }
        Ok(WriteContentResponse {
            action: message.action,
            offset: there,
            total: first.total,
            digest: String::new(),
        })
    }
}
