//! What a cache outside this machine carries besides layers: folders of `RUN --mount=type=cache`, and what steps
//! were made of.
//!
//! | part | media type |
//! |---|---|
//! | piece of a folder; all pieces in their order are one tar | `application/vnd.plimsoll.cache-mount.v1.tar+zstd` |
//! | inputs of the steps of one scope | `application/vnd.plimsoll.step-inputs.v1+zstd` |

use std::collections::{BTreeMap, BTreeSet};

use oci::{Descriptor, Digest, MediaType};
use serde::{Deserialize, Serialize};

use super::artifact::{CacheArtifact, MAX_TEXT_BYTES, Usage, cut};

/// The media type of a piece of the folder of a cache mount.
pub const MOUNT_TYPE: &str = "application/vnd.plimsoll.cache-mount.v1.tar+zstd";
/// The media type of the inputs of steps.
pub const INPUTS_TYPE: &str = "application/vnd.plimsoll.step-inputs.v1+zstd";
/// Inputs of steps larger than this, compressed, in bytes, are neither read nor written.
pub(crate) const MAX_INPUTS_BYTES: u64 = 4 << 20;

const MAX_MOUNTS: usize = 1_000;
const MAX_PIECES: usize = 4_096;
const MAX_PIECE_BYTES: u64 = 256 << 20;
const MAX_INPUTS: usize = 1_000;

/// The folder of a cache mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountEntry {
    /// What the folder goes by: its id, and what it was made of at first.
    pub key: Digest,
    /// The id, for people.
    pub id: String,
    /// Over paths, kinds, modes, owners and bytes of all files; times are not in it.
    pub content: Digest,
    /// Size of the tar in bytes, uncompressed.
    pub bytes: u64,
    /// The blobs of the tar, in their order, each compressed by itself.
    pub pieces: Vec<Descriptor>,
    /// Whose build used it last.
    pub usage: Usage,
}

/// What the steps of a scope were made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputsEntry {
    /// The blob.
    pub blob: Descriptor,
    /// Whose build it was.
    pub usage: Usage,
}

/// A cache mount that a build has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedMount {
    /// Its id.
    pub id: String,
    /// The folder with `lock` and `data`, where a step that ran may have written to it.
    pub folder: Option<std::path::PathBuf>,
    /// What is larger than this, uncompressed, in bytes, is not kept.
    pub limit: u64,
}

impl MountEntry {
    /// Returns the sum of the sizes of its blobs, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.size).fold(0, u64::saturating_add)
    }

    /// Returns the entry as a build of `scope` uses it.
    #[must_use]
    pub fn used_by(&self, scope: &str) -> Self {
        Self { usage: Usage::now(scope), ..self.clone() }
    }

    pub(super) fn with_short_id(mut self) -> Self {
        self.id = cut(&self.id);
        self
    }
}

/// Whether the mounts of a configuration can be what they say.
pub(super) fn check_mounts(mounts: &[MountEntry]) -> Result<(), String> {
    if mounts.len() > MAX_MOUNTS {
        return Err(format!("it has {} cache mounts, {MAX_MOUNTS} are allowed", mounts.len()));
    }
    for mount in mounts {
        if mount.id.len() > MAX_TEXT_BYTES || mount.usage.scope.len() > MAX_TEXT_BYTES {
            return Err("a text of a cache mount is too long".to_owned());
        }
        if mount.pieces.is_empty() || mount.pieces.len() > MAX_PIECES {
            return Err(format!(
                "a cache mount has {} pieces, 1 to {MAX_PIECES} are allowed",
                mount.pieces.len()
            ));
        }
        for piece in &mount.pieces {
            if piece.media_type != MediaType::from(MOUNT_TYPE) || piece.size > MAX_PIECE_BYTES {
                let (kind, size) = (&piece.media_type, piece.size);
                return Err(format!("a piece of a cache mount is a {kind} of {size} bytes"));
            }
        }
    }
    Ok(())
}

/// Whether the inputs of a configuration can be what they say.
pub(super) fn check_inputs(inputs: &[InputsEntry]) -> Result<(), String> {
    if inputs.len() > MAX_INPUTS {
        return Err(format!("it has inputs of {} scopes, {MAX_INPUTS} are allowed", inputs.len()));
    }
    for InputsEntry { blob, usage } in inputs {
        if blob.media_type != MediaType::from(INPUTS_TYPE) || blob.size > MAX_INPUTS_BYTES {
            return Err(format!("inputs of steps are a {} of {} bytes", blob.media_type, blob.size));
        }
        if usage.scope.len() > MAX_TEXT_BYTES {
            return Err("the scope of inputs of steps is too long".to_owned());
        }
    }
    Ok(())
}

/// Takes mounts and inputs of `before` over into `merged`: what is not in it yet, not too old, and within `budget`.
pub(super) fn keep(
    before: &CacheArtifact,
    merged: &mut CacheArtifact,
    age: impl Fn(&Usage) -> Usage,
    limits: super::Limits,
) {
    for (key, mount) in &before.mounts {
        let usage = age(&mount.usage);
        if usage.unused <= limits.unused {
            merged.mounts.entry(*key).or_insert_with(|| MountEntry { usage, ..mount.clone() });
        }
    }
    for (scope, inputs) in &before.inputs {
        let usage = age(&inputs.usage);
        if usage.unused <= limits.unused {
            merged.inputs.entry(scope.clone()).or_insert_with(|| InputsEntry { usage, ..inputs.clone() });
        }
    }
    fit(&mut merged.mounts, limits.bytes);
}

/// Drops the mounts that were not used for longest until the rest fits; those used just now stay.
fn fit(mounts: &mut BTreeMap<Digest, MountEntry>, budget: u64) {
    let mut oldest: BTreeSet<(u32, Digest)> =
        mounts.iter().map(|(key, mount)| (mount.usage.unused, *key)).collect();
    while mounts.values().map(MountEntry::stored_bytes).fold(0, u64::saturating_add) > budget {
        match oldest.pop_last() {
            Some((unused, key)) if unused > 0 => drop(mounts.remove(&key)),
            _ => return,
        }
    }
}
