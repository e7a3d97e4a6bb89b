//! Dockerfile and context to image.
//!
//! This crate owns the Dockerfile language, the context, the step graph, the cache and the sandbox
//! in which steps run. It leaves names, tags and pushing to `pipeline`.

pub mod context;
pub mod dockerfile;
pub mod ignore;
pub mod sandbox;
