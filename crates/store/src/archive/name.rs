//! Names of images in archives, which writers shorten in their own ways.

use std::collections::BTreeSet;
use std::fmt;

use oci::annotations::{CONTAINERD_IMAGE_NAME, REF_NAME};
use oci::{Annotations, Reference, Tag};

/// The name of an image in an archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ArchivedName {
    /// A repository with a tag.
    Reference(Reference),
    /// A tag alone, as skopeo and buildx write into OCI archives.
    Tag(Tag),
    /// Something that is no name of ours, such as a repository in capitals.
    Other(String),
}

impl ArchivedName {
    /// Returns the reference, where the name is one.
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Reference(reference) => Some(reference),
            Self::Tag(_) | Self::Other(_) => None,
        }
    }

    /// Returns the tag, with or without a repository.
    pub fn tag(&self) -> Option<Tag> {
        match self {
            Self::Reference(reference) => reference.tag_or_latest(),
            Self::Tag(tag) => Some(tag.clone()),
            Self::Other(_) => None,
        }
    }

    /// Reads an entry of `RepoTags`, which always has a repository.
    pub(super) fn from_repo_tag(text: &str) -> Self {
        match without_docker_hub(text).parse::<Reference>() {
            Ok(reference) => Self::Reference(with_tag(reference)),
            Err(_) => Self::Other(text.chars().take(300).collect()),
        }
    }

    /// Reads the annotations of an entry in `index.json`. The reference name may be a tag, or a
    /// whole reference as in the local store; `a` and `a:b` differ only by that.
    pub(super) fn from_annotations(annotations: &Annotations) -> Option<Self> {
        if let Some(full) = annotations.get(CONTAINERD_IMAGE_NAME).filter(|name| !name.is_empty()) {
            return Some(Self::from_repo_tag(full));
        }
        let name = annotations.get(REF_NAME).filter(|name| !name.is_empty())?;
        Some(match name.parse::<Tag>() {
            Ok(tag) => Self::Tag(tag),
            Err(_) => Self::from_repo_tag(name),
        })
    }
}

/// Returns the full name that Docker and containerd find the image by. A name of the local store has no
/// host, and what has no host is of Docker Hub to them.
pub(super) fn full_name(name: &Reference) -> String {
    match name.repository().registry().is_local() {
        true => format!("{DOCKER_HUB}{name}"),
        false => name.to_string(),
    }
}

/// Takes back what [`full_name`] did, also after Docker wrote the name.
fn without_docker_hub(text: &str) -> &str {
    let local = |name: &&str| name.starts_with("local/");
    text.strip_prefix(DOCKER_HUB).filter(local).unwrap_or(text)
}

const DOCKER_HUB: &str = "docker.io/";

/// Removes names that were there before, keeping the order.
pub(super) fn without_repetitions(names: Vec<ArchivedName>) -> Vec<ArchivedName> {
    let mut seen = BTreeSet::new();
    names.into_iter().filter(|name| seen.insert(name.clone())).collect()
}

/// Returns the reference with the tag `latest` where it has neither tag nor digest.
fn with_tag(reference: Reference) -> Reference {
    match reference.tag_or_latest() {
        Some(tag) if reference.digest().is_none() => reference.repository().clone().tagged(tag),
        _ => reference,
    }
}

impl fmt::Display for ArchivedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference(reference) => reference.fmt(f),
            Self::Tag(tag) => tag.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(pairs: &[(&str, &str)]) -> Option<String> {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        ArchivedName::from_annotations(&pairs.collect()).map(|name| format!("{name:?}"))
    }

    #[test]
    fn repo_tags_are_references_and_get_the_tag_docker_means() {
        let read = |text| ArchivedName::from_repo_tag(text).to_string();
        assert_eq!(read("api:local"), "docker.io/library/api:local");
        assert_eq!(read("docker.io/acme/api:v1"), "docker.io/acme/api:v1");
        assert_eq!(read("api"), "docker.io/library/api:latest");
        assert_eq!(ArchivedName::from_repo_tag("Api:v1"), ArchivedName::Other("Api:v1".to_owned()));
    }

    #[test]
    fn a_name_of_the_local_store_survives_docker() {
        let name: Reference = "local/shop/api:1".parse().unwrap();
        assert_eq!(full_name(&name), "docker.io/local/shop/api:1");
        assert_eq!(ArchivedName::from_repo_tag(&full_name(&name)), ArchivedName::Reference(name));
    }

    #[test]
    fn annotations_give_a_full_name_or_a_tag() {
        let full = annotated(&[(CONTAINERD_IMAGE_NAME, "docker.io/library/api:local"), (REF_NAME, "local")]);
        assert!(full.unwrap().starts_with("Reference("));
        assert!(annotated(&[(REF_NAME, "v1")]).unwrap().starts_with("Tag("));
        assert!(annotated(&[(REF_NAME, "ghcr.io/acme/api:v1")]).unwrap().starts_with("Reference("));
        assert_eq!(annotated(&[(REF_NAME, "")]), None);
        assert_eq!(annotated(&[]), None);
    }
}
