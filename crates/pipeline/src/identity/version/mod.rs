//! Versions that git tags name, in the orders of their schemes.
//!
//! | `parse` | reads | a pre-release is | what follows the release is |
//! |---|---|---|---|
//! | `semver` | `1.2.3`, with or without one `v` | `-rc.1` | `+build`, without a place in the order |
//! | `pep440` | `1.2`, `1!2.0`, `1.0rc1`, normalised | `a`, `b`, `rc`, `.dev` | `.post1`, later; `+local`, later still |
//! | `calver` | `2026.11`, `24.04.1`, as it is written | `-rc1`, `.dev2`, `b1` and the like | any other word, later |
//! | `{ regex = "...", as = "semver" }` | the group `version` by the scheme of `as` | as there | as there |
//!
//! A regular expression without `as` gives its named groups and, where `version` is a semantic
//! version, its order; other versions have none, and tags that follow a series stay put.
//! Source: semver.org 2.0.0; PEP 440; calver.org.

mod calver;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::configuration::{Parse, Scheme};

/// A version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    text: String,
    numbers: Vec<String>,
    order: Order,
    groups: BTreeMap<String, String>,
}

/// What versions of one scheme are compared by.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Order {
    Semver(semver::Version),
    Pep440(pep440_rs::Version),
    Calver(calver::Calver),
    Unknown,
}

impl Version {
    /// Reads the version that a git tag names.
    ///
    /// # Errors
    /// Why it names none, for people.
    pub fn of_tag(tag: &str, parse: &Parse) -> Result<Self, String> {
        let Some(regex) = &parse.regex else {
            return Self::of_scheme(tag, parse.scheme.unwrap_or(Scheme::Semver));
        };
        let groups = regex.groups_in(tag).ok_or_else(|| format!("{} does not match {regex}", shown(tag)))?;
        let text = groups.get("version").map_or(tag, String::as_str);
        let version = match parse.scheme {
            Some(scheme) => Self::of_scheme(text, scheme)?,
            None => Self::of_scheme(text, Scheme::Semver).unwrap_or_else(|_| Self::without_order(text)),
        };
        let number =
            |name: &str, at: usize| groups.get(name).or(version.numbers.get(at)).cloned().unwrap_or_default();
        let numbers = vec![number("major", 0), number("minor", 1), number("patch", 2)];
        Ok(Self { numbers, groups, ..version })
    }

    /// Reads a version of a scheme.
    ///
    /// # Errors
    /// Why it is none, for people.
    pub fn of_scheme(text: &str, scheme: Scheme) -> Result<Self, String> {
        let (found, example) = match scheme {
            Scheme::Semver => (Self::semver(text), "a semantic version such as v1.2.3"),
            Scheme::Pep440 => (Self::pep440(text), "a version of PEP 440 such as 1.2.3rc1"),
            Scheme::Calver => (Self::calver(text), "a calendar version such as 2026.11.1"),
        };
        found.ok_or_else(|| format!("{} is not {example}", shown(text)))
    }

    /// Reads a version out of a registry's tag, where `+` has become `_`, and `!` of PEP 440 `-`.
    /// A number alone is none: PEP 440 would take the date `20261106` for one.
    pub fn of_registry_tag(tag: &str, scheme: Scheme) -> Option<Self> {
        if !tag.contains('.') {
            return None;
        }
        let text = match scheme {
            Scheme::Calver => tag.to_owned(),
            Scheme::Semver => tag.replacen('_', "+", 1),
            Scheme::Pep440 => match tag.split_once('-') {
                Some((epoch, rest)) => format!("{epoch}!{}", rest.replacen('_', "+", 1)),
                None => tag.replacen('_', "+", 1),
            },
        };
        Self::of_scheme(&text, scheme).ok()
    }

    fn semver(text: &str) -> Option<Self> {
        let version = semver::Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()?;
        let numbers = [version.major, version.minor, version.patch];
        // Numbers that other readers of semantic versions cannot hold are not versions to them.
        if numbers.iter().any(|number| *number >= 1 << 53) {
            return None;
        }
        Some(Self::of(version.to_string(), numbers, Order::Semver(version)))
    }

    fn pep440(text: &str) -> Option<Self> {
        if text.trim() != text {
            return None;
        }
        let version: pep440_rs::Version = text.parse().ok()?;
        let number = |at: usize| version.release().get(at).copied().unwrap_or(0);
        Some(Self::of(version.to_string(), [number(0), number(1), number(2)], Order::Pep440(version)))
    }

    fn calver(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let version = calver::Calver::parse(text)?;
        let (numbers, groups) = (version.numbers().map(str::to_owned).collect(), BTreeMap::new());
        Some(Self { text: text.to_owned(), numbers, order: Order::Calver(version), groups })
    }

    fn without_order(text: &str) -> Self {
        let (numbers, groups) = (Vec::new(), BTreeMap::new());
        Self { text: text.to_owned(), numbers, order: Order::Unknown, groups }
    }

    fn of(text: String, numbers: [u64; 3], order: Order) -> Self {
        let numbers = numbers.iter().map(u64::to_string).collect();
        Self { text, numbers, order, groups: BTreeMap::new() }
    }

    /// Returns the version as a label has it, with everything that was in it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the version as a tag has it: `+` is `_` there, and `!` is `-`.
    pub fn in_tag(&self) -> String {
        self.text.replace('+', "_").replace('!', "-")
    }

    /// Returns the first, second or third number as it is written; empty where there is none.
    pub fn number(&self, at: usize) -> &str {
        self.numbers.get(at).map_or("", String::as_str)
    }

    /// Returns a named group of the rule's regular expression; empty where it took no part.
    pub fn group(&self, name: &str) -> &str {
        self.groups.get(name).map_or("", String::as_str)
    }

    /// Whether it comes before a release.
    pub fn is_prerelease(&self) -> bool {
        match &self.order {
            Order::Semver(version) => !version.pre.is_empty(),
            Order::Pep440(version) => version.any_prerelease(),
            Order::Calver(version) => version.is_prerelease(),
            Order::Unknown => false,
        }
    }

    /// Whether it can be said which of two such versions is higher.
    pub fn has_order(&self) -> bool {
        self.order != Order::Unknown
    }

    /// Compares by precedence; `None` where the two are of different schemes, or of none.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (&self.order, &other.order) {
            (Order::Semver(one), Order::Semver(two)) => Some(one.cmp_precedence(two)),
            (Order::Pep440(one), Order::Pep440(two)) => Some(one.cmp(two)),
            (Order::Calver(one), Order::Calver(two)) => Some(one.cmp(two)),
            _ => None,
        }
    }
}

/// Returns a name for people, quoted and cut.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(100).collect::<String>())
}

#[cfg(test)]
mod tests;
