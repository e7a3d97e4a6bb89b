//! The neighbour's answers in trials, and how others differ from them.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Naming, Phrase, Trial};
use crate::configuration::IdentityRules;
use crate::identity::docker::{Inputs, ShortSha, metadata};
use crate::identity::{Subject, identify};

/// What an engine gives in a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// These tags, in order, none twice.
    Tags(Vec<String>),
    /// An error: inputs that it refuses, or a tag that no registry takes.
    Refused(String),
    /// Nothing is built.
    Skipped,
}

/// A trial in which the tags are others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The trial.
    pub trial: String,
    /// The neighbour's tags.
    pub expected: Vec<String>,
    /// Ours.
    pub found: Vec<String>,
}

/// Returns what docker/metadata-action gives for `naming` in a trial. An entry that depends on what
/// only a run knows is left out.
pub fn outcome(naming: &Naming, trials: &[Trial], at: usize) -> Outcome {
    let known = |phrases: &[Phrase]| phrases.iter().filter_map(|phrase| phrase.at(at).ok()).collect();
    of_entries(known(&naming.tags), known(&naming.flavor), naming, &trials[at])
}

/// Returns what one entry alone gives, and no `latest` with it.
pub(super) fn outcome_of_entry(
    naming: &Naming,
    entry: &Phrase,
    trials: &[Trial],
    at: usize,
) -> Option<String> {
    let flavor = naming.flavor.iter().filter_map(|phrase| phrase.at(at).ok());
    let flavor = flavor.filter(|text| !text.starts_with("latest=")).chain(["latest=false".to_owned()]);
    match of_entries(vec![entry.at(at).ok()?], flavor.collect(), naming, &trials[at]) {
        Outcome::Tags(tags) => tags.into_iter().next(),
        Outcome::Refused(_) | Outcome::Skipped => None,
    }
}

fn of_entries(tags: Vec<String>, flavor: Vec<String>, naming: &Naming, trial: &Trial) -> Outcome {
    let inputs = Inputs { tags, flavor, ..Inputs::default() };
    let mut context = trial.context.clone();
    if let Some(digits) = naming.short_sha {
        context.short_sha = ShortSha::Digits(digits);
    }
    if let (true, Some(head)) = (naming.head_sha, head_sha(trial)) {
        context.sha = head;
    }
    match metadata(&inputs, &context) {
        Ok(metadata) => {
            let mut seen = BTreeSet::new();
            let tags = metadata.tag_names().map(ToString::to_string);
            Outcome::Tags(tags.filter(|tag| seen.insert(tag.clone())).collect())
        }
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

fn head_sha(trial: &Trial) -> Option<String> {
    match &trial.event.kind {
        crate::event::Kind::PullRequest(pull_request) => {
            pull_request.head_sha.as_ref().map(ToString::to_string)
        }
        _ => None,
    }
}

/// Returns the tags that rules of ours give, in order.
pub(super) fn tags_of_rules(rules: &IdentityRules, service: &str, trial: &Trial) -> Vec<String> {
    let subject = Subject::new(&trial.event, service, trial.context.now);
    identify(rules, &subject).tags.iter().map(|planned| planned.tag.to_string()).collect()
}

/// Returns the trials in which the neighbour itself gives an error.
pub(super) fn refused(trials: &[Trial], expected: &[Outcome]) -> Vec<(String, String)> {
    let both = trials.iter().zip(expected);
    both.filter_map(|(trial, outcome)| match outcome {
        Outcome::Refused(reason) => Some((trial.title.clone(), reason.clone())),
        Outcome::Tags(_) | Outcome::Skipped => None,
    })
    .collect()
}

/// Returns the trials in which `found` gives other tags than expected; their order does not count.
pub(super) fn differences(
    trials: &[Trial],
    expected: &[Outcome],
    found: impl Fn(usize) -> Outcome,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (at, (trial, outcome)) in trials.iter().zip(expected).enumerate() {
        let Outcome::Tags(expected) = outcome else { continue };
        let found = match found(at) {
            Outcome::Tags(tags) => tags,
            Outcome::Refused(reason) => vec![format!("error: {reason}")],
            Outcome::Skipped => Vec::new(),
        };
        let set = |tags: &[String]| tags.iter().cloned().collect::<BTreeSet<String>>();
        if set(expected) != set(&found) {
            differences.push(Difference { trial: trial.title.clone(), expected: expected.clone(), found });
        }
    }
    differences
}
