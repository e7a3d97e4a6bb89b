//! The embedded engine: no daemon, no root, layers in one pass.
//!
//! | file | holds |
//! |---|---|
//! | `build`, `schedule` | one build; its stages side by side |
//! | `stage`, `state`, `scope` | one stage; what it has come to; its variables |
//! | `known` | the layer of a step, looked up or made |
//! | `run` | RUN |
//! | `mounts`, `caches`, `agent` | `RUN --mount`; folders of caches; sockets of agents |
//! | `kept_mounts` | folders of `RUN --mount=type=cache` in caches outside this machine |
//! | `kept_root` | the merged layers of the last step, where there is no overlayfs |
//! | `machine` | what steps are lent of this machine and may use of it |
//! | `contexts` | named contexts |
//! | `checks` | build checks |
//! | `from` | context, stage or image that files come from |
//! | `copy`, `add`, `source`, `place`, `fill`, `unpack` | COPY and ADD: what is meant, selected, placed, written |
//! | `remote`, `git` | ADD of URLs; of git repositories |
//! | `contents`, `accounts` | single files and names out of layers |
//! | `root` | an image to run in |
//! | `workspace`, `indexes`, `work` | indexes and records on disk; folders of steps that run |
//! | `trees`, `take_in` | unpacked layers; the first reading of a layer, which also makes its index |
//! | `compression` | gzip, zstd or none for the layers made here |
//! | `import`, `export` | steps of caches outside this machine |
//! | `elsewhere` | layers that are known and not here |
//! | `ahead` | copies made while a RUN works |
//! | `layers` | layers, also before their blobs are whole |
//! | `leak` | secrets of a step in its layer |
//! | `explain` | why a step runs again |
//! | `clean` | what the cache holds, and removing it |

mod accounts;
mod add;
mod agent;
mod ahead;
mod build;
mod caches;
mod checks;
mod clean;
mod compression;
mod contents;
mod contexts;
mod copy;
mod elsewhere;
mod explain;
mod export;
mod fill;
mod from;
mod git;
mod import;
mod indexes;
mod items;
mod kept_mounts;
mod kept_root;
mod known;
mod layers;
mod leak;
mod machine;
mod mounts;
mod place;
mod placed;
mod remote;
mod root;
mod run;
mod schedule;
mod scope;
mod sorted;
mod source;
mod stage;
mod state;
mod take_in;
mod trees;
mod unpack;
mod views;
mod work;
mod workspace;

pub use elsewhere::LazyRepository;
pub use export::{Exported, Exporter};
pub use root::ImageRoot;
pub use work::SandboxMaker;
pub use workspace::Workspace;

use crate::BuildError;
use crate::cache::OnCacheError;
use crate::request::{Bases, BuildEvent, BuildRequest, Built, Engine, Observer};

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
        let goes_on = request.options.tiers.as_ref().is_none_or(|tiers| tiers.on_error == OnCacheError::Warn);
        loop {
            let before = self.workspace.elsewhere.losses();
            let (build, needed) = build::Build::plan(&self.workspace, request, bases, observer)?;
            let error = match build.run(&needed) {
                Err(error) if goes_on && error.may_be_a_loss() => error,
                other => return other,
            };
            let mut losses = self.workspace.elsewhere.losses();
            losses.retain(|digest, _| !before.contains_key(digest));
            if losses.is_empty() {
                return Err(error);
            }
            // What was made until now is known by its record, so starting again costs what was lost.
            for (digest, reason) in losses {
                let message =
                    format!("the layer {digest} of a cache cannot be had, its step runs again: {reason}");
                observer(BuildEvent::Warning(message));
            }
        }
    }
}
