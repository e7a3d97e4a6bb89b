//! What a cache outside this machine is to hold next: what builds used just now, and of what it held what is still
//! of use.
//!
//! A record whose layer was used stays. The others grow older with every export of the same scope, and go when they
//! are too old, or where the cache would be larger than its budget, the oldest first. What was used just now stays
//! whatever its size.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use oci::{Descriptor, DiffId, Digest};

use super::Inputs;
use super::StepRecord;
use super::artifact::{CacheArtifact, LayerEntry, StepEntry, Usage};
use super::carried::{self, MountEntry, UsedMount};

/// How much a cache keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Exports of its scope that a record may not be used in.
    pub unused: u32,
    /// Sum of the sizes of blobs, in bytes.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { unused: 10, bytes: 8 << 30 }
    }
}

/// What a build used of what can be cached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Steps that ran or were known, by their key.
    pub steps: BTreeMap<Digest, StepRecord>,
    /// Layers of base images.
    pub bases: BTreeMap<DiffId, Descriptor>,
    /// Cache mounts, by what they go by, where they are to be kept.
    pub mounts: BTreeMap<Digest, UsedMount>,
    /// What the steps were made of, by their place in the Dockerfile.
    pub inputs: BTreeMap<String, Arc<Inputs>>,
}

impl Used {
    /// Adds what another build used.
    pub fn add(&mut self, other: Self) {
        self.steps.extend(other.steps);
        self.bases.extend(other.bases);
        self.inputs.extend(other.inputs);
        for (key, mount) in other.mounts {
            self.add_mount(key, mount);
        }
    }

    /// Adds a cache mount; one that a step wrote to stays so.
    pub(crate) fn add_mount(&mut self, key: Digest, mount: UsedMount) {
        let known = self.mounts.entry(key).or_insert_with(|| mount.clone());
        // Of several folders of a private cache the first is kept.
        known.folder = [known.folder.take(), mount.folder].into_iter().flatten().min();
    }

    /// Leaves out steps whose layers are not among `layers`.
    pub fn retain_layers(&mut self, layers: &[Descriptor]) {
        let kept: BTreeSet<Digest> = layers.iter().map(|layer| layer.digest).collect();
        self.steps.retain(|_, record| kept.contains(&record.descriptor.digest));
    }

    /// Returns this as the content of a cache, as used by `scope`; `index` says which blob is a layer's index.
    pub fn artifact(&self, scope: &str, index: impl Fn(DiffId) -> Option<Descriptor>) -> CacheArtifact {
        let mut artifact = CacheArtifact::default();
        for (key, record) in &self.steps {
            let (diff_id, blob) = (record.diff_id, record.descriptor.clone());
            let layer = LayerEntry { diff_id, index: index(diff_id), blob, base: None };
            artifact.layers.insert(layer.blob.digest, layer);
            artifact.steps.insert(*key, StepEntry::used(*key, record, scope));
        }
        for (diff_id, blob) in &self.bases {
            let Some(index) = index(*diff_id) else { continue };
            let base = Some(Usage::now(scope));
            let layer = LayerEntry { diff_id: *diff_id, blob: blob.clone(), index: Some(index), base };
            artifact.layers.entry(blob.digest).or_insert(layer);
        }
        artifact
    }
}

/// Returns what a cache that holds `before` is to hold after builds used `now`; `None` where nothing is new. What steps
/// were made of is not news by itself.
pub fn merge(before: &CacheArtifact, now: CacheArtifact, limits: Limits) -> Option<CacheArtifact> {
    let is_known = |layer: &LayerEntry| {
        before.layers.get(&layer.blob.digest).is_some_and(|old| old.index.is_some() || layer.index.is_none())
    };
    let step_known =
        |(key, step): (&Digest, &StepEntry)| before.steps.get(key).is_some_and(|old| old.layer == step.layer);
    let mount_known = |(key, mount): (&Digest, &MountEntry)| {
        before.mounts.get(key).is_some_and(|old| old.content == mount.content)
    };
    if now.layers.values().all(is_known)
        && now.steps.iter().all(step_known)
        && now.mounts.iter().all(mount_known)
    {
        return None;
    }
    let scopes: BTreeSet<String> = now.steps.values().map(|step| step.usage.scope.clone()).collect();
    let age = |usage: &Usage| {
        let older = u32::from(scopes.contains(&usage.scope));
        Usage { scope: usage.scope.clone(), unused: usage.unused.saturating_add(older) }
    };
    let used: BTreeSet<Digest> = now.steps.values().map(|step| step.layer).collect();
    let mut merged = now;
    for (key, step) in &before.steps {
        let Some(layer) = before.layers.get(&step.layer) else { continue };
        let usage = match used.contains(&step.layer) {
            true => Usage { unused: 0, ..step.usage.clone() },
            false => age(&step.usage),
        };
        if usage.unused > limits.unused || merged.steps.contains_key(key) {
            continue;
        }
        merged.steps.insert(*key, StepEntry { usage, ..step.clone() });
        merged.layers.entry(step.layer).or_insert_with(|| layer.clone());
    }
    for layer in before.layers.values() {
        if let Some(known) = merged.layers.get_mut(&layer.blob.digest) {
            known.index = known.index.take().or_else(|| layer.index.clone());
            continue;
        }
        let Some(usage) = &layer.base else { continue };
        let usage = age(usage);
        if usage.unused <= limits.unused {
            let kept = LayerEntry { base: Some(usage), ..layer.clone() };
            merged.layers.insert(layer.blob.digest, kept);
        }
    }
    fit(&mut merged, limits.bytes);
    carried::keep(before, &mut merged, age, limits);
    Some(merged)
}

/// Drops the oldest records until the rest fits, and everything that fits no reader.
fn fit(artifact: &mut CacheArtifact, budget: u64) {
    let mut oldest: Vec<(u32, Digest)> =
        artifact.steps.iter().map(|(key, step)| (step.usage.unused, *key)).collect();
    oldest.sort_by(|a, b| b.cmp(a));
    let mut oldest = oldest.into_iter().filter(|(unused, _)| *unused > 0);
    while artifact.bytes() > budget {
        let Some((_, key)) = oldest.next() else { break };
        artifact.steps.remove(&key);
        artifact.drop_unnamed_layers();
    }
}

#[cfg(test)]
mod tests {
    use oci::MediaType;

    use super::*;

    fn used(names: &[&str]) -> Used {
        let record = |name: &&str| {
            let blob = Descriptor::of(MediaType::OciLayerGzip, name.as_bytes());
            let record = StepRecord::new(DiffId(Digest::of(name.as_bytes())), blob, name, 1);
            (Digest::of(format!("key {name}").as_bytes()), record)
        };
        Used { steps: names.iter().map(record).collect(), ..Used::default() }
    }

    fn artifact(scope: &str, names: &[&str]) -> CacheArtifact {
        used(names).artifact(scope, |diff_id| {
            Some(Descriptor::of(super::super::INDEX_TYPE.into(), diff_id.0.as_bytes()))
        })
    }

    fn names(artifact: &CacheArtifact) -> Vec<(&str, u32)> {
        let mut names: Vec<_> =
            artifact.steps.values().map(|step| (step.instruction.as_str(), step.usage.unused)).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn nothing_new_is_nothing_to_write() {
        let before = artifact("api", &["a", "b"]);
        assert_eq!(merge(&before, artifact("api", &["a"]), Limits::default()), None);
        assert_eq!(merge(&before, artifact("web", &["a", "b"]), Limits::default()), None);
        assert!(merge(&before, artifact("api", &["a", "c"]), Limits::default()).is_some());
    }

    #[test]
    fn what_is_not_used_grows_old_and_goes() {
        let limits = Limits { unused: 2, ..Limits::default() };
        let mut held = artifact("api", &["a", "b"]);
        held = merge(&held, artifact("web", &["w"]), limits).unwrap();
        assert_eq!(names(&held), [("a", 0), ("b", 0), ("w", 0)], "another's export makes nothing older");
        for (number, new) in ["c", "d"].iter().enumerate() {
            held = merge(&held, artifact("api", &["a", new]), limits).unwrap();
            assert!(names(&held).contains(&("b", number as u32 + 1)), "{held:?}");
        }
        held = merge(&held, artifact("api", &["a", "e"]), limits).unwrap();
        assert_eq!(names(&held), [("a", 0), ("c", 2), ("d", 1), ("e", 0), ("w", 0)]);
        assert_eq!(held.layers.len(), 5);
    }

    #[test]
    fn beyond_the_budget_the_oldest_go_and_what_was_used_stays() {
        let one = artifact("api", &["a"]).bytes();
        let before = merge(&artifact("api", &["a"]), artifact("api", &["b"]), Limits::default()).unwrap();
        let limits = Limits { bytes: 2 * one, ..Limits::default() };
        let held = merge(&before, artifact("api", &["c"]), limits).unwrap();
        assert_eq!(names(&held), [("b", 1), ("c", 0)]);
        let limits = Limits { bytes: 1, ..Limits::default() };
        assert_eq!(
            names(&merge(&before, artifact("api", &["c", "d"]), limits).unwrap()),
            [("c", 0), ("d", 0)]
        );
    }

    #[test]
    fn an_index_that_is_there_stays() {
        let before = artifact("api", &["a"]);
        let now = used(&["a", "b"]).artifact("api", |_| None);
        let held = merge(&before, now, Limits::default()).unwrap();
        assert!(held.layers[&Digest::of(b"a")].index.is_some());
    }

    #[test]
    fn steps_of_other_images_can_be_left_out() {
        let mut all = used(&["a", "b"]);
        all.retain_layers(&[Descriptor::of(MediaType::OciLayerGzip, b"a")]);
        assert_eq!(all, used(&["a"]));
    }
}
