//! The paths of the API, as values. Source: distribution-spec v1.1, "Endpoints".
//!
//! Repository names contain `/`, so a path is read from its right end: the last one or two words
//! say what is asked for and what lies before them is the name.

use std::fmt;

use oci::{Digest, Registry, Repository, Tag};

/// What a path asks for. Names are valid by construction; nothing else of a URL ever reaches a
/// file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v2/`: is this a registry, and am I let in?
    Base,
    /// `/v2/_catalog`: the names of all repositories.
    Catalog,
    /// `/v2/<name>/tags/list`.
    Tags(Repository),
    /// `/v2/<name>/manifests/<tag or digest>`.
    Manifest(Repository, ManifestName),
    /// `/v2/<name>/blobs/<digest>`.
    Blob(Repository, Digest),
    /// `/v2/<name>/blobs/uploads/`: where uploads begin.
    Uploads(Repository),
    /// `/v2/<name>/blobs/uploads/<session>`.
    Upload(Repository, String),
    /// `/v2/<name>/referrers/<digest>`.
    Referrers(Repository, Digest),
}

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestName {
    /// Whatever the tag points to now.
    Tag(Tag),
    /// The manifest with these bytes.
    Digest(Digest),
}

impl fmt::Display for ManifestName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// Why a path is not one of the API's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// No such path exists.
    #[error("{0:?} is not a path of this API")]
    Unknown(String),
    /// The repository is outside the grammar.
    #[error(transparent)]
    Name(#[from] oci::InvalidReference),
    /// The last word should be a digest and is not.
    #[error(transparent)]
    Digest(#[from] oci::InvalidDigest),
    /// The last word should be a tag or a digest and is neither.
    #[error(transparent)]
    Tag(#[from] oci::InvalidTag),
}

impl Endpoint {
    /// Reads the path of a URL, without its query. Repositories get the registry `registry`.
    ///
    /// # Errors
    /// Says whether the path, the name, the tag or the digest is wrong.
    pub fn parse(path: &str, registry: &Registry) -> Result<Self, InvalidEndpoint> {
        let unknown = || InvalidEndpoint::Unknown(path.chars().take(200).collect());
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some(rest) => rest.strip_prefix('/').ok_or_else(unknown)?,
            None => return Err(unknown()),
        };
        if rest == "_catalog" {
            return Ok(Self::Catalog);
        }
        let name = |path: &str| Repository::new(registry.clone(), path);
        if let Some(path) = rest.strip_suffix("/blobs/uploads/").or(rest.strip_suffix("/blobs/uploads")) {
            return Ok(Self::Uploads(name(path)?));
        }
        if let Some(path) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags(name(path)?));
        }
        let (before, last) = rest.rsplit_once('/').ok_or_else(unknown)?;
        if let Some(path) = before.strip_suffix("/blobs/uploads") {
            return Ok(Self::Upload(name(path)?, last.to_owned()));
        }
        let (path, kind) = before.rsplit_once('/').ok_or_else(unknown)?;
        match kind {
            "manifests" => Ok(Self::Manifest(name(path)?, manifest_name(last)?)),
            "blobs" => Ok(Self::Blob(name(path)?, last.parse()?)),
            "referrers" => Ok(Self::Referrers(name(path)?, last.parse()?)),
            _ => Err(unknown()),
        }
    }

    /// Returns the same of another repository.
    pub fn of(self, repository: Repository) -> Self {
        match self {
            Self::Base | Self::Catalog => self,
            Self::Tags(_) => Self::Tags(repository),
            Self::Manifest(_, name) => Self::Manifest(repository, name),
            Self::Blob(_, digest) => Self::Blob(repository, digest),
            Self::Uploads(_) => Self::Uploads(repository),
            Self::Upload(_, session) => Self::Upload(repository, session),
            Self::Referrers(_, digest) => Self::Referrers(repository, digest),
        }
    }

    /// Returns the repository the path is about, where there is one.
    pub fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Base | Self::Catalog => None,
            Self::Tags(repository)
            | Self::Manifest(repository, _)
            | Self::Blob(repository, _)
            | Self::Uploads(repository)
            | Self::Upload(repository, _)
            | Self::Referrers(repository, _) => Some(repository),
        }
    }
}

/// A colon cannot stand in a tag, so what has one was meant to be a digest.
fn manifest_name(text: &str) -> Result<ManifestName, InvalidEndpoint> {
    if text.contains(':') {
        return Ok(ManifestName::Digest(text.parse()?));
    }
    Ok(ManifestName::Tag(text.parse()?))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => f.write_str("/v2/"),
            Self::Catalog => f.write_str("/v2/_catalog"),
            Self::Tags(repository) => write!(f, "/v2/{}/tags/list", repository.path()),
            Self::Manifest(repository, name) => write!(f, "/v2/{}/manifests/{name}", repository.path()),
            Self::Blob(repository, digest) => write!(f, "/v2/{}/blobs/{digest}", repository.path()),
            Self::Uploads(repository) => write!(f, "/v2/{}/blobs/uploads/", repository.path()),
            Self::Upload(repository, session) => {
                write!(f, "/v2/{}/blobs/uploads/{session}", repository.path())
            }
            Self::Referrers(repository, digest) => write!(f, "/v2/{}/referrers/{digest}", repository.path()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(path: &str) -> Result<Endpoint, InvalidEndpoint> {
        Endpoint::parse(path, &Registry::local())
    }

    #[track_caller]
    fn check(path: &str, repository: &str) {
        let endpoint = parse(path).unwrap();
        assert_eq!(endpoint.to_string(), path);
        assert_eq!(endpoint.repository().map_or("", Repository::path), repository);
    }

    #[test]
    fn paths_read_from_the_right_end() {
        let digest = Digest::of(b"");
        check("/v2/", "");
        check("/v2/_catalog", "");
        check("/v2/a/b/c/tags/list", "a/b/c");
        check("/v2/a/manifests/latest", "a");
        check(&format!("/v2/a/manifests/{digest}"), "a");
        check(&format!("/v2/a/blobs/{digest}"), "a");
        check("/v2/a/blobs/uploads/", "a");
        check("/v2/a/blobs/uploads/0123", "a");
        check(&format!("/v2/a/referrers/{digest}"), "a");
        check("/v2/manifests/blobs/manifests/tags", "manifests/blobs");
    }

    #[track_caller]
    fn check_refused(path: &str, reason: &str) {
        let error = parse(path).unwrap_err().to_string();
        assert!(error.contains(reason), "{path}: {error}");
    }

    #[test]
    fn names_outside_the_grammar_are_refused() {
        check_refused("/v2/../etc/manifests/x", "component");
        check_refused("/v2//manifests/x", "empty");
        check_refused("/v2/A/manifests/x", "lower case");
        check_refused("/v2/a%2f../manifests/x", "component");
        check_refused("/v2/a/manifests/sha256:bad", "digest");
        check_refused("/v2/a/manifests/-x", "tag");
        check_refused("/v2/a/blobs/x", "digest");
        check_refused("/v2/a/nothing/x", "not a path");
        check_refused("/v1/a", "not a path");
        check_refused("/v2x", "not a path");
        check_refused(&format!("/v2/{}/tags/list", "a".repeat(300)), "255");
    }

    proptest! {
        #[test]
        fn what_parses_prints_and_parses_again(path in "/v2/[a-z/:._-]{0,40}") {
            if let Ok(endpoint) = parse(&path) {
                prop_assert_eq!(parse(&endpoint.to_string()), Ok(endpoint));
            }
        }

        #[test]
        fn never_panics(path in "\\PC{0,60}") {
            let _ = parse(&path);
            let _ = parse(&format!("/v2/{path}"));
        }
    }
}
