//! One file for each command: its arguments, its help, what it runs.

mod completions;
mod init;

use clap::Subcommand;

use crate::error::Error;
use crate::session::Session;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    Init(init::Arguments),
    Completions(completions::Arguments),
}

impl Command {
    /// Runs the command.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        match self {
            Self::Init(arguments) => arguments.run(session),
            Self::Completions(arguments) => arguments.run(session),
        }
    }
}
