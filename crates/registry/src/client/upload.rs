//! Blobs that go: asked for first, linked where they can be, sent in one request, and taken up
//! again where the connection broke.
//!
//! ```text
//! HEAD blob -> there: nothing to do
//! POST uploads?mount&from -> 201: linked | 202: session     (on this machine also without `from`)
//! PUT session?digest, all content in one stream -> 201
//!   broken: GET session -> what arrived
//!     nothing: POST again    part: PATCH the rest, then PUT    gone: HEAD blob, else POST again
//! ```
//!
//! One PUT costs the fewest requests and every registry takes it; GHCR and Google's refuse large
//! chunks, so PATCH is left for what a break makes necessary.
//! Source: distribution-spec v1.1, "Pushing blobs".

use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use hyper::{Method, StatusCode, Uri};
use oci::{Descriptor, Digest};
use store::{Blob, Put};

use super::payload::Payload;
use super::repository::{RemoteRepository, header};
use super::scope::Scope;
use super::transport::Reply;
use super::{Failure, download, manifest};
use crate::protocol::query::with_pair;
use crate::protocol::{ChunkRange, Endpoint, ErrorCode};

/// Stores a blob in the repository.
pub(crate) fn put(remote: &RemoteRepository, descriptor: &Descriptor, content: Blob) -> Result<Put, Failure> {
    let digest = &descriptor.digest;
    let known_absent = remote.absent.lock().expect("nothing panics while it holds the lock").remove(digest);
    if !known_absent && download::size(remote, digest)?.is_some() {
        return Ok(Put::Present);
    }
    let begun = match mount(remote, digest) {
        Some(Start::Mounted) => return Ok(Put::Mounted),
        Some(Start::Session(session)) => Some(session),
        None => None,
    };
    let payload = Payload::from_blob(content, descriptor, &remote.host.shared.options.scratch);
    let payload = payload.inspect_err(|_| begun.iter().for_each(|session| cancel(remote, session)))?;
    let session = match begun {
        Some(session) => session,
        None => match begin(remote, digest)? {
            Start::Mounted => return Ok(Put::Mounted),
            Start::Session(session) => session,
        },
    };
    Upload { remote, digest, payload }.run(session)?;
    Ok(Put::Written)
}

/// How often a session may be gone or count differently than we do, on top of the retries.
const MAX_DISAGREEMENTS: u32 = 2;

enum Start {
    Mounted,
    Session(Uri),
}

/// Asks for the blob to be linked, from one repository after the other. A registry that does not
/// do so begins a session instead; `None` where not even that came about.
fn mount(remote: &RemoteRepository, digest: &Digest) -> Option<Start> {
    let endpoint = Endpoint::Uploads(remote.repository.clone()).to_string();
    let mut begun: Option<Uri> = None;
    for source in &remote.mount_from {
        let path = with_pair(&endpoint, "mount", &digest.to_string());
        let path = with_pair(&path, "from", source.path());
        let scope = Scope::push(&remote.repository).and(Scope::pull(source));
        // A registry that knows no mounts, or does not let us see the source, takes the content.
        match post(remote, &path, scope, digest) {
            Ok(Start::Mounted) => {
                begun.iter().for_each(|session| cancel(remote, session));
                return Some(Start::Mounted);
            }
            Ok(Start::Session(session)) => {
                begun.replace(session).iter().for_each(|session| cancel(remote, session));
            }
            Err(failure) => tracing::debug!(%failure, %digest, %source, "not mounted"),
        }
    }
    begun.map(Start::Session)
}

/// Begins a session. A registry on this machine is often one that has the content already, under
/// another name or as the store that it comes from, so it is asked to link it from wherever that is; one
/// that cannot answers with a session all the same. Further away that hardly ever helps, and some
/// registries refuse what they do not know.
fn begin(remote: &RemoteRepository, digest: &Digest) -> Result<Start, Failure> {
    let endpoint = Endpoint::Uploads(remote.repository.clone()).to_string();
    let scope = || Scope::push(&remote.repository);
    if remote.repository.registry().is_loopback() {
        let anywhere = with_pair(&endpoint, "mount", &digest.to_string());
        match post(remote, &anywhere, scope(), digest) {
            Err(Failure::Status { status, .. }) if status.is_client_error() => {
                tracing::debug!(%status, %digest, "not linked from anywhere");
            }
            begun => return begun,
        }
    }
    post(remote, &endpoint, scope(), digest)
}

/// Lets the registry forget a session. One that stays costs the registry space until it expires,
/// and us nothing.
fn cancel(remote: &RemoteRepository, session: &Uri) {
    let what = format!("end of an upload to {}", remote.repository);
    let mut call = remote.call(Method::DELETE, session.clone(), Scope::push(&remote.repository), what);
    call.expected = &[StatusCode::NO_CONTENT, StatusCode::ACCEPTED, StatusCode::OK];
    if let Ok(reply) = remote.host.attempt(&call) {
        reply.body.discard();
    }
}

fn post(remote: &RemoteRepository, path: &str, scope: Scope, digest: &Digest) -> Result<Start, Failure> {
    let address = remote.host.at(path)?;
    let what = format!("start of the push of blob {digest} to {}", remote.repository);
    let mut call = remote.call(Method::POST, address, scope, what);
    call.expected = &[StatusCode::ACCEPTED, StatusCode::CREATED];
    let reply = remote.host.call(&call)?;
    if reply.status == StatusCode::CREATED {
        manifest::check_named(&reply, *digest)?;
        reply.body.discard();
        return Ok(Start::Mounted);
    }
    let session = location(remote, &call.address, &reply)?;
    reply.body.discard();
    session.map(Start::Session).ok_or_else(|| Failure::protocol("the upload that began has no Location"))
}

/// Returns the session's address for the next request, which changes with every answer.
fn location(remote: &RemoteRepository, base: &Uri, reply: &Reply) -> Result<Option<Uri>, Failure> {
    let Some(location) = reply.header(LOCATION.as_str()) else { return Ok(None) };
    remote.host.origin()?.follow(base, location).map(Some)
}

/// The content of one blob on its way.
struct Upload<'a> {
    remote: &'a RemoteRepository,
    digest: &'a Digest,
    payload: Payload,
}

/// What a session says it has.
enum Arrived {
    /// This many bytes; the rest goes to the address.
    Part(Uri, u64),
    /// The session is gone, or says nothing that can be used.
    Nothing,
    /// The blob is complete: only the answer was lost.
    All,
}

impl Upload<'_> {
    fn run(&self, session: Uri) -> Result<(), Failure> {
        let mut retry = self.remote.host.retry(self.what());
        let mut arrived = Arrived::Part(session, 0);
        let mut disagreements = 0;
        loop {
            let sent = match &arrived {
                Arrived::All => return Ok(()),
                Arrived::Part(session, offset) => self.send(session, *offset),
                Arrived::Nothing => self.restart(),
            };
            let Err(failure) = sent else { return Ok(()) };
            let disagrees = is_lost_session(&failure) || is_miscount(&failure, &arrived);
            if disagrees && disagreements < MAX_DISAGREEMENTS {
                disagreements += 1;
            } else {
                retry.again(failure)?;
            }
            arrived = self.next(arrived, disagrees);
        }
    }

    /// Decides how to go on. A session that refused what should follow and still counts the same
    /// takes no chunk of this size (GHCR: 4 MiB): all goes in one request to a new one.
    fn next(&self, before: Arrived, disagrees: bool) -> Arrived {
        let now = self.ask(&before);
        match (&before, &now) {
            (Arrived::Part(session, then), Arrived::Part(_, now)) if disagrees && then == now => {
                cancel(self.remote, session);
                Arrived::Nothing
            }
            _ => now,
        }
    }

    fn restart(&self) -> Result<(), Failure> {
        match begin(self.remote, self.digest)? {
            Start::Mounted => Ok(()),
            Start::Session(session) => self.send(&session, 0),
        }
    }

    /// Sends what lies behind `offset` and closes the session.
    fn send(&self, session: &Uri, offset: u64) -> Result<(), Failure> {
        if offset == 0 {
            return self.close(session, self.payload.clone());
        }
        let rest = self.payload.after(offset);
        let mut next = session.clone();
        if rest.len() > 0 {
            let mut call = self.call(Method::PATCH, session.clone());
            call.headers.push(header(CONTENT_RANGE, ChunkRange::new(offset, rest.len()).to_string()));
            call.headers.push(header(CONTENT_TYPE, "application/octet-stream"));
            call.payload = rest;
            call.expected = &[StatusCode::ACCEPTED, StatusCode::CREATED];
            let reply = self.remote.host.attempt(&call)?;
            next = location(self.remote, session, &reply)?.unwrap_or(next);
            reply.body.discard();
        }
        self.close(&next, Payload::empty())
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

    /// Asks what arrived. Problems on the way mean that nothing is known: the upload begins again.
    fn ask(&self, before: &Arrived) -> Arrived {
        if let Arrived::Part(session, _) = before
            && let Ok(Some(part)) = self.session(session)
        {
            return part;
        }
        match download::size(self.remote, self.digest) {
            Ok(Some(size)) if size == self.payload.len() => Arrived::All,
            _ => Arrived::Nothing,
        }
    }

    /// Returns the session's own count; `None` where it is of no use. `0-0` is what servers
    /// write for an empty session, and one byte is not worth telling apart.
    fn session(&self, session: &Uri) -> Result<Option<Arrived>, Failure> {
        let mut call = self.call(Method::GET, session.clone());
        call.expected = &[StatusCode::NO_CONTENT, StatusCode::ACCEPTED, StatusCode::OK];
        let reply = self.remote.host.attempt(&call)?;
        let next = location(self.remote, session, &reply)?.unwrap_or_else(|| session.clone());
        let range = reply.header(RANGE.as_str()).and_then(|text| text.parse::<ChunkRange>().ok());
        reply.body.discard();
        Ok(range
            .filter(|range| range.first == 0 && range.last > 0)
            .map(ChunkRange::length)
            .filter(|arrived| *arrived <= self.payload.len())
            .map(|arrived| Arrived::Part(next, arrived)))
    }

    fn call(&self, method: Method, address: Uri) -> super::host::Call<'_> {
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
fn is_miscount(failure: &Failure, arrived: &Arrived) -> bool {
    matches!(failure, Failure::Corrupt { .. }) && matches!(arrived, Arrived::Part(_, offset) if *offset > 0)
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
