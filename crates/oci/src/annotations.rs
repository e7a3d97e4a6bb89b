//! Annotation and label keys. Source: image-spec v1.1, annotations.md.

use std::collections::BTreeMap;

/// Annotations or labels, ordered by key so that what we write is the same every time.
pub type Annotations = BTreeMap<String, String>;

/// Date and time at which the image was made, RFC 3339.
pub const CREATED: &str = "org.opencontainers.image.created";
/// People or organisation responsible.
pub const AUTHORS: &str = "org.opencontainers.image.authors";
/// URL of more information.
pub const URL: &str = "org.opencontainers.image.url";
/// URL of documentation.
pub const DOCUMENTATION: &str = "org.opencontainers.image.documentation";
/// URL of the source code.
pub const SOURCE: &str = "org.opencontainers.image.source";
/// Version of the packaged software.
pub const VERSION: &str = "org.opencontainers.image.version";
/// Source control revision: the full commit id.
pub const REVISION: &str = "org.opencontainers.image.revision";
/// Distributing entity.
pub const VENDOR: &str = "org.opencontainers.image.vendor";
/// SPDX licence expression.
pub const LICENSES: &str = "org.opencontainers.image.licenses";
/// Name of the reference for a target; in a layout's index, the tag.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Title for people.
pub const TITLE: &str = "org.opencontainers.image.title";
/// Description for people.
pub const DESCRIPTION: &str = "org.opencontainers.image.description";
/// Digest of the base image.
pub const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
/// Reference of the base image.
pub const BASE_NAME: &str = "org.opencontainers.image.base.name";
/// Full reference that containerd and Docker give an image of an archive.
pub const CONTAINERD_IMAGE_NAME: &str = "io.containerd.image.name";
