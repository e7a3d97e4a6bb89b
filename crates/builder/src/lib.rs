//! Dockerfile and context to image.
//!
//! This crate owns the Dockerfile language, the context, the step graph, the cache and the sandbox
//! in which steps run. It leaves names, tags and pushing to `pipeline`, which also gives it the
//! base images: a registry is a neighbour on this floor and is not known here.

pub mod cache;
pub mod context;
pub mod dockerfile;
mod engine;
mod error;
mod git_source;
pub mod ignore;
mod request;
pub mod sandbox;

pub use engine::{EmbeddedEngine, Exported, Exporter, ImageRoot, LazyRepository, SandboxMaker, Workspace};
pub use error::{BuildError, Location};
pub use git_source::{GitFetcher, GitSource};
pub use request::{
    Base, BaseNote, BaseReference, BaseRequest, Bases, BuildEvent, BuildOptions, BuildRequest, Built, Engine,
    Fetcher, HostAccess, MadeSteps, NamedContext, Observer, Secret, Settle, StepCount, StepSource,
};
