//! An event of any host as the neighbour would see it, so that its rules work everywhere.
//!
//! | event | reference | name |
//! |---|---|---|
//! | pull request | `refs/pull/N/merge` | the host's, else `pull_request` |
//! | branch, tag, release | `refs/heads/...`, `refs/tags/...` | the host's, else `push`, `release` |
//! | schedule, dispatch | the branch or tag | `schedule`, `workflow_dispatch` |
//! | merge queue | the queue's branch | `merge_group` |
//!
//! The commit is the one that the configuration names images after: of a pull request its head.

use jiff::Timestamp;
use serde_json::Value;

use super::{Context, RepositoryFacts, ShortSha};
use crate::configuration::{AnnotationLevel, Created, IdentityRules};
use crate::event::{Event, GitRef, Kind};
use crate::identity::Description;

/// What an event happened to, besides.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Now.
    pub now: Timestamp,
    /// The time of all images, where the user asks for one (`SOURCE_DATE_EPOCH`).
    pub source_date_epoch: Option<Timestamp>,
    /// What the files of the checkout say.
    pub description: &'a Description,
}

impl Context {
    /// Returns the context of an event, with what `rules` say of commits, times and annotations.
    pub fn of_event(event: &Event, rules: &IdentityRules, around: Around<'_>) -> Self {
        let described = |one: &Option<crate::identity::Described>| one.as_ref().map(|d| d.value.clone());
        let source = &event.source;
        let created = match (around.source_date_epoch, rules.created) {
            (Some(epoch), _) => epoch,
            (None, Created::Commit) => event.committed,
            (None, Created::Now) => around.now,
            (None, Created::Epoch) => Timestamp::UNIX_EPOCH,
        };
        Self {
            event_name: event_name(event),
            reference: reference(event),
            sha: crate::identity::revision(rules, event).to_string(),
            base_ref: field(event, "base_ref"),
            pull_request_base: match &event.kind {
                Kind::PullRequest(pull_request) => pull_request.base_ref.clone(),
                _ => None,
            },
            default_branch: event.default_branch.clone(),
            repository: RepositoryFacts {
                name: source.name.clone().or_else(|| described(&around.description.title)),
                description: source
                    .description
                    .clone()
                    .or_else(|| described(&around.description.description)),
                html_url: source.url.clone(),
                default_branch: event.default_branch.clone(),
                license: source.licenses.clone().or_else(|| described(&around.description.licenses)),
            },
            commit_date: Some(event.committed),
            now: around.now,
            created: Some(created),
            short_sha: ShortSha::Digits(rules.short_sha),
            annotation_levels: rules
                .annotation_levels
                .iter()
                .map(|level| level_name(*level).to_owned())
                .collect(),
        }
    }
}

fn level_name(level: AnnotationLevel) -> &'static str {
    match level {
        AnnotationLevel::Manifest => "manifest",
        AnnotationLevel::Index => "index",
        AnnotationLevel::ManifestDescriptor => "manifest-descriptor",
    }
}

fn event_name(event: &Event) -> String {
    let trigger = event.trigger.as_deref();
    match &event.kind {
        Kind::PullRequest(_) => {
            trigger.filter(|name| name.starts_with("pull_request")).unwrap_or("pull_request")
        }
        Kind::Schedule { .. } => "schedule",
        Kind::MergeGroup { .. } => "merge_group",
        Kind::Release { .. } => "release",
        Kind::Delete { .. } => "delete",
        Kind::WorkflowRun { .. } => "workflow_run",
        Kind::Dispatch { .. } => trigger.unwrap_or("workflow_dispatch"),
        Kind::Branch { .. } | Kind::Tag { .. } | Kind::Detached => trigger.unwrap_or("push"),
    }
    .to_owned()
}

fn reference(event: &Event) -> String {
    let branch = |branch: &str| format!("refs/heads/{branch}");
    let full = |on: &GitRef| match on {
        GitRef::Branch(name) => branch(name),
        GitRef::Tag(name) => format!("refs/tags/{name}"),
    };
    match &event.kind {
        Kind::PullRequest(pull_request) => format!("refs/pull/{}/merge", pull_request.number),
        Kind::Branch { branch: name } => branch(name),
        Kind::Tag { tag } | Kind::Release { tag, .. } => format!("refs/tags/{tag}"),
        Kind::Schedule { branch: name } => {
            name.as_deref().or(event.default_branch.as_deref()).map(branch).unwrap_or_default()
        }
        Kind::Dispatch { on } | Kind::WorkflowRun { on, .. } => on.as_ref().map(full).unwrap_or_default(),
        Kind::Delete { on } => full(on),
        Kind::MergeGroup { number, base_ref } => queue(event, *number, base_ref),
        Kind::Detached => String::new(),
    }
}

/// Returns the merge queue's branch: as the host tells it, else put together as the host does.
fn queue(event: &Event, number: Option<u64>, base: &str) -> String {
    let told =
        event.fields.get("merge_group").and_then(|group| group.get("head_ref")).and_then(Value::as_str);
    told.map(str::to_owned).unwrap_or_else(|| {
        let number = number.unwrap_or_default();
        format!("refs/heads/gh-readonly-queue/{base}/pr-{number}-{}", event.revision)
    })
}

fn field(event: &Event, name: &str) -> Option<String> {
    event.fields.get(name).and_then(Value::as_str).map(str::to_owned)
}
