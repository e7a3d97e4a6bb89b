//! `handoff`: images from one CI job to the next, with the ledger as the only thing they exchange.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use clap::Subcommand;
use oci::{Pinned, Repository};
use pipeline::configuration::{Archive, Name};
use pipeline::event::CommitId;
use pipeline::git::Checkout;
use pipeline::handover::{self, Found};
use pipeline::ledger::{Ledger, ServiceRecord};
use pipeline::progress::Progress;
use serde::Serialize;

use super::run::hide_from_git;
use crate::error::Error;
use crate::project::{self, OUTPUT_FOLDER};
use crate::session::Session;
use crate::workbench::{Workbench, make_folder};

/// Hands images over to another job
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Put(Put),
    Get(Get),
    Check(Check),
}

/// Writes an archive for each image of the ledger, and notes them in it
#[derive(Debug, clap::Args)]
#[command(after_help = "Archives are called SERVICE.tar and hold the image as SERVICE:local.

Examples:
  $ plimsoll handoff put
  $ plimsoll handoff put --ledger out/ledger.json -o out
  $ plimsoll handoff put --thin
  $ plimsoll handoff put --thin --layers-from ghcr.io/acme/base")]
struct Put {
    /// Folder for the archives [default: images beside the ledger]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Form of the archives [default: that of the configuration]
    #[arg(long, value_name = "FORM")]
    archive: Option<Form>,
    /// Leaves out the layers that the registry has under the image's own name or its base's; whoever gets
    /// the image takes them from there
    #[arg(long, conflicts_with = "archive")]
    thin: bool,
    /// Leaves out what this repository has too, which whoever gets the image can read; may be given several times
    #[arg(long, value_name = "REPOSITORY", requires = "thin")]
    layers_from: Vec<Repository>,
}

/// Brings the images of the ledger into the local store: from their registry, else from archives
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll handoff get
  $ plimsoll handoff get api --ledger out/ledger.json")]
struct Get {
    /// The services [default: all that have an image]
    #[arg(value_name = "SERVICE")]
    services: Vec<Name>,
    /// Takes layers that a thin archive leaves out from this repository too; may be given several times
    #[arg(long, value_name = "REPOSITORY")]
    layers_from: Vec<Repository>,
}

/// Proves that the images of the ledger are to be had and were built from the expected commit
#[derive(Debug, clap::Args)]
#[command(after_help = "An image of another commit is exit code 4, and both commits are named.

Examples:
  $ plimsoll handoff check
  $ plimsoll handoff check api --revision 0123456789abcdef0123456789abcdef01234567")]
struct Check {
    /// The services [default: all that have an image]
    #[arg(value_name = "SERVICE")]
    services: Vec<Name>,
    /// Takes layers that a thin archive leaves out from this repository too; may be given several times
    #[arg(long, value_name = "REPOSITORY")]
    layers_from: Vec<Repository>,
    /// The expected commit, in full [default: the one that is checked out, else the ledger's]
    #[arg(long, value_name = "COMMIT")]
    revision: Option<CommitId>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Form {
    /// An OCI layout with Docker's list beside it
    DockerArchive,
    /// The OCI layout alone
    OciArchive,
}

#[derive(Serialize)]
struct Answer {
    ledger: PathBuf,
    services: BTreeMap<Name, Line>,
}

#[derive(Serialize)]
struct Line {
    image: Option<Pinned>,
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<PathBuf>,
    what: String,
}

impl Arguments {
    /// Does the part that was asked for.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        match &self.what {
            What::Put(put) => put.run(session),
            What::Get(get) => get.run(session),
            What::Check(check) => check.run(session),
        }
    }
}

impl Put {
    fn run(&self, session: &Session) -> Result<(), Error> {
        session.refuse_dry_run("handoff put")?;
        let path = project::ledger_path(session);
        let mut ledger = Ledger::read(&project::ledger_path(session))?;
        let folder = match &self.output {
            Some(folder) => session.environment.folder.join(folder),
            None => project::ledger_folder(session).join("images"),
        };
        make_folder(&folder)?;
        if folder.starts_with(session.environment.folder.join(OUTPUT_FOLDER)) {
            hide_from_git(&session.environment.folder.join(OUTPUT_FOLDER))?;
        }
        let workbench = Workbench::open(session)?;
        let observer = |progress: Progress| workbench.tell(progress);
        let tools = workbench.tools(None, &observer);
        let before = ledger.clone();
        let form = match self.thin {
            true => handover::Form::Thin(&self.layers_from),
            false => handover::Form::Whole(self.form(session)?),
        };
        handover::put(&mut ledger, Some(&before), form, &folder, &tools)?;
        ledger.write(&path)?;
        let base = project::ledger_folder(session);
        let line = |record: &ServiceRecord| Line {
            image: record.pinned(),
            archive: record.archive.clone(),
            what: match &record.archive {
                Some(archive) => format!("in {}", base.join(archive).display()),
                None => "no image".to_owned(),
            },
        };
        answer(session, path, ledger.services.iter().map(|(name, record)| (name.clone(), line(record))))
    }

    fn form(&self, session: &Session) -> Result<Archive, Error> {
        Ok(match self.archive {
            Some(Form::DockerArchive) => Archive::DockerArchive,
            Some(Form::OciArchive) => Archive::OciArchive,
            None => {
                let folder = &session.environment.folder;
                let file = session.global.config.as_deref();
                let overrides = &session.global.settings;
                // A job that hands over need not have the project checked out.
                match file.is_some() || folder.join(pipeline::configuration::FILE_NAME).is_file() {
                    true => {
                        pipeline::configuration::Configuration::load(folder, file, overrides)?.handoff.archive
                    }
                    false => Archive::DockerArchive,
                }
            }
        })
    }
}

impl Get {
    fn run(&self, session: &Session) -> Result<(), Error> {
        session.refuse_dry_run("handoff get")?;
        let ledger = Ledger::read(&project::ledger_path(session))?;
        let workbench = Workbench::open(session)?;
        let observer = |progress: Progress| workbench.tell(progress);
        let tools = workbench.tools(None, &observer);
        let folder = project::ledger_folder(session);
        let mut lines = Vec::new();
        for (name, record) in chosen(&ledger, &self.services)? {
            let what = match handover::get(name, record, &folder, &self.layers_from, &tools)? {
                Found::Local => "here already".to_owned(),
                Found::Registry => "from its registry".to_owned(),
                Found::Archive(path) => format!("from {}", path.display()),
            };
            let archive = record.archive.clone();
            lines.push((name.clone(), Line { image: record.pinned(), archive, what }));
        }
        answer(session, project::ledger_path(session), lines)
    }
}

impl Check {
    fn run(&self, session: &Session) -> Result<(), Error> {
        let ledger = Ledger::read(&project::ledger_path(session))?;
        let expected = match &self.revision {
            Some(revision) => revision.clone(),
            None => match Checkout::open(&session.environment.folder).and_then(|checkout| checkout.event()) {
                Ok(event) => event.revision,
                Err(_) => ledger.revision.clone(),
            },
        };
        let workbench = Workbench::open(session)?;
        let observer = |progress: Progress| workbench.tell(progress);
        let tools = workbench.tools(None, &observer);
        let folder = project::ledger_folder(session);
        let mut lines = Vec::new();
        for (name, record) in chosen(&ledger, &self.services)? {
            let image = handover::check(name, &ledger, &expected, &folder, &self.layers_from, &tools)?;
            let what = match &record.built_from {
                Some(origin) if *origin != expected => {
                    format!("promoted to {expected}, built from {origin}")
                }
                _ => format!("built from {expected}"),
            };
            lines.push((name.clone(), Line { image: Some(image), archive: record.archive.clone(), what }));
        }
        answer(session, project::ledger_path(session), lines)
    }
}

/// Returns the records of the services named, or of all that should have an image.
fn chosen<'a>(ledger: &'a Ledger, names: &[Name]) -> Result<Vec<(&'a Name, &'a ServiceRecord)>, Error> {
    use pipeline::ledger::Status;
    let chosen: Vec<(&Name, &ServiceRecord)> = match names {
        [] => ledger.services.iter().filter(|(_, record)| record.status != Status::Skipped).collect(),
        names => names
            .iter()
            .map(|name| {
                let known: Vec<&str> = ledger.services.keys().map(Name::as_str).collect();
                ledger.services.get_key_value(name).ok_or_else(|| {
                    Error::usage(format!("the ledger has no service {name}; it has {}", known.join(", ")))
                })
            })
            .collect::<Result<_, _>>()?,
    };
    match chosen.is_empty() {
        true => Err(Error::usage("the ledger has no image")),
        false => Ok(chosen),
    }
}

fn answer(
    session: &Session,
    ledger: PathBuf,
    lines: impl IntoIterator<Item = (Name, Line)>,
) -> Result<(), Error> {
    session.ui.answer("handoff", &Answer { ledger, services: lines.into_iter().collect() })
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, line) in &self.services {
            let image = line.image.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
            writeln!(f, "{name}  {image}  {}", line.what)?;
        }
        Ok(())
    }
}
