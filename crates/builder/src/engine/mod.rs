//! The embedded engine: no daemon, no root, layers in one pass.
//!
//! | file | holds |
//! |---|---|
//! | `build`, `schedule` | one build; its stages side by side |
//! | `stage`, `state`, `scope` | one stage; what it has come to; its variables |
//! | `run` | RUN |
//! | `mounts`, `caches`, `agent` | `RUN --mount`; folders of caches; sockets of agents |
//! | `contexts` | named contexts |
//! | `checks` | build checks |
//! | `from` | context, stage or image that files come from |
//! | `copy`, `source`, `place`, `fill`, `unpack` | COPY and ADD: what is meant, selected, placed, written |
//! | `remote` | ADD of URLs |
//! | `contents`, `accounts` | single files and names out of layers |
//! | `root` | an image to run in |
//! | `workspace`, `work` | indexes, trees and records on disk; folders of steps that run |
//! | `compression` | gzip, zstd or none for the layers made here |
//! | `explain` | why a step runs again |
//! | `clean` | what the cache holds, and removing it |

mod accounts;
mod agent;
mod build;
mod caches;
mod checks;
mod clean;
mod compression;
mod contents;
mod contexts;
mod copy;
mod explain;
mod fill;
mod from;
mod mounts;
mod place;
mod remote;
mod root;
mod run;
mod schedule;
mod scope;
mod source;
mod stage;
mod state;
mod unpack;
mod work;
mod workspace;

pub use root::ImageRoot;
pub use work::SandboxMaker;
pub use workspace::Workspace;

use crate::BuildError;
use crate::request::{Bases, BuildRequest, Built, Engine, Observer};

/// Builds images in this process.
#[derive(Debug)]
pub struct EmbeddedEngine {
    workspace: Workspace,
}

impl EmbeddedEngine {
    /// Returns an engine that keeps its work in `workspace`.
    pub fn new(workspace: Workspace) -> Self {
        Self { workspace }
    }

    /// Returns the workspace.
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }
}

impl Engine for EmbeddedEngine {
    fn build(
        &self,
        request: &BuildRequest,
        bases: &dyn Bases,
        observer: Observer<'_>,
    ) -> Result<Built, BuildError> {
        let (build, needed) = build::Build::plan(&self.workspace, request, bases, observer)?;
        build.run(&needed)
    }
}
