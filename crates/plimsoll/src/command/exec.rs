//! `exec`: a command in a sandbox of an image.

use builder::sandbox::{Exit, Limits, Network, OutputStream};
use oci::Platform;
use pipeline::place::Place;
use pipeline::suite::image_command;
use store::image_for_platform;

use crate::error::{Code, Error};
use crate::session::Session;
use crate::workbench::Workbench;

/// Runs a command in a sandbox of an image, without a container daemon
#[derive(Debug, clap::Args)]
#[command(
    after_help = "What the command writes into the image is gone when it ends. Its exit code is 0 or, where it fails,
1; -v says which code or signal it was.

Examples:
  $ plimsoll exec local/api:main -- python3 --version
  $ plimsoll exec --network host local/api:main -- wget -O - http://127.0.0.1:8000/"
)]
pub struct Arguments {
    /// The image
    #[arg(value_name = "REF")]
    image: Place,
    /// The command [default: entry point and arguments of the image]
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<String>,
    /// Environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// User, as in the image's configuration
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Folder to start in
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// The network it sees
    #[arg(long, value_name = "NETWORK", default_value = "none")]
    network: Sees,
    /// Longest time it may take, such as 30s
    #[arg(long, value_name = "TIME")]
    timeout: Option<pipeline::configuration::Timespan>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Sees {
    /// Loopback of its own
    None,
    /// This machine's network
    Host,
}

impl Arguments {
    /// Runs the command.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let workbench = Workbench::open(session)?;
        let located = workbench.places().find(&self.image)?;
        let manifest =
            image_for_platform(located.store.as_ref(), located.document.descriptor(), &Platform::host())?;
        let root = workbench.engine().image_root(located.store.as_ref(), &manifest)?;
        let config = &root.config.config;
        let default =
            || config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten()).cloned().collect();
        let words: Vec<String> = if self.command.is_empty() { default() } else { self.command.clone() };
        if words.is_empty() {
            return Err(Error::usage("the image has neither ENTRYPOINT nor CMD: name a command after --"));
        }
        let mut command = image_command(&root.config, words);
        for variable in &self.env {
            let (name, value) = variable
                .split_once('=')
                .ok_or_else(|| Error::usage(format!("--env takes NAME=VALUE, not {variable:?}")))?;
            command.environment.retain(|(known, _)| known != name);
            command.environment.push((name.to_owned(), value.to_owned()));
        }
        command.user = self.user.clone().unwrap_or(command.user);
        command.working_directory = self.workdir.clone().unwrap_or(command.working_directory);
        command.network = match self.network {
            Sees::None => Network::None,
            Sees::Host => Network::Host,
        };
        command.limits = Limits { timeout: self.timeout.map(|timeout| timeout.0), ..Limits::default() };
        let sandbox = workbench.engine().workspace().sandbox()?;
        let mut broken = None;
        let exit = sandbox.run(root.rootfs(), &command, &mut |stream, bytes| {
            let written = match stream {
                OutputStream::Stdout => session.ui.bytes(bytes),
                OutputStream::Stderr => session.ui.messages(bytes),
            };
            broken = written.err().or(broken.take());
        })?;
        match broken {
            Some(error) => Err(error),
            None => conclude(session, exit),
        }
    }
}

fn conclude(session: &Session, exit: Exit) -> Result<(), Error> {
    if exit.success() {
        return Ok(());
    }
    session.ui.problem(&format!("the command ended with {exit}"));
    Err(Error::Reported(Code::Failed))
}
