//! The content of requests on its way into a session.
//!
//! | content | goes |
//! |---|---|
//! | much, on a plain connection, of known length | from the socket to the file in runs (`sprint`) |
//! | any other | through the HTTP library, gathered and written in pieces |
//!
//! What arrived before a break stays in the session; after a failed or forbidden write nothing does.

use std::future::poll_fn;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::CONNECTION;
use oci::{Digest, Repository};
use store::{Ingest, StoreError};

use super::defect::Defect;
use super::inlet::{Hold, Inlet};
use super::patience::Pace;
use super::quota;
use super::refusal::Refusal;
use super::routes::{Question, State};
use super::session::Held;
use super::sprint::{End, Runner};
use super::upload::refusal;
use crate::protocol::ErrorCode;

/// How much content is worth a run of its own.
const MUCH_BYTES: u64 = 256 << 10;
/// How much one upload gathers at most before that is hashed and written.
const GATHER_BYTES: usize = 512 << 10;
/// How much all uploads gather together, as long as each may have [`MIN_GATHER_BYTES`].
const ALL_GATHER_BYTES: usize = 8 << 20;
/// How much one upload may gather however many there are.
const MIN_GATHER_BYTES: usize = 16 << 10;

/// Writes the content of a request behind what the session has.
pub(super) async fn receive(
    state: &State,
    question: &Question,
    name: &Repository,
    digest: Option<&Digest>,
    held: Held,
    mut body: Incoming,
) -> (Held, Result<(), Refusal>) {
    let limit = match limit(state, name, digest) {
        Ok(limit) => limit,
        Err(refusal) => return (held, Err(refusal)),
    };
    let _active = Active::new(&state.uploading);
    let mut intake = Intake { state, name, limit, pace: Pace::new(state.options.patience) };
    let length = body.size_hint().exact().filter(|length| *length >= MUCH_BYTES);
    match (&question.wire, length) {
        (Some(wire), Some(length)) => intake.draw(&wire.inlet, length, held, body).await,
        _ => {
            let mut held = held;
            let gathered = intake.gather(&mut held, &mut body).await;
            (held, gathered)
        }
    }
}

/// What one request brings.
struct Intake<'a> {
    state: &'a State,
    name: &'a Repository,
    /// How long the whole blob may become.
    limit: u64,
    pace: Pace,
}

impl Intake<'_> {
    async fn gather(&mut self, upload: &mut Option<Ingest>, body: &mut Incoming) -> Result<(), Refusal> {
        let mut gathered: Vec<Bytes> = Vec::new();
        let mut size = 0;
        loop {
            let frame = self.pace.wait(body.frame()).await;
            let ended = match frame {
                Some(None) => Some(Ok(())),
                Some(Some(Err(error))) => Some(Err(broken(&error))),
                None => Some(Err(slow(&self.pace))),
                Some(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.pace.moved(data.len() as u64);
                        size += data.len();
                        gathered.push(data);
                    }
                    None
                }
            };
            if size >= share(self.state) || ended.is_some() {
                self.write(upload, &gathered)?;
                gathered.clear();
                size = 0;
            }
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    /// Has the kernel move the content.
    async fn draw(
        &mut self,
        inlet: &Inlet,
        length: u64,
        mut held: Held,
        mut body: Incoming,
    ) -> (Held, Result<(), Refusal>) {
        let hold = inlet.hold();
        let mut left = length;
        // What the library read along with the head.
        while let Some(piece) = before(&hold, &mut body, &mut self.pace).await {
            let written = piece.and_then(|piece| {
                left -= piece.len() as u64;
                self.write(&mut held, &[piece])
            });
            if let Err(refusal) = written {
                return (held, Err(refusal));
            }
        }
        if let Err(refusal) = self.admit(&mut held, left) {
            return (held, Err(refusal));
        }
        let mut runner = Runner::new(held);
        let drawn = self.draw_rest(&hold, left, &mut runner).await;
        let arrived = left - drawn.as_ref().map_or_else(|(left, _)| *left, |()| 0);
        hold.owe(arrived);
        self.state.metrics.received(arrived);
        if drawn.is_ok() {
            read_away(&mut body, arrived).await;
        }
        let held = runner.finish().await;
        // A run that panicked took the session along, and what was in it.
        let mut held = held.unwrap_or_else(super::session::nothing);
        let drawn = drawn.map_err(|(_, problem)| match problem {
            Problem::Refused(refusal) => refusal,
            Problem::Full(source) => {
                held.take().into_iter().for_each(Ingest::discard);
                refusal(StoreError::io("write", "the upload", source))
            }
            Problem::Lost(defect) => {
                self.state.note_defect("a request that brought content", &defect);
                Refusal::defect()
            }
        });
        (held, drawn)
    }

    /// Moves `left` bytes; how many are missing comes with the problem.
    async fn draw_rest(
        &mut self,
        hold: &Hold<'_>,
        mut left: u64,
        runner: &mut Runner,
    ) -> Result<(), (u64, Problem)> {
        while left > 0 {
            match self.pace.wait(hold.readable()).await {
                Some(Ok(())) => {}
                Some(Err(error)) => return Err((left, Problem::Refused(broken(&error)))),
                None => return Err((left, Problem::Refused(slow(&self.pace)))),
            }
            let (arrived, end) = runner.run(&self.state.track, hold.socket(), left).await;
            left -= arrived;
            self.pace.moved(arrived);
            match end {
                End::Paused => {}
                End::Closed(error) => return Err((left, Problem::Refused(broken(&error)))),
                End::Full(error) => return Err((left, Problem::Full(error))),
                End::Lost(defect) => return Err((left, Problem::Lost(defect))),
            }
        }
        Ok(())
    }

    /// Refuses `coming` bytes more where the blob would become too long; the upload has ended then.
    fn admit(&self, upload: &mut Option<Ingest>, coming: u64) -> Result<(), Refusal> {
        let Some(ingest) = upload else {
            return Err(Refusal::bad_request(ErrorCode::BlobUploadInvalid, "the upload has ended"));
        };
        let coming = ingest.written().saturating_add(coming);
        if coming <= self.limit {
            return Ok(());
        }
        upload.take();
        Err(match self.state.options.max_blob_bytes.filter(|most| coming > *most) {
            Some(most) => {
                let message = format!("blobs may have at most {most} bytes");
                Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid, message)
            }
            None => quota::full(self.name, coming),
        })
    }

    fn write(&self, upload: &mut Option<Ingest>, pieces: &[Bytes]) -> Result<(), Refusal> {
        let coming = pieces.iter().map(|piece| piece.len() as u64).sum();
        self.admit(upload, coming)?;
        let Some(ingest) = upload else { return Ok(()) };
        self.state.metrics.received(coming);
        let written = self.state.on_disk(|| pieces.iter().try_for_each(|piece| ingest.write_all(piece)));
        written.map_err(|source| {
            upload.take().into_iter().for_each(Ingest::discard);
            refusal(StoreError::io("write", "the upload", source))
        })
    }
}

enum Problem {
    Refused(Refusal),
    Full(io::Error),
    Lost(Defect),
}

/// Returns the next piece that the library holds; `None` when it has none left.
async fn before(hold: &Hold<'_>, body: &mut Incoming, pace: &mut Pace) -> Option<Result<Bytes, Refusal>> {
    let next = |frame: Frame<Bytes>| Ok(frame.into_data().unwrap_or_default());
    let found = poll_fn(|context| match Pin::new(&mut *body).poll_frame(context) {
        Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_or_else(|e| Err(broken(&e)), next))),
        Poll::Pending if hold.is_dry(context) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    match pace.wait(found).await {
        Some(found) => found,
        None => Some(Err(slow(pace))),
    }
}

/// Takes `count` bytes from the library that stand for what is in the file already.
async fn read_away(body: &mut Incoming, mut count: u64) {
    while count > 0 {
        let Some(Ok(frame)) = body.frame().await else { return };
        count = count.saturating_sub(frame.into_data().map_or(0, |data| data.len() as u64));
    }
}

fn broken(error: &dyn std::error::Error) -> Refusal {
    Refusal::bad_request(ErrorCode::BlobUploadInvalid, format!("the content broke off: {error}"))
}

fn slow(pace: &Pace) -> Refusal {
    Refusal::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::BlobUploadInvalid, pace.too_slow())
        .with(CONNECTION, "close")
}

/// Returns how much one upload may gather now.
fn share(state: &State) -> usize {
    (ALL_GATHER_BYTES / state.uploading.load(Ordering::Relaxed).max(1)).clamp(MIN_GATHER_BYTES, GATHER_BYTES)
}

/// Counts an upload whose content is coming, until it is dropped.
struct Active<'a>(&'a AtomicUsize);

impl<'a> Active<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns how many bytes a blob may have here: what the server takes at all, and what the
/// repository has room for. What it is known to have already needs no room.
fn limit(state: &State, name: &Repository, digest: Option<&Digest>) -> Result<u64, Refusal> {
    let repository = state.repository(name);
    let room = state.on_disk(|| match digest {
        Some(digest) if repository.has_blob(digest)? => Ok(None),
        _ => state.quotas.room(&repository),
    });
    let room = room.map_err(refusal)?;
    Ok(room.unwrap_or(u64::MAX).min(state.options.max_blob_bytes.unwrap_or(u64::MAX)))
}
