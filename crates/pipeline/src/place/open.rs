//! From a place to the image in it.
//!
//! Reading a name looks into the local store first: names under `local/`, names that were built or
//! pulled here, and digests that the store holds under whatever name. Writing goes where the name
//! says: `local/` is the local store, everything else a registry.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use containerd::{ConnectError, Containerd, ContainerdRepository, Namespace};
use jiff::Timestamp;
use oci::{Digest, Document, Reference, Registry, Repository};
use registry::client::{Client, ClientError, ClientOptions, CredentialError, RemoteRepository};
use store::{ArchiveStore, Foreign, ImageStore, LayoutRepository, LayoutStore, StoreError};

use super::{Place, contained};
use crate::configuration::CacheKind;
use crate::daemon::{Daemon, DaemonError};

/// What places are opened with.
pub struct Places {
    local: LayoutStore,
    /// A folder for what does not outlive the process, such as an archive without its compression.
    scratch: PathBuf,
    reach: Reach,
    connect: Connect,
    /// Made when a registry is first needed: it reads credential files and starts threads.
    client: OnceLock<Client>,
    daemon: FindDaemon,
    containerd: Option<FindContainerd>,
    cache: Option<OpenCache>,
}

/// Finds the container daemon, when one is first needed.
pub type FindDaemon = Box<dyn Fn() -> Result<Daemon, DaemonError> + Send + Sync>;

/// Finds containerd, when it is first needed.
pub type FindContainerd = Box<dyn Fn() -> Result<FoundContainerd, ConnectError> + Send + Sync>;

/// A containerd, and what goes for images that are to lie in it.
#[derive(Clone, Debug)]
pub struct FoundContainerd {
    /// Where to ask.
    pub containerd: Containerd,
    /// The namespace where a place names none.
    pub namespace: Namespace,
    /// When the process was started: leases end by themselves some time after it.
    pub now: Timestamp,
}

/// Opens a build cache that is neither in a registry nor on this machine, by its kind and name: the
/// cache service of a CI host, a bucket.
pub type OpenCache =
    Box<dyn Fn(&Client, CacheKind, &str) -> Result<Arc<dyn ImageStore>, StoreError> + Send + Sync>;

/// Says how registries are reached, when one is first needed.
pub type Connect = Box<dyn Fn() -> Result<ClientOptions, CredentialError> + Send + Sync>;

/// Which registries may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All.
    Everywhere,
    /// Those on this machine.
    Loopback,
}

/// An image that was found.
pub struct Located {
    /// How the image is called.
    pub name: ImageName,
    /// Where its content is read from.
    pub store: Box<dyn ImageStore>,
    /// Its manifest or index.
    pub document: Document,
    /// The repository of the local store it lies in, where it lies there. Another than the name's
    /// where only the digest is the same.
    pub local: Option<Repository>,
}

/// How an image is called where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageName {
    /// A name that can be pushed and pulled.
    Reference(Reference),
    /// A place without such a name.
    Place(Place),
}

/// Why a place could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The store behind it failed or does not have the image.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The client of registries cannot work as it is set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Nobody knows who we are.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// It would have to come from, or go to, another machine.
    #[error("{registry} is on another machine, and only this one may be asked")]
    Offline {
        /// The registry.
        registry: Registry,
    },
    /// Several images are there, and nobody said which.
    #[error("{place} has several images: {names}")]
    Several {
        /// The place.
        place: String,
        /// Their names, with commas.
        names: String,
    },
    /// This cannot be done with this kind of place.
    #[error("{place} cannot be {action}: {reason}")]
    Unsupported {
        /// The place.
        place: String,
        /// `read` or `written`.
        action: &'static str,
        /// What is missing, and what to use instead.
        reason: &'static str,
    },
    /// The container daemon.
    #[error(transparent)]
    Daemon(Box<DaemonError>),
    /// containerd cannot be asked.
    #[error(transparent)]
    Containerd(#[from] ConnectError),
}

impl From<DaemonError> for PlaceError {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::Store(error) => Self::Store(error),
            other => Self::Daemon(Box::new(other)),
        }
    }
}

impl Places {
    /// Returns places over the local store, the registries that `reach` allows, and a container daemon.
    pub fn new(
        local: LayoutStore,
        scratch: PathBuf,
        reach: Reach,
        connect: Connect,
        daemon: FindDaemon,
    ) -> Self {
        Self {
            local,
            scratch,
            reach,
            connect,
            client: OnceLock::new(),
            daemon,
            containerd: None,
            cache: None,
        }
    }

    /// Returns these places with build caches elsewhere, opened by `open`.
    pub fn with_caches(self, open: OpenCache) -> Self {
        Self { cache: Some(open), ..self }
    }

    /// Returns these places with containerd, found by `find`.
    pub fn with_containerd(self, find: FindContainerd) -> Self {
        Self { containerd: Some(find), ..self }
    }

    /// Opens a build cache that is neither in a registry nor on this machine.
    ///
    /// # Errors
    /// `Unsupported` where other machines must not be asked or nobody knows such caches; what the
    /// cache says.
    pub fn cache(&self, kind: CacheKind, name: &str) -> Result<Arc<dyn ImageStore>, PlaceError> {
        let unsupported = |reason| PlaceError::Unsupported {
            place: format!("the cache {}:{name}", kind.word()),
            action: "used",
            reason,
        };
        match &self.cache {
            _ if self.reach == Reach::Loopback => Err(unsupported("it is on another machine")),
            None => Err(unsupported("nothing here knows such caches")),
            Some(open) => Ok(open(self.client()?, kind, name)?),
        }
    }

    /// Returns the container daemon.
    ///
    /// # Errors
    /// `None` where there is none, `Unreachable` where the one that is named does not answer.
    pub fn daemon(&self) -> Result<Daemon, DaemonError> {
        (self.daemon)()
    }

    /// Returns containerd.
    ///
    /// # Errors
    /// `Containerd` where nobody is there to be asked.
    pub fn containerd(&self) -> Result<FoundContainerd, PlaceError> {
        let find = self.containerd.as_ref();
        Ok(find.map_or_else(|| Err(ConnectError::NoSocket { tried: Vec::new() }), |find| find())?)
    }

    /// Returns a repository of containerd; in the usual namespace where none is named.
    ///
    /// # Errors
    /// As for [`Self::containerd`].
    pub fn containerd_repository(
        &self,
        namespace: Option<&Namespace>,
        name: &Repository,
    ) -> Result<ContainerdRepository, PlaceError> {
        let found = self.containerd()?;
        Ok(found.containerd.repository(namespace.unwrap_or(&found.namespace), name))
    }

    /// Opens an archive of images.
    ///
    /// # Errors
    /// `NotFound` where there is no such file, `Corrupt` where it is no archive or a damaged one.
    pub fn archive(&self, file: &Path) -> Result<ArchiveStore, StoreError> {
        ArchiveStore::open(file, &self.scratch)
    }

    /// Returns the local store.
    pub fn local(&self) -> &LayoutStore {
        &self.local
    }

    /// Returns the client of registries.
    ///
    /// # Errors
    /// `Client` or `Credential` where its settings cannot be used.
    pub fn client(&self) -> Result<&Client, PlaceError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::new((self.connect)()?)?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Writes what is at a URL to `output` and returns when it was changed last, in seconds since 1970.
    ///
    /// # Errors
    /// `Offline` where other machines must not be asked, `Store` where it cannot be had.
    pub fn download(&self, url: &str, output: &mut dyn std::io::Write) -> Result<Option<i64>, PlaceError> {
        let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        if let (Reach::Loopback, Ok(registry)) = (self.reach, authority.parse::<Registry>())
            && !registry.is_loopback()
        {
            return Err(PlaceError::Offline { registry });
        }
        Ok(self.client()?.download(url, output)?)
    }

    /// Returns the repositories of a registry, in its order.
    ///
    /// # Errors
    /// `Offline` where it must not be asked; `Denied` or `NotFound` where it offers no such list, as
    /// Docker Hub and GHCR.
    pub fn catalog(&self, registry: &Registry) -> Result<Vec<Repository>, PlaceError> {
        if self.reach == Reach::Loopback && !registry.is_loopback() {
            return Err(PlaceError::Offline { registry: registry.clone() });
        }
        Ok(self.client()?.catalog(registry)?)
    }

    /// Returns a repository of a registry.
    ///
    /// # Errors
    /// `Offline` where it must not be asked. Nothing is asked of it yet.
    pub fn remote(&self, name: &Repository) -> Result<RemoteRepository, PlaceError> {
        let registry = name.registry();
        if self.reach == Reach::Loopback && !registry.is_loopback() {
            return Err(PlaceError::Offline { registry: registry.clone() });
        }
        Ok(self.client()?.repository(name))
    }

    /// Finds the image at `place`.
    ///
    /// # Errors
    /// `Store` with `NotFound` where there is none, or where the store fails.
    pub fn find(&self, place: &Place) -> Result<Located, PlaceError> {
        match place {
            Place::Name(reference) => match self.find_local(reference)? {
                Some(found) if self.is_enough(reference, &found)? => Ok(found),
                Some(_) => self.find_remote(reference),
                None if reference.repository().registry().is_local() => Err(self.not_here(reference).into()),
                None => self.find_remote(reference),
            },
            Place::Archive { file, image, .. } => {
                self.with_lacking(contained::in_archive(place, self.archive(file)?, image.as_ref())?)
            }
            Place::Layout { folder, image } => {
                self.with_lacking(contained::in_layout(place, folder, image.as_ref())?)
            }
            Place::Folder(folder) => self.with_lacking(contained::in_folder(place, folder)?),
            Place::Daemon(name) => contained::in_archive(place, self.daemon()?.export(name)?, None),
            Place::Containerd { namespace, name } => {
                let repository = self.containerd_repository(namespace.as_ref(), name.repository())?;
                contained::in_repository(place, Box::new(repository), name)
            }
        }
    }

    /// Finds the image at `place` as it is now: a name of a registry is asked there, whatever the local store has.
    ///
    /// # Errors
    /// As for [`Self::find`].
    pub fn find_anew(&self, place: &Place) -> Result<Located, PlaceError> {
        match place {
            Place::Name(reference) if !reference.repository().registry().is_local() => {
                self.find_remote(reference)
            }
            place => self.find(place),
        }
    }

    /// Whether an image is all here; only one of a registry may have been pushed without its layers coming here.
    fn is_enough(&self, reference: &Reference, found: &Located) -> Result<bool, StoreError> {
        if reference.repository().registry().is_local() {
            return Ok(true);
        }
        match store::missing_parts(found.store.as_ref(), found.document.descriptor(), Foreign::LeftOut) {
            // An index of which only some platforms were pulled.
            Err(StoreError::NotFound { .. }) => Ok(true),
            missing => Ok(missing?.is_empty()),
        }
    }

    /// Finds an image in its registry, whatever the local store has.
    ///
    /// # Errors
    /// `Offline`, or what the registry answers.
    pub fn find_remote(&self, reference: &Reference) -> Result<Located, PlaceError> {
        let repository = self.remote(reference.repository())?;
        let document = contained::named(&repository, reference)?;
        let name = ImageName::Reference(reference.clone());
        Ok(Located { name, store: Box::new(repository), document, local: None })
    }

    /// Finds an image in the local store alone; `None` where it is not there.
    ///
    /// # Errors
    /// `Corrupt` or `Unreachable`, never `NotFound`.
    pub fn find_local(&self, reference: &Reference) -> Result<Option<Located>, StoreError> {
        let repository = self.local.repository(reference.repository());
        let document = match (reference.digest(), reference.tag_or_latest()) {
            (Some(digest), _) => absent_is_none(repository.document(&digest))?,
            (None, Some(tag)) => match absent_is_none(repository.resolve(&tag))? {
                Some(target) => Some(repository.document(&target.digest)?),
                None => None,
            },
            (None, None) => None,
        };
        let (repository, document) = match (document, reference.digest()) {
            (Some(document), _) => (repository, document),
            (None, Some(digest)) => match self.holder(&digest)? {
                Some(found) => found,
                None => return Ok(None),
            },
            (None, None) => return Ok(None),
        };
        let name = ImageName::Reference(reference.clone());
        let local = Some(repository.name().clone());
        Ok(Some(Located { name, store: Box::new(repository), document, local }))
    }

    /// Returns the repository that writing to `name` goes to: of the local store for `local/`, else
    /// of a registry.
    ///
    /// # Errors
    /// `Offline` where that must not be asked. Nothing is asked of a registry yet.
    pub fn repository(&self, name: &Repository) -> Result<Box<dyn ImageStore>, PlaceError> {
        if name.registry().is_local() {
            return Ok(Box::new(self.local.repository(name)));
        }
        Ok(Box::new(self.remote(name)?))
    }

    /// Returns the first repository of the local store that has the manifest: the same digest is
    /// the same image, under whatever name it came.
    fn holder(&self, digest: &Digest) -> Result<Option<(LayoutRepository, Document)>, StoreError> {
        for name in self.local.repositories()? {
            let repository = self.local.repository(&name);
            if let Some(document) = absent_is_none(repository.document(digest))? {
                return Ok(Some((repository, document)));
            }
        }
        Ok(None)
    }

    pub(super) fn not_here(&self, reference: &Reference) -> StoreError {
        StoreError::NotFound {
            what: format!("{reference} in the local store at {}", self.local.root().display()),
        }
    }
}

pub(super) fn absent_is_none<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Located {
    /// Returns the repository of a registry that the content is read from, where it is one.
    pub fn remote(&self) -> Option<&Repository> {
        self.name.repository().filter(|_| self.local.is_none())
    }
}

impl ImageName {
    /// Returns the repository, where the name has one.
    pub fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Reference(reference) => Some(reference.repository()),
            Self::Place(_) => None,
        }
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Places({:?}, {:?})", self.local, self.reach)
    }
}

impl fmt::Debug for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Located({} is {})", self.name, self.document.digest())
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference(reference) => reference.fmt(f),
            Self::Place(place) => place.fmt(f),
        }
    }
}
