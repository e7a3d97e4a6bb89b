//! Blobs of other registries: sent on while they come, and kept.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use oci::{Digest, Repository};
use store::{BlobStore as _, StoreError};
use tokio::sync::{mpsc, watch};

use super::flight::Stage;
use super::{Proxy, refusal};
use crate::protocol::ErrorCode;
use crate::server::blob;
use crate::server::body::Content;
use crate::server::routes::{Answer, Question, State};

/// How many such pieces wait for a client that is slower than the other registry.
const PIECES_AHEAD: usize = 2;

/// Answers GET and HEAD of a blob.
pub(super) async fn get(
    state: &State,
    question: &Question,
    proxy: &Arc<Proxy>,
    upstream: &Repository,
    digest: &Digest,
) -> Answer {
    let view = proxy.view(upstream);
    if state.on_disk(|| view.has_blob(digest)).unwrap_or(false) {
        proxy.counts.hits.fetch_add(1, Relaxed);
        return blob::get(state, question, upstream, digest);
    }
    let told = |error: &StoreError| {
        if matches!(error, StoreError::Unreachable { .. } | StoreError::Corrupt { .. }) {
            proxy.report(format!("blob {digest} of {upstream}"), error, false);
        }
        refusal(error, ErrorCode::BlobUnknown)
    };
    if question.is_head() {
        let size = proxy.ask(upstream, |remote| remote.blob_size(digest)).await;
        let size = size.map_err(|error| told(&error))?.ok_or_else(|| blob::unknown(upstream, digest))?;
        return blob::answer(question, digest, size, |_, _| Ok(Content::Empty));
    }
    let mut flight = proxy.join(state, upstream, digest);
    let first = flight.wait_for(|stage| !matches!(stage, Stage::Opening)).await.map(|stage| stage.clone());
    match first {
        Ok(Stage::Kept) => blob::get(state, question, upstream, digest),
        Ok(Stage::Coming { file, size, .. }) => blob::answer(question, digest, size, |offset, length| {
            Ok(follow(state, flight, file, offset, length))
        }),
        Ok(Stage::Failed(error)) => Err(refusal(&error, ErrorCode::BlobUnknown)),
        Ok(Stage::Opening) | Err(_) => {
            let gone = "the server stops".into();
            let (action, what) = ("fetch", format!("blob {digest}"));
            Err(told(&StoreError::Unreachable { action, what, transient: true, source: gone }))
        }
    }
}

/// Returns a part of a blob that is still coming.
fn follow(
    state: &State,
    flight: watch::Receiver<Stage>,
    file: Arc<File>,
    offset: u64,
    length: u64,
) -> Content {
    let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
    let part = Part { file, offset, end: offset + length, piece: state.share() as u64 };
    tokio::spawn(send_on(flight, part, sender));
    Content::Coming { pieces, remaining: length }
}

/// What a client gets of a blob that is coming.
struct Part {
    file: Arc<File>,
    offset: u64,
    end: u64,
    /// How much is read and sent on at once.
    piece: u64,
}

/// Reads what has come and hands it on, until the client has all it asked for or goes away. A blob that
/// turns out wrong ends early, which breaks the connection: the client cannot take it for whole.
async fn send_on(
    mut flight: watch::Receiver<Stage>,
    part: Part,
    sender: mpsc::Sender<std::io::Result<Bytes>>,
) {
    let Part { file, mut offset, end, piece } = part;
    while offset < end {
        let come = |stage: &Stage| match stage {
            Stage::Coming { come, .. } => *come > offset,
            Stage::Kept | Stage::Failed(_) => true,
            Stage::Opening => false,
        };
        let stage = tokio::select! {
            stage = flight.wait_for(come) => stage.map(|stage| stage.clone()),
            () = sender.closed() => return,
        };
        let Ok(Stage::Coming { come, .. }) = stage else { return };
        let count = (come.min(end) - offset).min(piece);
        let piece = tokio::task::block_in_place(|| read(&file, offset, count));
        offset += count;
        if sender.send(piece).await.is_err() {
            return;
        }
    }
}

fn read(file: &File, offset: u64, count: u64) -> std::io::Result<Bytes> {
    let mut piece = vec![0; usize::try_from(count).expect("a piece fits memory")];
    file.read_exact_at(&mut piece, offset)?;
    Ok(piece.into())
}
