//! Blobs that come: how large they are, and who has them. The stream takes up again where the connection
//! broke (`stream`), and a large one from far away comes over several connections (`ahead`). Its digest
//! is checked by the `store::Blob` around it, in the order of the bytes.
//!
//! Source: distribution-spec v1.1, "Pulling blobs"; RFC 9110, "Range".

mod ahead;
pub(crate) mod elsewhere;
mod stream;

use std::collections::VecDeque;
use std::time::Instant;

use hyper::header::CONTENT_LENGTH;
use hyper::{Method, StatusCode, Uri};
use oci::{Digest, Repository};
use store::Blob;

use super::Failure;
use super::host::{Call, Host};
use super::payload::Payload;
use super::repository::RemoteRepository;
use super::scope::Scope;
use super::transport::Reply;
use crate::protocol::Endpoint;
pub use ahead::Ranges;
pub(crate) use ahead::Teams;
use stream::Download;

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
                return Ok(Blob::resumable(*digest, size, stream));
            }
        }
    }
}

fn open_at(remote: &RemoteRepository, digest: &Digest) -> Result<(u64, Download), Failure> {
    let request = BlobRequest::new(remote, digest)?;
    let asked = Instant::now();
    let reply = request.host.call(&request.call(Method::GET))?;
    let waited = asked.elapsed();
    let size = match content_length(&reply) {
        Some(size) => size,
        None => size_of(remote, digest)?,
    };
    Ok((size, Download::new(request, reply, size, waited)))
}

fn size_of(remote: &RemoteRepository, digest: &Digest) -> Result<u64, Failure> {
    size(remote, digest)?.ok_or_else(|| Failure::protocol("the blob is there to GET and not to HEAD"))
}

fn content_length(reply: &Reply) -> Option<u64> {
    reply.header(CONTENT_LENGTH.as_str())?.parse().ok()
}

/// A request for a blob that outlives the view it was made by.
#[derive(Clone)]
struct BlobRequest {
    host: Host,
    repository: Repository,
    address: Uri,
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
