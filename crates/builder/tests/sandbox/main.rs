//! The sandbox on the real kernel: needs namespaces, and busybox (static) for something to run.
//!
//! Where either is missing every test says so on standard error and passes without having tested anything;
//! `skipped` in the output counts them.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

mod chroot;
mod commands;
mod files;
mod isolation;
mod limits;
mod ordinary;
mod rooms;
mod services;
mod trees;
