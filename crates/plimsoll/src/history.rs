//! The record of this machine's runs, below the folder for state.

use std::time::Duration;

use pipeline::event::Assumed;
use pipeline::ledger::{Ledger, Status, SuiteStatus};
use pipeline::plan::Plan;
use record::{Record, Run, RunService, RunSuite};

use crate::error::{Code, Error};
use crate::session::Session;

/// Adds a run to the record.
pub fn keep(
    session: &Session,
    plan: &Plan,
    ledger: &Ledger,
    duration: Duration,
    code: Code,
) -> Result<(), Error> {
    let mut record = Record::open(&session.root()?.join("record.sqlite"))?;
    Ok(record.add_run(&run(session, plan, ledger, duration, code))?)
}

fn run(session: &Session, plan: &Plan, ledger: &Ledger, duration: Duration, code: Code) -> Run {
    let services = ledger.services.iter().map(|(name, service)| RunService {
        name: name.to_string(),
        repository: service.repository().clone(),
        digest: service.pinned().map(|image| image.digest()),
        status: match service.status {
            Status::Built => record::ServiceStatus::Built,
            Status::Cached => record::ServiceStatus::Cached,
            Status::Promoted => record::ServiceStatus::Promoted,
            Status::Skipped => record::ServiceStatus::Skipped,
            Status::Failed => record::ServiceStatus::Failed,
        },
        duration: Duration::from_secs_f64(service.seconds.max(0.0)),
        size: 0,
        steps: service.steps.total,
        cached_steps: service.steps.cached,
        suites: service.suites.iter().map(|(name, suite)| run_suite(name.as_str(), suite)).collect(),
    });
    Run {
        project: plan.services.values().next().map(|service| project_of(&service.image)).unwrap_or_default(),
        started: session.environment.now,
        duration,
        event: Assumed::from(&plan.event.kind).to_string(),
        revision: plan.revision.to_string(),
        exit_code: code as u8,
        services: services.collect(),
    }
}

fn run_suite(name: &str, suite: &pipeline::ledger::SuiteRecord) -> RunSuite {
    let status = match suite.status {
        SuiteStatus::Passed => record::SuiteStatus::Passed,
        SuiteStatus::Failed | SuiteStatus::TimedOut => record::SuiteStatus::Failed,
        SuiteStatus::Skipped => record::SuiteStatus::Skipped,
    };
    RunSuite { name: name.to_owned(), status, duration: Duration::from_secs_f64(suite.seconds.max(0.0)) }
}

/// The repository's path without the service: `acme/shop` of `acme/shop/api`.
fn project_of(image: &oci::Repository) -> String {
    image.path().rsplit_once('/').map_or_else(|| image.path(), |(project, _)| project).to_owned()
}
