//! What a token must allow. Source: distribution project, token scope documentation.

use std::collections::BTreeSet;
use std::fmt;

use oci::Repository;

/// A set of permissions; two requests with the same one share a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Scope(BTreeSet<String>);

impl Scope {
    /// Returns the scope of requests that only ask whether one is let in.
    pub fn none() -> Self {
        Self::default()
    }

    /// Returns the scope of listing all repositories.
    pub fn catalog() -> Self {
        Self(BTreeSet::from(["registry:catalog:*".to_owned()]))
    }

    /// Returns the scope of reading a repository.
    pub fn pull(repository: &Repository) -> Self {
        Self::of(repository, "pull")
    }

    /// Returns the scope of writing to a repository, which always reads too.
    pub fn push(repository: &Repository) -> Self {
        Self::of(repository, "pull,push")
    }

    /// Returns the scope of removing from a repository.
    pub fn delete(repository: &Repository) -> Self {
        Self::of(repository, "delete,pull,push")
    }

    /// Returns this scope with all that `other` allows.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Returns this scope with what a challenge asks for besides.
    pub fn with_text(mut self, text: Option<&str>) -> Self {
        self.0.extend(text.unwrap_or_default().split_whitespace().map(str::to_owned));
        self
    }

    /// Returns the permissions one by one.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    fn of(repository: &Repository, actions: &str) -> Self {
        Self(BTreeSet::from([format!("repository:{}:{actions}", repository.path())]))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().cloned().collect::<Vec<_>>().join(" "))
    }
}
