//! Actions on repositories, and what somebody holds of them.

use std::str::FromStr;

use oci::Repository;
use serde::{Deserialize, Serialize};

use crate::server::pattern::Pattern;

/// Something one can do with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read it and list it.
    Pull,
    /// Put blobs, manifests and tags.
    Push,
    /// Remove blobs, manifests and tags.
    Delete,
}

impl Action {
    const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    /// Returns the word that scopes use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A word is not an action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is not an action; pull, push and delete are, and * for all")]
pub struct InvalidAction {
    /// The word.
    pub word: String,
}

/// A set of actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actions(u8);

impl Actions {
    /// Returns the set of all actions.
    pub fn all() -> Self {
        Action::ALL.into_iter().fold(Self::default(), Self::and)
    }

    /// Returns the set with one more.
    pub fn and(self, action: Action) -> Self {
        Self(self.0 | action.bit())
    }

    /// Whether the action is in the set.
    pub fn has(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    /// Returns the actions that are in both.
    pub fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the words, in the order pull, push, delete.
    pub fn words(self) -> Vec<&'static str> {
        Action::ALL.into_iter().filter(|action| self.has(*action)).map(Action::as_str).collect()
    }

    /// Returns the set of those words that are actions; scopes may name others, which nobody gets.
    pub fn known(words: &str) -> Self {
        words.split(',').filter_map(|word| word.parse::<Self>().ok()).fold(Self::default(), Self::or)
    }

    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromStr for Actions {
    type Err = InvalidAction;

    fn from_str(word: &str) -> Result<Self, InvalidAction> {
        if word == "*" {
            return Ok(Self::all());
        }
        let found = Action::ALL.into_iter().find(|action| action.as_str() == word);
        found
            .map(|action| Self::default().and(action))
            .ok_or_else(|| InvalidAction { word: word.chars().take(50).collect() })
    }
}

impl FromIterator<Actions> for Actions {
    fn from_iter<T: IntoIterator<Item = Actions>>(sets: T) -> Self {
        sets.into_iter().fold(Self::default(), Self::or)
    }
}

/// Actions on some repositories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Which repositories, by their path.
    pub repositories: Vec<Pattern>,
    /// What may be done there.
    pub allow: Actions,
}

impl Grant {
    /// Returns the grant of everything everywhere.
    pub fn everything() -> Self {
        Self { repositories: vec![Pattern::new("*")], allow: Actions::all() }
    }

    fn of(&self, path: &str) -> Actions {
        match self.repositories.iter().any(|pattern| pattern.matches(path)) {
            true => self.allow,
            false => Actions::default(),
        }
    }
}

/// Who asks, and what they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Principal {
    /// The account, the token's name or the job; empty for the anonymous.
    pub name: String,
    pub grants: Vec<Grant>,
    /// What the token at hand was asked for: less than the grants, never more. `None` where the
    /// request came without a token of ours.
    pub scope: Option<Vec<(String, Actions)>>,
}

impl Principal {
    /// Returns what may be done with the repository at all.
    pub fn granted(&self, path: &str) -> Actions {
        self.grants.iter().map(|grant| grant.of(path)).collect()
    }

    /// Whether this request may do it.
    pub fn may(&self, action: Action, repository: &Repository) -> bool {
        let path = repository.path();
        let in_scope = self
            .scope
            .as_ref()
            .is_none_or(|scope| scope.iter().any(|(name, actions)| name == path && actions.has(action)));
        in_scope && self.granted(path).has(action)
    }

    pub fn is_anonymous(&self) -> bool {
        self.name.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(pattern: &str, words: &str) -> Grant {
        Grant { repositories: vec![Pattern::new(pattern)], allow: Actions::known(words) }
    }

    fn repository(path: &str) -> Repository {
        format!("local/{path}").parse().unwrap()
    }

    #[test]
    fn grants_add_up_and_a_scope_takes_away() {
        let grants = vec![grant("acme/*", "pull"), grant("acme/api", "push")];
        let mut who = Principal { name: "a".to_owned(), grants, scope: None };
        assert!(who.may(Action::Push, &repository("acme/api")));
        assert!(who.may(Action::Pull, &repository("acme/api")));
        assert!(!who.may(Action::Push, &repository("acme/web")));
        assert!(!who.may(Action::Pull, &repository("other/api")));
        who.scope = Some(vec![("acme/api".to_owned(), Actions::known("pull,delete"))]);
        assert!(who.may(Action::Pull, &repository("acme/api")));
        assert!(!who.may(Action::Push, &repository("acme/api")));
        assert!(!who.may(Action::Delete, &repository("acme/api")), "a scope grants nothing");
        assert!(!who.may(Action::Pull, &repository("acme/web")));
    }

    #[test]
    fn words_of_scopes() {
        assert_eq!(Actions::known("push,pull,fly").words(), ["pull", "push"]);
        assert_eq!(Actions::known("*"), Actions::all());
        assert_eq!("fly".parse::<Actions>().unwrap_err().word, "fly");
    }
}
