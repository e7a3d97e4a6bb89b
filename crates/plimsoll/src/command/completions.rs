//! `completions`: a script that completes commands and flags in a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::Error;
use crate::session::Session;

/// Prints the completion script of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll completions bash > ~/.local/share/bash-completion/completions/plimsoll
  $ plimsoll completions zsh > ~/.zfunc/_plimsoll")]
pub struct Arguments {
    /// The shell
    shell: Shell,
}

impl Arguments {
    /// Prints the script.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "plimsoll", &mut script);
        session.ui.bytes(&script)
    }
}
