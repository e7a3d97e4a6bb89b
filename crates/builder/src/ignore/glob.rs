//! Patterns of COPY and ADD sources: one path component against one pattern component.
//!
//! Source: Go, path/filepath.Match; `**` is two stars here.

use super::wildcard::{DoubleStar, Wildcard};

/// A component of a source path, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Wildcard);

impl Glob {
    /// Compiles a component; it holds no `/`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn compile(component: &str) -> Result<Self, &'static str> {
        Wildcard::compile(component, DoubleStar::Ordinary).map(Self)
    }

    /// Whether it matches a whole name.
    pub fn matches(&self, name: &[u8]) -> bool {
        self.0.matches(name)
    }

    /// Whether a component is a pattern at all: it holds `*`, `?` or `[` without a backslash before.
    pub fn is_pattern(component: &str) -> bool {
        let mut characters = component.chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' => drop(characters.next()),
                '*' | '?' | '[' => return true,
                _ => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, name: &str, expected: bool) {
        assert_eq!(Glob::compile(pattern).unwrap().matches(name.as_bytes()), expected, "{pattern} {name}");
    }

    #[test]
    fn matches() {
        check("abc", "abc", true);
        check("abc", "abcd", false);
        check("*", "abc", true);
        check("*", "", true);
        check("*c", "abc", true);
        check("a*", "a", true);
        check("a*b*c", "aXbbYc", true);
        check("a*b*c", "aXc", false);
        check("a?c", "abc", true);
        check("a?c", "ac", false);
        check("a?c", "aéc", true);
        check("?", "é", true);
        check("ab[c]", "abc", true);
        check("ab[b-d]", "abc", true);
        check("ab[e-g]", "abc", false);
        check("ab[^c]", "abc", false);
        check("ab[^e-g]", "abc", true);
        check("a\\*b", "a*b", true);
        check("a\\*b", "ab", false);
        check("a[[]0].txt", "a[0].txt", true);
        check("[\\]a]", "]", true);
        check("[\\-]", "-", true);
        check("[x\\-]", "-", true);
        check("[à-é]", "è", true);
        check("*.tar.*", "a.tar.gz", true);
        check("**", "abc", true);
        check("a**c", "abc", true);
        check("é*", "été", true);
        check("[!a]", "a", true);
        check("a*a*a*a*a*a*a*a*b", &"a".repeat(200), false);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_one_character_each() {
        assert!(Glob::compile("a?").unwrap().matches(b"a\xff"));
        assert!(!Glob::compile("a?").unwrap().matches(b"a\xff\xfe"));
        assert!(Glob::compile("*").unwrap().matches(b"\xff\xfe"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in
            ["[", "[]", "[^]", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[a", "a\\", "[\\", "[^bc", "a["]
        {
            assert!(Glob::compile(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn only_unescaped_characters_make_a_pattern() {
        for pattern in ["*", "a?", "[a]", "\\a*", "\\\\*"] {
            assert!(Glob::is_pattern(pattern), "{pattern}");
        }
        for literal in ["", "a", "a]", "\\*", "\\[a", "a\\"] {
            assert!(!Glob::is_pattern(literal), "{literal}");
        }
    }
}
