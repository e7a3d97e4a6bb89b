//! The main job with the real binary: what it does with good input, and what it says to bad input.
//!
//! Steps run in sandboxes on a base image made of `/bin/busybox` (static). Where either is not to be
//! had a test says so on standard error and passes without having tested anything; `skipped` in the
//! output counts them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod seen;
mod shop;

mod artifacts;
mod at_terminal;
mod bad_context;
mod bad_dockerfile;
mod bad_project;
mod bake_builds;
mod build_bases;
mod build_cache;
mod build_damage;
mod build_killed;
mod build_kinds;
mod build_machine;
mod build_prune;
mod build_ways;
mod cache_mounts;
mod cache_tiers;
mod contexts_elsewhere;
mod contexts_that_bite;
mod daemon_load;
mod foreign;
mod handover_thin;
mod kills;
mod language_add;
mod language_checks;
mod language_copy;
mod language_mounts;
mod language_stages;
mod language_steps;
mod migration;
mod mirrors;
mod platforms;
mod played;
mod refused;
mod removal;
mod run_ci;
mod run_failures;
mod run_registry;
mod run_suites;
mod run_tags;
mod sides;
mod transfers;
mod unreliable;
