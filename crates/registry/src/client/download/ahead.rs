//! Connections that bring parts of one blob before it is their turn.
//!
//! One connection gets what its window lets through: from far away that is less than the line has. So a
//! large blob comes in parts, each over a connection of its own, and is still read in the order of its
//! bytes. Parts that came early lie in memory, which is why one download of a client at a time does
//! this, and why parts are small. Nearby one connection is as fast, and this costs nothing because it is not
//! done: the time that the first answer took tells.
//!
//! Parts are asked for where the first answer came from, behind the redirects: a registry that counts
//! requests sees one. What fails here is left to the stream, which goes on with one connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::RANGE;
use hyper::{Method, StatusCode, Uri};

use super::BlobRequest;
use super::stream::range;
use crate::client::Failure;
use crate::client::repository::header;

/// How a large blob comes over several connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    /// How many parts are on their way or lie in memory at once; 0 is one connection for everything.
    pub parts: usize,
    /// The size of a part in bytes. Blobs of which less than three parts are left come over one connection.
    pub part_bytes: u64,
    /// Hosts that answer sooner than this are near, and so is this machine. Zero is nowhere.
    pub near: Duration,
}

impl Default for Ranges {
    /// Returns three parts of 4 MiB, from hosts that take at least 20 ms to answer.
    fn default() -> Self {
        Self { parts: 3, part_bytes: 4 << 20, near: Duration::from_millis(20) }
    }
}

/// The right of one download of a client to use more than one connection.
#[derive(Debug, Default)]
pub(crate) struct Teams(Arc<AtomicBool>);

/// Ends when it is dropped.
#[derive(Debug)]
struct Team(Arc<AtomicBool>);

impl Teams {
    fn take(&self) -> Option<Team> {
        let taken = self.0.compare_exchange(false, true, Ordering::Relaxed, Ordering::Relaxed);
        taken.is_ok().then(|| Team(self.0.clone()))
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The parts of a blob that are on their way.
pub(super) struct Ahead {
    request: Arc<BlobRequest>,
    address: Uri,
    parts: VecDeque<Part>,
    /// The first byte that nobody was asked for.
    next: u64,
    size: u64,
    part_bytes: u64,
    _team: Team,
}

struct Part {
    /// The next byte of it, and how many there are to come.
    at: u64,
    left: u64,
    is_open: bool,
    pieces: Receiver<Result<Came, Failure>>,
}

/// What comes of a part.
enum Came {
    /// The head of an answer that brings what was asked for.
    Head,
    Piece(Bytes),
}

impl Ahead {
    /// Begins a part behind the one at `done`, which the caller's own connection goes on to bring.
    /// `None` where that one is enough.
    pub fn start(
        request: &BlobRequest,
        address: &Uri,
        waited: Duration,
        done: u64,
        size: u64,
    ) -> Option<Self> {
        let ranges = request.host.shared.options.ranges_of(&request.host.registry);
        let is_near = waited < ranges.near || (request.host.registry.is_loopback() && !ranges.near.is_zero());
        let part_bytes = ranges.part_bytes.max(1);
        if is_near || ranges.parts == 0 || size - done < part_bytes.saturating_mul(3) {
            return None;
        }
        let mut ahead = Self {
            request: Arc::new(request.clone()),
            address: address.clone(),
            parts: VecDeque::new(),
            next: done + part_bytes,
            size,
            part_bytes,
            _team: request.host.shared.teams.take()?,
        };
        for _ in 0..ranges.parts {
            ahead.ask();
        }
        Some(ahead)
    }

    /// Returns the offset of the next byte.
    pub fn begins(&self) -> u64 {
        self.parts.front().map_or(self.size, |part| part.at)
    }

    /// Waits until it is known that the next bytes come.
    pub fn open(&mut self) -> Result<(), Failure> {
        match self.parts.front_mut().filter(|part| !part.is_open) {
            None => Ok(()),
            Some(part) => match part.receive()? {
                Came::Head => {
                    part.is_open = true;
                    Ok(())
                }
                Came::Piece(_) => Err(Failure::protocol("a part came before its head")),
            },
        }
    }

    /// Returns the next piece; `None` at the end of the blob.
    pub fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while self.parts.front().is_some_and(|part| part.left == 0) {
            self.parts.pop_front();
            self.ask();
        }
        self.open()?;
        let Some(part) = self.parts.front_mut() else { return Ok(None) };
        let Came::Piece(piece) = part.receive()? else {
            return Err(Failure::protocol("a part came with two heads"));
        };
        part.at += piece.len() as u64;
        part.left -= piece.len() as u64;
        Ok(Some(piece))
    }

    /// Asks for one part more, where there is one.
    fn ask(&mut self) {
        let (first, length) = (self.next, self.part_bytes.min(self.size - self.next));
        if length == 0 {
            return;
        }
        self.next += length;
        let (sender, pieces) = channel();
        self.parts.push_back(Part { at: first, left: length, is_open: false, pieces });
        let (request, address) = (self.request.clone(), self.address.clone());
        let work = move || {
            if let Err(failure) = bring(&request, address, first, length, &sender) {
                // Nobody listens where the download ended.
                let _ = sender.send(Err(failure));
            }
        };
        // A machine without threads to give gives none to the part: the stream finds its sender gone.
        if let Err(error) = std::thread::Builder::new().name("registry-part".to_owned()).spawn(work) {
            tracing::debug!(%error, "no thread for a part of a blob");
        }
    }
}

impl Part {
    fn receive(&self) -> Result<Came, Failure> {
        self.pieces.recv().unwrap_or_else(|_| Err(Failure::protocol("a part of the blob ended early")))
    }
}

/// Hands a part on while it comes, never more than was asked for.
fn bring(
    request: &BlobRequest,
    address: Uri,
    first: u64,
    length: u64,
    sender: &Sender<Result<Came, Failure>>,
) -> Result<(), Failure> {
    let mut call = request.call(Method::GET);
    call.address = address;
    call.headers.push(header(RANGE, format!("bytes={first}-{}", first + length - 1)));
    call.expected = &[StatusCode::PARTIAL_CONTENT];
    let reply = request.host.attempt(&call)?;
    if range(&reply).is_none_or(|range| range.first != first || range.length() != length) {
        return Err(Failure::protocol("another range came than was asked for"));
    }
    if sender.send(Ok(Came::Head)).is_err() {
        return Ok(());
    }
    let (mut left, mut body) = (length, reply.body);
    while left > 0 {
        let Some(piece) = body.next()? else {
            let source = format!("a part of the blob ended {left} bytes early").into();
            return Err(Failure::Broken { host: request.host.registry.to_string(), source });
        };
        left = left.checked_sub(piece.len() as u64).ok_or_else(|| Failure::Corrupt {
            reason: "more came of a part of the blob than was asked for".to_owned(),
        })?;
        if !piece.is_empty() && sender.send(Ok(Came::Piece(piece))).is_err() {
            return Ok(());
        }
    }
    body.discard();
    Ok(())
}
