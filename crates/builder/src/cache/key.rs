//! Cache keys: a hash over length-prefixed fields, so that no two lists of fields run together.

use std::fmt;

use oci::{Digest, Hasher};

/// Changing what goes into a key, or what a step makes of the same key, needs a new number here.
const SCHEMA: &str = "plimsoll.step-key/1";

/// The identity of a step's result.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(Digest);

impl CacheKey {
    /// Returns the key in hexadecimal, as it names files.
    pub fn hex(&self) -> String {
        self.0.hex()
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
pub struct KeyBuilder(Hasher);

impl KeyBuilder {
    /// Starts the key of a step of `kind`.
    pub fn new(kind: &str) -> Self {
        Self(Hasher::default()).field("schema", SCHEMA).field("kind", kind)
    }

    /// Adds one named value.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.part(name.as_bytes());
        self.part(value.as_ref());
        self
    }

    /// Adds a named list; an empty list differs from no list.
    #[must_use]
    pub fn list<T: AsRef<[u8]>>(mut self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        self.part(name.as_bytes());
        let mut count: u64 = 0;
        for value in values {
            self.part(value.as_ref());
            count += 1;
        }
        self.0.update(b"end");
        self.0.update(&count.to_le_bytes());
        self
    }

    /// Returns the key.
    pub fn finish(self) -> CacheKey {
        CacheKey(self.0.finish())
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
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
