//! Media types. Source: image-spec v1.1, media-types.md; Docker image manifest version 2, schema 2.

use std::fmt;
use std::str::FromStr;

/// A media type; the ones images are made of have names, others are carried as they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each variant is the media type that `as_str` prints")]
pub enum MediaType {
    OciManifest,
    OciArtifact,
    OciIndex,
    OciConfig,
    OciEmpty,
    OciLayer,
    OciLayerGzip,
    OciLayerZstd,
    DockerManifest,
    DockerManifestList,
    DockerConfig,
    DockerLayer,
    DockerLayerGzip,
    DockerForeignLayerGzip,
    OciNondistributableLayerGzip,
    Other(String),
}

/// How a layer's tar is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Plain tar.
    None,
    /// RFC 1952, one or several members.
    Gzip,
    /// RFC 8878.
    Zstd,
}

const NAMES: &[(MediaType, &str)] = &[
    (MediaType::OciManifest, "application/vnd.oci.image.manifest.v1+json"),
    (MediaType::OciArtifact, "application/vnd.oci.artifact.manifest.v1+json"),
    (MediaType::OciIndex, "application/vnd.oci.image.index.v1+json"),
    (MediaType::OciConfig, "application/vnd.oci.image.config.v1+json"),
    (MediaType::OciEmpty, "application/vnd.oci.empty.v1+json"),
    (MediaType::OciLayer, "application/vnd.oci.image.layer.v1.tar"),
    (MediaType::OciLayerGzip, "application/vnd.oci.image.layer.v1.tar+gzip"),
    (MediaType::OciLayerZstd, "application/vnd.oci.image.layer.v1.tar+zstd"),
    (MediaType::DockerManifest, "application/vnd.docker.distribution.manifest.v2+json"),
    (MediaType::DockerManifestList, "application/vnd.docker.distribution.manifest.list.v2+json"),
    (MediaType::DockerConfig, "application/vnd.docker.container.image.v1+json"),
    (MediaType::DockerLayer, "application/vnd.docker.image.rootfs.diff.tar"),
    (MediaType::DockerLayerGzip, "application/vnd.docker.image.rootfs.diff.tar.gzip"),
    (MediaType::DockerForeignLayerGzip, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
    (MediaType::OciNondistributableLayerGzip, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
];

/// Layers that are not to be distributed in forms that hardly anybody writes.
const NONDISTRIBUTABLE: [(&str, Compression); 3] = [
    ("application/vnd.docker.image.rootfs.foreign.diff.tar", Compression::None),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar", Compression::None),
    ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", Compression::Zstd),
];

impl MediaType {
    /// Returns the media type as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(text) => text,
            known => NAMES.iter().find(|(name, _)| name == known).expect("every known variant is in NAMES").1,
        }
    }

    /// Whether a document of this type lists the layers of one image or the blobs of one artifact.
    pub fn is_manifest(&self) -> bool {
        matches!(self, Self::OciManifest | Self::DockerManifest | Self::OciArtifact)
    }

    /// Whether a document of this type lists manifests.
    pub fn is_index(&self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerManifestList)
    }

    /// Returns the layer type of the OCI family for `compression`.
    pub fn layer(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::OciLayer,
            Compression::Gzip => Self::OciLayerGzip,
            Compression::Zstd => Self::OciLayerZstd,
        }
    }

    /// Returns how a layer of this type is compressed; `None` where it is no file-system layer.
    pub fn layer_compression(&self) -> Option<Compression> {
        match self {
            Self::OciLayer | Self::DockerLayer => Some(Compression::None),
            Self::OciLayerGzip
            | Self::DockerLayerGzip
            | Self::DockerForeignLayerGzip
            | Self::OciNondistributableLayerGzip => Some(Compression::Gzip),
            Self::OciLayerZstd => Some(Compression::Zstd),
            Self::Other(text) => {
                let known = NONDISTRIBUTABLE.iter().find(|(name, _)| name == text);
                known.map(|(_, compression)| *compression)
            }
            _ => None,
        }
    }

    /// Whether content of this type is not to be handed on by registries: Docker's foreign layers and the
    /// non-distributable ones of the OCI. A manifest tells by `urls` where to get it.
    pub fn is_nondistributable(&self) -> bool {
        matches!(self, Self::DockerForeignLayerGzip | Self::OciNondistributableLayerGzip)
            || NONDISTRIBUTABLE.iter().any(|(name, _)| *name == self.as_str())
    }
}

impl From<&str> for MediaType {
    fn from(text: &str) -> Self {
        let known = NAMES.iter().find(|(_, name)| *name == text);
        known.map_or_else(|| Self::Other(text.to_owned()), |(media_type, _)| media_type.clone())
    }
}

impl FromStr for MediaType {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.into())
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

crate::serde_as_string!(MediaType);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_unknown_ones_are_carried() {
        for (media_type, name) in NAMES {
            assert_eq!(&MediaType::from(*name), media_type);
            assert_eq!(media_type.as_str(), *name);
        }
        assert_eq!(MediaType::from("text/plain").as_str(), "text/plain");
    }

    #[test]
    fn layers_that_are_not_to_be_distributed() {
        for (name, compression) in [
            ("application/vnd.docker.image.rootfs.foreign.diff.tar", Compression::None),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Compression::Gzip),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar", Compression::None),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Compression::Gzip),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", Compression::Zstd),
        ] {
            let media_type = MediaType::from(name);
            assert!(media_type.is_nondistributable(), "{name}");
            assert_eq!(media_type.layer_compression(), Some(compression), "{name}");
        }
        assert!(!MediaType::OciLayerGzip.is_nondistributable());
        assert!(
            !MediaType::from("application/vnd.oci.image.layer.nondistributable.v2.tar").is_nondistributable()
        );
    }
}
