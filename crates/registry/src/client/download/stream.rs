//! The bytes of one blob in order, from whichever connection has them next.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use hyper::header::{CONTENT_RANGE, RANGE};
use hyper::{Method, StatusCode, Uri};
use jiff::Timestamp;
use store::Resumable;

use super::BlobRequest;
use super::ahead::Ahead;
use crate::client::Failure;
use crate::client::repository::header;
use crate::client::transport::{Reply, ReplyBody};
use crate::protocol::ChunkRange;

/// After this many bytes of progress a break counts as the first one again: a long download over
/// a bad line ends, one that does not move does not go on for ever.
const PROGRESS_BYTES: u64 = 1 << 20;

/// A blob on its way.
pub(super) struct Download {
    request: BlobRequest,
    /// Who else may have the blob.
    pub others: VecDeque<BlobRequest>,
    /// The connection that goes on to the end.
    body: Option<ReplyBody>,
    /// Connections that bring what lies further on.
    ahead: Option<Ahead>,
    /// Where the content really came from: behind the redirects.
    address: Uri,
    /// How long the answer took to come.
    waited: Duration,
    /// Whether this connection alone brings what is left.
    single: bool,
    piece: Bytes,
    done: u64,
    size: u64,
    breaks: Breaks,
}

/// How often the download broke without getting on.
#[derive(Default)]
struct Breaks {
    failed: u32,
    since: Option<Timestamp>,
    /// How far it had come at the last break.
    at: u64,
}

impl Download {
    /// Returns the stream of a blob of `size` bytes that `reply` begins with, which took so long to come.
    pub fn new(request: BlobRequest, reply: Reply, size: u64, waited: Duration) -> Self {
        Self {
            request,
            others: VecDeque::new(),
            address: reply.address,
            body: Some(reply.body),
            ahead: None,
            waited,
            single: false,
            piece: Bytes::new(),
            done: 0,
            size,
            breaks: Breaks::default(),
        }
    }

    /// Returns the next piece, from another place where this one gives up.
    fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let piece = self.next_here();
            let Err(failure) = piece else { return piece };
            let Some(other) = self.others.pop_front() else { return Err(failure) };
            self.request.host.go_on(&self.request.repository, &failure, &other.repository);
            (self.request, self.body, self.ahead, self.breaks) = (other, None, None, Breaks::default());
        }
    }

    /// Returns the next piece, from a new connection where the old one broke; `None` at the end.
    fn next_here(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if self.done == self.size && self.body.is_none() {
                return Ok(None);
            }
            let failure = match self.piece() {
                Ok(Some(piece)) if piece.is_empty() => continue,
                Ok(Some(piece)) if self.done + piece.len() as u64 > self.size => {
                    let reason = format!("more than the {} bytes announced came", self.size);
                    return Err(Failure::Corrupt { reason });
                }
                Ok(None) if self.done == self.size => return Ok(None),
                Ok(Some(piece)) => return Ok(Some(piece)),
                Ok(None) => Failure::Broken {
                    host: self.request.host.registry.to_string(),
                    source: format!("it ended after {} of {} bytes", self.done, self.size).into(),
                },
                Err(failure) => failure,
            };
            (self.body, self.ahead) = (None, None);
            if self.done - self.breaks.at >= PROGRESS_BYTES {
                self.breaks = Breaks::default();
            }
            let host = &self.request.host;
            let since = *self.breaks.since.get_or_insert_with(|| host.clock().now());
            host.retry(self.request.what()).after(self.breaks.failed, since).again(failure)?;
            self.breaks = Breaks { failed: self.breaks.failed + 1, since: Some(since), at: self.done };
        }
    }

    /// Returns the next piece of the connection that has it.
    fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.body.is_none() {
            match self.ahead.as_mut().map(Ahead::next) {
                Some(Err(failure)) if !matches!(failure, Failure::Corrupt { .. }) => {
                    // The request for all that is left says whether this is worth trying again.
                    tracing::debug!(%failure, blob = %self.request.digest, "a part of it did not come");
                    (self.ahead, self.single) = (None, !failure.is_transient());
                }
                Some(piece) => return piece,
                None => {}
            }
            return self.resume()?.next();
        }
        let body = self.body.as_mut().expect("it was looked for");
        if self.ahead.is_none() && !self.single {
            self.ahead = Ahead::start(&self.request, &self.address, self.waited, self.done, self.size);
        }
        let Some(ahead) = &mut self.ahead else { return body.next() };
        let left = ahead.begins() - self.done;
        if left == 0 {
            // This connection ends only when the next one is known to bring what it should.
            return match ahead.open() {
                Ok(()) => {
                    self.body = None;
                    ahead.next()
                }
                Err(failure) => {
                    tracing::debug!(%failure, blob = %self.request.digest, "it comes over one connection");
                    (self.ahead, self.single) = (None, true);
                    body.next()
                }
            };
        }
        let Some(mut piece) = body.next()? else { return Ok(None) };
        if piece.len() as u64 > left {
            body.put_back(piece.split_off(usize::try_from(left).expect("less than a piece")));
        }
        Ok(Some(piece))
    }

    /// Opens a connection that goes on behind what came.
    fn resume(&mut self) -> Result<&mut ReplyBody, Failure> {
        let asked = Instant::now();
        let (request, done) = (&self.request, self.done);
        let mut call = request.call(Method::GET);
        call.headers.push(header(RANGE, format!("bytes={done}-")));
        call.expected = &[StatusCode::PARTIAL_CONTENT, StatusCode::OK];
        if done == 0 {
            (call.headers, call.expected) = (Vec::new(), &[StatusCode::OK]);
        }
        let reply = match request.host.attempt(&call) {
            Err(failure) if failure.status() == Some(StatusCode::RANGE_NOT_SATISFIABLE) => {
                // It counts otherwise than it did, or knows no ranges.
                request.host.attempt(&request.call(Method::GET))?
            }
            reply => reply?,
        };
        self.waited = asked.elapsed();
        let mut skip = done;
        if reply.status == StatusCode::PARTIAL_CONTENT {
            if range(&reply).is_none_or(|range| range.first != done || range.last >= self.size) {
                return Err(Failure::protocol("another range came than was asked for"));
            }
            skip = 0;
        }
        self.address = reply.address;
        let mut body = reply.body;
        // A server without ranges starts again; what we have is read away.
        while skip > 0 {
            let Some(piece) = body.next()? else {
                let reason = format!("the blob ended within the {done} bytes that came before");
                return Err(Failure::protocol(reason));
            };
            if piece.len() as u64 > skip {
                body.put_back(piece.slice(usize::try_from(skip).expect("less than a piece")..));
            }
            skip = skip.saturating_sub(piece.len() as u64);
        }
        Ok(self.body.insert(body))
    }

    /// Returns what a reader is told; a store that takes the content finds its own error in it.
    fn error(&self, failure: Failure) -> io::Error {
        let kind = match failure.last() {
            Failure::Corrupt { .. } => io::ErrorKind::InvalidData,
            Failure::TimedOut { .. } => io::ErrorKind::TimedOut,
            Failure::Unauthorized { .. } => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::ConnectionAborted,
        };
        if kind == io::ErrorKind::InvalidData {
            let reason = store::with_causes(&failure);
            return io::Error::new(kind, format!("{}: {reason}", self.request.what()));
        }
        let what = format!("blob {} in {}", self.request.digest, self.request.repository);
        io::Error::new(kind, failure.into_store_error("pull", what))
    }
}

/// Returns the range that an answer says to bring.
pub(super) fn range(reply: &Reply) -> Option<ChunkRange> {
    reply.header(CONTENT_RANGE.as_str())?.parse().ok()
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && !buffer.is_empty() {
            self.piece = self.next().map_err(|failure| self.error(failure))?.unwrap_or_default();
            self.done += self.piece.len() as u64;
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

impl Resumable for Download {
    fn resume_at(&mut self, offset: u64) {
        if offset == self.done && self.piece.is_empty() {
            return;
        }
        (self.body, self.ahead, self.piece) = (None, None, Bytes::new());
        (self.done, self.breaks) = (offset, Breaks { at: offset, ..Breaks::default() });
    }
}
