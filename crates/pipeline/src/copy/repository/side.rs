//! Where a repository lies, and how it is opened.

use std::fmt;
use std::path::PathBuf;

use containerd::Namespace;
use oci::Repository;
use store::{ArchiveFormat, ImageStore, OciFolder};

use super::RepositoryError;
use crate::place::{Place, Places};

/// Where a repository lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// The local store, for `local/`, or a registry.
    Repository(Repository),
    /// An image layout in a folder.
    Layout(PathBuf),
    /// The names of a repository in a namespace of containerd; the usual one where none is named.
    Containerd(Option<Namespace>, Repository),
    /// The images of an archive under their tags. It can only be read.
    Archive(ArchiveFormat, PathBuf),
    /// The names of a repository in a Docker daemon. It can only be read.
    Daemon(Repository),
}

/// What has no room for a tag or digest.
const WHOLE: &str = "leave out the tag or digest";

impl Side {
    /// Returns the side that a place on the command line stands for.
    ///
    /// # Errors
    /// `NoRepository` where it is one image, or cannot hold several tags.
    pub fn of(place: &Place) -> Result<Self, RepositoryError> {
        let refused = |reason| RepositoryError::NoRepository { place: place.to_string(), reason };
        match place {
            Place::Name(name) | Place::Daemon(name) | Place::Containerd { name, .. }
                if name.tag().is_some() || name.digest().is_some() =>
            {
                Err(refused(WHOLE))
            }
            Place::Layout { image: Some(_), .. } | Place::Archive { image: Some(_), .. } => {
                Err(refused(WHOLE))
            }
            Place::Name(name) => Ok(Self::Repository(name.repository().clone())),
            Place::Daemon(name) => Ok(Self::Daemon(name.repository().clone())),
            Place::Containerd { namespace, name } => {
                Ok(Self::Containerd(namespace.clone(), name.repository().clone()))
            }
            Place::Layout { folder, .. } => Ok(Self::Layout(folder.clone())),
            Place::Archive { format, file, .. } => Ok(Self::Archive(*format, file.clone())),
            Place::Folder(_) => Err(refused("it holds one image; oci:DIR holds several")),
        }
    }

    /// Returns what can be read from.
    pub(super) fn reader(&self, places: &Places) -> Result<Box<dyn ImageStore>, RepositoryError> {
        match self {
            Self::Repository(name) => Ok(places.repository(name)?),
            Self::Layout(folder) => Ok(Box::new(OciFolder::open(folder)?)),
            Self::Containerd(namespace, name) => {
                Ok(Box::new(places.containerd_repository(namespace.as_ref(), name)?))
            }
            Self::Archive(_, file) => Ok(Box::new(places.archive(file)?)),
            Self::Daemon(name) => {
                let daemon = places.daemon().map_err(crate::place::PlaceError::from)?;
                Ok(Box::new(daemon.export_all(name).map_err(crate::place::PlaceError::from)?))
            }
        }
    }

    /// Returns what can be written to; blobs of `source` are linked where it is the same registry.
    pub(super) fn writer(
        &self,
        places: &Places,
        source: &Self,
    ) -> Result<Box<dyn ImageStore>, RepositoryError> {
        self.check_writable()?;
        match self {
            Self::Layout(folder) => Ok(Box::new(OciFolder::create(folder)?)),
            Self::Repository(name) => match source.remote() {
                Some(from) if !name.registry().is_local() => {
                    Ok(Box::new(places.remote(name)?.copied_from(from)))
                }
                _ => Ok(places.repository(name)?),
            },
            Self::Containerd(namespace, name) => {
                let held = places.containerd_repository(namespace.as_ref(), name)?;
                let held = held.held(places.containerd()?.now)?;
                Ok(Box::new(held.coming_from(source.remote())))
            }
            Self::Archive(..) | Self::Daemon(_) => unreachable!("it was checked"),
        }
    }

    /// Finds out whether anything can be written there, before anything is asked.
    pub(super) fn check_writable(&self) -> Result<(), RepositoryError> {
        let refused = |reason| Err(RepositoryError::NoRepository { place: self.to_string(), reason });
        match self {
            Self::Archive(..) => {
                refused("an archive is written once; save all images into it with `plimsoll save`")
            }
            Self::Daemon(_) => refused("a daemon takes one image at a time"),
            Self::Repository(_) | Self::Layout(_) | Self::Containerd(..) => Ok(()),
        }
    }

    /// Returns what is there already; nothing where a folder is not there yet.
    pub(super) fn before(&self, places: &Places) -> Result<Option<Box<dyn ImageStore>>, RepositoryError> {
        match self {
            Self::Layout(folder) if !folder.exists() => Ok(None),
            side => side.reader(places).map(Some),
        }
    }

    /// Whether others pull from it.
    pub(super) fn is_registry(&self) -> bool {
        self.remote().is_some()
    }

    /// Returns the repository of a registry.
    fn remote(&self) -> Option<&Repository> {
        match self {
            Self::Repository(name) if !name.registry().is_local() => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository(name) => name.fmt(f),
            Self::Layout(folder) => write!(f, "oci:{}", folder.display()),
            Self::Containerd(Some(namespace), name) => write!(f, "containerd:{namespace}//{name}"),
            Self::Containerd(None, name) => write!(f, "containerd:{name}"),
            Self::Archive(ArchiveFormat::OciArchive, file) => write!(f, "oci-archive:{}", file.display()),
            Self::Archive(ArchiveFormat::DockerArchive, file) => {
                write!(f, "docker-archive:{}", file.display())
            }
            Self::Daemon(name) => write!(f, "docker-daemon:{name}"),
        }
    }
}
