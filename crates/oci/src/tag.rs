//! Tags: the names within a repository that may move.

use std::fmt;
use std::str::FromStr;

/// A tag of the distribution grammar: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// The longest tag a registry must take.
pub const MAX_LENGTH: usize = 128;

impl Tag {
    /// Returns the tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns `latest`, what a reference without tag and digest means.
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }
}

/// A string is not a tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a tag: {reason}")]
pub struct InvalidTag {
    /// What was given, cut at 200 characters.
    pub text: String,
    /// Which rule it breaks.
    pub reason: &'static str,
}

impl FromStr for Tag {
    type Err = InvalidTag;

    fn from_str(text: &str) -> Result<Self, InvalidTag> {
        let invalid = |reason| InvalidTag { text: text.chars().take(200).collect(), reason };
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        match text.as_bytes() {
            [] => Err(invalid("it is empty")),
            bytes if bytes.len() > MAX_LENGTH => Err(invalid("it is longer than 128 characters")),
            [first, ..] if !word(*first) => Err(invalid("it must start with a letter, a digit or _")),
            bytes if !bytes.iter().all(|&byte| word(byte) || byte == b'.' || byte == b'-') => {
                Err(invalid("only letters, digits, _ . - are allowed"))
            }
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

crate::serde_as_string!(Tag);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_to_the_grammar() {
        for good in ["a", "_x", "v1.2.3", "1", "A-b_c.d", &"x".repeat(128)] {
            assert_eq!(good.parse::<Tag>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", ".a", "a/b", "a b", "a+b", "日本", "a\n", &"x".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad:?}");
        }
    }
}
