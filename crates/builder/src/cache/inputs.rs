//! What keys are made of, kept for people: which of it changed since a step last ran at the same place.
//!
//! Nothing is decided by this; a file that is damaged or missing only means that less can be said.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use oci::Digest;
use serde::{Deserialize, Serialize};

use super::KeyBuilder;

const SCHEMA: &str = "plimsoll.step-inputs/1";
/// Values longer than this are kept as their digest.
const LONGEST_VALUE: usize = 400;
/// Lists are kept up to this many values, and as many inputs of a key; of more only the first are compared.
const LONGEST_LIST: usize = 5_000;
/// Files of this size at most are read back.
const LARGEST_FILE: u64 = 16 << 20;

/// The inputs of one key, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    schema: String,
    /// The kind of step, such as `run`.
    pub kind: String,
    fields: Vec<(String, Input)>,
}

/// One input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Input {
    /// A value.
    Text(String),
    /// Several.
    List(Vec<String>),
}

/// A difference between the inputs of two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A value is another one.
    Value {
        /// Which input.
        name: &'a str,
        /// What it was.
        before: &'a str,
        /// What it is.
        now: &'a str,
    },
    /// A list has lost and got values.
    List {
        /// Which input.
        name: &'a str,
        /// What is there no more, in order.
        lost: Vec<&'a str>,
        /// What is new, in order.
        got: Vec<&'a str>,
    },
}

impl Input {
    pub(super) fn of(value: &[u8]) -> Self {
        Self::Text(text(value))
    }

    pub(super) fn keep(list: &mut Vec<String>, value: &[u8]) {
        if list.len() < LONGEST_LIST {
            list.push(text(value));
        }
    }
}

fn text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if text.len() <= LONGEST_VALUE => text.to_owned(),
        _ => Digest::of(value).to_string(),
    }
}

impl Inputs {
    pub(super) fn new(kind: &str) -> Self {
        Self { schema: SCHEMA.to_owned(), kind: kind.to_owned(), fields: Vec::new() }
    }

    pub(super) fn add(&mut self, name: &str, input: Input) {
        if self.fields.len() < LONGEST_LIST {
            self.fields.push((name.to_owned(), input));
        }
    }

    pub(super) fn fields(&self) -> &[(String, Input)] {
        &self.fields
    }

    /// Returns the values of a list; none where there is no such list.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        self.get(name).map(Input::values).unwrap_or_default()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Input> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, input)| input)
    }

    pub(super) fn cut_lists(&mut self, longest: Option<usize>) {
        for (_, input) in &mut self.fields {
            if let (Input::List(list), Some(longest)) = (input, longest) {
                list.truncate(longest);
            }
        }
    }

    /// Returns what is other than in `before`; empty where nothing that was kept differs.
    pub fn changes<'a>(&'a self, before: &'a Self) -> Vec<Change<'a>> {
        let change = |(name, now): &'a (String, Input)| match (before.get(name)?, now) {
            (before, now) if before == now => None,
            (Input::Text(before), Input::Text(now)) => Some(Change::Value { name, before, now }),
            (before, now) => {
                let (before, now) = (before.values(), now.values());
                let only = |these: &[&'a str], those: &[&'a str]| {
                    let those: BTreeSet<&str> = those.iter().copied().collect();
                    these.iter().copied().filter(|value| !those.contains(value)).collect::<Vec<_>>()
                };
                Some(Change::List { name, lost: only(&before, &now), got: only(&now, &before) })
            }
        };
        self.fields.iter().filter_map(change).collect()
    }
}

impl Input {
    fn values(&self) -> Vec<&str> {
        match self {
            Self::Text(text) => vec![text],
            Self::List(list) => list.iter().map(String::as_str).collect(),
        }
    }
}

/// The inputs with which the step at each place ran last.
#[derive(Clone, Debug)]
pub struct Places {
    folder: PathBuf,
}

impl Places {
    /// Returns the places of a folder, which is made when something is kept.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Returns what was kept for a place, whose name may be any words.
    pub fn get(&self, place: &[&str]) -> Option<Inputs> {
        let path = self.path(place);
        if fs::metadata(&path).ok()?.len() > LARGEST_FILE {
            return None;
        }
        let inputs: Inputs = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        (inputs.schema == SCHEMA).then_some(inputs)
    }

    /// Keeps the inputs of a place, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn put(&self, place: &[&str], inputs: &Inputs) -> io::Result<()> {
        let bytes = serde_json::to_vec(inputs).expect("inputs have only string keys");
        fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&bytes)?;
        file.persist(self.path(place)).map_err(|error| error.error)?;
        Ok(())
    }

    fn path(&self, place: &[&str]) -> PathBuf {
        Path::new(&self.folder).join(KeyBuilder::new("place").list("words", place).finish().hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(words: &[&str], folder: &str) -> crate::cache::CacheKey {
        KeyBuilder::new("run").list("words", words).field("folder", folder).finish()
    }

    #[test]
    fn what_changed_is_named() {
        let (before, now) = (key(&["a", "b"], "/"), key(&["b", "c"], "/x"));
        let changes = now.inputs().changes(before.inputs());
        let list = Change::List { name: "words", lost: vec!["a"], got: vec!["c"] };
        assert_eq!(changes, [list, Change::Value { name: "folder", before: "/", now: "/x" }]);
        assert_eq!(now.inputs().changes(now.inputs()), []);
    }

    #[test]
    fn long_and_binary_values_are_kept_as_digests() {
        let long = "x".repeat(LONGEST_VALUE + 1);
        assert_eq!(Input::of(long.as_bytes()), Input::Text(Digest::of(long.as_bytes()).to_string()));
        assert_eq!(Input::of(&[0xff]), Input::Text(Digest::of(&[0xff]).to_string()));
    }

    #[test]
    fn a_place_gives_back_what_was_kept_and_damage_counts_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::new(folder.path().join("places"));
        let key = key(&["a"], "/");
        assert_eq!(places.get(&["app", "1"]), None);
        places.put(&["app", "1"], key.inputs()).unwrap();
        assert_eq!(places.get(&["app", "1"]).as_ref(), Some(key.inputs()));
        assert_eq!(places.get(&["app1"]), None);
        fs::write(places.path(&["app", "1"]), b"{").unwrap();
        assert_eq!(places.get(&["app", "1"]), None);
    }
}
