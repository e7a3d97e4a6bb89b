//! `serve`: the local store as a registry, and clearing it up.

mod access;
mod cache;
mod collect;
mod encryption;
mod log;
mod registry;
mod storage;
mod watch;
mod webhook;

use clap::Subcommand;

use crate::error::Error;
use crate::session::Session;

/// Serves the local store
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Registry(registry::Registry),
    Collect(collect::Collect),
}

impl Arguments {
    /// Serves until a signal comes.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        match &self.what {
            What::Registry(registry) => registry.run(session),
            What::Collect(collect) => collect.run(session),
        }
    }
}
