//! How steps are done: the flags that `build`, `run` and `bake` have in common.

use std::path::PathBuf;
use std::time::Duration;

use builder::BuildOptions;
use layer::Settings;
use pipeline::configuration::{ByteSize, Defaults, MOUNT_LIMIT, Timespan};

use super::machine::Machine;
use crate::error::Error;
use crate::session::Session;
use crate::workbench::Workbench;

/// Whether steps run, how long they may take, what becomes of their layers, and what is said of them.
#[derive(Debug, Default, clap::Args)]
pub struct Steps {
    /// Runs every step even where its result is known
    #[arg(long)]
    pub no_cache: bool,
    /// Keeps folders of RUN --mount=type=cache in the caches outside this machine too, up to this size each [default: 2GiB]
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    cache_mounts: Option<MountLimit>,
    /// How layers are compressed that are made: gzip, zstd or none, with a level as in zstd:9 [default: gzip:2]
    #[arg(long, value_name = "FORMAT[:LEVEL]")]
    compression: Option<Settings>,
    /// Says of every step that runs what changed since it ran last, here or where a cache was written
    #[arg(long)]
    pub explain: bool,
    /// Writes what took how long to this file, in Chrome's trace format
    #[arg(long, value_name = "FILE")]
    timings: Option<PathBuf>,
    /// Longest time one step may take, such as 30m
    #[arg(long, value_name = "TIME")]
    step_timeout: Option<Timespan>,
    #[command(flatten)]
    machine: Machine,
}

/// A size, or the usual one where none is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MountLimit(u64);

impl std::str::FromStr for MountLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size = if text.is_empty() { Ok(MOUNT_LIMIT) } else { text.parse::<ByteSize>() };
        size.map(|size| Self(size.0)).map_err(|error| error.to_string())
    }
}

impl Steps {
    /// Opens what builds, with the compression that is asked for here, else by `configured`.
    pub fn open(&self, session: &Session, configured: Option<Settings>) -> Result<Workbench, Error> {
        Workbench::open_with(session, self.compression.or(configured))
    }

    /// Returns the longest time one step may take.
    pub fn timeout(&self) -> Option<Duration> {
        self.step_timeout.map(|timeout| timeout.0)
    }

    /// Adds what is asked for by these flags, else by `defaults`, to the options of a build.
    pub fn lend(
        &self,
        session: &Session,
        defaults: Option<&Defaults>,
        options: BuildOptions,
    ) -> Result<BuildOptions, Error> {
        let configured = defaults.and_then(|defaults| defaults.cache.kept_mounts());
        let kept_mounts = self.cache_mounts.map(|limit| limit.0).or(configured);
        self.machine.lend(session, defaults, BuildOptions { kept_mounts, ..options })
    }

    /// Warns where mounts are to be kept in caches and there are none.
    pub fn check_mounts(&self, session: &Session, has_caches: bool) {
        if self.cache_mounts.is_some() && !has_caches {
            session.ui.warn(
                "--cache-mounts has no effect: no cache outside this machine is named (--cache-from, --cache-to, [defaults.cache])",
            );
        }
    }

    /// Says where the time went, and writes it to the file that was asked for.
    pub fn tell_timings(&self, session: &Session, workbench: &Workbench) -> Result<(), Error> {
        workbench.tell_timings(session, self.timings.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        steps: Steps,
    }

    fn limit(flags: &str) -> Option<u64> {
        let parsed = Only::try_parse_from(std::iter::once("x").chain(flags.split_whitespace())).unwrap();
        parsed.steps.cache_mounts.map(|limit| limit.0)
    }

    #[test]
    fn cache_mounts_are_kept_when_asked_for() {
        assert_eq!(limit(""), None);
        assert_eq!(limit("--cache-mounts"), Some(2 << 30));
        assert_eq!(limit("--cache-mounts=64MiB"), Some(64 << 20));
        assert!(Only::try_parse_from(["x", "--cache-mounts=much"]).is_err());
    }
}
