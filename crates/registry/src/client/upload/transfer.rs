//! The content of one blob on its way into a session.

use std::cell::{Cell, RefCell};

use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE};
use hyper::{Method, StatusCode, Uri};
use oci::Digest;

use super::note::Note;
use super::{Session, Start, begin, cancel, location};
use crate::client::host::Call;
use crate::client::payload::Payload;
use crate::client::repository::{RemoteRepository, header};
use crate::client::scope::Scope;
use crate::client::{Failure, download, manifest};
use crate::protocol::query::with_pair;
use crate::protocol::{ChunkRange, ErrorCode};

/// How often a session may be gone or count differently than we do, on top of the retries.
const MAX_DISAGREEMENTS: u32 = 2;
/// The chunks that a host gets that refuses the whole as too large, at first and at last, in bytes.
const CHUNKS: (u64, u64) = (4 << 20, 64 << 10);

/// An upload of known content.
pub(super) struct Upload<'a> {
    remote: &'a RemoteRepository,
    digest: &'a Digest,
    payload: Payload,
    note: RefCell<Note>,
    /// How large the chunks are; `None` is everything in one request.
    chunk_bytes: Cell<Option<u64>>,
    /// Where the last chunk that was taken got us.
    reached: RefCell<Option<(Uri, u64)>>,
}

/// What a session says it has.
enum Arrived {
    /// This many bytes; the rest goes to the session.
    Part(Session, u64),
    /// It was not asked yet, or did not answer. It refused something where it last had as much as is said here.
    Unknown(Session, Option<u64>),
    /// The session is gone, or says nothing that can be used.
    Nothing,
    /// The blob is complete: only the answer was lost.
    All,
}

impl<'a> Upload<'a> {
    pub fn new(remote: &'a RemoteRepository, digest: &'a Digest, payload: Payload, note: Note) -> Self {
        let chunks = &remote.host.shared.options.chunks;
        let chunk_bytes = Cell::new(chunks.get(&remote.host.registry).map(|bytes| (*bytes).max(1)));
        let (note, reached) = (RefCell::new(note), RefCell::default());
        Self { remote, digest, payload, note, chunk_bytes, reached }
    }

    /// Goes on in a session of another process; where that is gone, in a new one.
    pub fn resume(self, session: Session) -> Result<(), Failure> {
        self.go_on(Arrived::Unknown(session, None))
    }

    /// Sends everything to a new session.
    pub fn run(self, session: Session) -> Result<(), Failure> {
        self.go_on(Arrived::Part(session, 0))
    }

    fn go_on(self, mut arrived: Arrived) -> Result<(), Failure> {
        let mut retry = self.remote.host.retry(self.what());
        let mut disagreements = 0;
        loop {
            let failure = match self.step(&arrived) {
                Ok(Arrived::All) => {
                    self.note.take().forget();
                    return Ok(());
                }
                Ok(next) => {
                    arrived = next;
                    continue;
                }
                Err(failure) => failure,
            };
            let Arrived::Part(session, offset) = arrived else {
                retry.again(failure)?;
                continue;
            };
            let (at, reached) = self.reached.take().unwrap_or_else(|| (session.at.clone(), offset));
            if reached > offset {
                retry.progressed();
            }
            let disagrees = is_lost_session(&failure) || is_miscount(&failure, offset);
            if disagrees && disagreements < MAX_DISAGREEMENTS {
                disagreements += 1;
            } else if failure.status() == Some(StatusCode::PAYLOAD_TOO_LARGE) && self.shrink(session.least) {
                tracing::debug!(%failure, chunk = self.chunk_bytes.get(), "smaller chunks follow");
            } else {
                retry.again(failure)?;
            }
            arrived = Arrived::Unknown(Session { at, ..session }, disagrees.then_some(reached));
        }
    }

    /// Does what comes next.
    fn step(&self, arrived: &Arrived) -> Result<Arrived, Failure> {
        match arrived {
            Arrived::All => Ok(Arrived::All),
            Arrived::Part(session, offset) => self.send(session, *offset).map(|()| Arrived::All),
            Arrived::Unknown(session, refused_at) => self.ask(session, *refused_at),
            Arrived::Nothing => Ok(match begin(self.remote, self.digest)? {
                Start::Mounted => Arrived::All,
                Start::Session(session) => Arrived::Part(session, 0),
            }),
        }
    }

    /// Makes the chunks smaller; `false` where they cannot be.
    fn shrink(&self, least: u64) -> bool {
        let smaller = match self.chunk_bytes.get() {
            None => CHUNKS.0.min(self.payload.len() / 2),
            Some(bytes) => bytes / 2,
        };
        let is_smaller = smaller >= least.max(CHUNKS.1);
        if is_smaller {
            self.chunk_bytes.set(Some(smaller));
        }
        is_smaller
    }

    /// Asks a session what arrived. One that refused what should follow and still counts the same takes no
    /// chunk of this size (GHCR: 4 MiB): all goes in one request to a new one.
    fn ask(&self, session: &Session, refused_at: Option<u64>) -> Result<Arrived, Failure> {
        match self.count(session) {
            Ok(Some((at, count))) if refused_at == Some(count) => {
                cancel(self.remote, &at);
                Ok(Arrived::Nothing)
            }
            Ok(Some((at, count))) => {
                tracing::debug!(digest = %self.digest, count, "an upload goes on behind what arrived");
                Ok(Arrived::Part(Session { at, ..session.clone() }, count))
            }
            // A server that stumbles over the question itself is not asked again.
            Err(failure) if failure.status() == Some(StatusCode::INTERNAL_SERVER_ERROR) => {
                self.ask_for_blob()
            }
            Err(failure) if failure.is_transient() => Err(failure),
            Ok(None) | Err(_) => self.ask_for_blob(),
        }
    }

    /// Asks whether the blob is there although its session is not: then only an answer was lost.
    fn ask_for_blob(&self) -> Result<Arrived, Failure> {
        let is_there = download::size(self.remote, self.digest)? == Some(self.payload.len());
        Ok(if is_there { Arrived::All } else { Arrived::Nothing })
    }

    /// Sends what lies behind `offset` and closes the session.
    fn send(&self, session: &Session, mut offset: u64) -> Result<(), Failure> {
        self.note.borrow_mut().write(session);
        let whole = self.payload.len();
        let chunk = self.chunk_bytes.get().map(|bytes| bytes.max(session.least));
        if offset == 0 && chunk.is_none_or(|bytes| bytes >= whole) {
            return self.close(&session.at, self.payload.clone());
        }
        let mut at = session.at.clone();
        while offset < whole {
            let length = chunk.unwrap_or(u64::MAX).min(whole - offset);
            at = self.patch(&at, offset, length)?;
            offset += length;
            self.note.borrow_mut().write(&Session { at: at.clone(), least: session.least });
            self.reached.replace(Some((at.clone(), offset)));
        }
        self.close(&at, Payload::empty())
    }

    /// Sends one chunk and returns where the next one goes.
    fn patch(&self, session: &Uri, offset: u64, length: u64) -> Result<Uri, Failure> {
        let mut call = self.call(Method::PATCH, session.clone());
        call.headers.push(header(CONTENT_RANGE, ChunkRange::new(offset, length).to_string()));
        call.headers.push(header(CONTENT_TYPE, "application/octet-stream"));
        call.payload = self.payload.part(offset, length);
        call.expected = &[StatusCode::ACCEPTED, StatusCode::CREATED];
        let reply = self.remote.host.attempt(&call)?;
        let next = location(self.remote, session, &reply)?.unwrap_or_else(|| session.clone());
        reply.body.discard();
        Ok(next)
    }

    /// Makes the blob visible, with `payload` as the last part of it.
    fn close(&self, session: &Uri, payload: Payload) -> Result<(), Failure> {
        let address = with_pair(&session.to_string(), "digest", &self.digest.to_string());
        let address = address.parse().map_err(|_| Failure::protocol("the Location is not an address"))?;
        let mut call = self.call(Method::PUT, address);
        call.headers.push(header(CONTENT_TYPE, "application/octet-stream"));
        call.payload = payload;
        call.expected = &[StatusCode::CREATED, StatusCode::NO_CONTENT, StatusCode::OK];
        let reply = self.remote.host.attempt(&call).map_err(as_corrupt)?;
        manifest::check_named(&reply, *self.digest)?;
        reply.body.discard();
        Ok(())
    }

    /// Returns the session's own count, and where it is now; `None` where that is of no use. `0-0` is what
    /// servers write for an empty session, and one byte is not worth telling apart.
    fn count(&self, session: &Session) -> Result<Option<(Uri, u64)>, Failure> {
        let mut call = self.call(Method::GET, session.at.clone());
        call.expected = &[StatusCode::NO_CONTENT, StatusCode::ACCEPTED, StatusCode::OK];
        let reply = self.remote.host.attempt(&call)?;
        let at = location(self.remote, &session.at, &reply)?.unwrap_or_else(|| session.at.clone());
        let range = reply.header(RANGE.as_str()).and_then(|text| text.parse::<ChunkRange>().ok());
        reply.body.discard();
        Ok(range
            .filter(|range| range.first == 0 && range.last > 0)
            .map(ChunkRange::length)
            .filter(|arrived| *arrived <= self.payload.len())
            .map(|arrived| (at, arrived)))
    }

    fn call(&self, method: Method, address: Uri) -> Call<'_> {
        self.remote.call(method, address, Scope::push(&self.remote.repository), self.what())
    }

    fn what(&self) -> String {
        format!("push of blob {} to {}", self.digest, self.remote.repository)
    }
}

fn is_lost_session(failure: &Failure) -> bool {
    matches!(failure.status(), Some(StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE))
}

/// Content that was put together from two parts and then has the wrong digest: the registry told
/// a wrong count. In one part, it would be the content that is wrong.
fn is_miscount(failure: &Failure, offset: u64) -> bool {
    matches!(failure, Failure::Corrupt { .. }) && offset > 0
}

/// A registry that finds another digest has seen other bytes than ours: nothing to try again.
fn as_corrupt(failure: Failure) -> Failure {
    let is_bad_request = failure.status() == Some(StatusCode::BAD_REQUEST);
    match failure.code() {
        Some(ErrorCode::DigestInvalid | ErrorCode::SizeInvalid) if is_bad_request => {
            Failure::Corrupt { reason: format!("the registry received other bytes: {failure}") }
        }
        _ => failure,
    }
}
