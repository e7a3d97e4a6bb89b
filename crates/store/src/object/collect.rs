//! Garbage collection in a bucket: the same rules as `layout::collect`, with what a bucket has.
//!
//! | is | stays |
//! |---|---|
//! | a manifest in a repository, tagged or not, and what it is made of | always |
//! | a blob that was put or mounted into a repository, or asked for there | for the grace time |
//! | any other blob | for the grace time, and as long as the caller wants to keep it |
//!
//! A bucket has no locks. Pushes of this process wait while a turn is carried out. Pushes of other
//! processes are safe by the grace time: whoever is told that a blob is there gets a new note of
//! it first, a turn looks at the notes and manifests just before it removes, and a manifest is only
//! taken while its content is there. Notes go before content, so a collection that is killed leaves
//! what the next one takes. One process should collect, however many serve.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::time::Duration;

use oci::{Algorithm, Digest, Document};

use super::bucket::{Depth, Entry};
use super::{ObjectStore, keys, parallel};
use crate::StoreError;
use crate::children::children;
use crate::layout::{CollectOptions, Collected};

/// How many objects are removed in one turn; a bucket takes as many in one request.
const TURN: usize = 1000;

/// What a collection would remove. Making it removes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectCollection {
    /// Blobs that nothing needs, with their sizes in bytes, ascending by digest.
    pub blobs: Vec<(Digest, u64)>,
    /// Manifests of repositories whose content is not there; they need what nobody knows.
    pub unreadable: Vec<String>,
    /// Keys of notes that a blob belongs to a repository whose manifests do not need it.
    notes: Vec<String>,
    /// What manifests are made of, so that each is read once.
    known: HashMap<Digest, Option<Vec<Digest>>>,
}

/// What stands in the bucket about repositories at one moment.
#[derive(Default)]
struct Facts {
    /// By repository: its manifests and what they are made of.
    needed: HashMap<String, HashSet<Digest>>,
    /// All of those.
    all_needed: HashSet<Digest>,
    notes: Vec<Note>,
}

/// A blob was put into a repository.
struct Note {
    key: String,
    repository: String,
    digest: Digest,
    entry: Entry,
}

/// Before when content counts as old.
#[derive(Clone, Copy)]
enum Age {
    /// Whatever its time: nothing is spared.
    Any,
    /// Written before this time of the bucket, in seconds.
    Before(i64),
    /// Never: the bucket tells no times.
    Never,
}

impl ObjectCollection {
    /// Returns the sum of the sizes of the blobs, in bytes.
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|(_, size)| size).sum()
    }
}

impl Age {
    fn is_old(self, entry: &Entry) -> bool {
        match self {
            Self::Any => true,
            Self::Before(time) => entry.written.is_some_and(|written| written < time),
            Self::Never => false,
        }
    }
}

impl ObjectStore {
    /// Finds what nothing needs; `keep` names blobs that stay although no image needs them.
    ///
    /// # Errors
    /// `Corrupt` where a manifest's bytes are wrong: what it needs is not known, so nothing is
    /// removed. `Denied` or `Unreachable`.
    pub fn plan_collection(
        &self,
        options: &CollectOptions,
        keep: &dyn Fn(&Digest) -> bool,
    ) -> Result<ObjectCollection, StoreError> {
        let age = self.age(options.grace)?;
        let mut plan = ObjectCollection::default();
        let facts = self.facts(&mut plan)?;
        let mut staying = HashSet::new();
        for note in &facts.notes {
            match facts.needs(note) || !age.is_old(&note.entry) {
                true => {
                    staying.insert(note.digest);
                }
                false => plan.notes.push(note.key.clone()),
            }
        }
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for entry in self.bucket().list(&keys::blobs(algorithm), Depth::One)? {
                let name = format!("{}:{}", algorithm.as_str(), entry.name);
                let Ok(digest) = name.parse::<Digest>() else { continue };
                let stays = staying.contains(&digest) || facts.is_needed(&digest) || keep(&digest);
                if !stays && age.is_old(&entry) {
                    plan.blobs.push((digest, entry.size));
                }
            }
        }
        plan.blobs.sort();
        Ok(plan)
    }

    /// Removes what the plan names and what still nothing needs.
    ///
    /// # Errors
    /// As for [`ObjectStore::plan_collection`]. What was removed before stays removed.
    pub fn apply_collection(
        &self,
        mut plan: ObjectCollection,
        options: &CollectOptions,
    ) -> Result<Collected, StoreError> {
        let age = self.age(options.grace)?;
        let (notes, blobs) = (std::mem::take(&mut plan.notes), std::mem::take(&mut plan.blobs));
        for turn in notes.chunks(TURN) {
            let _alone = self.0.turn.write().unwrap_or_else(PoisonError::into_inner);
            let facts = self.facts(&mut plan)?;
            let planned: HashSet<&String> = turn.iter().collect();
            let goes =
                |note: &&Note| planned.contains(&note.key) && !facts.needs(note) && age.is_old(&note.entry);
            let gone: Vec<String> = facts.notes.iter().filter(goes).map(|note| note.key.clone()).collect();
            self.bucket().remove_all(gone)?;
        }
        let mut collected = Collected::default();
        for turn in blobs.chunks(TURN) {
            let _alone = self.0.turn.write().unwrap_or_else(PoisonError::into_inner);
            let facts = self.facts(&mut plan)?;
            let noted: HashSet<Digest> = facts.notes.iter().map(|note| note.digest).collect();
            let free = |blob: &&(Digest, u64)| !noted.contains(&blob.0) && !facts.is_needed(&blob.0);
            let gone: Vec<(Digest, u64)> = turn.iter().filter(free).copied().collect();
            self.bucket().remove_all(gone.iter().map(|(digest, _)| keys::blob(digest)).collect())?;
            collected.blobs += gone.len() as u64;
            collected.bytes += gone.iter().map(|(_, size)| size).sum::<u64>();
        }
        Ok(collected)
    }

    /// Reads what repositories have. Each manifest's content is read once for a plan.
    fn facts(&self, plan: &mut ObjectCollection) -> Result<Facts, StoreError> {
        let mut facts = Facts::default();
        let mut manifests = Vec::new();
        for entry in self.bucket().list(keys::REPOSITORIES, Depth::All)? {
            let Some((place, name)) = entry.name.rsplit_once('/') else { continue };
            let (Some((repository, kind)), Some(digest)) = (place.rsplit_once('/'), keys::digest(name))
            else {
                continue;
            };
            let repository = repository.to_owned();
            match kind {
                "_manifests" => manifests.push((repository, digest)),
                "_blobs" => {
                    let key = format!("{}{}", keys::REPOSITORIES, entry.name);
                    facts.notes.push(Note { key, repository, digest, entry });
                }
                _ => {}
            }
        }
        self.learn(&manifests, plan)?;
        for (repository, digest) in manifests {
            let needed = facts.needed.entry(repository).or_default();
            let parts = plan.known.get(&digest).into_iter().flatten().flatten();
            for part in parts.chain([&digest]) {
                needed.insert(*part);
                facts.all_needed.insert(*part);
            }
        }
        Ok(facts)
    }

    /// Reads the manifests that were not read before.
    fn learn(&self, manifests: &[(String, Digest)], plan: &mut ObjectCollection) -> Result<(), StoreError> {
        let new: HashSet<Digest> = manifests.iter().map(|(_, digest)| *digest).collect();
        let new: Vec<Digest> = new.into_iter().filter(|digest| !plan.known.contains_key(digest)).collect();
        let read = parallel(&new, |digest| self.made_of(digest))?;
        for (digest, parts) in new.into_iter().zip(read) {
            if parts.is_none() {
                plan.unreadable.push(digest.to_string());
            }
            plan.known.insert(digest, parts);
        }
        plan.unreadable.sort();
        Ok(())
    }

    /// Returns what a manifest is made of; `None` where its content is not there.
    fn made_of(&self, digest: &Digest) -> Result<Option<Vec<Digest>>, StoreError> {
        let Some(raw) = self.read_document(digest)? else { return Ok(None) };
        let document = Document::parse(raw, None)
            .map_err(|error| StoreError::Corrupt { what: self.what(digest), reason: error.to_string() })?;
        Ok(Some(children(&document).iter().map(|child| child.descriptor.digest).collect()))
    }

    /// Returns what counts as old, by the clock that stamps the bucket's objects.
    fn age(&self, grace: Duration) -> Result<Age, StoreError> {
        if grace.is_zero() {
            return Ok(Age::Any);
        }
        self.bucket().put(keys::CLOCK, Vec::new())?;
        let now = self.bucket().look(keys::CLOCK)?.and_then(|entry| entry.written);
        Ok(now.map_or(Age::Never, |now| {
            Age::Before(now.saturating_sub(i64::try_from(grace.as_secs()).unwrap_or(i64::MAX)))
        }))
    }
}

impl Facts {
    /// Whether the repository's own manifests need the blob.
    fn needs(&self, note: &Note) -> bool {
        self.needed.get(&note.repository).is_some_and(|needed| needed.contains(&note.digest))
    }

    fn is_needed(&self, digest: &Digest) -> bool {
        self.all_needed.contains(digest)
    }
}
