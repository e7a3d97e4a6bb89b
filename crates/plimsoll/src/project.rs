//! The project a command is about: its configuration, what happened to it, and what a plan must know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use oci::{Digest, Registry};
use pipeline::configuration::{Configuration, FILE_NAME, Name};
use pipeline::event::{CommitId, Event};
use pipeline::forge::Forge;
use pipeline::git::Checkout;
use pipeline::identity::RegistryTags;
use pipeline::ledger::Ledger;
use pipeline::plan::{Plan, PlanFacts, Surroundings, plan};

use crate::error::Error;
use crate::session::Session;
use crate::versions;

/// The folder in a project for the ledger, logs and reports of the last run.
pub const OUTPUT_FOLDER: &str = ".plimsoll";

/// The ledger in that folder.
pub const LEDGER: &str = "ledger.json";

/// A project as a command finds it.
pub struct Project {
    /// What `plimsoll.toml` and `--set` say.
    pub configuration: Configuration,
    /// The CI host, or none.
    pub forge: Arc<dyn Forge>,
    /// What happened, or what `--as` says.
    pub event: Event,
    /// What a plan must know besides.
    pub facts: PlanFacts,
}

impl Project {
    /// Reads the project in the working folder.
    pub fn open(session: &Session) -> Result<Self, Error> {
        session.refuse_locked()?;
        let folder = &session.environment.folder;
        let file = session.global.config.as_deref();
        let configuration = Configuration::load(folder, file, &session.global.settings)?;
        let forge = Arc::clone(session.ui.host());
        let event = happened(session, forge.as_ref())?;
        let facts = facts(session, &configuration, &event)?;
        let project = Self { configuration, forge, event, facts };
        project.warn_of_unknown_versions(session);
        Ok(project)
    }

    /// Says that a release may take tags which are a higher one's.
    fn warn_of_unknown_versions(&self, session: &Session) {
        let unknown = self.facts.registry_tags.values().find_map(|tags| match tags {
            RegistryTags::Unknown { reason } => Some(reason),
            _ => None,
        });
        if let Some(reason) = unknown {
            session.ui.warn(format_args!("whether there is a higher version is not known: {reason}"));
        }
    }

    /// Returns the compression that the configuration asks for.
    pub fn compression(&self) -> Option<layer::Settings> {
        self.configuration.defaults.compression.as_ref().map(|compression| compression.0)
    }

    /// Returns what a run of `services`, or of all where none is named, would do.
    pub fn plan(&self, services: &[String]) -> Result<Plan, Error> {
        Ok(plan(&self.configuration, &self.event, &self.facts, services)?)
    }
}

/// Returns where the ledger of the last run lies.
pub fn ledger_path(session: &Session) -> PathBuf {
    let folder = &session.environment.folder;
    session
        .global
        .ledger
        .as_ref()
        .map_or_else(|| folder.join(OUTPUT_FOLDER).join(LEDGER), |file| folder.join(file))
}

/// Returns the folder that relative paths of the ledger start from.
pub fn ledger_folder(session: &Session) -> PathBuf {
    ledger_path(session).parent().map_or_else(|| session.environment.folder.clone(), Path::to_owned)
}

/// Returns the event of `--as`, of `--event`, else what the CI host or the clone says. What a file does not say
/// and the clone stands in for is told: a replay that guesses in silence shows nothing.
pub fn happened(session: &Session, forge: &dyn Forge) -> Result<Event, Error> {
    let event = told(session, forge)?;
    Ok(match &session.global.event {
        Some(assumed) => event.assume(assumed),
        None => event,
    })
}

fn told(session: &Session, forge: &dyn Forge) -> Result<Event, Error> {
    let folder = &session.environment.folder;
    let Some(file) = &session.global.event_file else { return Ok(forge.event(folder)?) };
    let replayed = forge::replay(file, session.global.event_name.as_deref(), folder)?;
    for missing in &replayed.missing {
        session.ui.warn(format_args!("{} does not say {missing}", file.display()));
    }
    Ok(replayed.event)
}

fn facts(session: &Session, configuration: &Configuration, event: &Event) -> Result<PlanFacts, Error> {
    let folder = &session.environment.folder;
    let file = session.global.config.clone().unwrap_or_else(|| FILE_NAME.into());
    let file = file.strip_prefix(folder).unwrap_or(&file);
    let surroundings = Surroundings {
        now: session.environment.now,
        source_date_epoch: epoch(session)?,
        configuration_path: Some(file.display().to_string()),
        registry: Registry::local(),
    };
    let checkout = Checkout::open(folder)?;
    let mut facts = PlanFacts::gather(&checkout, folder, event, last_images(session, event), surroundings)?;
    facts.describe(configuration, folder);
    facts.registry_tags = versions::in_registries(session, configuration, event, &checkout, &facts);
    Ok(facts)
}

/// Returns the moment that `SOURCE_DATE_EPOCH` asks for.
pub fn epoch(session: &Session) -> Result<Option<Timestamp>, Error> {
    let Some(seconds) = session.source_date_epoch()? else { return Ok(None) };
    let time = Timestamp::from_second(seconds);
    time.map(Some).map_err(|_| Error::usage("SOURCE_DATE_EPOCH lies outside of the calendar"))
}

/// Returns the images of the last run, where it was about the same branch. A ledger that cannot be
/// read only means that more is built.
fn last_images(session: &Session, event: &Event) -> BTreeMap<Name, (Digest, CommitId)> {
    let path = ledger_path(session);
    let ledger = match Ledger::read(&path) {
        Ok(ledger) if event.branch().is_some() && ledger.event.branch() == event.branch() => ledger,
        Err(error) if path.exists() => {
            session.ui.warn(format_args!("the last run is not known, everything is built: {error}"));
            return BTreeMap::new();
        }
        _ => return BTreeMap::new(),
    };
    let revision = &ledger.revision;
    let image = |(name, service): (&Name, &pipeline::ledger::ServiceRecord)| {
        Some((name.clone(), (service.pinned()?.digest(), revision.clone())))
    };
    ledger.services.iter().filter_map(image).collect()
}
