//! What steps were made of, as it travels with a cache outside this machine: names and digests, so that another
//! machine can say which input of a step changed. It is read for explanations only.
//!
//! | input | travels as |
//! |---|---|
//! | command, working folder, user, sources, destination, ... (`PLAIN`) | it is; the image's history has them as well |
//! | variable | its name and a digest |
//! | file | its path and a digest |
//! | script, here-document, mount and everything else | a digest |
//!
//! Digests are short, and taken with the place of the step in front, so that equal values in two places do not show.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use layer::Settings;
use oci::{Compression, Digest};
use serde::{Deserialize, Serialize};

use super::carried::MAX_INPUTS_BYTES;
use super::inputs::{Input, Inputs};

const SCHEMA: &str = "plimsoll.shared-inputs/1";
/// Uncompressed bytes that are read at most.
const MAX_BYTES: u64 = 64 << 20;
/// How long lists may be, where the longest would make too much.
const LIST_LIMITS: [Option<usize>; 3] = [None, Some(500), Some(20)];
/// Starts a value that is a digest of what it was.
const MARK: char = '~';
/// Inputs that travel as they are.
const PLAIN: [&str; 16] = [
    "below",
    "chmod",
    "chown",
    "destination",
    "epoch",
    "exclude",
    "folder",
    "form",
    "from",
    "limits",
    "network",
    "parents",
    "platform",
    "sources",
    "user",
    "words",
];

/// The inputs of the steps of one scope, by place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SharedInputs {
    schema: String,
    /// How long lists are at most, where they were cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    longest: Option<usize>,
    pub places: BTreeMap<String, Inputs>,
}

/// Whether a value is only the digest of one.
pub(crate) fn is_hidden(value: &str) -> bool {
    value.starts_with(MARK)
}

impl SharedInputs {
    /// Returns inputs as they travel.
    pub fn new(inputs: &BTreeMap<String, Arc<Inputs>>) -> Self {
        let share = |(place, inputs): (&String, &Arc<Inputs>)| (place.clone(), inputs.shared(place));
        Self { schema: SCHEMA.to_owned(), longest: None, places: inputs.iter().map(share).collect() }
    }

    /// Returns the bytes; `None` where they would be too many even without long lists.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        LIST_LIMITS.into_iter().find_map(|longest| {
            let mut shorter = Self { longest, ..self.clone() };
            shorter.places.values_mut().for_each(|inputs| inputs.cut_lists(longest));
            let json = serde_json::to_vec(&shorter).expect("it has only string keys");
            let bytes = compress(&json).ok()?;
            (json.len() as u64 <= MAX_BYTES && bytes.len() as u64 <= MAX_INPUTS_BYTES).then_some(bytes)
        })
    }

    /// Returns the inputs of a step at `place` that can be compared with those here.
    pub fn comparable(&self, place: &str, inputs: &Inputs) -> Inputs {
        let mut shared = inputs.shared(place);
        shared.cut_lists(self.longest);
        shared
    }

    /// Reads what [`Self::to_bytes`] gave.
    ///
    /// # Errors
    /// It is something else, or too much.
    pub fn parse(bytes: &[u8]) -> io::Result<Self> {
        let tar = layer::decompress(io::Cursor::new(bytes.to_vec()))?;
        let mut json = Vec::new();
        tar.take(MAX_BYTES + 1).read_to_end(&mut json)?;
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        if json.len() as u64 > MAX_BYTES {
            return Err(invalid(format!("inputs of steps of more than {MAX_BYTES} bytes")));
        }
        let read: Self = serde_json::from_slice(&json).map_err(|error| invalid(error.to_string()))?;
        match read.schema == SCHEMA {
            true => Ok(read),
            false => Err(invalid(format!("inputs of steps of another schema than {SCHEMA}"))),
        }
    }
}

fn compress(json: &[u8]) -> io::Result<Vec<u8>> {
    let settings = Settings::new(Compression::Zstd).with_workers(1);
    let mut compressor = layer::compressor(settings, Vec::new())?;
    compressor.write_all(json)?;
    compressor.finish()
}

impl Inputs {
    /// Returns the inputs of the step at `place` as they travel.
    pub(crate) fn shared(&self, place: &str) -> Self {
        let is_script = matches!(self.get("form"), Some(Input::Text(form)) if form == "script");
        let is_plain = |name: &str| PLAIN.contains(&name) && !(is_script && name == "words");
        let mut shared = Self::new(&self.kind);
        for (name, input) in self.fields() {
            let hide = |value: &String| match name.as_str() {
                name if is_plain(name) => value.clone(),
                "environment" => {
                    let variable = value.split('=').next().unwrap_or_default();
                    format!("{variable}={}", hidden(place, name, value))
                }
                "items" => path_and(value, &hidden(place, name, value)),
                name => hidden(place, name, value),
            };
            let input = match input {
                Input::Text(text) => Input::Text(hide(text)),
                Input::List(list) => Input::List(list.iter().map(hide).collect()),
            };
            shared.add(name, input);
        }
        shared
    }
}

fn hidden(place: &str, name: &str, value: &str) -> String {
    let digest = Digest::of([place, name, value].join("\0").as_bytes());
    format!("{MARK}{}", digest.short(16))
}

/// Keeps the path of an item, which stands behind its length and another; an item without them is a name alone.
fn path_and(item: &str, digest: &str) -> String {
    let parts = item.split_once(' ').and_then(|(length, rest)| Some((length, rest.split_once(' ')?.1)));
    match parts.and_then(|(length, rest)| rest.get(..length.parse().ok()?)) {
        Some(path) => format!("{} 0 {path}{digest}", path.len()),
        None => item.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::{Change, KeyBuilder};

    fn inputs(token: &str, file: &str) -> Arc<Inputs> {
        let key = KeyBuilder::new("run")
            .field("form", "script")
            .list("words", ["bash", "curl -H secret"])
            .list("environment", [format!("TOKEN={token}")])
            .list("items", [format!("5 10 a/b.cfile 3 {file}644"), "folder a".to_owned()])
            .field("folder", "/work");
        key.finish().shared_inputs()
    }

    fn shared(token: &str, file: &str) -> SharedInputs {
        SharedInputs::new(&BTreeMap::from([("place".to_owned(), inputs(token, file))]))
    }

    #[test]
    fn no_value_travels_that_may_be_secret() {
        let shared = shared("hunter2", "sha256:ab");
        let text = serde_json::to_string(&shared).unwrap();
        for word in ["hunter2", "secret", "sha256:ab"] {
            assert!(!text.contains(word), "{text}");
        }
        for word in ["TOKEN=~", "/work", "a/b.c~", "folder a"] {
            assert!(text.contains(word), "{text}");
        }
        assert_eq!(SharedInputs::parse(&shared.to_bytes().unwrap()).unwrap(), shared);
    }

    #[test]
    fn changes_are_seen_through_digests() {
        let (before, now) = (shared("a", "sha256:1"), shared("b", "sha256:1"));
        let changes = now.places["place"].changes(&before.places["place"]);
        assert!(matches!(changes[..], [Change::List { name: "environment", .. }]), "{changes:?}");
        assert_eq!(now.places["place"].changes(&now.places["place"]), []);
    }

    #[test]
    fn long_lists_are_cut_where_they_would_be_too_much() {
        let many =
            (0..80_000).map(|number| format!("5 10 {}file", Digest::of(format!("{number}").as_bytes())));
        let key = KeyBuilder::new("copy").list("sources", many).finish();
        let places = (0..40).map(|place| (place.to_string(), key.shared_inputs())).collect();
        let bytes = SharedInputs::new(&places).to_bytes().unwrap();
        assert!(bytes.len() as u64 <= MAX_INPUTS_BYTES);
        assert_eq!(SharedInputs::parse(&bytes).unwrap().places.len(), 40);
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut bytes = shared("a", "b").to_bytes().unwrap();
            let place = at.index(bytes.len());
            bytes[place] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
            let _ = SharedInputs::parse(&bytes);
        }

        #[test]
        fn any_item_can_be_shared(item in ".*", name in "items|environment|x") {
            let key = KeyBuilder::new("copy").list(&name, [&item]).finish();
            let shared = key.inputs().shared("place");
            prop_assert_eq!(shared.list(&name).len(), 1);
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [&b""[..], b"{}", b"\x28\xb5\x2f\xfd", br#"{"schema":"x/1","places":{}}"#] {
            assert!(SharedInputs::parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
