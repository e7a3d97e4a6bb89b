//! What a clean-up of the cache removes: a plan made of what is there and of how much may stay, before
//! anything is touched.
//!
//! | what | goes |
//! |---|---|
//! | a layer that steps gave, with its records, index and unpacked form | the oldest first, until age and size are kept |
//! | its blob | with it, unless an image needs it |
//! | the unpacked form of any other layer | likewise; it is made again when a step runs over it |
//! | folders of cache mounts, merged layers, notes (`KeptKind`) | likewise |
//! | what killed processes left | always |
//! | a blob that neither an image nor a record names | always, once it is a day old |

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use oci::{DiffId, Digest};
use store::layout::StoredBlob;

/// One layer as the cache has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedLayer {
    /// Which layer.
    pub diff_id: DiffId,
    /// The last instruction that gave it; `None` for a layer of a base image.
    pub instruction: Option<String>,
    /// How long that took, in milliseconds.
    pub milliseconds: u64,
    /// When it was last of use.
    pub used: SystemTime,
    /// Its blobs, with their sizes in bytes, where the store has them.
    pub blobs: Vec<(Digest, u64)>,
    /// Bytes of its unpacked form; 0 where it is not unpacked.
    pub unpacked_bytes: u64,
    /// The files of its records.
    pub records: Vec<PathBuf>,
    /// Its unpacked forms.
    pub trees: Vec<PathBuf>,
    /// Its file index.
    pub index: Option<PathBuf>,
}

/// Something that is kept besides layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What it is.
    pub kind: KeptKind,
    /// Its name, for people.
    pub name: String,
    /// When it was last of use.
    pub used: SystemTime,
    /// Its size.
    pub bytes: u64,
    /// Its files and folders.
    pub paths: Vec<PathBuf>,
}

/// What is kept besides layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeptKind {
    /// The folder of a `RUN --mount=type=cache`.
    Mount,
    /// Layers merged into one folder, where there is no overlayfs.
    Merged,
    /// What is in a layer that no step here gave.
    Index,
    /// Which blob a layer is in another compression, of a layer that no step here gave.
    Variant,
    /// What a step was made of when it last ran, for explanations.
    Inputs,
    /// Digests of the files of a context.
    Digests,
    /// What arrived of a blob that comes from elsewhere.
    Download,
    /// Where an upload to a registry is that did not come to its end.
    Upload,
    /// What a killed process left.
    Leftover,
}

/// How much may stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// What was not of use for longer goes.
    pub max_age: Option<Duration>,
    /// Most bytes that stay: blobs that only the cache needs, and unpacked layers.
    pub max_bytes: Option<u64>,
}

/// What is to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrunePlan {
    /// Layers, oldest first.
    pub layers: Vec<CachedLayer>,
    /// What is no layer, oldest first.
    pub others: Vec<Kept>,
    /// Blobs, those of the layers among them, with their sizes in bytes.
    pub blobs: Vec<(Digest, u64)>,
    /// Bytes that become free.
    pub bytes: u64,
    /// Bytes of the cache that stay.
    pub kept_bytes: u64,
}

/// A blob that nothing names is left for this long: whoever wrote it may be about to name it, in a process that
/// does not hold the store's lock between two requests.
pub const GRACE: Duration = Duration::from_secs(24 * 3600);

impl CachedLayer {
    /// Returns the bytes that only the cache needs it for; `needed` is what images need.
    pub fn bytes(&self, needed: &HashSet<Digest>) -> u64 {
        let own = self.blobs.iter().filter(|(digest, _)| !needed.contains(digest));
        own.map(|(_, size)| size).sum::<u64>() + self.unpacked_bytes
    }
}

impl PrunePlan {
    /// Decides what goes. `needed` is what images need, `blobs` all that the store has.
    pub fn new(
        layers: Vec<CachedLayer>,
        others: Vec<Kept>,
        blobs: &[StoredBlob],
        needed: &HashSet<Digest>,
        budget: Budget,
        now: SystemTime,
    ) -> Self {
        let layers = layers.into_iter().map(Candidate::Layer);
        let mut all: Vec<Candidate> = layers.chain(others.into_iter().map(Candidate::Other)).collect();
        all.sort_by(|a, b| a.order().cmp(&b.order()));
        let mut left: u64 = all.iter().map(|one| one.bytes(needed)).sum();
        let mut plan = Self::default();
        let mut named: HashSet<Digest> = needed.clone();
        for one in all {
            // A time to come is a clock that was set back: as young as can be.
            let age = now.duration_since(one.used()).unwrap_or_default();
            let is_old = budget.max_age.is_some_and(|most| age > most);
            let is_too_much = budget.max_bytes.is_some_and(|most| left > most);
            let goes = is_old || is_too_much || one.is_leftover();
            left -= if goes { one.bytes(needed) } else { 0 };
            match one {
                Candidate::Layer(layer) if goes => {
                    plan.bytes += layer.unpacked_bytes;
                    plan.layers.push(layer);
                }
                Candidate::Layer(layer) => named.extend(layer.blobs.iter().map(|(digest, _)| *digest)),
                Candidate::Other(other) if goes => {
                    plan.bytes += other.bytes;
                    plan.others.push(other);
                }
                Candidate::Other(_) => {}
            }
        }
        let given_up: HashSet<Digest> =
            plan.layers.iter().flat_map(|layer| layer.blobs.iter().map(|(digest, _)| *digest)).collect();
        let settled = |blob: &&StoredBlob| now.duration_since(blob.modified).is_ok_and(|age| age > GRACE);
        let stray = |blob: &&StoredBlob| !named.contains(&blob.digest);
        let goes = blobs.iter().filter(stray).filter(|blob| given_up.contains(&blob.digest) || settled(blob));
        plan.blobs = goes.map(|blob| (blob.digest, blob.size)).collect();
        plan.blobs.sort_unstable();
        plan.bytes += plan.blobs.iter().map(|(_, size)| size).sum::<u64>();
        plan.kept_bytes = left;
        plan
    }
}

/// What may go, each in its turn.
enum Candidate {
    Layer(CachedLayer),
    Other(Kept),
}

impl Candidate {
    fn used(&self) -> SystemTime {
        match self {
            Self::Layer(layer) => layer.used,
            Self::Other(other) => other.used,
        }
    }

    fn bytes(&self, needed: &HashSet<Digest>) -> u64 {
        match self {
            Self::Layer(layer) => layer.bytes(needed),
            Self::Other(other) => other.bytes,
        }
    }

    fn is_leftover(&self) -> bool {
        matches!(self, Self::Other(Kept { kind: KeptKind::Leftover, .. }))
    }

    /// Oldest first; of the same moment always in the same order.
    fn order(&self) -> (SystemTime, Option<DiffId>, Option<(KeptKind, &str)>) {
        match self {
            Self::Layer(layer) => (layer.used, Some(layer.diff_id), None),
            Self::Other(other) => (other.used, None, Some((other.kind, &other.name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;

    fn day(number: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(number * DAY)
    }

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn layer(name: &str, used: u64, blob_bytes: u64, unpacked_bytes: u64) -> CachedLayer {
        CachedLayer {
            diff_id: DiffId(digest(&format!("{name} tar"))),
            instruction: Some(format!("RUN {name}")),
            milliseconds: 1,
            used: day(used),
            blobs: vec![(digest(name), blob_bytes)],
            unpacked_bytes,
            records: Vec::new(),
            trees: Vec::new(),
            index: None,
        }
    }

    fn blob(name: &str, size: u64, modified: u64) -> StoredBlob {
        StoredBlob { digest: digest(name), size, modified: day(modified) }
    }

    fn state() -> (Vec<CachedLayer>, Vec<StoredBlob>, HashSet<Digest>) {
        let layers = vec![layer("new", 19, 10, 100), layer("image", 1, 20, 200), layer("old", 2, 30, 300)];
        let blobs = vec![
            blob("new", 10, 3),
            blob("image", 20, 1),
            blob("old", 30, 2),
            blob("stray", 5, 2),
            blob("young stray", 7, 20),
        ];
        (layers, blobs, HashSet::from([digest("image")]))
    }

    #[track_caller]
    fn check(budget: Budget, layers: &[&str], blobs: &[&str], bytes: u64, kept_bytes: u64) {
        let (cached, stored, needed) = state();
        let plan = PrunePlan::new(cached, Vec::new(), &stored, &needed, budget, day(20));
        let names: Vec<_> = plan.layers.iter().filter_map(|layer| layer.instruction.clone()).collect();
        assert_eq!(names, layers.iter().map(|name| format!("RUN {name}")).collect::<Vec<_>>());
        let mut expected: Vec<Digest> = blobs.iter().map(|name| digest(name)).collect();
        expected.sort_unstable();
        assert_eq!(plan.blobs.iter().map(|(digest, _)| *digest).collect::<Vec<_>>(), expected);
        assert_eq!((plan.bytes, plan.kept_bytes), (bytes, kept_bytes));
    }

    #[test]
    fn without_limits_only_what_nothing_names_goes() {
        check(Budget::default(), &[], &["stray"], 5, 640);
    }

    #[test]
    fn what_is_too_old_goes_but_never_what_an_image_needs() {
        let budget = Budget { max_age: Some(Duration::from_secs(7 * DAY)), max_bytes: None };
        check(budget, &["image", "old"], &["old", "stray"], 535, 110);
    }

    #[test]
    fn the_oldest_go_until_the_rest_fits() {
        let budget = |bytes| Budget { max_age: None, max_bytes: Some(bytes) };
        check(budget(440), &["image"], &["stray"], 205, 440);
        check(budget(439), &["image", "old"], &["old", "stray"], 535, 110);
        check(budget(0), &["image", "old", "new"], &["new", "old", "stray"], 645, 0);
    }

    #[test]
    fn what_is_no_layer_goes_in_its_turn_and_leftovers_always() {
        let kept = |kind, name: &str, used, bytes| Kept {
            kind,
            name: name.to_owned(),
            used: day(used),
            bytes,
            paths: Vec::new(),
        };
        let others = || {
            vec![
                kept(KeptKind::Mount, "npm", 3, 1000),
                kept(KeptKind::Mount, "apt", 18, 50),
                kept(KeptKind::Leftover, "step-x", 20, 9),
            ]
        };
        let names = |budget| {
            let (cached, stored, needed) = state();
            let plan = PrunePlan::new(cached, others(), &stored, &needed, budget, day(20));
            let names: Vec<String> = plan.others.iter().map(|other| other.name.clone()).collect();
            (names.join(" "), plan.layers.len(), plan.bytes, plan.kept_bytes)
        };
        assert_eq!(names(Budget::default()), ("step-x".to_owned(), 0, 9 + 5, 640 + 1050));
        let old = Budget { max_age: Some(Duration::from_secs(7 * DAY)), max_bytes: None };
        assert_eq!(names(old), ("npm step-x".to_owned(), 2, 1000 + 9 + 535, 110 + 50));
        let small = Budget { max_age: None, max_bytes: Some(1200) };
        assert_eq!(names(small), ("step-x".to_owned(), 2, 9 + 535, 110 + 1050));
        let none = Budget { max_age: None, max_bytes: Some(0) };
        assert_eq!(names(none), ("npm apt step-x".to_owned(), 3, 1059 + 645, 0));
    }

    #[test]
    fn a_blob_that_a_kept_layer_has_too_stays() {
        let (mut cached, stored, needed) = state();
        cached[0].blobs.push((digest("old"), 30));
        let budget = Budget { max_age: Some(Duration::from_secs(7 * DAY)), max_bytes: None };
        let plan = PrunePlan::new(cached, Vec::new(), &stored, &needed, budget, day(20));
        assert!(!plan.blobs.iter().any(|(found, _)| *found == digest("old")));
    }
}
