//! Manifests and indexes of a repository. Source: distribution-spec v1.1, "Pulling manifests".

use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Method, StatusCode};
use oci::manifest::MAX_DOCUMENT_BYTES;
use oci::{Descriptor, Digest, Document, Hasher, InvalidDocument, MediaType, Tag};

use super::Failure;
use super::host::first_words;
use super::list::encoding;
use super::payload::Payload;
use super::repository::{RemoteRepository, header};
use super::scope::Scope;
use super::transport::Reply;
use crate::protocol::{DOCKER_CONTENT_DIGEST, Endpoint, ManifestName, OCI_SUBJECT};

/// What we read, in the order we like it.
const ACCEPTED: [MediaType; 5] = [
    MediaType::OciIndex,
    MediaType::OciManifest,
    MediaType::DockerManifestList,
    MediaType::DockerManifest,
    MediaType::OciArtifact,
];

/// Returns what a tag points to. Where the head of the answer does not say it all, the manifest
/// itself is fetched.
pub(crate) fn resolve(remote: &RemoteRepository, tag: &Tag) -> Result<Descriptor, Failure> {
    let name = ManifestName::Tag(tag.clone());
    let reply = match request(remote, Method::HEAD, &name) {
        // Some servers and proxies know no HEAD here; a real 404 stays one when asked again.
        Err(failure) if matches!(failure.status().map(|s| s.as_u16()), Some(400 | 404 | 405 | 406 | 501)) => {
            None
        }
        reply => described(&reply?),
    };
    match reply {
        Some(descriptor) => Ok(descriptor),
        None => get(remote, &name).map(|document| document.descriptor().clone()),
    }
}

/// Returns the manifest or index, checked against the digest it was asked for by or, by tag,
/// against the digest the answer names.
pub(crate) fn get(remote: &RemoteRepository, name: &ManifestName) -> Result<Document, Failure> {
    let reply = request(remote, Method::GET, name)?;
    let named = reply.header(DOCKER_CONTENT_DIGEST).and_then(|text| text.parse().ok());
    let expected = match name {
        ManifestName::Digest(digest) => Some(*digest),
        ManifestName::Tag(_) => named,
    };
    let content_type = media_type(&reply);
    let encoded = encoding(&reply);
    let raw = reply.body.all(MAX_DOCUMENT_BYTES)?;
    // The digest of a signed one is that of its content without the signatures.
    let is_schema_1 =
        content_type.is_none() && matches!(Document::parse(raw.clone(), None), Err(InvalidDocument::Schema1));
    if let Some(expected) = expected.filter(|_| !is_schema_1) {
        check(&raw, expected, content_type.as_ref()).map_err(|failure| match (failure, encoded) {
            (Failure::Corrupt { reason }, Some(encoded)) => {
                Failure::Corrupt { reason: format!("{reason}; {encoded}") }
            }
            (failure, _) => failure,
        })?;
    }
    Document::parse(raw, content_type.as_ref()).map_err(|error| {
        let reason = store::with_causes(&error);
        match error {
            InvalidDocument::Schema1 | InvalidDocument::Unsupported { .. } => Failure::Unsupported { reason },
            _ => Failure::Corrupt { reason },
        }
    })
}

/// Whether the registry lists a manifest with a subject by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    Yes,
    No,
}

/// Stores the document under a tag or its digest. The registry must name the digest that we
/// have, where it names one.
pub(crate) fn put(
    remote: &RemoteRepository,
    name: ManifestName,
    document: &Document,
) -> Result<Listed, Failure> {
    let repository = &remote.repository;
    let what = format!("push of manifest {name} to {repository}");
    let address = remote.address(&Endpoint::Manifest(repository.clone(), name))?;
    let mut call = remote.call(Method::PUT, address, Scope::push(repository), what);
    call.headers.push(header(CONTENT_TYPE, document.descriptor().media_type.as_str()));
    call.payload = Payload::Bytes(document.raw().clone());
    call.expected = &[StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED];
    let reply = remote.host.call(&call)?;
    check_named(&reply, document.digest())?;
    let listed = if reply.header(OCI_SUBJECT).is_some() { Listed::Yes } else { Listed::No };
    reply.body.discard();
    Ok(listed)
}

/// Fails where the answer names another digest of the same algorithm.
pub(crate) fn check_named(reply: &Reply, expected: Digest) -> Result<(), Failure> {
    let named = reply.header(DOCKER_CONTENT_DIGEST).and_then(|text| text.parse::<Digest>().ok());
    match named.filter(|named| named.algorithm() == expected.algorithm() && *named != expected) {
        Some(named) => Err(Failure::Corrupt {
            reason: format!("the registry stored it as {named}, which is not {expected}"),
        }),
        None => Ok(()),
    }
}

fn request(remote: &RemoteRepository, method: Method, name: &ManifestName) -> Result<Reply, Failure> {
    let repository = &remote.repository;
    let what = format!("pull of manifest {name} from {repository}");
    let address = remote.address(&Endpoint::Manifest(repository.clone(), name.clone()))?;
    let mut call = remote.call(method, address, Scope::pull(repository), what);
    call.headers.extend(ACCEPTED.iter().map(|media_type| header(ACCEPT, media_type.as_str())));
    remote.host.call(&call)
}

/// Returns the descriptor from the head of an answer; `None` where a part is missing.
fn described(reply: &Reply) -> Option<Descriptor> {
    let digest = reply.header(DOCKER_CONTENT_DIGEST)?.parse().ok()?;
    let size = reply.header(CONTENT_LENGTH.as_str())?.parse().ok()?;
    Some(Descriptor::new(media_type(reply)?, digest, size))
}

/// Returns the media type without parameters, where it is one of a manifest.
fn media_type(reply: &Reply) -> Option<MediaType> {
    let text = reply.header(CONTENT_TYPE.as_str())?;
    let media_type = MediaType::from(text.split(';').next()?.trim());
    (media_type.is_manifest() || media_type.is_index()).then_some(media_type)
}

fn check(raw: &[u8], expected: Digest, content_type: Option<&MediaType>) -> Result<(), Failure> {
    let mut hasher = Hasher::new(expected.algorithm());
    hasher.update(raw);
    let found = hasher.finish();
    if found == expected {
        return Ok(());
    }
    let text = String::from_utf8_lossy(raw);
    if content_type.is_none() && text.trim_start().starts_with('<') {
        return Err(Failure::protocol(first_words(&text, true)));
    }
    Err(Failure::Corrupt {
        reason: format!("its bytes have the digest {found} where {expected} was asked for"),
    })
}
