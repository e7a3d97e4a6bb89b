//! Cache keys: a hash over length-prefixed fields, so that no two lists of fields run together.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher as HashInto};
use std::sync::Arc;

use oci::{Digest, Hasher};

use super::inputs::{Input, Inputs};

/// Changing what goes into a key, or what a step makes of the same key, needs a new number here.
const SCHEMA: &str = "plimsoll.step-key/1";

/// The identity of a step's result, with what it was made of for people. Keys are compared by their hash.
#[derive(Clone)]
pub struct CacheKey {
    hash: Digest,
    inputs: Arc<Inputs>,
}

impl CacheKey {
    /// Returns the key in hexadecimal, as it names files.
    pub fn hex(&self) -> String {
        self.hash.hex()
    }

    /// Returns the key as a digest, as caches outside this machine name it.
    pub fn digest(&self) -> Digest {
        self.hash
    }

    /// Returns what the key was made of.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Returns the same, to be kept.
    pub(crate) fn shared_inputs(&self) -> Arc<Inputs> {
        Arc::clone(&self.inputs)
    }
}

impl PartialEq for CacheKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for CacheKey {}

impl PartialOrd for CacheKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for CacheKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.hash.cmp(&other.hash)
    }
}

impl Hash for CacheKey {
    fn hash<H: HashInto>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

/// Collects the fields of a key.
pub struct KeyBuilder {
    hasher: Hasher,
    inputs: Inputs,
}

impl KeyBuilder {
    /// Starts the key of a step of `kind`.
    pub fn new(kind: &str) -> Self {
        let start = Self { hasher: Hasher::default(), inputs: Inputs::new(kind) };
        start.hashed("schema", SCHEMA).hashed("kind", kind)
    }

    /// Adds one named value.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.inputs.add(name, Input::of(value.as_ref()));
        self.hashed(name, value)
    }

    fn hashed(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.part(name.as_bytes());
        self.part(value.as_ref());
        self
    }

    /// Adds a named list; an empty list differs from no list.
    #[must_use]
    pub fn list<T: AsRef<[u8]>>(mut self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        self.part(name.as_bytes());
        let mut count: u64 = 0;
        let mut kept = Vec::new();
        for value in values {
            self.part(value.as_ref());
            Input::keep(&mut kept, value.as_ref());
            count += 1;
        }
        self.hasher.update(b"end");
        self.hasher.update(&count.to_le_bytes());
        self.inputs.add(name, Input::List(kept));
        self
    }

    /// Returns the key.
    pub fn finish(self) -> CacheKey {
        CacheKey { hash: self.hasher.finish(), inputs: Arc::new(self.inputs) }
    }

    fn part(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_together() {
        let key = |a: &str, b: &str| KeyBuilder::new("run").field("a", a).field("b", b).finish();
        assert_ne!(key("xy", "z"), key("x", "yz"));
        assert_eq!(key("x", "y"), key("x", "y"));
    }

    #[test]
    fn lists_do_not_run_together() {
        let key =
            |lists: [&[&str]; 2]| KeyBuilder::new("run").list("a", lists[0]).list("b", lists[1]).finish();
        assert_ne!(key([&["x", "y"], &[]]), key([&["x"], &["y"]]));
        assert_ne!(key([&["xy"], &[]]), key([&["x", "y"], &[]]));
    }

    #[test]
    fn kinds_differ() {
        assert_ne!(KeyBuilder::new("run").finish(), KeyBuilder::new("copy").finish());
    }
}
