//! What tests share, and nothing else: git repositories with fixed dates, tiny images, and a reader
//! of our own source files for the tests that hold the architecture (`tests/floors.rs`).
//!
//! Everything here panics with a message where it cannot do its work, because a test is the only
//! caller. Fake remotes live beside the protocol they speak, in the crate that owns the
//! protocol; the cache service of a CI host is here, because both its store and the program are tested with it.

pub mod cache_service;
pub mod git;
pub mod http;
pub mod image;
pub mod source;
pub mod tar;
