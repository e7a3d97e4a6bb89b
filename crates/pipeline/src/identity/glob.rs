//! Patterns over branches, tags and paths.

use std::fmt;
use std::str::FromStr;

use gix::bstr::ByteSlice;
use gix::glob::wildmatch::Mode;

/// A pattern in git's manner: `*` and `?` stay within one part of a path, `**` crosses parts,
/// `[a-z]` is one of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glob(String);

impl Glob {
    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `text` has the form of the pattern.
    pub fn matches(&self, text: &str) -> bool {
        let mode = Mode::NO_MATCH_SLASH_LITERAL;
        self.0 == "**" || gix::glob::wildmatch(self.0.as_bytes().as_bstr(), text.as_bytes().as_bstr(), mode)
    }
}

/// A string is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a pattern: {reason}")]
pub struct InvalidGlob {
    /// What was given, cut at 100 characters.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl FromStr for Glob {
    type Err = InvalidGlob;

    fn from_str(text: &str) -> Result<Self, InvalidGlob> {
        let invalid = |reason| InvalidGlob { text: text.chars().take(100).collect(), reason };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if text.len() > 1000 {
            return Err(invalid("it is longer than 1000 bytes"));
        }
        if has_open_set(text) {
            return Err(invalid("a [ has no ]"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether a set is opened and never closed, which would match nothing at all.
fn has_open_set(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find(['[', '\\']) {
        let skip = if rest.as_bytes()[at] == b'\\' {
            rest[at + 1..].chars().next().map_or(0, char::len_utf8)
        } else {
            // A ] right after the [ belongs to the set.
            let negated = rest[at + 1..].starts_with(['!', '^']) as usize;
            let first = rest[at + 1 + negated..].starts_with(']') as usize;
            match rest[at + 1 + negated + first..].find(']') {
                Some(end) => negated + first + end + 1,
                None => return true,
            }
        };
        rest = &rest[at + 1 + skip..];
    }
    false
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

crate::text::written_as_text!(
    Glob,
    "Pattern: * within one part of a path, ** across parts, [a-z] one of a set"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(pattern.parse::<Glob>().unwrap().matches(text), expected, "{pattern} {text}");
    }

    #[test]
    fn one_star_stays_within_a_part() {
        check("main", "main", true);
        check("main", "maine", false);
        check("v*", "v1.2.3", true);
        check("feature/*", "feature/a", true);
        check("feature/*", "feature/a/b", false);
        check("feature/**", "feature/a/b", true);
        check("feature/**", "feature", false);
        check("services/api/**", "services/api/app.py", true);
        check("**", "a/b\nc", true);
        check("**/Dockerfile", "a/b/Dockerfile", true);
        check("v[0-9]*", "v1", true);
        check("v[0-9]*", "vx", false);
    }

    #[test]
    fn what_could_never_match_is_refused() {
        for text in ["", "v[0-9", "a[", "[]", "\\\\[x", &"x".repeat(1001)] {
            assert!(text.parse::<Glob>().is_err(), "{text}");
        }
        assert!("\\[x".parse::<Glob>().is_ok());
        assert!("[]]".parse::<Glob>().is_ok());
    }

    proptest! {
        #[test]
        fn never_panics(pattern in any::<String>(), text in any::<String>()) {
            if let Ok(glob) = pattern.parse::<Glob>() {
                glob.matches(&text);
            }
        }
    }
}
