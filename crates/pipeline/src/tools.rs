//! What the stages act with: stores, the registry client, the engine, folders, and who is told.
//! Everything that comes from the surroundings (clock, environment, folders) was read by the binary.

use std::collections::BTreeMap;
use std::path::PathBuf;

use builder::{EmbeddedEngine, Engine};
use oci::{Registry, Repository};
use store::{LayoutRepository, LayoutStore};

use crate::place::Places;
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
    /// What `host` commands of suites inherit.
    pub environment: BTreeMap<String, String>,
    /// The registry that this process serves out of the local store, where none is configured.
    pub embedded_registry: Option<Registry>,
    /// Is told what happens.
    pub observer: progress::Observer<'a>,
}

impl Tools<'_> {
    /// Returns where images of `image` lie in the local store: under their own name, and under
    /// `local/` where the registry is this process, so that its address, which differs from run to
    /// run, is in no name.
    pub fn local(&self, image: &Repository) -> LayoutRepository {
        let own = self.embedded_registry.as_ref() == Some(image.registry());
        let local = if own { image.at(Registry::local()).ok() } else { None };
        self.store.repository(local.as_ref().unwrap_or(image))
    }
}
