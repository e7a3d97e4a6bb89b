//! Branch names as they may stand in a tag.

/// Returns `text` in lower case with every run of characters outside `[a-z0-9]` as one `-`, and
/// none at either end. Empty where no letter or digit of ASCII is in it. A slug is its own slug.
///
/// Only ASCII letters are folded, so that a name gives the same slug here and in a shell.
pub fn slug(text: &str) -> String {
    let mut slug = String::with_capacity(text.len());
    for character in text.chars() {
        match character.to_ascii_lowercase() {
            plain @ ('a'..='z' | '0'..='9') => slug.push(plain),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(slug(text), expected);
    }

    #[test]
    fn follows_the_rule() {
        check("feature/Add_New-Feature", "feature-add-new-feature");
        check("feature/dns/subdomain", "feature-dns-subdomain");
        check("feature/fix-#123", "feature-fix-123");
        check("--a//b..c--", "a-b-c");
        check("v1.2.3+build", "v1-2-3-build");
        check("naïve", "na-ve");
        check("日本語", "");
        check("a\nb\0c", "a-b-c");
        check("", "");
    }

    proptest! {
        #[test]
        fn a_slug_is_its_own_slug(text in any::<String>()) {
            let once = slug(&text);
            prop_assert_eq!(slug(&once), once.clone());
            prop_assert!(once.len() <= text.len());
            prop_assert!(once.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        }
    }
}
