//! Expansion of variables in words, with quotes and escapes taken away: `$v`, `${v}` and its forms.
//!
//! | form | gives |
//! |---|---|
//! | `${v:-w}` `${v-w}` | `w` where `v` is unset (`:` or empty) |
//! | `${v:+w}` `${v+w}` | `w` where `v` is set (`:` and not empty), else nothing |
//! | `${v:?w}` `${v?w}` | an error that says `w` where `v` is unset (`:` or empty) |
//! | `${v#p}` `${v##p}` | `v` without the shortest (longest) start that `p` matches |
//! | `${v%p}` `${v%%p}` | `v` without the shortest (longest) end that `p` matches |
//! | `${v/p/w}` `${v//p/w}` | `v` with the first (every) match of `p` replaced by `w` |
//!
//! Which instructions are expanded, and with which variables, is the engine's to know.
//!
//! Source: the Dockerfile reference, "Environment replacement"; BuildKit's shell lexer.

mod reading;

use std::collections::BTreeSet;

use reading::{Reading, Words};

/// What a text expands to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The whole as one word, spaces kept.
    pub text: String,
    /// The same split at spaces that are not quoted; spaces out of variables split, too.
    pub words: Vec<String>,
    /// Variables that were looked up and are set.
    pub used: BTreeSet<String>,
    /// Variables that were looked up and are not set.
    pub undefined: BTreeSet<String>,
}

/// A text cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// `${` without its end.
    #[error("the closing }} of ${{...}} is missing")]
    MissingBrace,
    /// `${v/p` without the second slash.
    #[error("the second / of ${{name/pattern/replacement}} is missing")]
    MissingSlash,
    /// `${}` or another form without a name.
    #[error("bad substitution: ${{...}} has no variable name")]
    NoName,
    /// `${v^}` and the like.
    #[error("unsupported modifier {modifier:?} in ${{{name}{modifier}...}}")]
    UnsupportedModifier {
        /// The variable.
        name: String,
        /// What follows it.
        modifier: String,
    },
    /// A quote that is not closed.
    #[error("the closing {0} is missing")]
    MissingQuote(char),
    /// `${v:?message}` of a variable that has no value.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message given, or a standing one.
        message: String,
    },
    /// A pattern after `#`, `%` or `/` that is none.
    #[error("the pattern {pattern:?} is not one: {reason}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// Which rule it breaks.
        reason: String,
    },
    /// More levels of `${...${...}}` than anyone means.
    #[error("${{...}} is nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// The result is longer than any environment can hold.
    #[error("the value grows over {MAX_BYTES} bytes")]
    TooLong,
}

const MAX_DEPTH: usize = 64;
const MAX_BYTES: usize = 1 << 20;

/// Returns the value of a variable, or `None` where it is not set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How quotes, escapes and unset variables are treated.
#[derive(Clone, Copy, Debug)]
pub struct Lexer {
    escape: char,
    quotes: Quotes,
    raw_escapes: bool,
    keep_unset: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    /// They group and are taken away.
    Removed,
    /// They group and stay.
    Raw,
    /// They are ordinary characters.
    Ordinary,
}

impl Lexer {
    /// Expands as instructions do: quotes and escapes go, unset variables are empty.
    pub fn new(escape: char) -> Self {
        Self { escape, quotes: Quotes::Removed, raw_escapes: false, keep_unset: false }
    }

    /// Expands as the content of a here-document: quotes are ordinary characters.
    pub fn document() -> Self {
        Self { quotes: Quotes::Ordinary, ..Self::new('\\') }
    }

    /// Leaves variables as they are and only takes quotes and escapes away.
    pub(super) fn literal(escape: char) -> Self {
        Self { keep_unset: true, ..Self::new(escape) }
    }

    pub(super) fn raw_quotes(self) -> Self {
        Self { quotes: Quotes::Raw, ..self }
    }

    pub(super) fn raw_escapes(self) -> Self {
        Self { raw_escapes: true, ..self }
    }

    /// Returns what `text` expands to.
    ///
    /// # Errors
    /// A form that is not known or not closed; a required variable that is missing; too much output.
    pub fn expand(&self, text: &str, lookup: Lookup<'_>) -> Result<Expansion, ExpandError> {
        let mut reading = Reading {
            lexer: *self,
            lookup,
            text: text.chars().collect(),
            at: 0,
            depth: 0,
            used: BTreeSet::new(),
            undefined: BTreeSet::new(),
        };
        let words = reading.until(None, self.raw_escapes)?;
        let Words { text, done, .. } = words.finish();
        Ok(Expansion { text, words: done, used: reading.used, undefined: reading.undefined })
    }

    pub(super) fn words(&self, text: &str) -> Result<Vec<String>, ExpandError> {
        self.expand(text, &|_| None).map(|expansion| expansion.words)
    }
}

#[cfg(test)]
mod tests;
