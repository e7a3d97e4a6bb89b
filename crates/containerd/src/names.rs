//! Names: namespaces, and images as containerd's other clients call them.

use std::fmt;
use std::str::FromStr;

use oci::{Digest, Repository};

/// What stands in front of names of this machine alone, as it stands in front of every name without a host.
const DOCKER_HUB: &str = "docker.io";
const MAX_NAMESPACE_LENGTH: usize = 76;

/// A namespace of containerd. Its names and what they lead to are seen by nobody in another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(String);

/// A text is no namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a namespace of containerd: {reason}")]
pub struct InvalidNamespace {
    /// What was given, cut at 100 characters.
    pub text: String,
    /// Which rule it breaks.
    pub reason: &'static str,
}

impl Namespace {
    /// Returns the namespace of `ctr` and `nerdctl` where they are told no other.
    pub fn usual() -> Self {
        Self("default".to_owned())
    }

    /// Returns the namespace that the kubelet looks into.
    pub fn kubernetes() -> Self {
        Self("k8s.io".to_owned())
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Namespace {
    type Err = InvalidNamespace;

    /// Source: containerd, pkg/identifiers/validate.go.
    fn from_str(text: &str) -> Result<Self, InvalidNamespace> {
        let invalid = |reason| Err(InvalidNamespace { text: text.chars().take(100).collect(), reason });
        let is_run = |run: &str| !run.is_empty() && run.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match text {
            "" => invalid("it is empty"),
            _ if text.len() > MAX_NAMESPACE_LENGTH => invalid("it is longer than 76 characters"),
            _ if !text.split(['.', '_', '-']).all(is_run) => {
                invalid("it is letters and digits, joined by single . _ or -")
            }
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether two names are the same repository for containerd.
pub fn is_same_repository(one: &Repository, other: &Repository) -> bool {
    full(one) == full(other)
}

pub(crate) fn by_digest(repository: &Repository, digest: &Digest) -> String {
    format!("{}@{digest}", full(repository))
}

/// Returns a repository as containerd has it: with its host. What is called `local/api` here is `docker.io/local/api`
/// there, as for everybody who asks for `local/api`.
pub(crate) fn full(repository: &Repository) -> String {
    match repository.registry().is_local() {
        true => format!("{DOCKER_HUB}/{repository}"),
        false => repository.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces() {
        for text in ["default", "k8s.io", "moby", "a", "A-b_c.d9"] {
            assert_eq!(text.parse::<Namespace>().map(|name| name.to_string()), Ok(text.to_owned()));
        }
        for text in ["", ".", "a..b", "-a", "a-", "a b", "ä", "a/b", &"x".repeat(77)] {
            assert!(text.parse::<Namespace>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_of_repositories() {
        let check = |text: &str, expected: &str| assert_eq!(full(&text.parse().unwrap()), expected);
        check("debian", "docker.io/library/debian");
        check("acme/api", "docker.io/acme/api");
        check("local/a/b", "docker.io/local/a/b");
        check("ghcr.io/acme/api", "ghcr.io/acme/api");
        check("localhost:5000/api", "localhost:5000/api");
        let digest = Digest::of(b"x");
        assert_eq!(
            by_digest(&"debian".parse().unwrap(), &digest),
            format!("docker.io/library/debian@{digest}")
        );
    }
}
