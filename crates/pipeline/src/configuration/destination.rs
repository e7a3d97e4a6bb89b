//! Where images are pushed: owners are lower-cased here, where they become part of a reference.

use std::fmt;
use std::str::FromStr;

use oci::{InvalidReference, Registry, Repository};

/// A registry with the path in it under which the project's images lie: `ghcr.io/acme`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    registry: Registry,
    path: String,
}

impl Prefix {
    /// Returns the prefix of everything in `registry`.
    pub fn new(registry: Registry) -> Self {
        Self { registry, path: String::new() }
    }

    /// Returns the registry.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns the repository `name` under the prefix; capitals become small letters.
    ///
    /// # Errors
    /// The grammar of repositories, and its limit of 255 characters.
    pub fn join(&self, name: &str) -> Result<Repository, InvalidReference> {
        let name = name.to_lowercase();
        let path = if self.path.is_empty() { name } else { format!("{}/{name}", self.path) };
        Repository::new(self.registry.clone(), &path)
    }
}

impl FromStr for Prefix {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let (first, rest) = text.split_once('/').unwrap_or((text, ""));
        let is_host = first.contains(['.', ':']) || first == "localhost" || first == "local";
        let (host, path) = if is_host || text.is_empty() { (first, rest) } else { ("docker.io", text) };
        let prefix = Self { registry: host.parse()?, path: path.trim_end_matches('/').to_lowercase() };
        // The path is checked with the shortest name there is behind it.
        prefix
            .join("a")
            .map_err(|error| InvalidReference { text: text.chars().take(200).collect(), ..error })?;
        Ok(prefix)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "{}", self.registry),
            path => write!(f, "{}/{path}", self.registry),
        }
    }
}

crate::text::written_as_text!(Prefix, "Registry and path, such as ghcr.io/acme");

/// A whole repository, such as `ghcr.io/acme/api`; capitals become small letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRepository(pub Repository);

impl FromStr for ImageRepository {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        text.to_lowercase().parse().map(Self)
    }
}

impl fmt::Display for ImageRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

crate::text::written_as_text!(ImageRepository, "Repository, such as ghcr.io/acme/api");

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prefix: &str, expected: &str) {
        let repository = prefix.parse::<Prefix>().and_then(|prefix| prefix.join("Api"));
        assert_eq!(repository.map(|repository| repository.to_string()), Ok(expected.to_owned()));
    }

    #[test]
    fn owners_in_capitals_become_small() {
        check("ghcr.io/Acme", "ghcr.io/acme/api");
        check("ghcr.io/Acme/Shop/", "ghcr.io/acme/shop/api");
        check("127.0.0.1:5000", "127.0.0.1:5000/api");
        check("localhost", "localhost/api");
        check("Acme", "docker.io/acme/api");
        assert_eq!("ghcr.io/Acme/API".parse::<ImageRepository>().unwrap().to_string(), "ghcr.io/acme/api");
    }

    #[test]
    fn what_no_repository_can_start_with_is_refused() {
        for text in ["", "/x", "https://ghcr.io/acme", "ghcr.io/a b", "ghcr.io/acme:tag", "ghcr.io//a"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
