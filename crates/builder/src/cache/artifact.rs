//! The document by which a cache outside this machine says what it has: an OCI manifest of our own type, whose
//! configuration holds the records and whose layers are the blobs of the steps and the indexes of their files.
//!
//! | part | media type |
//! |---|---|
//! | manifest (`artifactType`), configuration | `application/vnd.plimsoll.cache.v1+json` |
//! | layer of a step | that of the layer |
//! | index of the files of a layer, also of base images | `application/vnd.plimsoll.layer-index.v1+zstd` |
//! | folders of cache mounts, inputs of steps | see [`super::carried`] |
//!
//! Layers of base images are named in the configuration, for their indexes, and not among the manifest's layers:
//! their bytes lie where the base image lies. The order of everything is that of its digests, so that the same
//! records give the same bytes.
//!
//! A configuration comes from elsewhere: what cannot be read, or says something impossible, is refused whole.

use std::collections::{BTreeMap, BTreeSet};

use oci::{Descriptor, DiffId, Digest, ImageManifest, MediaType};
use serde::{Deserialize, Serialize};

use super::StepRecord;
use super::carried::{InputsEntry, MountEntry, check_inputs, check_mounts};

/// The media type of the configuration and the type of the artifact.
pub const CACHE_TYPE: &str = "application/vnd.plimsoll.cache.v1+json";
/// The media type of an index of the files of a layer.
pub const INDEX_TYPE: &str = "application/vnd.plimsoll.layer-index.v1+zstd";
/// Configurations larger than this, in bytes, are neither read nor written.
pub const MAX_CONFIG_BYTES: u64 = 32 << 20;
/// Indexes larger than this, in bytes, are neither read nor written.
pub(crate) const MAX_INDEX_BYTES: u64 = 256 << 20;

const SCHEMA: &str = "plimsoll.cache/1";
const MAX_LAYERS: usize = 10_000;
const MAX_STEPS: usize = 50_000;
pub(super) const MAX_TEXT_BYTES: usize = 64 << 10;

/// What a cache has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheArtifact {
    /// Layers, by the digest of their blob.
    pub layers: BTreeMap<Digest, LayerEntry>,
    /// Steps, by their key.
    pub steps: BTreeMap<Digest, StepEntry>,
    /// Folders of cache mounts, by what they go by.
    pub mounts: BTreeMap<Digest, MountEntry>,
    /// What steps were made of, by scope.
    pub inputs: BTreeMap<String, InputsEntry>,
}

/// A layer of a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerEntry {
    /// The layer, uncompressed.
    pub diff_id: DiffId,
    /// Its blob.
    pub blob: Descriptor,
    /// The index of its files, where the cache has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Descriptor>,
    /// Where it is a base image's, whose blob is not here: who used it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Usage>,
}

/// Who used a record last, and how long ago.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Whose build it was; only exports of the same one make a record older.
    pub scope: String,
    /// How many exports of that scope there were since one that used it.
    pub unused: u32,
}

/// A step of a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepEntry {
    pub(super) key: Digest,
    /// The blob of the layer it gave.
    pub layer: Digest,
    /// The instruction that ran, for people.
    pub instruction: String,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
    /// How the blob is compressed, such as `gzip:3`.
    pub compression: String,
    /// Who used it last.
    pub usage: Usage,
}

/// Bytes are not the configuration of a cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no build cache that can be read: {reason}")]
pub struct InvalidArtifact {
    /// What is wrong.
    pub reason: String,
}

#[derive(Serialize, Deserialize)]
struct Probe {
    schema: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: String,
    layers: Vec<LayerEntry>,
    steps: Vec<StepEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<MountEntry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<InputsEntry>,
}

impl StepEntry {
    /// Returns the entry of a step that a build of `scope` used.
    pub fn used(key: Digest, record: &StepRecord, scope: &str) -> Self {
        Self {
            key,
            layer: record.descriptor.digest,
            instruction: cut(&record.instruction),
            milliseconds: record.milliseconds,
            compression: record.compression.clone(),
            usage: Usage::now(scope),
        }
    }
}

impl Usage {
    /// Returns the usage by a build of `scope` that has just been.
    pub fn now(scope: &str) -> Self {
        Self { scope: cut(scope), unused: 0 }
    }
}

/// Returns the text, cut where it is longer than a reader takes.
pub(super) fn cut(text: &str) -> String {
    let end = (0..=MAX_TEXT_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

impl CacheArtifact {
    /// Reads a configuration.
    ///
    /// # Errors
    /// It is not JSON of its schema, of a schema that is not known, larger than is allowed, or names what it
    /// does not have.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidArtifact> {
        let invalid = |reason: String| InvalidArtifact { reason };
        if bytes.len() as u64 > MAX_CONFIG_BYTES {
            return Err(invalid(format!("it has {} bytes, {MAX_CONFIG_BYTES} are allowed", bytes.len())));
        }
        let probe: Probe = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
        if probe.schema != SCHEMA {
            let found: String = probe.schema.chars().take(100).collect();
            return Err(invalid(format!("its schema is {found:?}, this program knows {SCHEMA:?}")));
        }
        let document: Document = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
        document.check().map_err(invalid)?;
        let layers = document.layers.into_iter().map(|layer| (layer.blob.digest, layer)).collect();
        let steps = document.steps.into_iter().map(|step| (step.key, step)).collect();
        let mounts = document.mounts.into_iter().map(|mount| (mount.key, mount)).collect();
        let inputs = document.inputs.into_iter().map(|inputs| (inputs.usage.scope.clone(), inputs)).collect();
        Ok(Self { layers, steps, mounts, inputs })
    }

    /// Returns the configuration.
    pub fn to_bytes(&self) -> Vec<u8> {
        let document = Document {
            schema: SCHEMA.to_owned(),
            layers: self.layers.values().cloned().collect(),
            steps: self.steps.values().cloned().collect(),
            mounts: self.mounts.values().cloned().map(MountEntry::with_short_id).collect(),
            inputs: self.inputs.values().cloned().collect(),
        };
        serde_json::to_vec(&document).expect("it has only string keys")
    }

    /// Returns the manifest over a configuration.
    pub fn manifest(&self, config: Descriptor) -> ImageManifest {
        let own = self.layers.values().filter(|layer| layer.base.is_none()).map(|layer| &layer.blob);
        let indexes = self.layers.values().filter_map(|layer| layer.index.as_ref());
        let pieces = self.mounts.values().flat_map(|mount| &mount.pieces);
        let inputs = self.inputs.values().map(|inputs| &inputs.blob);
        let all = own.chain(indexes).chain(pieces).chain(inputs);
        let blobs: BTreeMap<Digest, &Descriptor> = all.map(|blob| (blob.digest, blob)).collect();
        let mut manifest = ImageManifest::new(config, blobs.into_values().cloned().collect());
        manifest.artifact_type = Some(CACHE_TYPE.to_owned());
        manifest
    }

    /// Returns the record that a key has.
    pub fn record(&self, key: &Digest) -> Option<StepRecord> {
        let step = self.steps.get(key)?;
        let layer = self.layers.get(&step.layer)?;
        let record = StepRecord::new(layer.diff_id, layer.blob.clone(), &step.instruction, step.milliseconds);
        Some(record.compressed(step.compression.clone()))
    }

    /// Returns the sum of the sizes of the layers and indexes that lie in the cache, in bytes.
    pub fn bytes(&self) -> u64 {
        self.layers.values().map(LayerEntry::bytes).fold(0, u64::saturating_add)
    }

    /// Returns the sum of the sizes of the cache mounts that lie in the cache, in bytes.
    pub fn mount_bytes(&self) -> u64 {
        self.mounts.values().map(MountEntry::stored_bytes).fold(0, u64::saturating_add)
    }

    /// Drops layers that no step names and that are no base image's.
    pub(super) fn drop_unnamed_layers(&mut self) {
        let named: BTreeSet<Digest> = self.steps.values().map(|step| step.layer).collect();
        self.layers.retain(|digest, layer| named.contains(digest) || layer.base.is_some());
    }
}

impl LayerEntry {
    pub(super) fn bytes(&self) -> u64 {
        let blob = if self.base.is_some() { 0 } else { self.blob.size };
        self.index.as_ref().map_or(0, |index| index.size).saturating_add(blob)
    }
}

impl Document {
    fn check(&self) -> Result<(), String> {
        if self.layers.len() > MAX_LAYERS || self.steps.len() > MAX_STEPS {
            let (layers, steps) = (self.layers.len(), self.steps.len());
            return Err(format!(
                "it has {layers} layers and {steps} steps, {MAX_LAYERS} and {MAX_STEPS} are allowed"
            ));
        }
        for layer in &self.layers {
            let digest = layer.blob.digest;
            if layer.blob.media_type.layer_compression().is_none() {
                return Err(format!("{digest} is a {}, which is no layer", layer.blob.media_type));
            }
            match &layer.index {
                Some(index) if index.media_type != MediaType::from(INDEX_TYPE) => {
                    return Err(format!("the index of {digest} is a {}", index.media_type));
                }
                Some(index) if index.size > MAX_INDEX_BYTES => {
                    return Err(format!("the index of {digest} has {} bytes", index.size));
                }
                _ => {}
            }
        }
        let blobs: BTreeSet<Digest> =
            self.layers.iter().filter(|layer| layer.base.is_none()).map(|layer| layer.blob.digest).collect();
        for step in &self.steps {
            if !blobs.contains(&step.layer) {
                return Err(format!("a step names the layer {}, which it does not have", step.layer));
            }
            let longest = step.instruction.len().max(step.compression.len()).max(step.usage.scope.len());
            if longest > MAX_TEXT_BYTES {
                return Err(format!("a text of it has {longest} bytes"));
            }
        }
        check_mounts(&self.mounts)?;
        check_inputs(&self.inputs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::{INPUTS_TYPE, MOUNT_TYPE};

    fn artifact() -> CacheArtifact {
        let mount = MountEntry {
            key: Digest::of(b"mount"),
            id: "/root/.cache".to_owned(),
            content: Digest::of(b"files"),
            bytes: 1024,
            pieces: vec![Descriptor::of(MOUNT_TYPE.into(), b"piece")],
            usage: Usage::now("api"),
        };
        let inputs =
            InputsEntry { blob: Descriptor::of(INPUTS_TYPE.into(), b"inputs"), usage: Usage::now("api") };
        let blob = Descriptor::of(MediaType::OciLayerGzip, b"layer");
        let index = Descriptor::of(INDEX_TYPE.into(), b"index");
        let base = Descriptor::of(MediaType::DockerLayerGzip, b"base");
        let record = StepRecord::new(DiffId(Digest::of(b"tar")), blob.clone(), "COPY a b", 7);
        let step = StepEntry::used(Digest::of(b"key"), &record.compressed("gzip:3".to_owned()), "api");
        let layer = LayerEntry {
            diff_id: DiffId(Digest::of(b"tar")),
            blob: blob.clone(),
            index: Some(index.clone()),
            base: None,
        };
        let below = LayerEntry {
            diff_id: DiffId(Digest::of(b"base tar")),
            blob: base.clone(),
            index: Some(index),
            base: Some(Usage::now("api")),
        };
        CacheArtifact {
            layers: BTreeMap::from([(blob.digest, layer), (base.digest, below)]),
            steps: BTreeMap::from([(step.key, step)]),
            mounts: BTreeMap::from([(mount.key, mount)]),
            inputs: BTreeMap::from([("api".to_owned(), inputs)]),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let artifact = artifact();
        let bytes = artifact.to_bytes();
        assert_eq!(CacheArtifact::parse(&bytes), Ok(artifact.clone()));
        let record = artifact.record(&Digest::of(b"key")).unwrap();
        assert_eq!((record.instruction.as_str(), record.milliseconds), ("COPY a b", 7));
        assert_eq!(record.compression, "gzip:3");
        assert_eq!(artifact.record(&Digest::of(b"other")), None);
    }

    #[test]
    fn blobs_of_base_images_are_not_in_the_manifest() {
        let artifact = artifact();
        let config = Descriptor::of(CACHE_TYPE.into(), b"{}");
        let manifest = artifact.manifest(config);
        let mut found: Vec<_> = manifest.layers.iter().map(|layer| layer.digest).collect();
        found.sort();
        let mut expected =
            ["layer", "index", "piece", "inputs"].map(|name| Digest::of(name.as_bytes())).to_vec();
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!(manifest.artifact_type.as_deref(), Some(CACHE_TYPE));
    }

    #[track_caller]
    fn check_refused(edit: impl Fn(&mut serde_json::Value), reason: &str) {
        let mut value: serde_json::Value = serde_json::from_slice(&artifact().to_bytes()).unwrap();
        edit(&mut value);
        let error = CacheArtifact::parse(&serde_json::to_vec(&value).unwrap()).unwrap_err();
        assert!(error.reason.contains(reason), "{error}");
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        check_refused(|value| value["schema"] = "plimsoll.cache/2".into(), "\"plimsoll.cache/2\"");
        check_refused(|value| value["layers"] = serde_json::json!([]), "does not have");
        check_refused(|value| value["layers"][0]["blob"]["mediaType"] = "text/plain".into(), "no layer");
        check_refused(|value| value["layers"][0]["index"]["mediaType"] = "text/plain".into(), "the index of");
        check_refused(|value| value["layers"][0]["index"]["size"] = (1_u64 << 40).into(), "the index of");
        check_refused(|value| value["steps"][0]["instruction"] = "x".repeat(70_000).into(), "70000 bytes");
        check_refused(|value| value["steps"][0]["key"] = "sha256:1".into(), "");
        check_refused(|value| value["more"] = 1.into(), "more");
        check_refused(|value| value["mounts"][0]["pieces"] = serde_json::json!([]), "0 pieces");
        check_refused(
            |value| value["mounts"][0]["pieces"][0]["mediaType"] = "text/plain".into(),
            "text/plain",
        );
        check_refused(|value| value["mounts"][0]["pieces"][0]["size"] = (1_u64 << 40).into(), "cache mount");
        check_refused(|value| value["mounts"][0]["id"] = "x".repeat(70_000).into(), "too long");
        check_refused(|value| value["inputs"][0]["blob"]["size"] = (1_u64 << 40).into(), "inputs of steps");
        assert!(CacheArtifact::parse(b"").is_err());
    }

    #[test]
    fn long_instructions_are_cut_at_a_character() {
        let text = "é".repeat(MAX_TEXT_BYTES);
        assert!(cut(&text).len() <= MAX_TEXT_BYTES && cut(&text).len() > MAX_TEXT_BYTES - 4);
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(at in 0_usize..2400, byte in any::<u8>(), end in 0_usize..3000) {
            let mut bytes = artifact().to_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(end.max(1));
            if let Ok(artifact) = CacheArtifact::parse(&bytes) {
                prop_assert_eq!(CacheArtifact::parse(&artifact.to_bytes()), Ok(artifact));
            }
        }
    }
}
