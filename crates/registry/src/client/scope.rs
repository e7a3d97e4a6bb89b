//! What a token must allow. Source: distribution project, token scope documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use oci::Repository;

/// Actions for each resource; two requests with the same scope share a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Scope(BTreeMap<String, BTreeSet<String>>);

impl Scope {
    /// Returns the scope of requests that only ask whether one is let in.
    pub fn none() -> Self {
        Self::default()
    }

    /// Returns the scope of listing all repositories.
    pub fn catalog() -> Self {
        Self::none().with_text(Some("registry:catalog:*"))
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
        for (resource, actions) in other.0 {
            self.0.entry(resource).or_default().extend(actions);
        }
        self
    }

    /// Returns this scope with what a challenge asks for besides, as `TYPE:NAME:ACTION,ACTION`
    /// separated by spaces. A name may hold colons.
    pub fn with_text(mut self, text: Option<&str>) -> Self {
        for part in text.unwrap_or_default().split_whitespace() {
            if let Some((resource, actions)) = part.rsplit_once(':') {
                let actions = actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned);
                self.0.entry(resource.to_owned()).or_default().extend(actions);
            }
        }
        self
    }

    /// Returns the scope of each resource, as token services read it.
    pub fn parts(&self) -> Vec<String> {
        let list = |actions: &BTreeSet<String>| actions.iter().cloned().collect::<Vec<_>>().join(",");
        self.0.iter().map(|(resource, actions)| format!("{resource}:{}", list(actions))).collect()
    }

    fn of(repository: &Repository, actions: &str) -> Self {
        Self::none().with_text(Some(&format!("repository:{}:{actions}", repository.path())))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_on_one_resource_are_one_part() {
        let repository: Repository = "a.b/c".parse().unwrap();
        let scope = Scope::push(&repository).with_text(Some("repository:c:pull repository:d:pull x"));
        assert_eq!(scope.to_string(), "repository:c:pull,push repository:d:pull");
        let both = Scope::pull(&repository).and(Scope::push(&repository));
        assert_eq!(both, Scope::push(&repository));
        assert_eq!(Scope::catalog().to_string(), "registry:catalog:*");
    }
}
