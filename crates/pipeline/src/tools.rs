//! What the stages act with: stores, the registry client, the engine, folders, and who is told.
//! Everything that comes from the surroundings (clock, environment, folders) was read by the binary.

use std::collections::BTreeMap;
use std::path::PathBuf;

use builder::{EmbeddedEngine, Engine, LazyRepository};
use oci::{Registry, Repository};
use registry::client::RemoteRepository;
use store::{Foreign, LayoutRepository, LayoutStore};

use crate::place::{PlaceError, Places};
use crate::progress;

/// What the stages act with.
pub struct Tools<'a> {
    /// The local store.
    pub store: LayoutStore,
    /// Opens names and files as images, and speaks to registries.
    pub places: &'a Places,
    /// Builds.
    pub engine: &'a dyn Engine,
    /// Runs commands in images; its workspace has their layers.
    pub embedded: &'a EmbeddedEngine,
    /// The folder of the configuration; relative paths of it start here.
    pub project: PathBuf,
    /// The project's folder for the ledger, logs and archives.
    pub output: PathBuf,
    /// The ledger's file. Archives below its folder are named from there, so that the folder can
    /// travel to a job where it lies elsewhere.
    pub ledger: PathBuf,
    /// What `host` commands of suites inherit.
    pub environment: BTreeMap<String, String>,
    /// The registry that this process serves names under `local/` at, where it does.
    pub embedded_registry: Option<Registry>,
    /// What becomes of non-distributable layers where images are pushed.
    pub foreign: Foreign,
    /// Is told what happens.
    pub observer: progress::Observer<'a>,
}

impl Tools<'_> {
    /// Returns where images of `image` lie in the local store: under their own name.
    pub fn local(&self, image: &Repository) -> LayoutRepository {
        self.store.repository(image)
    }

    /// Returns the same with layers that lie elsewhere: they are fetched when something reads them.
    pub fn lazy(&self, image: &Repository) -> LazyRepository {
        self.embedded.workspace().lazy(image)
    }

    /// Returns the name that other programs reach `image` by. Names under `local/` stay the same from
    /// run to run; the address of the registry that serves them does not, so it is put in front only
    /// where somebody has to connect.
    pub fn reachable(&self, image: &Repository) -> Option<Repository> {
        match &self.embedded_registry {
            _ if !image.registry().is_local() => Some(image.clone()),
            Some(registry) => image.at(registry.clone()).ok(),
            None => None,
        }
    }

    /// Returns the registry's view of `image`.
    ///
    /// # Errors
    /// `Unsupported` where it is a local name and nobody serves those now.
    pub fn remote(&self, image: &Repository) -> Result<RemoteRepository, PlaceError> {
        let name = self.reachable(image).ok_or_else(|| PlaceError::Unsupported {
            place: image.to_string(),
            action: "reached through a registry",
            reason: "names under local/ are served by `serve registry` and during `run` only",
        })?;
        self.places.remote(&name)
    }
}
