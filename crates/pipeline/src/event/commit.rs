//! Commit ids.

use std::fmt;
use std::str::FromStr;

/// The full id of a commit: 40 hexadecimal digits (SHA-1) or 64 (SHA-256), in lower case.
///
/// Abbreviations are not commit ids: how many digits git prints changes as a repository grows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(String);

impl CommitId {
    /// Returns all digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first `count` digits, or all of them where there are fewer.
    pub fn short(&self, count: usize) -> &str {
        &self.0[..count.min(self.0.len())]
    }
}

/// A string is not a full commit id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a commit id: expected all 40 or 64 hexadecimal digits")]
pub struct InvalidCommitId {
    /// What was given, cut at 100 characters.
    pub text: String,
}

impl FromStr for CommitId {
    type Err = InvalidCommitId;

    fn from_str(text: &str) -> Result<Self, InvalidCommitId> {
        if matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err(InvalidCommitId { text: text.chars().take(100).collect() })
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

crate::text::written_as_text!(CommitId, "Full id of a commit");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_ids_are_ids() {
        let full = "ABC1234def0987654321abc1234def0987654321";
        assert_eq!(full.parse::<CommitId>().unwrap().short(7), "abc1234");
        assert_eq!("a".repeat(64).parse::<CommitId>().unwrap().short(99).len(), 64);
        for text in ["", "abc1234", &full[1..], &"g".repeat(40), &"é".repeat(20)] {
            assert!(text.parse::<CommitId>().is_err(), "{text}");
        }
    }
}
