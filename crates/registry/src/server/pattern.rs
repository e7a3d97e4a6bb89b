//! Patterns of tags, repositories and names.

use std::fmt;

/// A pattern of names: `*` stands for any characters, also none and also `/`, `?` for one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// Returns the pattern that `text` writes.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether the pattern covers `name`.
    pub fn matches(&self, name: &str) -> bool {
        matches(self.0.as_bytes(), name.as_bytes())
    }

    /// Returns the pattern as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Goes back only to the last `*`, so that no pattern takes longer than the product of both lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(b'?') => (at, from) = (at + 1, from + 1),
            Some(byte) if *byte == text[from] => (at, from) = (at + 1, from + 1),
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    (at, from) = (star_at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, tag: &str, expected: bool) {
        assert_eq!(Pattern::new(pattern).matches(tag), expected, "{pattern} {tag}");
    }

    #[test]
    fn stars_and_question_marks() {
        check("v*", "v1.2.3", true);
        check("v*", "v", true);
        check("v*", "latest", false);
        check("*", "", true);
        check("pr-*-???????", "pr-42-abc1234", true);
        check("pr-*-???????", "pr-42-abc123", false);
        check("*-*-z", "a-b-c-z", true);
        check("latest", "latest", true);
        check("latest", "latest1", false);
        check("", "a", false);
    }

    proptest! {
        #[test]
        fn a_tag_matches_itself_between_stars(tag in "[a-z.]{0,20}", cut in 0_usize..20) {
            let cut = cut.min(tag.len());
            let pattern = format!("*{}*{}*", &tag[..cut], &tag[cut..]);
            prop_assert!(Pattern::new(pattern).matches(&tag));
        }
    }
}
