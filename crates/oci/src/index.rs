//! Image indexes. Source: image-spec v1.1, image-index.md.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Annotations, Descriptor, MediaType, Platform};

/// A list of manifests, usually one for each platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    /// Always 2.
    pub schema_version: u32,
    /// Should be set; absent in some older documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The type of an artifact index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The children, in order; may be empty.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    /// What this index says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free key-value pairs.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
    /// Fields we do not know, carried as they came.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ImageIndex {
    /// Returns an OCI index of `manifests`.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MediaType::OciIndex),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: Annotations::new(),
            extra: Map::new(),
        }
    }

    /// Returns the first child for `platform`. BuildKit's attestation children (platform
    /// `unknown/unknown`) never match.
    pub fn for_platform(&self, platform: &Platform) -> Option<&Descriptor> {
        self.manifests.iter().find(|child| child.platform.as_ref().is_some_and(|own| platform.accepts(own)))
    }
}
