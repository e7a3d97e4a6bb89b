//! `test`: suites on the images of the last run.

use std::collections::BTreeMap;
use std::fmt;

use oci::Pinned;
use pipeline::configuration::{Configuration, Name, Suite};
use pipeline::handover;
use pipeline::ledger::{Ledger, SuiteRecord, SuiteStatus};
use pipeline::progress::Progress;
use pipeline::suite::{self, SuiteOutcome};
use serde::Serialize;

use super::run::hide_from_git;
use crate::daemon;
use crate::error::{Code, Error};
use crate::project;
use crate::session::Session;
use crate::workbench::{self, Served, Workbench};

/// Runs suites on the images of the last run, by digest
#[derive(Debug, clap::Args)]
#[command(after_help = "The images are those of the ledger; nothing is built.

Examples:
  $ plimsoll test
  $ plimsoll test smoke integration
  $ plimsoll test --ledger out/ledger.json")]
pub struct Arguments {
    /// The suites [default: all]
    #[arg(value_name = "SUITE")]
    suites: Vec<String>,
}

#[derive(Serialize)]
struct Answer {
    suites: BTreeMap<Name, SuiteRecord>,
}

impl Arguments {
    /// Runs the suites and notes how they went in the ledger.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let folder = &session.environment.folder;
        let file = session.global.config.as_deref();
        let configuration = Configuration::load(folder, file, &session.global.settings)?;
        let suites = self.chosen(&configuration)?;
        if session.global.dry_run {
            return suites
                .keys()
                .try_for_each(|name| session.ui.text(format_args!("would run suite {name}")));
        }
        let path = project::ledger_path(session);
        let mut ledger = Ledger::read(&path)?;
        let workbench = Workbench::open(session)?;
        let is_local = ledger.services.values().any(|record| record.repository().registry().is_local());
        let served = if is_local { Some(Served::start(session)?) } else { None };
        let observer = |progress: Progress| workbench.tell(progress);
        let tools = workbench.tools(served.as_ref().map(|served| served.registry.clone()), &observer);
        workbench::make_folder(&tools.output)?;
        hide_from_git(&tools.output)?;
        let archives = project::ledger_folder(session);
        let mut images: BTreeMap<Name, Pinned> = BTreeMap::new();
        let wanted: Vec<Name> = suites.values().flat_map(Suite::all_services).collect();
        for (name, record) in &ledger.services {
            let Some(image) = record.pinned() else { continue };
            if wanted.contains(name) {
                handover::get(name, record, &archives, &[], &tools)?;
            }
            images.insert(name.clone(), image);
        }
        let wants_daemon = suites.values().any(|suite| suite.needs_daemon);
        let daemon = if wants_daemon { daemon::wanted(session)? } else { None };
        let outcomes = suite::run(&suites, &images, daemon.as_ref(), &tools);
        if let Some(served) = served {
            served.stop();
        }
        note(&mut ledger, &outcomes);
        ledger.write(&path)?;
        conclude(session, outcomes)
    }

    fn chosen(&self, configuration: &Configuration) -> Result<BTreeMap<Name, Suite>, Error> {
        let known: Vec<&str> = configuration.suite.keys().map(Name::as_str).collect();
        for asked in &self.suites {
            if !known.contains(&asked.as_str()) {
                let message = format!("there is no suite {asked:?}; there are {}", known.join(", "));
                return Err(Error::usage(message));
            }
        }
        let wanted =
            |name: &Name| self.suites.is_empty() || self.suites.iter().any(|asked| asked == name.as_str());
        let suites = configuration.suite.iter().filter(|(name, _)| wanted(name));
        Ok(suites.map(|(name, suite)| (name.clone(), suite.clone())).collect())
    }
}

fn note(ledger: &mut Ledger, outcomes: &BTreeMap<Name, SuiteOutcome>) {
    for (suite, outcome) in outcomes {
        for service in &outcome.services {
            if let Some(record) = ledger.services.get_mut(service) {
                record.suites.insert(suite.clone(), outcome.record.clone());
            }
        }
    }
}

fn conclude(session: &Session, outcomes: BTreeMap<Name, SuiteOutcome>) -> Result<(), Error> {
    let mut passed = true;
    for (name, outcome) in &outcomes {
        if !matches!(outcome.record.status, SuiteStatus::Passed | SuiteStatus::Skipped) {
            passed = false;
            let reason = outcome.reason.as_deref().unwrap_or("it did not pass");
            let log = outcome.record.log.as_ref().map(|log| format!(", see {}", log.display()));
            session.ui.problem(&format!("suite {name}: {reason}{}", log.unwrap_or_default()));
        }
    }
    let suites = outcomes.into_iter().map(|(name, outcome)| (name, outcome.record)).collect();
    session.ui.answer("test", &Answer { suites })?;
    if passed { Ok(()) } else { Err(Error::Reported(Code::Failed)) }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, suite) in &self.suites {
            let status = match suite.status {
                SuiteStatus::Passed => "passed",
                SuiteStatus::Failed => "failed",
                SuiteStatus::TimedOut => "timed out",
                SuiteStatus::Skipped => "skipped",
            };
            writeln!(f, "{name}  {status}  {:.1} s", suite.seconds)?;
        }
        Ok(())
    }
}
