//! Whether a service is built, promoted or skipped.

use oci::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PlanFacts;
use crate::configuration::{Configuration, Name, Service, Skip};
use crate::event::{Event, Kind};

/// What happens to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// It is built.
    Build,
    /// Nothing it is made of changed: its last image gets the tags.
    Promote {
        /// The last image.
        #[schemars(with = "String")]
        digest: Digest,
    },
    /// Nothing happens.
    Skip,
}

/// An action, and why.
pub(super) struct Decision {
    pub(super) action: Action,
    pub(super) reason: String,
}

impl Decision {
    pub(super) fn build(reason: impl Into<String>) -> Self {
        Self { action: Action::Build, reason: reason.into() }
    }
}

/// Returns why nothing is to be built for the event's commit, if so.
///
/// Commits are skipped on branches and in pull requests; what somebody tagged, scheduled or asked
/// for is built whatever its message.
pub(super) fn skipped(skip: &Skip, event: &Event, subject: Option<&str>) -> Option<String> {
    if matches!(event.kind, Kind::Delete { .. }) {
        return Some(format!("{}: there is nothing to build", event.kind));
    }
    if !matches!(event.kind, Kind::Branch { .. } | Kind::PullRequest(_)) {
        return None;
    }
    let subject = subject?;
    let pattern = skip.commits.iter().find(|pattern| pattern.is_found_in(subject))?;
    let is_always_built =
        event.branch().is_some_and(|branch| skip.always.iter().any(|glob| glob.matches(branch)));
    (!is_always_built).then(|| format!("the commit {subject:?} matches {:?} of [skip]", pattern.to_string()))
}

/// Returns what happens to a service that is not skipped; `is_rebuilt` tells of the services it needs.
pub(super) fn decide(
    configuration: &Configuration,
    name: &Name,
    event: &Event,
    facts: &PlanFacts,
    is_rebuilt: impl Fn(&Name) -> bool,
) -> Decision {
    let service = &configuration.service[name];
    if service.paths.is_empty() {
        return Decision::build("it has no `paths`");
    }
    if !matches!(event.kind, Kind::Branch { .. } | Kind::PullRequest(_) | Kind::MergeGroup { .. }) {
        return Decision::build(format!("every {} builds", event.kind.name()));
    }
    let Some(last) = facts.last.get(name) else {
        return Decision::build("there is no image of it yet to compare with");
    };
    let Some(changed) = &last.changed_paths else {
        return Decision::build(format!("what changed since {} is not known", last.revision.short(7)));
    };
    if let Some(path) = changed.iter().find(|path| is_made_of(service, facts, path)) {
        return Decision::build(format!("{path} changed since {}", last.revision.short(7)));
    }
    if let Some(needed) = service.needs.0.values().find(|needed| is_rebuilt(needed)) {
        return Decision::build(format!("{needed} is built, and it needs that"));
    }
    let reason = format!("none of its `paths` changed since {}", last.revision.short(7));
    Decision { action: Action::Promote { digest: last.digest }, reason }
}

/// Whether a changed path bears on the image: one of `paths`, its Dockerfile, the configuration.
fn is_made_of(service: &Service, facts: &PlanFacts, path: &str) -> bool {
    let dockerfile = service.dockerfile();
    let normal = |path: &std::path::Path| path.components().collect::<std::path::PathBuf>();
    facts.configuration_path.as_deref() == Some(path)
        || normal(&dockerfile) == std::path::Path::new(path)
        || service.paths.iter().any(|glob| glob.matches(path))
}
