//! Where the image lies that is to be removed, and what its other tags have to do with it.

use containerd::ContainerdRepository;
use oci::{Descriptor, Digest, Reference, Tag};
use registry::client::{RemoteRepository, Removal};
use store::{ImageStore, LayoutRepository, OciFolder, StoreError};

use super::{MAX_DEPTH, RemovalError, Wish};
use crate::place::{self, Place, Places};

/// Where names of registries are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// In the registry.
    Registry,
    /// In the local store, which keeps what was pulled and pushed under the same name.
    Local,
}

/// By what the image is named.
#[derive(Debug)]
pub(super) enum Selector {
    Tag(Tag),
    Digest(Digest),
}

#[derive(Debug)]
pub(super) enum Target {
    Local(LayoutRepository),
    Folder(OciFolder),
    Registry(RemoteRepository),
    Containerd(ContainerdRepository),
}

/// What a tag has to do with a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It points to it.
    Points,
    /// It points to an index that has it as a part.
    Contains,
    Other,
}

impl Selector {
    fn of(name: &Reference) -> Self {
        match (name.digest(), name.tag_or_latest()) {
            (Some(digest), _) => Self::Digest(digest),
            (None, Some(tag)) => Self::Tag(tag),
            (None, None) => unreachable!("without a digest the tag is latest"),
        }
    }
}

impl Target {
    pub fn of(places: &Places, wish: &Wish) -> Result<(Self, Selector), RemovalError> {
        let unsupported = |reason| Err(RemovalError::Unsupported { place: wish.place.to_string(), reason });
        match &wish.place {
            Place::Name(name) => {
                let selector = Selector::of(name);
                let repository = name.repository();
                let is_local = repository.registry().is_local() || wish.side == Side::Local;
                let target = match is_local {
                    true => Self::Local(places.local().repository(repository)),
                    false => Self::Registry(places.remote(repository)?),
                };
                Ok((target, selector))
            }
            Place::Layout { folder, image } => {
                let selector = match image {
                    Some(place::Selector::Tag(tag)) => Selector::Tag(tag.clone()),
                    Some(place::Selector::Digest(digest)) => Selector::Digest(*digest),
                    None => Selector::Digest(places.find(&wish.place)?.document.digest()),
                };
                Ok((Self::Folder(OciFolder::open(folder)?), selector))
            }
            Place::Containerd { namespace, name } => {
                let repository = places.containerd_repository(namespace.as_ref(), name.repository())?;
                Ok((Self::Containerd(repository), Selector::of(name)))
            }
            Place::Folder(_) => unsupported("the folder is the image; remove it with rm -r"),
            Place::Archive { .. } => {
                unsupported("an archive is written once; save the images that are to stay into a new one")
            }
            Place::Daemon(_) => unsupported("the daemon's own client removes its images: docker rmi"),
        }
    }

    pub fn store(&self) -> &dyn ImageStore {
        match self {
            Self::Local(repository) => repository,
            Self::Folder(folder) => folder,
            Self::Registry(remote) => remote,
            Self::Containerd(repository) => repository,
        }
    }

    /// Whether what goes there cannot be brought back from this machine.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Registry(_))
    }

    /// Returns what a tag points to where it is to be removed: mirrors may be late.
    pub fn resolve(&self, tag: &Tag) -> Result<Descriptor, StoreError> {
        match self {
            Self::Registry(remote) => remote.resolve_at_origin(tag),
            other => other.store().resolve(tag),
        }
    }

    pub fn remove_tag(&self, tag: &Tag) -> Result<Removal, StoreError> {
        match self {
            Self::Registry(remote) => remote.remove_tag(tag),
            other => other.store().untag(tag).map(|()| Removal::Done),
        }
    }

    pub fn remove_document(&self, digest: &Digest) -> Result<Removal, StoreError> {
        match self {
            Self::Registry(remote) => remote.remove_document(digest),
            other => other.store().delete_document(digest).map(|()| Removal::Done),
        }
    }

    /// Returns what a tag has to do with a manifest; nothing where the tag is gone meanwhile.
    pub fn look(&self, tag: &Tag, digest: &Digest) -> Result<Role, StoreError> {
        match self.resolve(tag) {
            Err(StoreError::NotFound { .. }) => Ok(Role::Other),
            Ok(found) if found.digest == *digest => Ok(Role::Points),
            Ok(found) if found.media_type.is_index() && self.has_part(&found, digest, 0)? => {
                Ok(Role::Contains)
            }
            Ok(_) => Ok(Role::Other),
            Err(error) => Err(error),
        }
    }

    fn has_part(&self, index: &Descriptor, part: &Digest, depth: usize) -> Result<bool, StoreError> {
        let document = match self.store().document(&index.digest) {
            // An index that is broken already is not broken by this.
            Err(
                StoreError::NotFound { .. } | StoreError::Corrupt { .. } | StoreError::Unsupported { .. },
            ) => {
                return Ok(false);
            }
            document => document?,
        };
        for child in document.as_index().map(|index| index.manifests.as_slice()).unwrap_or_default() {
            let is_deeper = child.media_type.is_index() && depth < MAX_DEPTH;
            if child.digest == *part || (is_deeper && self.has_part(child, part, depth + 1)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
