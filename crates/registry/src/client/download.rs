//! Blobs that come: a stream that takes up again where the connection broke. Its digest is checked
//! by `store::CheckedReader` around it.
//!
//! Source: distribution-spec v1.1, "Pulling blobs"; RFC 9110, "Range".

use std::collections::VecDeque;
use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use hyper::{Method, StatusCode};
use oci::{Digest, Repository};
use store::Blob;

use super::Failure;
use super::host::{Call, Host};
use super::payload::Payload;
use super::repository::{RemoteRepository, header};
use super::scope::Scope;
use super::transport::{Reply, ReplyBody};
use crate::protocol::{ChunkRange, Endpoint};

/// After this many bytes of progress a break counts as the first one again: a long download over
/// a bad line ends, one that does not move does not go on for ever.
const PROGRESS_BYTES: u64 = 1 << 20;

/// Returns the size of a blob; `None` where the repository does not have it.
pub(crate) fn size(remote: &RemoteRepository, digest: &Digest) -> Result<Option<u64>, Failure> {
    let request = BlobRequest::new(remote, digest)?;
    let mut call = request.call(Method::HEAD);
    call.expected = &[StatusCode::OK, StatusCode::NOT_FOUND];
    let reply = request.host.call(&call)?;
    if reply.status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let size = content_length(&reply);
    size.map(Some).ok_or_else(|| Failure::protocol("it does not say how large the blob is"))
}

/// Opens a blob at the first of `places` that has it; where that one breaks off for good, the others
/// go on from there.
pub(crate) fn open(places: &[&RemoteRepository], digest: &Digest) -> Result<Blob, Failure> {
    let mut others: VecDeque<&RemoteRepository> = places.iter().copied().collect();
    loop {
        let remote = others.pop_front().expect("the registry itself is the last place");
        match (open_at(remote, digest), others.front()) {
            (Err(failure), Some(next)) => remote.host.go_on(&remote.repository, &failure, &next.repository),
            (opened, _) => {
                let (size, mut stream) = opened?;
                let rest = others.iter().map(|other| BlobRequest::new(other, digest));
                stream.others = rest.collect::<Result<_, _>>()?;
                return Ok(Blob::checked(*digest, size, stream));
            }
        }
    }
}

fn open_at(remote: &RemoteRepository, digest: &Digest) -> Result<(u64, Download), Failure> {
    let request = BlobRequest::new(remote, digest)?;
    let reply = request.host.call(&request.call(Method::GET))?;
    let size = match content_length(&reply) {
        Some(size) => size,
        None => size_of(remote, digest)?,
    };
    let stream = Download {
        body: Some(reply.body),
        piece: Bytes::new(),
        done: 0,
        size,
        breaks: Breaks::default(),
        request,
        others: VecDeque::new(),
    };
    Ok((size, stream))
}

fn size_of(remote: &RemoteRepository, digest: &Digest) -> Result<u64, Failure> {
    size(remote, digest)?.ok_or_else(|| Failure::protocol("the blob is there to GET and not to HEAD"))
}

fn content_length(reply: &Reply) -> Option<u64> {
    reply.header(CONTENT_LENGTH.as_str())?.parse().ok()
}

/// A request for a blob that outlives the view it was made by.
struct BlobRequest {
    host: Host,
    repository: Repository,
    address: hyper::Uri,
    digest: Digest,
}

impl BlobRequest {
    fn new(remote: &RemoteRepository, digest: &Digest) -> Result<Self, Failure> {
        let repository = remote.repository.clone();
        let address = remote.address(&Endpoint::Blob(repository.clone(), *digest))?;
        Ok(Self { host: remote.host.clone(), repository, address, digest: *digest })
    }

    fn what(&self) -> String {
        format!("pull of blob {} from {}", self.digest, self.repository)
    }

    fn call(&self, method: Method) -> Call<'_> {
        Call {
            method,
            address: self.address.clone(),
            headers: Vec::new(),
            payload: Payload::empty(),
            repository: Some(&self.repository),
            scope: Scope::pull(&self.repository),
            expected: &[StatusCode::OK],
            what: self.what(),
        }
    }
}

struct Download {
    request: BlobRequest,
    /// Who else may have the blob.
    others: VecDeque<BlobRequest>,
    body: Option<ReplyBody>,
    piece: Bytes,
    done: u64,
    size: u64,
    breaks: Breaks,
}

/// How often the download broke without getting on.
#[derive(Default)]
struct Breaks {
    failed: u32,
    /// How far it had come at the last break.
    at: u64,
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

impl Download {
    /// Returns the next piece, from another place where this one gives up.
    fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let piece = next(&mut self.body, &self.request, &mut self.breaks, self.done, self.size);
            let Err(failure) = piece else { return piece };
            let Some(other) = self.others.pop_front() else { return Err(failure) };
            self.request.host.go_on(&self.request.repository, &failure, &other.repository);
            (self.request, self.body, self.breaks) = (other, None, Breaks::default());
        }
    }

    /// Returns what a reader is told; a store that takes the content finds its own error in it.
    fn error(&self, failure: Failure) -> io::Error {
        let kind = match &failure {
            Failure::Corrupt { .. } => io::ErrorKind::InvalidData,
            Failure::TimedOut { .. } => io::ErrorKind::TimedOut,
            Failure::Unauthorized { .. } => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::ConnectionAborted,
        };
        if kind == io::ErrorKind::InvalidData {
            let reason = super::failure::with_sources(&failure);
            return io::Error::new(kind, format!("{}: {reason}", self.request.what()));
        }
        let what = format!("blob {} in {}", self.request.digest, self.request.repository);
        io::Error::new(kind, failure.into_store_error("pull", what))
    }
}

/// Returns the next piece, from a new connection where the old one broke; `None` at the end.
fn next(
    body: &mut Option<ReplyBody>,
    request: &BlobRequest,
    breaks: &mut Breaks,
    done: u64,
    size: u64,
) -> Result<Option<Bytes>, Failure> {
    loop {
        let piece = match body {
            Some(open) => open.next(),
            None => resume(request, done, size).and_then(|open| body.insert(open).next()),
        };
        let failure = match piece {
            Ok(Some(piece)) if piece.is_empty() => continue,
            Ok(Some(piece)) if done + piece.len() as u64 > size => {
                return Err(Failure::Corrupt {
                    reason: format!("more than the {size} bytes announced came"),
                });
            }
            Ok(Some(piece)) => return Ok(Some(piece)),
            Ok(None) if done == size => return Ok(None),
            Ok(None) => Failure::Broken {
                host: request.host.registry.to_string(),
                source: format!("it ended after {done} of {size} bytes").into(),
            },
            Err(failure) => failure,
        };
        *body = None;
        if done - breaks.at >= PROGRESS_BYTES {
            breaks.failed = 0;
        }
        let mut retry = request.host.retry(request.what()).after(breaks.failed);
        retry.again(failure)?;
        *breaks = Breaks { failed: breaks.failed + 1, at: done };
    }
}

fn resume(request: &BlobRequest, done: u64, size: u64) -> Result<ReplyBody, Failure> {
    let mut call = request.call(Method::GET);
    call.headers.push(header(RANGE, format!("bytes={done}-")));
    call.expected = &[StatusCode::PARTIAL_CONTENT, StatusCode::OK];
    let reply = request.host.attempt(&call)?;
    let mut skip = done;
    if reply.status == StatusCode::PARTIAL_CONTENT {
        let range = reply.header(CONTENT_RANGE.as_str()).and_then(|text| text.parse::<ChunkRange>().ok());
        if range.is_none_or(|range| range.first != done || range.last >= size) {
            return Err(Failure::protocol("another range came than was asked for"));
        }
        skip = 0;
    }
    let mut body = reply.body;
    // A server without ranges starts again; what we have is read away.
    while skip > 0 {
        let Some(piece) = body.next()? else {
            return Err(Failure::protocol(format!(
                "the blob ended within the {done} bytes that came before"
            )));
        };
        if piece.len() as u64 > skip {
            body.put_back(piece.slice(usize::try_from(skip).expect("less than a piece")..));
        }
        skip = skip.saturating_sub(piece.len() as u64);
    }
    Ok(body)
}
