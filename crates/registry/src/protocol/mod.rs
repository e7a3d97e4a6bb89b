//! The words on the wire that client and server share: paths, error bodies, ranges, links,
//! challenges. No I/O. Source: distribution-spec v1.1.

pub mod challenge;
pub mod endpoint;
pub mod error;
pub mod link;
pub mod query;
pub mod range;
pub mod retry_after;

pub use challenge::Challenge;
pub use endpoint::{Endpoint, InvalidEndpoint, ManifestName};
pub use error::{ErrorBody, ErrorCode};
pub use range::{ByteRange, ChunkRange};

/// Names the digest of the content in an answer.
pub const DOCKER_CONTENT_DIGEST: &str = "docker-content-digest";
/// Names the upload session in an answer.
pub const DOCKER_UPLOAD_UUID: &str = "docker-upload-uuid";
/// Names the subject of a manifest that was put, where the server lists referrers.
pub const OCI_SUBJECT: &str = "oci-subject";
/// Names the filters a referrers list was reduced by.
pub const OCI_FILTERS_APPLIED: &str = "oci-filters-applied";
/// Names a tag that was set by the query of a request; comes once for each.
pub const OCI_TAG: &str = "oci-tag";
/// Names the digests that were linked where a request asked for several with `mount`: `sha256:..., sha256:...`. A word of
/// ours; who does not know it links one of them or none.
pub const PLIMSOLL_MOUNTED: &str = "plimsoll-mounted";
/// Names those of them that the repository had before.
pub const PLIMSOLL_PRESENT: &str = "plimsoll-present";
/// How many one request asks for.
pub const MAX_MOUNTS: usize = 64;
/// Tells clients that the server speaks this protocol.
pub const API_VERSION: (&str, &str) = ("docker-distribution-api-version", "registry/2.0");
