//! The main job: build, hand over, push, test those very digests, move the tags, write it down.
//!
//! Each stage takes what the one before gave. A failure is kept with its service and the rest goes
//! on; what a failure forbids is the moving of tags, for all services together.

use std::collections::BTreeMap;

use oci::Pinned;

use crate::build::{self, BuildChoices, Keep, OnFailure, ServiceError, ServiceOutcome};
use crate::caches;
use crate::configuration::{Configuration, Name, Suite};
use crate::daemon::Daemon;
use crate::handover::{self, Form, HandoverError};
use crate::ledger::{Ledger, Status, SuiteStatus};
use crate::plan::{Plan, PushPlan};
use crate::progress::{Progress, Stage};
use crate::push::{self, PushError};
use crate::suite::{self, SuiteOutcome};
use crate::tools::Tools;

/// Choices of the one who asks for a run.
#[derive(Clone, Debug)]
pub struct RunChoices {
    /// How to build.
    pub build: BuildChoices,
    /// Whether suites run.
    pub suites: bool,
}

/// What a run came to.
#[derive(Debug)]
pub struct RunReport {
    /// What happened, for other jobs.
    pub ledger: Ledger,
    /// Services that have no image, and why.
    pub failed: BTreeMap<Name, ServiceError>,
    /// Images that did not arrive at their registry.
    pub not_pushed: BTreeMap<Name, PushError>,
    /// Archives that could not be written.
    pub not_handed_over: Option<HandoverError>,
    /// All suites that were to run.
    pub suites: BTreeMap<Name, SuiteOutcome>,
    /// Why moving tags stayed where they were; `None` where they moved or there are none.
    pub tags_held: Option<String>,
    /// Caches that were not written, where that is an error.
    pub not_cached: Vec<String>,
}

impl RunReport {
    /// Whether everything went well.
    pub fn is_success(&self) -> bool {
        self.failed.is_empty()
            && self.not_pushed.is_empty()
            && self.not_handed_over.is_none()
            && self.not_cached.is_empty()
            && self.failed_suites().next().is_none()
    }

    /// Returns the suites that ran and did not pass.
    pub fn failed_suites(&self) -> impl Iterator<Item = (&Name, &SuiteOutcome)> {
        let bad = |outcome: &SuiteOutcome| {
            matches!(outcome.record.status, SuiteStatus::Failed | SuiteStatus::TimedOut)
        };
        self.suites.iter().filter(move |(_, outcome)| bad(outcome))
    }
}

/// Does what the plan says. `before` is the ledger of the last run here, whose archives are kept
/// where they are still right.
pub fn run(
    plan: &Plan,
    configuration: &Configuration,
    before: Option<&Ledger>,
    daemon: Option<&Daemon>,
    tools: &Tools<'_>,
    choices: RunChoices,
) -> RunReport {
    let mut build = choices.build.clone();
    if !configuration.handoff.on_run && plan.push == PushPlan::Registry {
        build.keep = Keep::WhatIsSent;
    }
    let mut outcomes = stage(tools, Stage::Build, || build::build(plan, tools, build));
    let mut report = RunReport {
        ledger: Ledger::new(plan.event.clone(), plan.revision.clone(), plan.version.clone()),
        failed: BTreeMap::new(),
        not_pushed: BTreeMap::new(),
        not_handed_over: None,
        suites: BTreeMap::new(),
        tags_held: None,
        not_cached: Vec::new(),
    };
    let stops = choices.build.on_failure == OnFailure::Stop;
    let any_failed = outcomes.values().any(|outcome| outcome.error.is_some());
    let goes_on = !(stops && any_failed);
    if goes_on {
        if configuration.handoff.on_run {
            let archives = stage(tools, Stage::Handover, || {
                hand_over(plan, configuration, before, &mut outcomes, tools)
            });
            report.not_handed_over = archives.err();
        }
        stage(tools, Stage::Push, || push_images(plan, &mut outcomes, tools, &mut report));
    }
    // Beside the suites: what was pushed needs not be sent again.
    let is_pushed = goes_on && plan.push == PushPlan::Registry && report.not_pushed.is_empty();
    let writing = caches::start(plan, &outcomes, is_pushed, tools);
    if goes_on && choices.suites && report.not_pushed.is_empty() {
        let images = images(&outcomes);
        let suites = wanted_suites(plan, configuration);
        if !suites.is_empty() && !images.is_empty() {
            report.suites = stage(tools, Stage::Suites, || suite::run(&suites, &images, daemon, tools));
        }
    }
    report.tags_held = match holds_tags(any_failed, &report) {
        Some(reason) => Some(reason),
        None => stage(tools, Stage::Tags, || finish_tags(plan, &mut outcomes, tools, &mut report)),
    };
    let cache = &choices.build.cache;
    report.not_cached = caches::report(&writing.wait(cache.wait.0), cache.on_error, tools);
    close(report, outcomes)
}

fn stage<T>(tools: &Tools<'_>, stage: Stage, work: impl FnOnce() -> T) -> T {
    let started = std::time::Instant::now();
    (tools.observer)(Progress::StageStarted { stage });
    let result = work();
    let seconds = started.elapsed().as_secs_f64();
    (tools.observer)(Progress::StageFinished { stage, seconds });
    result
}

fn hand_over(
    plan: &Plan,
    configuration: &Configuration,
    before: Option<&Ledger>,
    outcomes: &mut BTreeMap<Name, ServiceOutcome>,
    tools: &Tools<'_>,
) -> Result<(), HandoverError> {
    let mut ledger = Ledger::new(plan.event.clone(), plan.revision.clone(), plan.version.clone());
    for (name, outcome) in outcomes.iter().filter(|(_, outcome)| outcome.image.is_some()) {
        ledger.services.insert(name.clone(), outcome.record.clone());
    }
    let folder = tools.output.join("images");
    let form = Form::Whole(configuration.handoff.archive);
    handover::put(&mut ledger, before, form, &folder, tools)?;
    for (name, record) in ledger.services {
        if let Some(outcome) = outcomes.get_mut(&name) {
            outcome.record.archive = record.archive;
        }
    }
    Ok(())
}

fn push_images(
    plan: &Plan,
    outcomes: &mut BTreeMap<Name, ServiceOutcome>,
    tools: &Tools<'_>,
    report: &mut RunReport,
) {
    match &plan.push {
        PushPlan::Registry => report.not_pushed = push::push(plan, outcomes, tools),
        PushPlan::Archive { reason } | PushPlan::Nowhere { reason } => {
            (tools.observer)(Progress::Note { message: format!("nothing is pushed: {reason}") });
        }
    }
}

/// Moves the moving tags; returns why they stayed, where they did.
fn finish_tags(
    plan: &Plan,
    outcomes: &mut BTreeMap<Name, ServiceOutcome>,
    tools: &Tools<'_>,
    report: &mut RunReport,
) -> Option<String> {
    let moved = match plan.push {
        PushPlan::Registry => push::move_tags(plan, outcomes, tools),
        PushPlan::Archive { .. } | PushPlan::Nowhere { .. } => push::tag_locally(plan, outcomes, tools),
    };
    let error = moved.err()?;
    let reason = error.to_string();
    report.not_pushed.insert(error.service.clone(), error);
    Some(reason)
}

fn holds_tags(any_failed: bool, report: &RunReport) -> Option<String> {
    if any_failed {
        return Some("a service failed".to_owned());
    }
    if !report.not_pushed.is_empty() {
        return Some("an image was not pushed".to_owned());
    }
    let failed: Vec<&str> = report.failed_suites().map(|(name, _)| name.as_str()).collect();
    (!failed.is_empty()).then(|| format!("suite {} did not pass", failed.join(", ")))
}

fn images(outcomes: &BTreeMap<Name, ServiceOutcome>) -> BTreeMap<Name, Pinned> {
    outcomes
        .iter()
        .filter(|(_, outcome)| outcome.record.status != Status::Failed)
        .filter_map(|(name, outcome)| Some((name.clone(), outcome.record.pinned()?)))
        .collect()
}

fn wanted_suites(plan: &Plan, configuration: &Configuration) -> BTreeMap<Name, Suite> {
    let planned = |name: &&Name| plan.suites.contains_key(*name);
    let names = configuration.suite.keys().filter(planned);
    names.map(|name| (name.clone(), configuration.suite[name].clone())).collect()
}

fn close(mut report: RunReport, outcomes: BTreeMap<Name, ServiceOutcome>) -> RunReport {
    for (name, mut outcome) in outcomes {
        for (suite, result) in &report.suites {
            if result.services.contains(&name) {
                outcome.record.suites.insert(suite.clone(), result.record.clone());
            }
        }
        if let Some(error) = outcome.error {
            report.failed.insert(name.clone(), error);
        }
        report.ledger.services.insert(name, outcome.record);
    }
    report
}
