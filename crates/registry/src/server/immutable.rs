//! Tags that stay once they are set.

use oci::{Repository, Tag};

use super::pattern::Pattern;

/// Tags that neither move nor go, in some repositories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Immutable {
    repositories: Pattern,
    tags: Pattern,
}

impl Immutable {
    /// Reads `[REPOSITORIES:]TAGS`, both patterns; all repositories where only tags are named.
    pub fn new(text: &str) -> Self {
        let (repositories, tags) = text.split_once(':').unwrap_or(("*", text));
        Self { repositories: Pattern::new(repositories), tags: Pattern::new(tags) }
    }

    /// Whether the tag is one of them.
    pub fn covers(&self, repository: &Repository, tag: &Tag) -> bool {
        self.repositories.matches(repository.path()) && self.tags.matches(tag.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: &str, repository: &str, tag: &str, expected: bool) {
        let repository = format!("local/{repository}").parse().unwrap();
        assert_eq!(Immutable::new(rule).covers(&repository, &tag.parse().unwrap()), expected, "{rule}");
    }

    #[test]
    fn rules_with_and_without_repositories() {
        check("v*", "acme/api", "v1", true);
        check("v*", "acme/api", "main", false);
        check("acme/*:v*", "acme/api", "v1", true);
        check("acme/*:v*", "other/api", "v1", false);
        check("acme/api:*", "acme/api", "x", true);
    }
}
