//! Moving in: what builds a project's images today, as values, and the rules that name them alike.
//!
//! Whoever reads another tool's file (the crate `forge` for workflows) gives a [`Found`]: services,
//! how their tags are computed, and [`Trial`]s, events that the file reacts to. [`choose`] then looks
//! for rules of ours that give the same tags in every trial, by replaying both engines; where there
//! are none, the neighbour's own strings are kept, and the answer says why.

mod kept;
mod native;
mod phrase;
mod replay;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::configuration::{IdentityRules, PushEvent};
use crate::event::{Event, Kind};
use crate::identity::docker::Context;

pub use kept::Kept;
pub use phrase::{Phrase, Piece};
pub use replay::{Difference, Outcome, outcome};

/// What a file builds.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Events that the file reacts to, or would be called for.
    pub trials: Vec<Trial>,
    /// Branches that the file names, in filters and conditions.
    pub branches: Vec<String>,
    /// Images, in the order of the file.
    pub services: Vec<FoundService>,
    /// What the file says and no service here does, by line.
    pub not_taken: Vec<NotTaken>,
    /// Steps that nobody needs any more, by line, in the file's words.
    pub unneeded: Vec<(usize, String)>,
}

/// An event that both engines are asked about.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What it is, for people: `push to main`.
    pub title: String,
    /// The event as we see it.
    pub event: Event,
    /// The event as the neighbour sees it.
    pub context: Context,
}

/// An image that a file builds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundService {
    /// Its name.
    pub name: String,
    /// The part of the file that builds it, such as a job.
    pub job: String,
    /// The line of the step that builds it.
    pub line: usize,
    /// Repositories it goes to, the first one first.
    pub images: Vec<String>,
    /// The folder it is built in.
    pub context: Option<String>,
    /// Its Dockerfile.
    pub dockerfile: Option<String>,
    /// The stage.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Platforms.
    pub platforms: Vec<String>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, FoundSecret>,
    /// Images of other services in its Dockerfile, by name there.
    pub needs: BTreeMap<String, String>,
    /// Where cached steps are looked for, as `[defaults.cache]` has it.
    pub cache_read: Vec<String>,
    /// Where they are put.
    pub cache_write: Vec<String>,
    /// Bills of materials are asked for.
    pub sbom: bool,
    /// How its tags are computed.
    pub naming: Naming,
    /// Whether it is built in each trial; empty where always.
    pub runs: Vec<bool>,
    /// Whether it is pushed in each trial; empty where always.
    pub pushes: Vec<bool>,
}

/// Where a secret of a build comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundSecret {
    /// An environment variable.
    Environment(String),
    /// A file.
    File(String),
}

/// How tags and labels of an image are computed: docker/metadata-action's inputs, an entry each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Naming {
    /// What tags are made of.
    pub tags: Vec<Phrase>,
    /// What holds for all of them.
    pub flavor: Vec<Phrase>,
    /// `key=value`.
    pub labels: Vec<Phrase>,
    /// `key=value`.
    pub annotations: Vec<Phrase>,
    /// A pull request's commit is its head, not the tried merge.
    pub head_sha: bool,
    /// Digits of a short commit, where not 7.
    pub short_sha: Option<usize>,
}

/// Something of a file that a configuration does not say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NotTaken {
    /// Its line, from 1.
    pub line: usize,
    /// What stands there.
    pub what: String,
    /// Why not, and what to do.
    pub reason: String,
}

/// How a service's images are to be called.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// Rules of ours.
    pub rules: IdentityRules,
    /// How many trials were compared.
    pub compared: usize,
    /// Trials that the neighbour itself refuses, and why.
    pub refused: Vec<(String, String)>,
    /// Trials in which the tags are others.
    pub differences: Vec<Difference>,
    /// Why `rules` are the neighbour's strings and no rules by kind of event, where they are.
    pub kept_because: Option<String>,
    /// Entries that could not be kept either.
    pub not_taken: Vec<NotTaken>,
}

/// Finds rules that call a service's images as the file does in all trials in which it builds them.
///
/// Rules by kind of event are tried first; where some trial differs, the neighbour's strings are kept.
pub fn choose(service: &FoundService, found: &Found) -> Chosen {
    let (naming, trials) = (&service.naming, found.trials.as_slice());
    let in_trial = |at: usize| match service.runs.get(at) {
        Some(false) => Outcome::Skipped,
        _ => outcome(naming, trials, at),
    };
    let expected: Vec<Outcome> = (0..trials.len()).map(in_trial).collect();
    let refused = replay::refused(trials, &expected);
    let compared = expected.iter().filter(|outcome| matches!(outcome, Outcome::Tags(_))).count();
    let native = native::rules(service, found, &expected);
    let why = match native {
        Ok(rules) => {
            let differences = Vec::new();
            return Chosen {
                rules,
                compared,
                refused,
                differences,
                kept_because: None,
                not_taken: Vec::new(),
            };
        }
        Err(why) => why,
    };
    let Kept { rules, naming: kept, not_taken } = kept::keep(naming, trials);
    let differences = replay::differences(trials, &expected, |at| outcome(&kept, trials, at));
    Chosen { rules, compared, refused, differences, kept_because: Some(why), not_taken }
}

/// Returns the kinds of events in which something is pushed, and those in which it is in some trials only.
///
/// Pull requests of forks push nowhere, whatever a file says, and count for nothing here.
pub fn push_events(trials: &[Trial], pushes: &[bool]) -> (Vec<PushEvent>, Vec<PushEvent>) {
    let all = [
        PushEvent::PullRequest,
        PushEvent::Push,
        PushEvent::Tag,
        PushEvent::Schedule,
        PushEvent::Dispatch,
        PushEvent::MergeGroup,
    ];
    let (mut events, mut mixed) = (Vec::new(), Vec::new());
    for kind in all {
        let of_kind = trials.iter().zip(pushes).filter(|(trial, _)| push_event(&trial.event) == Some(kind));
        let answers: Vec<bool> = of_kind.map(|(_, pushes)| *pushes).collect();
        // Of a kind that never happens nobody said that it should not push.
        if answers.is_empty() || answers.contains(&true) {
            events.push(kind);
            if answers.contains(&false) {
                mixed.push(kind);
            }
        }
    }
    (events, mixed)
}

fn push_event(event: &Event) -> Option<PushEvent> {
    Some(match &event.kind {
        Kind::PullRequest(pull_request) if pull_request.fork => return None,
        Kind::PullRequest(_) => PushEvent::PullRequest,
        Kind::Branch { .. } | Kind::Detached => PushEvent::Push,
        Kind::Tag { .. } | Kind::Release { .. } => PushEvent::Tag,
        Kind::Schedule { .. } => PushEvent::Schedule,
        Kind::Dispatch { .. } | Kind::WorkflowRun { .. } => PushEvent::Dispatch,
        Kind::MergeGroup { .. } => PushEvent::MergeGroup,
        Kind::Delete { .. } => return None,
    })
}

#[cfg(test)]
mod tests;
