//! What happens to an image, from the event to the ledger: event -> identity -> plan -> build ->
//! hand-over -> push -> suites. Each stage decides in a pure function and acts in a thin one.
//!
//! This crate composes the rooms below it; what knows a CI host is `forge`'s, what prints is the
//! binary's.

pub mod archive;
pub mod bake;
mod bases;
pub mod build;
pub mod caches;
pub mod configuration;
pub mod content;
pub mod copy;
pub mod daemon;
pub mod event;
pub mod forge;
pub mod git;
pub mod handover;
pub mod identity;
pub mod image;
pub mod import;
pub mod ledger;
pub mod moving_in;
pub mod place;
pub mod plan;
pub mod platforms;
mod process;
pub mod progress;
pub mod push;
pub mod removal;
pub mod repositories;
pub mod run;
mod side_by_side;
mod suggest;
pub mod suite;
pub mod summary;
pub mod text;
pub mod tools;
pub mod yaml;
