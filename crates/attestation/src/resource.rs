//! Resources by digest, as subjects and materials of statements.
//!
//! Source: in-toto attestation framework v1.0, `resource_descriptor.md` and `digest_set.md`.

use std::collections::BTreeMap;

use oci::{Algorithm, Digest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Digests of one resource by algorithm. Algorithms we do not know are carried as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DigestSet(pub BTreeMap<String, String>);

impl DigestSet {
    /// Whether one of the digests is `digest`.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.0.get(digest.algorithm().as_str()).is_some_and(|hex| *hex == digest.hex())
    }

    /// Returns the strongest digest that we can check, or `None` where there is none.
    pub fn strongest(&self) -> Option<Digest> {
        let known = [Algorithm::Sha512, Algorithm::Sha256].into_iter();
        known.flat_map(|algorithm| self.of(algorithm)).next()
    }

    fn of(&self, algorithm: Algorithm) -> Option<Digest> {
        let name = algorithm.as_str();
        format!("{name}:{}", self.0.get(name)?).parse().ok()
    }
}

impl From<Digest> for DigestSet {
    fn from(digest: Digest) -> Self {
        Self([(digest.algorithm().as_str().to_owned(), digest.hex())].into())
    }
}

/// A resource a statement speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// What it is called, for images the repository without tag or digest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where it is known by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Its digests; a subject has at least one.
    #[serde(default)]
    pub digest: DigestSet,
    /// Fields we do not know, carried as they came.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Resource {
    /// Returns the resource `name` with one digest.
    pub fn new(name: impl Into<String>, digest: Digest) -> Self {
        Self { name: name.into(), digest: digest.into(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_found_among_others() {
        let digest = Digest::of(b"x");
        let text = format!(r#"{{"gitCommit":"abc","sha256":"{}"}}"#, digest.hex());
        let set: DigestSet = serde_json::from_str(&text).unwrap();
        assert!(set.contains(&digest) && !set.contains(&Digest::of(b"y")));
        assert_eq!(set.strongest(), Some(digest));
        assert_eq!(DigestSet::default().strongest(), None);
    }
}
