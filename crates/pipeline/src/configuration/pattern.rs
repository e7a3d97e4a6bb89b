//! Regular expressions of the configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};

/// The most memory that a compiled expression takes, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// A regular expression; it takes time linear in the text, whatever either is.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Whether the expression is found in `text`.
    pub fn is_found_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// Returns what the named groups hold where the expression is found in `text`; groups that took
    /// no part are left out.
    pub fn groups_in(&self, text: &str) -> Option<BTreeMap<String, String>> {
        let captures = self.0.captures(text)?;
        let group = |name: &str| Some((name.to_owned(), captures.name(name)?.as_str().to_owned()));
        Some(self.group_names().filter_map(group).collect())
    }

    /// Returns the names of the named groups, in order.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.0.capture_names().flatten()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// A string is no regular expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a regular expression: {reason}")]
pub struct InvalidPattern {
    /// What was given, cut at 100 characters.
    pub text: String,
    /// What is wrong with it, on one line.
    pub reason: String,
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        RegexBuilder::new(text).size_limit(MAX_COMPILED).build().map(Self).map_err(|error| {
            let shown = error.to_string();
            let reason = shown.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            InvalidPattern { text: text.chars().take(100).collect(), reason }
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

crate::text::written_as_text!(Pattern, "Regular expression");
