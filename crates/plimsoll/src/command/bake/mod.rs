//! `bake`: the targets of a bake or compose file, printed, listed or built.

mod bases;
mod build;
pub(super) mod definition;
mod deliver;
mod list;
mod prepare;
mod presence;
mod wanted;

use std::path::PathBuf;

use clap::ValueEnum;
use pipeline::bake::{Bake, Request};

use super::build::caches::Caches;
use super::build::steps::Steps;
use super::copy::ForeignLayers;
use crate::cli::Global;
use crate::error::Error;
use crate::session::Session;

/// Builds the targets of a bake or compose file, or shows what it would build
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Reads docker-bake.hcl, docker-bake.json and compose files as `docker buildx bake` does. --set overrides
keys of targets: --set TARGET.KEY=VALUE, --set '*.args.MODE=debug', --set app.tags+=local/app:dev.

Examples:
  $ plimsoll bake --print
  $ plimsoll bake app db
  $ plimsoll bake -f docker-bake.hcl -f ci.json --set app.platform=linux/arm64 --print
  $ plimsoll bake --list targets"
)]
pub struct Arguments {
    /// Targets and groups, or patterns of their names [default: default]
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// A definition; `-` is standard input [default: compose files, then docker-bake files, in this folder]
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Prints what would be built, as JSON
    #[arg(long)]
    print: bool,
    /// Lists targets or variables
    #[arg(long, value_name = "WHAT", hide_possible_values = true)]
    list: Option<List>,
    /// Value of a variable of the definition, before that of the environment
    #[arg(long, value_name = "NAME=VALUE")]
    var: Vec<String>,
    /// Pushes the images
    #[arg(long)]
    push: bool,
    #[command(flatten)]
    foreign: ForeignLayers,
    /// Brings the images into the container daemon
    #[arg(long)]
    load: bool,
    /// Looks for base images anew
    #[arg(long)]
    pull: bool,
    /// Writes digests and names of what was built, by target, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    #[command(flatten)]
    steps: Steps,
    #[command(flatten)]
    caches: Caches,
}

/// What to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum List {
    /// Targets and groups.
    Targets,
    /// Variables.
    Variables,
}

impl Arguments {
    /// Prints, lists or builds.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        if let Some(remote) = self.targets.iter().find(|target| target.contains("://")) {
            return Err(Error::Usage {
                message: format!("{remote} is an address; definitions are read from files of this machine"),
                hint: Some("clone the repository and work there, with -C DIR".to_owned()),
            });
        }
        // `--set` speaks of targets here, not of keys of plimsoll.toml.
        let overrides = session.global.settings.clone();
        let global = Global { settings: Vec::new(), ..session.global.clone() };
        let session = Session::new(session.environment.clone(), global, session.ui.clone());
        let definition = definition::read(&session, &self.file, &self.var)?;
        for notice in definition.notices() {
            session.ui.warn(format_args!("{}:{}: {}", notice.file, notice.line, notice.message));
        }
        if let Some(list) = self.list {
            return list::show(&session, &definition, list);
        }
        let request = Request {
            targets: &self.targets,
            overrides: &overrides,
            push: self.push.then_some(true),
            load: self.load,
            no_cache: self.steps.no_cache,
            pull: self.pull,
        };
        let bake = definition.select(&request, &session.environment.variables)?;
        bake.check()?;
        presence::check(&session, &bake)?;
        match self.print || session.global.dry_run {
            true => print(&session, &bake),
            false => build::run(&session, &bake, self),
        }
    }
}

fn print(session: &Session, bake: &Bake) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(&bake.printed()).expect("names and texts are JSON");
    session.ui.text(text)
}
