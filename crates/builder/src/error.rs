//! Why a build failed, always with the place in the Dockerfile where there is one.

use std::io;
use std::path::PathBuf;

use crate::dockerfile::DockerfileError;
use crate::sandbox::SandboxError;

/// A place in a Dockerfile, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file, as the user named it.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The instruction on one line.
    pub instruction: String,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is no Dockerfile.
    #[error("there is no Dockerfile at {}", path.display())]
    NoDockerfile {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The Dockerfile cannot be read as one.
    #[error(transparent)]
    Dockerfile(#[from] DockerfileError),
    /// The checks found something, and the Dockerfile says that this is an error.
    #[error("{file}: the checks found {} (# check=error=true)", rules.join(", "))]
    Checks {
        /// The Dockerfile.
        file: String,
        /// Names of the checks, each once.
        rules: Vec<String>,
    },
    /// Part of the language that this engine does not do.
    #[error("{location}: {what} is not supported by the embedded engine")]
    Unsupported {
        /// Where.
        location: Location,
        /// What, with the way around it where there is one.
        what: String,
    },
    /// An instruction cannot be carried out as written.
    #[error("{location}: {reason}")]
    Instruction {
        /// Where.
        location: Location,
        /// Why.
        reason: String,
    },
    /// A base image was not found or cannot be used.
    #[error("{location}: cannot use the image {name}")]
    Base {
        /// Where.
        location: Location,
        /// The image.
        name: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A step's command failed.
    #[error("{location}: {} {outcome}", location.instruction)]
    Step {
        /// Where.
        location: Location,
        /// `exited with code 1`, `was killed by signal 9`, `took longer than 5m`.
        outcome: String,
        /// The last lines it printed, oldest first; may be empty.
        last_lines: Vec<String>,
    },
    /// A step's command could not be started.
    #[error("{location}: cannot run the step")]
    Sandbox {
        /// Where.
        location: Location,
        /// Why.
        #[source]
        source: SandboxError,
    },
    /// An instruction failed over something that has no place in the Dockerfile itself.
    #[error("{location}: cannot carry out {}", location.instruction)]
    At {
        /// Where.
        location: Location,
        /// Why: another error of this type.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The stage asked for is not in the Dockerfile.
    #[error("{file}: there is no stage {target:?}; the stages are {}", stages.join(", "))]
    NoSuchTarget {
        /// The Dockerfile.
        file: String,
        /// What was asked for.
        target: String,
        /// What there is.
        stages: Vec<String>,
    },
    /// A stage that this one needs failed; that stage's error is reported beside this one.
    #[error("stage {stage} was not built")]
    Dependency {
        /// The stage needed.
        stage: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// A layer cannot be read or written.
    #[error("cannot {action}")]
    Layer {
        /// What was done to which layer or file.
        action: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file of the workspace cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// `read`, `write`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl BuildError {
    /// Returns a `Layer` error.
    pub(crate) fn layer(
        action: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Layer { action: action.into(), source: source.into() }
    }

    /// Gives the error the place of an instruction, where it has none of its own.
    pub(crate) fn at(self, location: &Location) -> Self {
        match self {
            Self::Dockerfile(_) | Self::Dependency { .. } => self,
            error if error.location().is_some() => error,
            error => Self::At { location: location.clone(), source: Box::new(error) },
        }
    }

    /// Whether this may have come of a layer that a cache did not have, so that another try has a chance.
    pub(crate) fn may_be_a_loss(&self) -> bool {
        matches!(
            self,
            Self::Store(_)
                | Self::Layer { .. }
                | Self::At { .. }
                | Self::Base { .. }
                | Self::Sandbox { .. }
                | Self::Dependency { .. }
        )
    }

    /// Returns the place in the Dockerfile, where the error has one.
    pub fn location(&self) -> Option<&Location> {
        match self {
            Self::Unsupported { location, .. }
            | Self::Instruction { location, .. }
            | Self::Base { location, .. }
            | Self::Step { location, .. }
            | Self::At { location, .. }
            | Self::Sandbox { location, .. } => Some(location),
            _ => None,
        }
    }
}
