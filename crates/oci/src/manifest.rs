//! Image manifests, and documents as they lie in a store: raw bytes with a typed view beside them.
//!
//! A document's bytes are its identity. They are kept as they came and never written again from
//! the typed view, which may know fewer fields. Source: image-spec v1.1, manifest.md.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Algorithm, Annotations, Descriptor, Digest, ImageIndex, MediaType};

/// Manifests larger than this are refused. Registries must take 4 MiB; some take 8.
pub const MAX_DOCUMENT_BYTES: u64 = 8 << 20;

/// The manifest of one image or artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// Always 2.
    pub schema_version: u32,
    /// Should be set; absent in some older documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, lowest first; may be empty.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// What this manifest says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free key-value pairs.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
    /// Fields we do not know, carried as they came.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl ImageManifest {
    /// Returns an OCI image manifest.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MediaType::OciManifest),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: Annotations::new(),
            extra: Map::new(),
        }
    }

    /// Returns the blobs the manifest needs: the configuration first, then the layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

/// The manifest of an artifact as drafts of image-spec 1.1 had it and its release does not: some registries still
/// hold such signatures and SBOMs, and they are carried and looked at, but never written.
///
/// Source: image-spec v1.1.0-rc2, artifact.md.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactManifest {
    /// The type of the artifact.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// What it consists of; may be empty.
    #[serde(default)]
    pub blobs: Vec<Descriptor>,
    /// What it says something about.
    #[serde(default)]
    pub subject: Option<Descriptor>,
    /// Free key-value pairs.
    #[serde(default)]
    pub annotations: Annotations,
}

/// A manifest or index as it lies in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    raw: Bytes,
    descriptor: Descriptor,
    view: View,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum View {
    Image(ImageManifest),
    Artifact(ArtifactManifest),
    Index(ImageIndex),
}

/// Bytes are not a manifest or index we can read.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDocument {
    /// Larger than [`MAX_DOCUMENT_BYTES`].
    #[error("the manifest has {size} bytes, more than the {MAX_DOCUMENT_BYTES} allowed")]
    TooLarge {
        /// Size in bytes.
        size: u64,
    },
    /// Not JSON of the expected shape.
    #[error("the manifest is not valid JSON of its type {media_type}")]
    Json {
        /// What it was read as.
        media_type: MediaType,
        /// Where it broke.
        #[source]
        source: serde_json::Error,
    },
    /// Docker's first form of manifests.
    #[error(
        "it is in Docker's schema 1, a form of before 2016 that names no sizes and no configuration and is not read any more; \
         convert it with a tool that still does (skopeo copy --format oci docker://OLD docker://NEW), or build the image anew"
    )]
    Schema1,
    /// Something that is neither manifest nor index.
    #[error("{media_type:?} is not a manifest type that can be read")]
    Unsupported {
        /// The media type found.
        media_type: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    media_type: Option<MediaType>,
    schema_version: Option<u32>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads `raw`. Its type is what `media_type` says, else its own `mediaType` field, else what
    /// its shape shows.
    ///
    /// # Errors
    /// Too large, not JSON of its type, or of a type that is neither manifest nor index.
    pub fn parse(raw: Bytes, media_type: Option<&MediaType>) -> Result<Self, InvalidDocument> {
        let size = raw.len() as u64;
        if size > MAX_DOCUMENT_BYTES {
            return Err(InvalidDocument::TooLarge { size });
        }
        let media_type = match media_type {
            Some(known) if known.is_manifest() || known.is_index() => known.clone(),
            _ => sniff(&raw)?,
        };
        let json = |source| InvalidDocument::Json { media_type: media_type.clone(), source };
        let view = match &media_type {
            MediaType::OciArtifact => View::Artifact(serde_json::from_slice(&raw).map_err(json)?),
            index if index.is_index() => View::Index(serde_json::from_slice(&raw).map_err(json)?),
            _ => View::Image(serde_json::from_slice(&raw).map_err(json)?),
        };
        let descriptor = Descriptor::of(media_type, &raw);
        Ok(Self { raw, descriptor, view })
    }

    /// Returns the document of a manifest that we write ourselves.
    pub fn from_manifest(manifest: ImageManifest) -> Self {
        let raw = Bytes::from(serde_json::to_vec(&manifest).expect("a manifest has only string keys"));
        let media_type = manifest.media_type.clone().unwrap_or(MediaType::OciManifest);
        Self { descriptor: Descriptor::of(media_type, &raw), raw, view: View::Image(manifest) }
    }

    /// Returns the document of an index that we write ourselves.
    pub fn from_index(index: ImageIndex) -> Self {
        let raw = Bytes::from(serde_json::to_vec(&index).expect("an index has only string keys"));
        let media_type = index.media_type.clone().unwrap_or(MediaType::OciIndex);
        Self { descriptor: Descriptor::of(media_type, &raw), raw, view: View::Index(index) }
    }

    /// Returns the document with the digest that `algorithm` gives. Documents are known by SHA-256
    /// unless somebody asks for them by another digest.
    pub fn known_by(mut self, algorithm: Algorithm) -> Self {
        if self.descriptor.digest.algorithm() != algorithm {
            self.descriptor.digest = Digest::with(algorithm, &self.raw);
        }
        self
    }

    /// Returns the bytes, exactly as they came.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Returns media type, digest and size.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Returns the digest of the bytes.
    pub fn digest(&self) -> Digest {
        self.descriptor.digest
    }

    /// Returns the manifest, where the document is one.
    pub fn as_image(&self) -> Option<&ImageManifest> {
        match &self.view {
            View::Image(manifest) => Some(manifest),
            View::Artifact(_) | View::Index(_) => None,
        }
    }

    /// Returns the manifest of an artifact of the withdrawn form, where the document is one.
    pub fn as_artifact(&self) -> Option<&ArtifactManifest> {
        match &self.view {
            View::Artifact(manifest) => Some(manifest),
            View::Image(_) | View::Index(_) => None,
        }
    }

    /// Returns the index, where the document is one.
    pub fn as_index(&self) -> Option<&ImageIndex> {
        match &self.view {
            View::Index(index) => Some(index),
            View::Image(_) | View::Artifact(_) => None,
        }
    }

    /// Returns the annotations of any kind.
    pub fn annotations(&self) -> &Annotations {
        match &self.view {
            View::Image(manifest) => &manifest.annotations,
            View::Artifact(manifest) => &manifest.annotations,
            View::Index(index) => &index.annotations,
        }
    }

    /// Returns the subject of any kind.
    pub fn subject(&self) -> Option<&Descriptor> {
        match &self.view {
            View::Image(manifest) => manifest.subject.as_ref(),
            View::Artifact(manifest) => manifest.subject.as_ref(),
            View::Index(index) => index.subject.as_ref(),
        }
    }
}

fn sniff(raw: &[u8]) -> Result<MediaType, InvalidDocument> {
    let probe: Probe = serde_json::from_slice(raw)
        .map_err(|source| InvalidDocument::Json { media_type: MediaType::OciManifest, source })?;
    match (probe.media_type, probe.manifests) {
        (Some(own), _) if own.is_manifest() || own.is_index() => Ok(own),
        (_, _) if probe.schema_version == Some(1) => Err(InvalidDocument::Schema1),
        (Some(own), _) => Err(InvalidDocument::Unsupported { media_type: own.to_string() }),
        (None, Some(_)) => Ok(MediaType::OciIndex),
        (None, None) => Ok(MediaType::OciManifest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> ImageManifest {
        let config = Descriptor::of(MediaType::OciConfig, b"{}");
        ImageManifest::new(config, vec![Descriptor::of(MediaType::OciLayerGzip, b"layer")])
    }

    #[test]
    fn what_we_write_is_the_same_every_time_and_reads_back() {
        let document = Document::from_manifest(manifest());
        let again = Document::parse(document.raw().clone(), None).unwrap();
        assert_eq!(again, document);
        assert_eq!(Document::from_manifest(manifest()).digest(), document.digest());
    }

    #[test]
    fn foreign_bytes_are_kept_to_the_letter() {
        let mut text = String::from_utf8(Document::from_manifest(manifest()).raw().to_vec()).unwrap();
        text.insert_str(1, "\n \"x-custom\" : [1, 2],");
        let document = Document::parse(Bytes::from(text.clone()), None).unwrap();
        assert_eq!(document.raw().as_ref(), text.as_bytes());
        assert_eq!(document.digest(), Digest::of(text.as_bytes()));
        assert!(document.as_image().unwrap().extra.contains_key("x-custom"));
    }

    #[test]
    fn a_document_is_known_by_the_digest_it_is_asked_for_by() {
        let document = Document::from_manifest(manifest());
        let other = document.clone().known_by(Algorithm::Sha512);
        assert_eq!(other.digest(), Digest::with(Algorithm::Sha512, document.raw()));
        assert_eq!(other.known_by(Algorithm::Sha256), document);
    }

    #[test]
    fn shape_tells_an_index_without_media_type() {
        let raw = Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#);
        let document = Document::parse(raw, None).unwrap();
        assert_eq!(document.descriptor().media_type, MediaType::OciIndex);
        assert!(document.as_index().is_some());
    }

    #[test]
    fn the_withdrawn_form_of_artifacts_is_read() {
        let text = r#"{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","artifactType":"a/b",
            "blobs":[{"mediaType":"c/d","digest":"sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
            "size":3}],"annotations":{"k":"v"},"x":1}"#;
        let document = Document::parse(Bytes::from(text), None).unwrap();
        assert_eq!((document.as_image(), document.as_index()), (None, None));
        assert_eq!((document.raw().as_ref(), document.annotations()["k"].as_str()), (text.as_bytes(), "v"));
        let artifact = document.as_artifact().unwrap();
        assert_eq!((artifact.artifact_type.as_deref(), artifact.blobs[0].size), (Some("a/b"), 3));
        let broken =
            Bytes::from_static(br#"{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":1}"#);
        assert!(matches!(Document::parse(broken, None), Err(InvalidDocument::Json { .. })));
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        let refused =
            |text: &'static str| Document::parse(Bytes::from_static(text.as_bytes()), None).unwrap_err();
        assert!(matches!(refused("<html>"), InvalidDocument::Json { .. }));
        assert!(matches!(refused(r#"{"schemaVersion":1}"#), InvalidDocument::Schema1));
        let signed = r#"{"schemaVersion":1,"name":"a","tag":"1","fsLayers":[],"history":[],"signatures":[]}"#;
        assert!(matches!(refused(signed), InvalidDocument::Schema1));
        assert!(matches!(refused(r#"{"mediaType":"text/html"}"#), InvalidDocument::Unsupported { .. }));
        let large = Bytes::from(vec![b' '; MAX_DOCUMENT_BYTES as usize + 1]);
        assert!(matches!(Document::parse(large, None), Err(InvalidDocument::TooLarge { .. })));
    }
}
