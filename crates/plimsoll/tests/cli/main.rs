//! What a user sees: the real binary, its exit code, its two outputs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod run;

mod administration;
mod archive;
mod bake;
mod basics;
mod copy;
mod identity;
mod images;
mod init;
mod job;
mod job_failures;
mod metadata;
mod moving_in;
mod plan;
mod serve;
