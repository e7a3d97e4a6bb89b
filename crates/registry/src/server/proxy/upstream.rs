//! Which names are those of another registry.

use std::fmt;
use std::str::FromStr;

use oci::{InvalidReference, Registry, Repository};

/// A registry that is cached, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// What stands before its names here; empty where all names are its.
    prefix: String,
    registry: Registry,
    /// What stands before its names there; may be empty.
    path: String,
}

/// Why a text names no registry to cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not [PREFIX=]REGISTRY[/PATH]: {reason}")]
pub struct InvalidUpstream {
    text: String,
    reason: String,
}

/// Why a name leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoUpstream {
    #[error("{0} is not cached here")]
    Unknown(String),
    #[error(transparent)]
    Name(#[from] InvalidReference),
}

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Mapped {
    /// The repository there.
    pub upstream: Repository,
    /// The same as clients name it when they do not say which registry they mean.
    pub client: Repository,
}

impl Upstream {
    /// Returns the registry.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    fn map(&self, rest: &str) -> Result<Mapped, InvalidReference> {
        // Official images of Docker Hub have a namespace that people leave out.
        let official = self.registry.is_docker_hub() && self.path.is_empty() && !rest.contains('/');
        let rest = if official { format!("library/{rest}") } else { rest.to_owned() };
        Ok(Mapped {
            upstream: Repository::new(self.registry.clone(), &join(&self.path, &rest))?,
            client: Repository::new(Registry::local(), &join(&self.prefix, &rest))?,
        })
    }

    /// Returns the name that clients have for a repository; `None` where it is not cached by this rule.
    pub(super) fn client_name(&self, upstream: &Repository) -> Option<Repository> {
        if *upstream.registry() != self.registry {
            return None;
        }
        let rest = below(upstream.path(), &self.path)?;
        Repository::new(Registry::local(), &join(&self.prefix, rest)).ok()
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, registry, path } = self;
        let equals = if prefix.is_empty() { "" } else { "=" };
        let slash = if path.is_empty() { "" } else { "/" };
        write!(f, "{prefix}{equals}{registry}{slash}{path}")
    }
}

impl FromStr for Upstream {
    type Err = InvalidUpstream;

    fn from_str(text: &str) -> Result<Self, InvalidUpstream> {
        let invalid = |reason: &str| InvalidUpstream { text: text.to_owned(), reason: reason.to_owned() };
        let (prefix, place) = text.split_once('=').unwrap_or(("", text));
        let (registry, path) = place.split_once('/').unwrap_or((place, ""));
        let registry: Registry = registry.parse().map_err(|_| invalid("the registry is not a host"))?;
        if registry.is_local() {
            return Err(invalid("local images need no cache"));
        }
        for (part, is_there) in [(prefix, text.contains('=')), (path, place.contains('/'))] {
            if is_there && Repository::new(Registry::local(), part).is_err() {
                return Err(invalid("prefix and path are lower-case names with / between them"));
            }
        }
        Ok(Self { prefix: prefix.to_owned(), registry, path: path.to_owned() })
    }
}

/// Returns whose `name` is: of the registry that the client says it means, else of the longest prefix
/// that fits; `None` for one of ours.
pub(super) fn find(
    upstreams: &[Upstream],
    name: &Repository,
    registry: Option<&str>,
) -> Result<Option<Mapped>, NoUpstream> {
    if let Some(text) = registry {
        let registry = text.parse::<Registry>().ok();
        let whole = |one: &&Upstream| one.path.is_empty() && Some(&one.registry) == registry.as_ref();
        let shown = || NoUpstream::Unknown(text.chars().take(100).collect());
        let upstream = upstreams.iter().find(whole).ok_or_else(shown)?;
        return Ok(Some(upstream.map(name.path())?));
    }
    let fits = upstreams.iter().filter_map(|one| Some((one, below(name.path(), &one.prefix)?)));
    match fits.max_by_key(|(one, _)| one.prefix.len()) {
        Some((upstream, rest)) => Ok(Some(upstream.map(rest)?)),
        None => Ok(None),
    }
}

fn join(before: &str, rest: &str) -> String {
    if before.is_empty() { rest.to_owned() } else { format!("{before}/{rest}") }
}

/// Returns what follows `before/` in a name.
fn below<'a>(name: &'a str, before: &str) -> Option<&'a str> {
    if before.is_empty() { Some(name) } else { name.strip_prefix(before)?.strip_prefix('/') }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstreams(texts: &[&str]) -> Vec<Upstream> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[track_caller]
    fn check(rules: &[&str], name: &str, registry: Option<&str>, expected: &str) {
        let name = Repository::new(Registry::local(), name).unwrap();
        let found = match find(&upstreams(rules), &name, registry) {
            Ok(Some(mapped)) => format!("{} as {}", mapped.upstream, mapped.client.path()),
            Ok(None) => "ours".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn names_and_whose_they_are() {
        check(&["docker.io"], "library/debian", None, "docker.io/library/debian as library/debian");
        check(&["docker.io"], "debian", None, "docker.io/library/debian as library/debian");
        check(&["hub=docker.io"], "hub/acme/api", None, "docker.io/acme/api as hub/acme/api");
        check(&["hub=docker.io"], "acme/api", None, "ours");
        check(&["hub=docker.io"], "hubs/api", None, "ours");
        check(&["hub=docker.io"], "hub", None, "ours");
        check(&["x=h.example/proxy/hub"], "x/a", None, "h.example/proxy/hub/a as x/a");
        check(&["a=one.example", "a/b=two.example"], "a/b/c", None, "two.example/c as a/b/c");
        check(&["one.example", "b=two.example"], "b/c", None, "two.example/c as b/c");
    }

    #[test]
    fn a_client_may_say_which_registry_it_means() {
        let rules = ["hub=docker.io", "ghcr.io", "x=quay.io/acme"];
        check(&rules, "library/debian", Some("docker.io"), "docker.io/library/debian as hub/library/debian");
        check(&rules, "hub/a", Some("ghcr.io"), "ghcr.io/hub/a as hub/a");
        check(&rules, "acme/a", Some("quay.io"), "quay.io is not cached here");
        check(&rules, "acme/a", Some("!"), "! is not cached here");
    }

    #[test]
    fn names_go_back() {
        let back = |rule: &str, name: &str| {
            let upstream: Upstream = rule.parse().unwrap();
            upstream.client_name(&name.parse().unwrap()).map(|name| name.path().to_owned())
        };
        assert_eq!(back("hub=docker.io", "docker.io/library/debian"), Some("hub/library/debian".to_owned()));
        assert_eq!(back("x=h.example/p", "h.example/p/a"), Some("x/a".to_owned()));
        assert_eq!(back("x=h.example/p", "h.example/q/a"), None);
        assert_eq!(back("docker.io", "ghcr.io/a/b"), None);
    }

    #[test]
    fn what_names_no_registry_is_refused() {
        for text in
            ["", "=docker.io", "Hub=docker.io", "a b", "x=", "local", "docker.io/", "x=docker.io/../a"]
        {
            assert!(text.parse::<Upstream>().is_err(), "{text}");
        }
    }
}
