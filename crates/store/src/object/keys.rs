//! The keys of a store's objects. Components of repository names never begin with `_`, so the
//! prefixes for facts cannot be mistaken for parts of a name.

use oci::{Digest, Repository, Tag};

/// The object that says what the store is.
pub(super) const FORMAT: &str = "plimsoll.json";
/// The prefix of all facts about repositories.
pub(super) const REPOSITORIES: &str = "repositories/";
/// An object that is written to learn the bucket's time.
pub(super) const CLOCK: &str = "temporary/clock";

/// Returns the prefix of all blobs of an algorithm.
pub(super) fn blobs(algorithm: oci::Algorithm) -> String {
    format!("blobs/{}/", algorithm.as_str())
}

/// Returns the key of a blob's content.
pub(super) fn blob(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

/// The keys of one repository.
#[derive(Clone, Debug)]
pub(super) struct RepositoryKeys {
    /// Ends with `/`.
    prefix: String,
}

impl RepositoryKeys {
    pub fn new(repository: &Repository) -> Self {
        Self { prefix: format!("{REPOSITORIES}{}/{}/", repository.registry().as_str(), repository.path()) }
    }

    pub fn tags(&self) -> String {
        format!("{}_tags/", self.prefix)
    }

    pub fn tag(&self, tag: &Tag) -> String {
        format!("{}_tags/{tag}", self.prefix)
    }

    pub fn manifests(&self) -> String {
        format!("{}_manifests/", self.prefix)
    }

    pub fn manifest(&self, digest: &Digest) -> String {
        format!("{}_manifests/{}", self.prefix, name(digest))
    }

    pub fn blobs(&self) -> String {
        format!("{}_blobs/", self.prefix)
    }

    pub fn blob(&self, digest: &Digest) -> String {
        format!("{}_blobs/{}", self.prefix, name(digest))
    }

    pub fn referrers(&self, subject: &Digest) -> String {
        format!("{}_referrers/{}/", self.prefix, name(subject))
    }

    pub fn referrer(&self, subject: &Digest, digest: &Digest) -> String {
        format!("{}_referrers/{}/{}", self.prefix, name(subject), name(digest))
    }
}

/// Returns the last part of a fact's key.
pub(super) fn name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().as_str(), digest.hex())
}

/// Reads the last part of a fact's key; `None` where it is something else's.
pub(super) fn digest(name: &str) -> Option<Digest> {
    name.replacen('-', ":", 1).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_documentation() {
        let digest = Digest::of(b"x");
        let keys = RepositoryKeys::new(&"localhost:5000/acme/api".parse().unwrap());
        assert_eq!(keys.tag(&"v1".parse().unwrap()), "repositories/localhost:5000/acme/api/_tags/v1");
        assert_eq!(
            keys.referrer(&digest, &digest),
            format!("repositories/localhost:5000/acme/api/_referrers/sha256-{0}/sha256-{0}", digest.hex())
        );
        assert_eq!(super::digest(&name(&digest)), Some(digest));
        assert_eq!(super::digest("readme.txt"), None);
        assert_eq!(blob(&digest), format!("blobs/sha256/{}", digest.hex()));
    }
}
