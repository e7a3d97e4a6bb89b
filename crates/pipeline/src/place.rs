//! Places an image can be read from and written to, as they are written on a command line.
//!
//! | text | place |
//! |---|---|
//! | `local/debian:12`, `ghcr.io/acme/api@sha256:...` | local store or registry |
//! | `oci:DIR[:TAG]`, `oci:DIR@sha256:...` | image layout in a folder |
//! | `oci-archive:FILE[:REF]` | image layout in a tar |
//! | `docker-archive:FILE[:REF]` | what `docker save` writes |
//! | `dir:DIR` | one image in a folder of its own, a file for each blob |
//! | `docker-daemon:REF` | the image store of a Docker daemon |
//! | `containerd:REF`, `containerd:NAMESPACE//REF` | containerd |
//!
//! The prefixes are skopeo's, which has none for containerd. As there, the path ends at the first colon.
//!
//! Source: containers-transports(5).

mod contained;
mod lacking;
mod open;
mod side;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use containerd::Namespace;
use oci::{Digest, Reference, Tag};
use store::{ArchiveFormat, ArchivedName};

use crate::suggest::closest;

pub use open::{
    Connect, FindContainerd, FindDaemon, FoundContainerd, ImageName, Located, OpenCache, PlaceError, Places,
    Reach,
};
pub use side::Side;

/// Where an image lies or is to lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A registry, or the local store.
    Name(Reference),
    /// An image layout in a folder.
    Layout {
        /// The folder.
        folder: PathBuf,
        /// Which image of it; `None` is the only one.
        image: Option<Selector>,
    },
    /// One image in a folder of its own.
    Folder(PathBuf),
    /// Images in a tar.
    Archive {
        /// How it is laid out.
        format: ArchiveFormat,
        /// The tar.
        file: PathBuf,
        /// Which image of it, or the name it is to get; `None` is the only one.
        image: Option<ArchivedName>,
    },
    /// The image store of a Docker daemon.
    Daemon(Reference),
    /// containerd.
    Containerd {
        /// The namespace; `None` is the usual one.
        namespace: Option<Namespace>,
        /// The image.
        name: Reference,
    },
}

/// Which image of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The one with this name.
    Tag(Tag),
    /// The one with this digest.
    Digest(Digest),
}

impl Selector {
    /// Returns the name, where it is one.
    pub fn tag(&self) -> Option<&Tag> {
        match self {
            Self::Tag(tag) => Some(tag),
            Self::Digest(_) => None,
        }
    }
}

/// A text is not a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a place for an image: {reason}")]
pub struct InvalidPlace {
    /// What was given.
    pub text: String,
    /// Which rule it breaks.
    pub reason: String,
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let invalid = |reason: String| InvalidPlace { text: text.to_owned(), reason };
        let (prefix, rest) = text.split_once(':').unwrap_or(("", text));
        match prefix {
            "oci" => layout(rest).map_err(invalid),
            "dir" if rest.is_empty() => Err(invalid("the folder is missing; write dir:DIR".to_owned())),
            "dir" => Ok(Self::Folder(rest.into())),
            "oci-archive" => archive(ArchiveFormat::OciArchive, rest).map_err(invalid),
            "docker-archive" => archive(ArchiveFormat::DockerArchive, rest).map_err(invalid),
            "docker-daemon" => rest.parse().map(Self::Daemon).map_err(|error| invalid(of_reference(error))),
            "containerd" => in_containerd(rest).map_err(invalid),
            "docker" => name(rest.trim_start_matches('/')).map_err(invalid),
            "containers-storage" => Err(invalid(
                "Podman's storage is read through its socket: docker-daemon:NAME, with DOCKER_HOST"
                    .to_owned(),
            )),
            _ => name(text).map_err(|reason| invalid(meant(text).unwrap_or(reason))),
        }
    }
}

/// Words that stand before a place.
const PREFIXES: [&str; 7] =
    ["oci", "dir", "oci-archive", "docker-archive", "docker-daemon", "containerd", "docker"];

/// Says what a text that is no name was probably meant as: a path, or a place with a misspelt word before it.
fn meant(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) {
        return Some(format!("an image of a registry is written without that: {rest}"));
    }
    if text.starts_with(['/', '.', '~']) {
        return Some(format!(
            "a folder is written oci:{text} or dir:{text}, a file oci-archive:{text} or docker-archive:{text}"
        ));
    }
    let (word, rest) = text.split_once(':')?;
    let is_word = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    // What has another colon, a path or `//` behind the first one is no NAME:TAG.
    if !is_word || word == "localhost" || !rest.contains([':', '/']) {
        return None;
    }
    let suggestion = match closest(word, PREFIXES) {
        Some(prefix) => format!("did you mean {prefix}:?"),
        None => format!("there are {}", PREFIXES.map(|prefix| format!("{prefix}:")).join(", ")),
    };
    Some(format!("no kind of place is called {word}; {suggestion}"))
}

fn name(text: &str) -> Result<Place, String> {
    text.parse().map(Place::Name).map_err(of_reference)
}

fn in_containerd(rest: &str) -> Result<Place, String> {
    let (namespace, name) = match rest.split_once("//") {
        Some((namespace, name)) => {
            let namespace =
                namespace.parse().map_err(|error: containerd::InvalidNamespace| error.to_string())?;
            (Some(namespace), name)
        }
        None => (None, rest),
    };
    Ok(Place::Containerd { namespace, name: name.parse().map_err(of_reference)? })
}

fn layout(rest: &str) -> Result<Place, String> {
    let (folder, image) = if let Some((folder, digest)) = rest.split_once("@sha") {
        let digest = format!("sha{digest}").parse().map_err(|error: oci::InvalidDigest| error.to_string())?;
        (folder, Some(Selector::Digest(digest)))
    } else if let Some((folder, tag)) = rest.split_once(':') {
        let tag = tag.parse().map_err(|error: oci::InvalidTag| error.to_string())?;
        (folder, Some(Selector::Tag(tag)))
    } else {
        (rest, None)
    };
    if folder.is_empty() {
        return Err("the folder is missing; write oci:DIR or oci:DIR:TAG".to_owned());
    }
    Ok(Place::Layout { folder: folder.into(), image })
}

fn archive(format: ArchiveFormat, rest: &str) -> Result<Place, String> {
    let (file, image) = match rest.split_once(':') {
        Some((file, name)) => (file, Some(archived_name(format, name)?)),
        None => (rest, None),
    };
    if file.is_empty() {
        return Err(format!("the file is missing; write {}:FILE", prefix(format)));
    }
    Ok(Place::Archive { format, file: file.into(), image })
}

/// In an OCI archive a bare word is a tag, which is all that other tools write there.
fn archived_name(format: ArchiveFormat, text: &str) -> Result<ArchivedName, String> {
    match text.parse() {
        Ok(tag) if format == ArchiveFormat::OciArchive => return Ok(ArchivedName::Tag(tag)),
        _ => {}
    }
    let reference: Reference = text.parse().map_err(of_reference)?;
    Ok(ArchivedName::Reference(match reference.tag_or_latest() {
        Some(tag) if reference.digest().is_none() => reference.repository().clone().tagged(tag),
        _ => reference,
    }))
}

fn prefix(format: ArchiveFormat) -> &'static str {
    match format {
        ArchiveFormat::DockerArchive => "docker-archive",
        ArchiveFormat::OciArchive => "oci-archive",
    }
}

fn of_reference(error: oci::InvalidReference) -> String {
    error.reason
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(reference) => reference.fmt(f),
            Self::Layout { folder, image: None } => write!(f, "oci:{}", folder.display()),
            Self::Layout { folder, image: Some(Selector::Tag(tag)) } => {
                write!(f, "oci:{}:{tag}", folder.display())
            }
            Self::Layout { folder, image: Some(Selector::Digest(digest)) } => {
                write!(f, "oci:{}@{digest}", folder.display())
            }
            Self::Folder(folder) => write!(f, "dir:{}", folder.display()),
            Self::Archive { format, file, image } => {
                write!(f, "{}:{}", prefix(*format), file.display())?;
                image.as_ref().map_or(Ok(()), |image| write!(f, ":{image}"))
            }
            Self::Daemon(reference) => write!(f, "docker-daemon:{reference}"),
            Self::Containerd { namespace: None, name } => write!(f, "containerd:{name}"),
            Self::Containerd { namespace: Some(namespace), name } => {
                write!(f, "containerd:{namespace}//{name}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(text.parse::<Place>().map(|place| place.to_string()), Ok(expected.to_owned()));
    }

    #[track_caller]
    fn check_refused(text: &str, reason: &str) {
        let error = text.parse::<Place>().unwrap_err();
        assert!(error.reason.contains(reason), "{text}: {error}");
    }

    #[test]
    fn names() {
        check("debian:12", "docker.io/library/debian:12");
        check("docker://debian:12", "docker.io/library/debian:12");
        check("local/debian", "local/debian");
        check("localhost:5000/a:b", "localhost:5000/a:b");
        check_refused("Acme/api", "lower case");
        check_refused("docker-deamon:x:1", "did you mean docker-daemon:?");
        check_refused("oci-dir:/x/y", "no kind of place is called oci-dir; there are oci:, dir:");
        check_refused("https://ghcr.io/acme/api:1", "without that: ghcr.io/acme/api:1");
        check_refused("sftp://x", "no kind of place is called sftp; there are oci:, dir:");
        check_refused("/etc", "oci:/etc or dir:/etc");
        check_refused("./a.tar", "docker-archive:./a.tar");
        check_refused("containers-storage:x", "docker-daemon:NAME");
        check_refused("localhost:x/y:1", "port");
    }

    #[test]
    fn layouts() {
        let digest = Digest::of(b"x");
        check("oci:out", "oci:out");
        check("oci:/a/b:v1", "oci:/a/b:v1");
        check(&format!("oci:/a/b@{digest}"), &format!("oci:/a/b@{digest}"));
        check_refused("oci:", "folder is missing");
        check_refused("oci:a:b:c", "tag");
        check_refused("oci:a@sha256:1", "digest");
        check("dir:/a/b:c", "dir:/a/b:c");
        check_refused("dir:", "folder is missing");
    }

    #[test]
    fn archives_and_daemons() {
        check("docker-archive:a.tar", "docker-archive:a.tar");
        check("docker-archive:/x/a.tar:api:local", "docker-archive:/x/a.tar:docker.io/library/api:local");
        check("docker-archive:a.tar:api", "docker-archive:a.tar:docker.io/library/api:latest");
        check("oci-archive:a.tar:localhost:1/b:c", "oci-archive:a.tar:localhost:1/b:c");
        check("oci-archive:a.tar:v1", "oci-archive:a.tar:v1");
        check("docker-daemon:api:local", "docker-daemon:docker.io/library/api:local");
        check_refused("oci-archive::x", "file is missing");
        check_refused("docker-daemon:", "empty");
        check("containerd:api:local", "containerd:docker.io/library/api:local");
        check("containerd:k8s.io//ghcr.io/acme/api:1", "containerd:k8s.io//ghcr.io/acme/api:1");
        check_refused("containerd:k8s.io//", "empty");
        check_refused("containerd:k8s..io//api", "namespace");
        check_refused("containerd:a//b//c", "empty");
    }
}
