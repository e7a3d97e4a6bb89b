//! Names of images: registry, repository, reference, pinned reference.
//!
//! Short names are read as Docker reads them (`debian` is `docker.io/library/debian`), with two
//! differences, both on purpose: the first component `local` names the local store, and a
//! component in capitals is an error instead of a host name, because it is always a mistake.
//!
//! Source: distribution-spec v1.1, "Pull"; grammar of the distribution project's reference package.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, InvalidDigest, InvalidTag, Tag};

/// A registry's host, with its port where it has one; or `local`, the local store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Registry(String);

const DOCKER_HUB: &str = "docker.io";
const LOCAL: &str = "local";

impl Registry {
    /// Returns the local store's name.
    pub fn local() -> Self {
        Self(LOCAL.to_owned())
    }

    /// Whether this is the local store and no host.
    pub fn is_local(&self) -> bool {
        self.0 == LOCAL
    }

    /// Whether this is Docker Hub, whose API and credentials live under other host names.
    pub fn is_docker_hub(&self) -> bool {
        self.0 == DOCKER_HUB
    }

    /// Returns `host` or `host:port`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the host without the port and without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        let host = match self.0.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.is_empty() => host,
            _ => &self.0,
        };
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether the host is this machine, so that plain HTTP is allowed without being asked for.
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for Registry {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let invalid = |reason| InvalidReference::new(text, reason);
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, rest)) => {
                address.parse::<std::net::Ipv6Addr>().map_err(|_| invalid("the IPv6 address is not one"))?;
                let port = match rest {
                    "" => None,
                    rest => {
                        Some(rest.strip_prefix(':').ok_or_else(|| invalid("after ] only :PORT may follow"))?)
                    }
                };
                (None, port)
            }
            None => match text.split_once(':') {
                Some((host, port)) => (Some(host), Some(port)),
                None => (Some(text), None),
            },
        };
        if port.is_some_and(|port| port.parse::<u16>().is_err() || !port.bytes().all(|b| b.is_ascii_digit()))
        {
            return Err(invalid("the port is not a number from 0 to 65535"));
        }
        let component = |part: &str| {
            let bytes = part.as_bytes();
            !bytes.is_empty()
                && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
                && bytes[0] != b'-'
                && bytes[bytes.len() - 1] != b'-'
        };
        if host.is_some_and(|host| !host.split('.').all(component)) {
            return Err(invalid("the registry is not a host name"));
        }
        Ok(Self(if text == "index.docker.io" { DOCKER_HUB.to_owned() } else { text.to_ascii_lowercase() }))
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

crate::serde_as_string!(Registry);

/// A repository: a registry and a path in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    registry: Registry,
    path: String,
}

impl Repository {
    /// Returns the repository `path` of `registry`.
    ///
    /// # Errors
    /// The path must be of the distribution grammar and, with the registry, at most 255 characters.
    pub fn new(registry: Registry, path: &str) -> Result<Self, InvalidReference> {
        check_path(path)?;
        if registry.0.len() + 1 + path.len() > 255 {
            return Err(InvalidReference::new(path, "the name is longer than 255 characters"));
        }
        Ok(Self { registry, path: path.to_owned() })
    }

    /// Returns the registry.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns the path, as it stands in the URLs of the distribution API.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns this repository with another registry in front.
    ///
    /// # Errors
    /// As for [`Repository::new`]: the new registry may be longer.
    pub fn at(&self, registry: Registry) -> Result<Self, InvalidReference> {
        Self::new(registry, &self.path)
    }

    /// Returns the image in this repository that has `digest`.
    pub fn pin(self, digest: Digest) -> Pinned {
        Pinned { repository: self, digest }
    }

    /// Returns the reference of `tag` in this repository.
    pub fn tagged(self, tag: Tag) -> Reference {
        Reference { repository: self, tag: Some(tag), digest: None }
    }

    /// Returns the name as Docker shows it: without `docker.io/` and `library/`.
    pub fn familiar(&self) -> String {
        if !self.registry.is_docker_hub() {
            return self.to_string();
        }
        self.path.strip_prefix("library/").unwrap_or(&self.path).to_owned()
    }
}

impl FromStr for Repository {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let reference: Reference = text.parse()?;
        if reference.tag.is_some() || reference.digest.is_some() {
            return Err(InvalidReference::new(text, "a repository has neither tag nor digest"));
        }
        Ok(reference.repository)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

crate::serde_as_string!(Repository);

/// The name of an image: a repository with a tag, a digest, both, or neither.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    repository: Repository,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

impl Reference {
    /// Returns the reference of a repository alone; it means the tag `latest`.
    pub fn new(repository: Repository) -> Self {
        Self { repository, tag: None, digest: None }
    }

    /// Returns the repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the tag, where one was given.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// Returns the tag, or `latest` where neither tag nor digest was given.
    pub fn tag_or_latest(&self) -> Option<Tag> {
        match (&self.tag, self.digest) {
            (None, None) => Some(Tag::latest()),
            (tag, _) => tag.clone(),
        }
    }

    /// Returns the digest, where one was given; it wins over the tag.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Returns the repository and digest, where the reference has one.
    pub fn pinned(&self) -> Option<Pinned> {
        self.digest.map(|digest| self.repository.clone().pin(digest))
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|source| InvalidReference::digest(text, source))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => {
                (name, Some(tag.parse().map_err(|source| InvalidReference::tag(text, source))?))
            }
            _ => (rest, None),
        };
        Ok(Self { repository: parse_name(text, name)?, tag, digest })
    }
}

fn parse_name(text: &str, name: &str) -> Result<Repository, InvalidReference> {
    let (registry, path) = match name.split_once('/') {
        Some((LOCAL, path)) => (Registry::local(), path.to_owned()),
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
            (first.parse()?, path.to_owned())
        }
        Some(_) => (Registry(DOCKER_HUB.to_owned()), name.to_owned()),
        None => (Registry(DOCKER_HUB.to_owned()), format!("library/{name}")),
    };
    let path = if registry.is_docker_hub() && !path.contains('/') { format!("library/{path}") } else { path };
    Repository::new(registry, &path).map_err(|error| InvalidReference { text: shorten(text), ..error })
}

fn check_path(path: &str) -> Result<(), InvalidReference> {
    let invalid = |reason| Err(InvalidReference::new(path, reason));
    if path.is_empty() {
        return invalid("the repository is empty");
    }
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return invalid("a repository is lower case");
    }
    for component in path.split('/') {
        if component.is_empty() {
            return invalid("a path component is empty");
        }
        if !is_component(component.as_bytes()) {
            return invalid("a path component is letters and digits, joined by . _ __ or dashes");
        }
    }
    Ok(())
}

/// Alphanumeric runs joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(bytes: &[u8]) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut rest = bytes;
    loop {
        let run = rest.iter().take_while(|byte| alphanumeric(byte)).count();
        if run == 0 {
            return false;
        }
        rest = &rest[run..];
        let joint = match rest {
            [] => return true,
            [b'.', ..] => 1,
            [b'_', b'_', ..] => 2,
            [b'_', ..] => 1,
            _ => rest.iter().take_while(|byte| **byte == b'-').count(),
        };
        if joint == 0 {
            return false;
        }
        rest = &rest[joint..];
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

crate::serde_as_string!(Reference);

/// An image that cannot change: a repository and a digest.
///
/// What comes after a build takes this type, so that testing, signing or releasing another image
/// than the one that was built does not compile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pinned {
    repository: Repository,
    digest: Digest,
}

impl Pinned {
    /// Returns the repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Returns the digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl FromStr for Pinned {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let reference: Reference = text.parse()?;
        reference.pinned().ok_or_else(|| InvalidReference::new(text, "it has no @sha256:... digest"))
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.digest)
    }
}

crate::serde_as_string!(Pinned);

/// A string is not the name of an image, a repository or a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an image reference: {reason}")]
pub struct InvalidReference {
    /// What was given, cut at 200 characters.
    pub text: String,
    /// Which rule it breaks.
    pub reason: String,
}

impl InvalidReference {
    fn new(text: &str, reason: &str) -> Self {
        Self { text: shorten(text), reason: reason.to_owned() }
    }

    fn tag(text: &str, error: InvalidTag) -> Self {
        Self { text: shorten(text), reason: format!("of the tag, {}", error.reason) }
    }

    fn digest(text: &str, error: InvalidDigest) -> Self {
        Self { text: shorten(text), reason: error.to_string() }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(text.parse::<Reference>().map(|r| r.to_string()), Ok(expected.to_owned()));
    }

    #[track_caller]
    fn check_refused(text: &str, reason: &str) {
        let error = text.parse::<Reference>().unwrap_err();
        assert!(error.reason.contains(reason), "{text}: {}", error.reason);
    }

    #[test]
    fn short_names_are_docker_hub() {
        check("debian", "docker.io/library/debian");
        check("debian:12", "docker.io/library/debian:12");
        check("acme/shop", "docker.io/acme/shop");
        check("docker.io/debian", "docker.io/library/debian");
        check("index.docker.io/acme/shop", "docker.io/acme/shop");
    }

    #[test]
    fn hosts_ports_tags_and_digests() {
        check("ghcr.io/acme/api:main", "ghcr.io/acme/api:main");
        check("localhost/x", "localhost/x");
        check("127.0.0.1:5000/a/b:t", "127.0.0.1:5000/a/b:t");
        check("[::1]:5000/a", "[::1]:5000/a");
        check("local/debian:12", "local/debian:12");
        let digest = Digest::of(b"");
        check(&format!("a.b/c:t@{digest}"), &format!("a.b/c:t@{digest}"));
    }

    #[test]
    fn refuses_names_outside_the_grammar() {
        check_refused("Acme/shop", "lower case");
        check_refused("ghcr.io/Acme/shop", "lower case");
        check_refused("", "empty");
        check_refused("a//b", "empty");
        check_refused("a/../b", "component");
        check_refused("a/-b", "component");
        check_refused("a/b___c", "component");
        check_refused("a:b c", "tag");
        check_refused("a:", "tag");
        check_refused("a@sha256:12", "digest");
        check_refused("host:99999/a", "port");
        check_refused("-x.y/a", "host");
        check_refused(&format!("a/{}", "b".repeat(260)), "255");
    }

    #[test]
    fn loopback_is_by_address_not_by_prefix() {
        let is = |text: &str| text.parse::<Registry>().unwrap().is_loopback();
        assert!(is("localhost:1") && is("127.9.9.9:80") && is("[::1]:5"));
        assert!(!is("127.0.0.1.example.com") && !is("ghcr.io"));
    }

    #[test]
    fn pinned_needs_a_digest() {
        assert!("a/b:t".parse::<Pinned>().is_err());
        let text = format!("docker.io/a/b@{}", Digest::of(b"x"));
        assert_eq!(text.parse::<Pinned>().unwrap().to_string(), text);
    }

    #[test]
    fn familiar_is_what_docker_shows() {
        let familiar = |text: &str| text.parse::<Repository>().unwrap().familiar();
        assert_eq!(familiar("debian"), "debian");
        assert_eq!(familiar("acme/shop"), "acme/shop");
        assert_eq!(familiar("ghcr.io/acme/shop"), "ghcr.io/acme/shop");
    }

    proptest! {
        #[test]
        fn what_parses_prints_and_parses_again(text in "[a-zA-Z0-9./:@_-]{0,60}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,80}") {
            let _ = text.parse::<Reference>();
            let _ = text.parse::<Registry>();
        }
    }
}
