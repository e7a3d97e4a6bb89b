//! What one run of the binary works with: the environment, the global flags, the printer, and the
//! places that follow from them.

use std::path::PathBuf;

use pipeline::place::Places;
use store::LayoutStore;

use crate::cli::Global;
use crate::env::Environment;
use crate::error::Error;
use crate::ui::Ui;

/// What every command is handed.
#[derive(Debug)]
pub struct Session {
    /// The world outside.
    pub environment: Environment,
    /// Flags of every command.
    pub global: Global,
    /// The printer.
    pub ui: Ui,
}

impl Session {
    /// Puts the parts together.
    pub fn new(environment: Environment, global: Global, ui: Ui) -> Self {
        Self { environment, global, ui }
    }

    /// Returns the folder for state: `--root`, else what the environment says.
    pub fn root(&self) -> Result<PathBuf, Error> {
        if let Some(root) = &self.global.root {
            return Ok(self.environment.folder.join(root));
        }
        self.environment.state_folder().ok_or_else(|| Error::Usage {
            message: "there is no folder for images and cache: neither HOME nor XDG_DATA_HOME is set"
                .to_owned(),
            hint: Some("name one with --root DIR or PLIMSOLL_ROOT".to_owned()),
        })
    }

    /// Opens the local store, which is made where it is not there.
    pub fn store(&self) -> Result<LayoutStore, Error> {
        Ok(LayoutStore::open(&self.root()?.join("store"))?)
    }

    /// Returns what places are opened with.
    pub fn places(&self) -> Result<Places, Error> {
        Ok(Places::new(self.store()?))
    }
}
