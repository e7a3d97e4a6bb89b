//! Progress as sentences, shared by all styles for people.

use std::time::Duration;

use oci::Platform;
use pipeline::ledger::{Status, SuiteStatus};
use pipeline::progress::{Progress, Step, StepId};

use crate::ui::Verbosity;
use crate::ui::quantity;
use crate::ui::style::Style;

/// Returns what stays on a terminal above the live lines.
pub fn lasting(progress: &Progress, style: Style, verbosity: Verbosity) -> Option<String> {
    match progress {
        Progress::StepCached(step) if verbosity >= Verbosity::Verbose => {
            Some(format!("{} {} {}", step_label(step), step.instruction, style.dim(&cached(step))))
        }
        Progress::ServiceFinished { .. } | Progress::PushFinished { .. } | Progress::SuiteFinished { .. } => {
            ended(progress, style)
        }
        Progress::TagMoved { service, tag } => Some(format!("{service}: tag {tag} moved")),
        Progress::Note { message } => Some(message.clone()),
        _ => None,
    }
}

/// Returns how a step was known.
pub fn cached(step: &Step) -> String {
    step.cache.as_ref().map_or_else(|| "cached".to_owned(), |cache| format!("cached in {cache}"))
}

/// Returns the sentence for something that ended.
pub fn ended(progress: &Progress, style: Style) -> Option<String> {
    Some(match progress {
        Progress::ServiceFinished { service, status, digest, seconds: took, reason } => {
            let digest = digest.map(|digest| format!(" {digest}")).unwrap_or_default();
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{service}: {}{digest} in {}{reason}", status_text(*status, style), seconds(*took))
        }
        Progress::PushFinished { service, moved_bytes, seconds: took } => {
            format!("{service}: pushed, {} moved in {}", quantity::size(*moved_bytes), seconds(*took))
        }
        Progress::SuiteFinished { suite, status, seconds: took, reason } => {
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("suite {suite}: {} in {}{reason}", suite_text(*status, style), seconds(*took))
        }
        _ => return None,
    })
}

/// Returns the sentence for a request that is made again.
pub fn retry(progress: &Progress) -> String {
    let Progress::Retry { what, attempt, attempts, reason, wait_seconds } = progress else {
        return String::new();
    };
    format!(
        "{what}: attempt {attempt} of {attempts} failed: {reason}; next one in {}",
        seconds(*wait_seconds)
    )
}

/// Returns whose a step is: its service, and its platform where that is not this machine's.
pub fn whose(step: &StepId) -> String {
    match step.platform == Platform::host().to_string() {
        true => step.service.to_string(),
        false => format!("{} {}", step.service, step.platform),
    }
}

/// Returns `api 3/7`.
pub fn step_label(step: &Step) -> String {
    format!("{} {}/{}", whose(&step.id), step.id.number, step.of)
}

/// Returns a time given in seconds, as documents have it.
pub fn seconds(seconds: f64) -> String {
    quantity::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

fn status_text(status: Status, style: Style) -> String {
    match status {
        Status::Built => style.good("built"),
        Status::Cached => style.good("cached"),
        Status::Promoted => style.good("promoted"),
        Status::Skipped => style.dim("skipped"),
        Status::Failed => style.error("failed"),
    }
}

fn suite_text(status: SuiteStatus, style: Style) -> String {
    match status {
        SuiteStatus::Passed => style.good("passed"),
        SuiteStatus::Failed => style.error("failed"),
        SuiteStatus::TimedOut => style.error("timed out"),
        SuiteStatus::Skipped => style.dim("skipped"),
    }
}
