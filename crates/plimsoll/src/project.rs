//! The project a command is about: its configuration, what happened to it, and what a plan must know.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci::Registry;
use pipeline::configuration::{Configuration, FILE_NAME, Name};
use pipeline::event::Event;
use pipeline::git::{Checkout, GitError};
use pipeline::ledger::Ledger;
use pipeline::plan::{LastImage, Plan, PlanFacts, plan};

use crate::error::Error;
use crate::session::Session;

/// The folder in a project for the ledger, logs and reports of the last run.
pub const OUTPUT_FOLDER: &str = ".plimsoll";

/// The ledger in that folder.
pub const LEDGER: &str = "ledger.json";

/// A project as a command finds it.
#[derive(Debug)]
pub struct Project {
    /// What `plimsoll.toml` and `--set` say.
    pub configuration: Configuration,
    /// What happened, or what `--as` says.
    pub event: Event,
    /// What a plan must know besides.
    pub facts: PlanFacts,
}

impl Project {
    /// Reads the project in the working folder.
    pub fn open(session: &Session) -> Result<Self, Error> {
        let folder = &session.environment.folder;
        let file = session.global.config.as_deref();
        let configuration = Configuration::load(folder, file, &session.global.settings)?;
        let checkout = Checkout::open(folder)?;
        let event = checkout.event()?;
        let event = match &session.global.event {
            Some(assumed) => event.assume(assumed),
            None => event,
        };
        let facts = facts(session, &checkout, &event)?;
        Ok(Self { configuration, event, facts })
    }

    /// Returns what a run of `services`, or of all where none is named, would do.
    pub fn plan(&self, services: &[String]) -> Result<Plan, Error> {
        Ok(plan(&self.configuration, &self.event, &self.facts, services)?)
    }
}

/// Returns where the ledger of the last run lies.
pub fn ledger_path(session: &Session) -> PathBuf {
    session.environment.folder.join(OUTPUT_FOLDER).join(LEDGER)
}

fn facts(session: &Session, checkout: &Checkout, event: &Event) -> Result<PlanFacts, Error> {
    let folder = &session.environment.folder;
    let file = session.global.config.clone().unwrap_or_else(|| folder.join(FILE_NAME));
    Ok(PlanFacts {
        now: session.environment.now,
        subject: checkout.commit_subject(&event.revision)?,
        existing_tags: checkout.tags()?,
        last: last_images(session, checkout, event)?,
        configuration_path: checkout.path_in_repository(&file),
        registry: Registry::local(),
    })
}

/// Returns the images of the last run, where it was about the same branch. A ledger that cannot be
/// read only means that more is built.
fn last_images(
    session: &Session,
    checkout: &Checkout,
    event: &Event,
) -> Result<BTreeMap<Name, LastImage>, GitError> {
    let path = ledger_path(session);
    let ledger = match Ledger::read(&path) {
        Ok(ledger) if event.branch().is_some() && ledger.event.branch() == event.branch() => ledger,
        Ok(_) => return Ok(BTreeMap::new()),
        Err(error) if path.exists() => {
            session.ui.warn(format_args!("the last run is not known, everything is built: {error}"));
            return Ok(BTreeMap::new());
        }
        Err(_) => return Ok(BTreeMap::new()),
    };
    let changed_paths = checkout.changed_paths(&ledger.revision, &event.revision)?;
    let images = ledger.services.iter().filter_map(|(name, service)| {
        let digest = service.pinned()?.digest();
        let revision = ledger.revision.clone();
        Some((name.clone(), LastImage { digest, revision, changed_paths: changed_paths.clone() }))
    });
    Ok(images.collect())
}
