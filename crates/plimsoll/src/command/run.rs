//! `run`: the main job.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use pipeline::build::{BuildChoices, Keep, OnFailure};
use pipeline::configuration::{Defaults, Name};
use pipeline::forge::{Annotation, Forge, Level, Outputs};
use pipeline::ledger::{Ledger, ServiceRecord, Status, SuiteStatus};
use pipeline::plan::{Plan, PushPlan};
use pipeline::progress::Progress;
use pipeline::run::{self, RunChoices, RunReport};
use serde::Serialize;
use store::Foreign;

use super::build::steps::Steps;
use super::plan::Shown;
use crate::daemon;
use crate::error::{Code, Error};
use crate::project::{self, Project};
use crate::session::Session;
use crate::ui::quantity;
use crate::ui::table::{Align, Table};
use crate::workbench::{self, Served, Workbench};

/// Does the main job: plan, build, hand over, push, test those very digests, move the tags
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Services are built side by side; one that fails stops only those that need it (exit code 7).
Tags that move do so last, for all services or for none.

Examples:
  $ plimsoll run
  $ plimsoll run api --fail-fast
  $ plimsoll run --as pr:42 --format json"
)]
pub struct Arguments {
    /// The services, with those they need [default: all]
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Starts nothing new after the first failure
    #[arg(long)]
    fail_fast: bool,
    /// Builds and pushes, and runs no suite
    #[arg(long)]
    no_suites: bool,
    #[command(flatten)]
    steps: Steps,
}

/// What a run came to; as JSON it is the ledger.
#[derive(Serialize)]
#[serde(transparent)]
struct Summary<'a> {
    ledger: &'a Ledger,
    #[serde(skip)]
    sizes: BTreeMap<Name, u64>,
    #[serde(skip)]
    places: Vec<(&'static str, String)>,
}

impl Arguments {
    /// Runs the job.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let started = Instant::now();
        let project = Project::open(session)?;
        let plan = project.plan(&self.services)?;
        if session.global.dry_run {
            return session.ui.document(&Shown(plan));
        }
        let workbench = self.steps.open(session, project.compression())?;
        let needs_registry = plan.push == PushPlan::Registry || !plan.suites.is_empty();
        let is_local = plan.services.values().any(|service| service.image.registry().is_local());
        let served = if needs_registry && is_local { Some(Served::start(session)?) } else { None };
        let report = self.stages(session, &project, &plan, &workbench, served.as_ref())?;
        workbench.end();
        if let Some(served) = served {
            served.stop();
        }
        self.steps.tell_timings(session, &workbench)?;
        let ledger = project::ledger_path(session);
        report.ledger.write(&ledger)?;
        session.ui.document(&summary(session, &workbench, &report, served_text(&plan)))?;
        tell_forge(session, project.forge.as_ref(), &plan, &report)?;
        let code = conclude(session, &report);
        keep_record(session, &plan, &report, started.elapsed(), code);
        match code {
            Code::Done => Ok(()),
            code => Err(Error::Reported(code)),
        }
    }

    fn stages(
        &self,
        session: &Session,
        project: &Project,
        plan: &Plan,
        workbench: &Workbench,
        served: Option<&Served>,
    ) -> Result<RunReport, Error> {
        let observer = |progress: Progress| workbench.tell(progress);
        let mut tools = workbench.tools(served.map(|served| served.registry.clone()), &observer);
        if project.configuration.defaults.push.allow_nondistributable {
            tools.foreign = Foreign::Copied;
        }
        workbench::make_folder(&tools.output)?;
        hide_from_git(&tools.output)?;
        let before = Ledger::read(&project::ledger_path(session)).ok();
        let wants_daemon = plan.suites.values().any(|suite| suite.needs_daemon) && !self.no_suites;
        let daemon = if wants_daemon { daemon::wanted(session)? } else { None };
        let configuration = &project.configuration;
        let cache = &configuration.defaults.cache;
        self.steps.check_mounts(session, !(cache.read.is_empty() && cache.write.is_empty()));
        let build = self.choices(session, &configuration.defaults)?;
        let choices = RunChoices { build, suites: !self.no_suites };
        Ok(run::run(plan, configuration, before.as_ref(), daemon.as_ref(), &tools, choices))
    }

    fn choices(&self, session: &Session, defaults: &Defaults) -> Result<BuildChoices, Error> {
        let fetch = Some(workbench::fetcher(session)?);
        let git = Some(workbench::git_fetcher(session, &std::collections::BTreeMap::new()));
        let options = builder::BuildOptions { fetch, git, ..builder::BuildOptions::default() };
        Ok(BuildChoices {
            on_failure: if self.fail_fast { OnFailure::Stop } else { OnFailure::Continue },
            no_cache: self.steps.no_cache,
            explain: self.steps.explain,
            step_timeout: self.steps.timeout(),
            source_date_epoch: session.source_date_epoch()?,
            options: self.steps.lend(session, Some(defaults), options)?,
            cache: defaults.cache.clone(),
            pull: false,
            keep: Keep::default(),
        })
    }
}

/// The output folder is nobody's source; it says so itself.
pub fn hide_from_git(folder: &std::path::Path) -> Result<(), Error> {
    let path = folder.join(".gitignore");
    if path.exists() {
        return Ok(());
    }
    std::fs::write(&path, "*\n").map_err(|source| Error::file("write", &path, source))
}

fn served_text(plan: &Plan) -> Option<String> {
    let is_local = plan.services.values().any(|service| service.image.registry().is_local());
    is_local.then(|| "plimsoll serve registry".to_owned())
}

fn summary<'a>(
    session: &Session,
    workbench: &Workbench,
    report: &'a RunReport,
    serve: Option<String>,
) -> Summary<'a> {
    let mut places = vec![
        ("ledger", project::ledger_path(session).display().to_string()),
        ("images", workbench.places().local().root().display().to_string()),
    ];
    let base = project::ledger_folder(session);
    let archives = report.ledger.services.values().find_map(|record| record.archive.as_deref()?.parent());
    places.extend(archives.map(|folder| ("archives", base.join(folder).display().to_string())));
    let log = report.suites.values().find_map(|suite| suite.record.log.as_deref()?.parent());
    places.extend(log.map(|folder| ("logs", folder.display().to_string())));
    places.extend(serve.map(|command| ("serve them", command)));
    let size = |(name, record): (&Name, &ServiceRecord)| {
        let repository = workbench.places().local().repository(record.repository());
        let document = store::ImageStore::document(&repository, &record.pinned()?.digest()).ok()?;
        Some((name.clone(), pipeline::image::size(&repository, &document).ok()?))
    };
    let sizes = report.ledger.services.iter().filter_map(size).collect();
    Summary { ledger: &report.ledger, sizes, places }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(&[
            ("SERVICE", Align::Left),
            ("STATUS", Align::Left),
            ("PLATFORM", Align::Left),
            ("DIGEST", Align::Left),
            ("SIZE", Align::Right),
            ("TIME", Align::Right),
            ("CACHED", Align::Right),
            ("SUITES", Align::Left),
        ]);
        for (name, record) in &self.ledger.services {
            table.row(self.row(name, record));
        }
        writeln!(f, "{table}")?;
        for (what, place) in &self.places {
            writeln!(f, "{:12}{place}", format!("{what}:"))?;
        }
        Ok(())
    }
}

impl Summary<'_> {
    fn row(&self, name: &Name, record: &ServiceRecord) -> Vec<String> {
        let platforms: Vec<String> = record.platforms.keys().map(ToString::to_string).collect();
        vec![
            name.to_string(),
            status_text(record.status).to_owned(),
            platforms.join(" "),
            record.pinned().map_or_else(|| "-".to_owned(), |image| image.digest().to_string()),
            self.sizes.get(name).map_or_else(|| "-".to_owned(), |size| quantity::size(*size)),
            quantity::duration(Duration::from_secs_f64(record.seconds.max(0.0))),
            format!("{}/{}", record.steps.cached, record.steps.total),
            suites_text(record),
        ]
    }
}

fn status_text(status: Status) -> &'static str {
    match status {
        Status::Built => "built",
        Status::Cached => "cached",
        Status::Promoted => "promoted",
        Status::Skipped => "skipped",
        Status::Failed => "failed",
    }
}

fn suites_text(record: &ServiceRecord) -> String {
    let suite = |(name, suite): (&Name, &pipeline::ledger::SuiteRecord)| {
        let status = match suite.status {
            SuiteStatus::Passed => "passed",
            SuiteStatus::Failed => "failed",
            SuiteStatus::TimedOut => "timed out",
            SuiteStatus::Skipped => "skipped",
        };
        format!("{name} {status}")
    };
    record.suites.iter().map(suite).collect::<Vec<_>>().join(", ")
}

fn tell_forge(session: &Session, forge: &dyn Forge, plan: &Plan, report: &RunReport) -> Result<(), Error> {
    let ledger = project::ledger_path(session);
    forge.write_outputs(&Outputs::of_plan(plan).and(Outputs::of_ledger(&report.ledger, &ledger)))?;
    forge.write_summary(&pipeline::summary::markdown(&report.ledger))?;
    for annotation in annotations(report) {
        if let Some(line) = forge.annotation(&annotation) {
            session.ui.command(&line);
        }
    }
    Ok(())
}

fn annotations(report: &RunReport) -> Vec<Annotation> {
    use pipeline::build::ServiceError;
    use pipeline::progress::FilePlace;
    let service = |(name, error): (&Name, &ServiceError)| {
        let place = match error {
            ServiceError::Build(error) => error
                .location()
                .map(|location| FilePlace { file: location.file.clone(), line: location.line }),
            _ => None,
        };
        let (title, message) = (Some(format!("service {name} failed")), error.to_string());
        Annotation { level: Level::Error, title, message, place }
    };
    let suite = |(name, outcome): (&Name, &pipeline::suite::SuiteOutcome)| Annotation {
        level: Level::Error,
        title: Some(format!("suite {name} did not pass")),
        message: outcome.reason.clone().unwrap_or_default(),
        place: None,
    };
    report.failed.iter().map(service).chain(report.failed_suites().map(suite)).collect()
}

/// Says what went wrong and returns the exit code.
fn conclude(session: &Session, report: &RunReport) -> Code {
    let ui = &session.ui;
    let mut codes = Vec::new();
    for (name, error) in &report.failed {
        codes.push(ui.failure(&format!("service {name} failed"), error));
    }
    for error in report.not_pushed.values() {
        codes.push(ui.failure("push failed", error));
    }
    if let Some(error) = &report.not_handed_over {
        codes.push(ui.failure("hand-over failed", error));
    }
    for (name, outcome) in report.failed_suites() {
        let reason = outcome.reason.as_deref().unwrap_or("it did not pass");
        let log = outcome.record.log.as_ref().map(|log| format!(", see {}", log.display()));
        ui.problem(&format!("suite {name}: {reason}{}", log.unwrap_or_default()));
        codes.push(Code::Failed);
    }
    for message in &report.not_cached {
        ui.problem(message);
        codes.push(Code::Remote);
    }
    if let Some(reason) = &report.tags_held {
        ui.warn(format_args!("no moving tag was moved: {reason}"));
    }
    let good = report.ledger.services.values().filter(|record| record.status != Status::Failed).count();
    match &codes[..] {
        [] => Code::Done,
        [first, ..] if report.failed.is_empty() && report.not_pushed.is_empty() => *first,
        [first, ..] if good == 0 || good == report.not_pushed.len() => *first,
        _ => Code::Partly,
    }
}

/// Notes the run in the record of this machine. A record that cannot be written is a warning: the
/// ledger has everything.
fn keep_record(session: &Session, plan: &Plan, report: &RunReport, duration: Duration, code: Code) {
    if let Err(error) = super::super::history::keep(session, plan, &report.ledger, duration, code) {
        session.ui.warn(format_args!("the run is not in the record: {error}"));
    }
}
