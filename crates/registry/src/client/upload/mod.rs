//! Blobs that go: asked for first, linked where they can be, sent in one request, and taken up
//! again where the connection broke.
//!
//! ```text
//! HEAD blob -> there: nothing to do
//! POST uploads?mount&from -> 201: linked | 202: session     (on this machine also without `from`)
//! POST uploads?mount&mount&... -> 201 with plimsoll-mounted, plimsoll-present: those are there     (on this machine)
//! PUT session?digest, all content in one stream -> 201
//!   broken: GET session -> what arrived
//!     nothing: POST again    part: PATCH the rest, then PUT    gone: HEAD blob, else POST again
//! ```
//!
//! One PUT costs the fewest requests and every registry takes it; GHCR and Google's refuse large
//! chunks, so PATCH is left for what a break makes necessary, for hosts that are to get chunks, and for
//! those that refuse the whole as too large (413). Content from another registry is kept aside until it is there:
//! who comes back after a kill fetches and sends only what is missing. `transfer` sends, `note` remembers a session for the
//! next process.
//!
//! ```text
//! a session is remembered: GET session -> what arrived: PATCH the rest, then PUT    gone: as above
//! ```
//! Source: distribution-spec v1.1, "Pushing blobs".

mod note;
mod transfer;

use hyper::header::LOCATION;
use hyper::{Method, StatusCode, Uri};
use oci::{Descriptor, Digest, Repository};
use store::part::Part;
use store::{Blob, Put};

use super::host::Call;
use super::payload::Payload;
use super::repository::RemoteRepository;
use super::scope::Scope;
use super::transport::Reply;
use super::{Failure, download, manifest};
use crate::protocol::query::with_pair;
use crate::protocol::{Endpoint, PLIMSOLL_MOUNTED, PLIMSOLL_PRESENT};
use note::Note;
pub(crate) use note::Swept;
use transfer::Upload;

/// Says how small a chunk of an upload may be, except the last one. Source: distribution-spec v1.1.
const CHUNK_MIN_LENGTH: &str = "oci-chunk-min-length";

/// Stores a blob in the repository.
pub(crate) fn put(remote: &RemoteRepository, descriptor: &Descriptor, content: Blob) -> Result<Put, Failure> {
    let digest = &descriptor.digest;
    let known_absent = remote.absent.lock().expect("nothing panics while it holds the lock").remove(digest);
    if !known_absent && download::size(remote, digest)?.is_some() {
        forget(remote, digest);
        return Ok(Put::Present);
    }
    let options = &remote.host.shared.options;
    let payload = |content| Payload::from_blob(content, descriptor, &options.scratch, options.parts.as_ref());
    let (note, remembered) = Note::take(remote, descriptor);
    if let Some(session) = remembered {
        forget(remote, digest);
        let (payload, part) = payload(content)?;
        Upload::new(remote, digest, payload, note).resume(session)?;
        part.into_iter().for_each(Part::remove);
        return Ok(Put::Written);
    }
    let begun = remote.begun.lock().expect("nothing panics while it holds the lock").remove(digest);
    let begun = match begun.map(Start::Session).or_else(|| mount(remote, digest)) {
        Some(Start::Mounted) => return Ok(Put::Mounted),
        Some(Start::Session(session)) => Some(session),
        None => None,
    };
    let (payload, part) =
        payload(content).inspect_err(|_| begun.iter().for_each(|session| cancel(remote, &session.at)))?;
    let session = match begun {
        Some(session) => session,
        None => match begin(remote, digest)? {
            Start::Mounted => {
                part.into_iter().for_each(Part::remove);
                return Ok(Put::Mounted);
            }
            Start::Session(session) => session,
        },
    };
    Upload::new(remote, digest, payload, note).run(session)?;
    part.into_iter().for_each(Part::remove);
    Ok(Put::Written)
}

/// How an upload begins.
pub(crate) enum Start {
    /// It is over: the blob was linked.
    Mounted,
    /// Content is to be sent.
    Session(Session),
}

/// An upload that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// Where the next request goes.
    at: Uri,
    /// The smallest chunk that is taken, in bytes, except the last.
    least: u64,
}

/// Asks for the blob to be linked from a repository that has it.
pub(crate) fn link(
    remote: &RemoteRepository,
    digest: &Digest,
    source: &Repository,
) -> Result<Start, Failure> {
    let endpoint = Endpoint::Uploads(remote.repository.clone()).to_string();
    let path = with_pair(&endpoint, "mount", &digest.to_string());
    let path = with_pair(&path, "from", source.path());
    let scope = Scope::push(&remote.repository).and(Scope::pull(source));
    post(remote, &path, scope, digest)
}

/// Asks once for several blobs to be linked from wherever they are, and returns those that are there now, and how.
/// A registry that links one at most begins a session instead, which is for the first.
pub(crate) fn link_all(
    remote: &RemoteRepository,
    blobs: &[&Descriptor],
) -> Result<Vec<(Digest, Put)>, Failure> {
    let endpoint = Endpoint::Uploads(remote.repository.clone()).to_string();
    let digests = blobs.iter().map(|blob| blob.digest.to_string());
    let path = digests.fold(endpoint, |path, digest| with_pair(&path, "mount", &digest));
    let what = format!("link of {} blobs to {}", blobs.len(), remote.repository);
    let address = remote.host.at(&path)?;
    let mut call = remote.call(Method::POST, address, Scope::push(&remote.repository), what);
    call.expected = &[StatusCode::ACCEPTED, StatusCode::CREATED];
    let reply = remote.host.attempt(&call)?;
    let had: Vec<(Digest, Put)> = [(PLIMSOLL_MOUNTED, Put::Mounted), (PLIMSOLL_PRESENT, Put::Present)]
        .into_iter()
        .flat_map(|(header, put)| {
            reply.header(header).unwrap_or_default().split(',').map(move |one| (one, put))
        })
        .filter_map(|(digest, put)| Some((digest.trim().parse().ok()?, put)))
        .filter(|(digest, _)| blobs.iter().any(|blob| blob.digest == *digest))
        .collect();
    if reply.status == StatusCode::CREATED {
        reply.body.discard();
        return Ok(had);
    }
    if let Ok(Start::Session(session)) = begun(remote, &call, reply) {
        let mut begun = remote.begun.lock().expect("nothing panics while it holds the lock");
        begun.insert(blobs[0].digest, session);
    }
    Ok(Vec::new())
}

/// Lets the registry forget the session that began where a blob was not linked.
pub(crate) fn forget(remote: &RemoteRepository, digest: &Digest) {
    let begun = remote.begun.lock().expect("nothing panics while it holds the lock").remove(digest);
    if let Some(session) = begun {
        cancel(remote, &session.at);
    }
}

/// Asks for the blob to be linked, from one repository after the other. A registry that does not
/// do so begins a session instead; `None` where not even that came about.
fn mount(remote: &RemoteRepository, digest: &Digest) -> Option<Start> {
    let mut begun: Option<Session> = None;
    for source in &remote.mount_from {
        // A registry that knows no mounts, or does not let us see the source, takes the content.
        match link(remote, digest, source) {
            Ok(Start::Mounted) => {
                begun.iter().for_each(|session| cancel(remote, &session.at));
                return Some(Start::Mounted);
            }
            Ok(Start::Session(session)) => {
                begun.replace(session).iter().for_each(|session| cancel(remote, &session.at));
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
    begun(remote, &call, reply)
}

/// Returns the session that an answer begins.
fn begun(remote: &RemoteRepository, call: &Call<'_>, reply: Reply) -> Result<Start, Failure> {
    let session = location(remote, &call.address, &reply)?;
    let least = reply.header(CHUNK_MIN_LENGTH).and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    reply.body.discard();
    session
        .map(|at| Start::Session(Session { at, least }))
        .ok_or_else(|| Failure::protocol("the upload that began has no Location"))
}

/// Returns the session's address for the next request, which changes with every answer.
fn location(remote: &RemoteRepository, base: &Uri, reply: &Reply) -> Result<Option<Uri>, Failure> {
    let Some(location) = reply.header(LOCATION.as_str()) else { return Ok(None) };
    remote.host.origin()?.follow(base, location).map(Some)
}
