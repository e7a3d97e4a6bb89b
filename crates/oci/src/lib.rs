//! The words of the OCI specifications as values.
//!
//! This crate owns names (references, digests, tags, platforms) and documents (manifest, index,
//! image configuration, descriptor). It does no I/O, is not async, and reads no clock; a value of
//! it that exists is valid. Moving bytes belongs to `store` and `registry`.
//!
//! Source: image-spec v1.1 and distribution-spec v1.1; name grammar of the distribution project.

pub mod annotations;
pub mod config;
pub mod descriptor;
pub mod digest;
pub mod index;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod reference;
pub mod tag;

pub use annotations::Annotations;
pub use config::{Healthcheck, History, ImageConfig, RootFs, RuntimeConfig};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, DiffId, Digest, Hasher, InvalidDigest};
pub use index::ImageIndex;
pub use manifest::{ArtifactManifest, Document, ImageManifest, InvalidDocument};
pub use media_type::{Compression, MediaType};
pub use platform::{InvalidPlatform, Platform};
pub use reference::{InvalidReference, Pinned, Reference, Registry, Repository};
pub use tag::{InvalidTag, Tag};

/// Gives a type that parses from and prints as a string the serde form of that string.
macro_rules! serde_as_string {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_string;
