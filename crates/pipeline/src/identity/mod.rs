//! What an image is called and labelled, computed from the event and the rules of `[identity]`.
//!
//! [`identify`] is pure: every tag it gives is one the distribution grammar allows, and every tag
//! it does not give is explained. Rules are tried in order, and the first one for the event wins;
//! a rule with `parse` is none for a git tag that is no such version.
//!
//! | about | rule |
//! |---|---|
//! | empty field, tag that the grammar forbids | the tag is left out and says why |
//! | `{date:...}` | of the commit, or of now where `created = "now"` or the event is a schedule |
//! | pre-release | gets its `{version}`, and no `{major}`, no `{major}.{minor}`, no `latest` |
//! | back-port, `1.2.9` after `1.3.0` | `1.2` moves; `1` and `latest` stay with the higher version |
//! | `+build` of a version | `_build` in tags, as it is in the label |
//! | `api/v1.2.3` | releases `api` alone, as `v1.2.3` among its own tags; see [`Components`] |
//!
//! The names are this project's own; docker/metadata-action's inputs get an engine beside this one.

mod component;
mod description;
pub mod docker;
pub mod glob;
mod labels;
mod naming;
mod on;
mod series;
mod slug;
pub mod template;
mod value;
pub mod version;

use jiff::Timestamp;
use oci::{Annotations, Tag};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::configuration::{IdentityRules, PullRequestSha};
use crate::event::{CommitId, Event, Kind};

pub use component::Components;
pub use description::{Described, Description};
pub use glob::Glob;
pub use labels::ExplainedLabel;
pub use on::On;
pub use slug::slug;

/// What an image of one service is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The commit its label `revision` names.
    pub revision: CommitId,
    /// The version for people: of the git tag, or else the first tag, or else the short commit.
    pub version: String,
    /// Tags, in the order of the rule, none twice. May be empty: the digest is the name that counts.
    pub tags: Vec<PlannedTag>,
    /// Labels, ordered by key.
    pub labels: Annotations,
    /// Annotations, ordered by key.
    pub annotations: Annotations,
    /// What became of every template of the rule, in order, and of rules that were not used.
    pub explained: Vec<Explained>,
    /// Where every label came from, and why those that are not there are not; in order of key.
    pub explained_labels: Vec<ExplainedLabel>,
}

/// A tag the image shall get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTag {
    /// The tag.
    pub tag: Tag,
    /// Whether it may point elsewhere later.
    pub movement: Movement,
}

/// Whether a tag may point elsewhere later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Movement {
    /// It refuses to move: the configuration lists it under `immutable`.
    Immutable,
    /// It carries the commit, so that only another build of that commit takes it.
    Commit,
    /// It follows a branch, a pull request, a series of versions: it moves last.
    Moving,
}

/// What became of a template, or of a rule where `template` is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// The template as configured, or `latest`.
    pub template: String,
    /// The rule's `on`, or the setting it came from.
    pub rule: String,
    /// What it gave, where it gave something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub tag: Option<Tag>,
    /// Whether that may point elsewhere later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub movement: Option<Movement>,
    /// Why it was left out, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
    /// What should be known of a tag that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What the rules are applied to.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What happened.
    pub event: &'a Event,
    /// The project, such as `acme/shop`.
    pub project: &'a str,
    /// The service, as `{service}` gives it.
    pub service: &'a str,
    /// All services, to tell which of them a git tag releases.
    pub components: &'a Components<'a>,
    /// Now; used where the rules ask for it only.
    pub now: Timestamp,
    /// The time of all images, where the user asks for one (`SOURCE_DATE_EPOCH`).
    pub source_date_epoch: Option<Timestamp>,
    /// The git tags there are; the event's own may be among them.
    pub existing_tags: &'a [String],
    /// What the service's registry has.
    pub registry_tags: &'a RegistryTags,
    /// What the files of the checkout say of the service.
    pub description: &'a Description,
}

impl<'a> Subject<'a> {
    /// Returns a subject of which no more is known than this.
    pub fn new(event: &'a Event, service: &'a str, now: Timestamp) -> Self {
        static COMPONENTS: Components<'static> = Components::none();
        static DESCRIPTION: Description = Description::nothing();
        Self {
            event,
            project: service,
            service,
            components: &COMPONENTS,
            now,
            source_date_epoch: None,
            existing_tags: &[],
            registry_tags: &RegistryTags::NotNeeded,
            description: &DESCRIPTION,
        }
    }
}

/// Tags of a service's repository, where git has none to compare a release with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RegistryTags {
    /// Git's tags are all there is to know.
    #[default]
    NotNeeded,
    /// These are there.
    Known(Vec<Tag>),
    /// They are needed and could not be had.
    Unknown {
        /// Why not.
        reason: String,
    },
}

/// Applies `rules` to `subject`.
pub fn identify(rules: &IdentityRules, subject: &Subject<'_>) -> Identity {
    let revision = revision(rules, subject.event);
    let mut naming = naming::Naming::new(rules, subject, &revision);
    naming.apply_rules();
    let version = naming.version_text();
    let labels = naming.labels(&version);
    let naming::Naming { tags, explained, .. } = naming;
    Identity {
        version,
        tags,
        labels: labels.labels,
        annotations: labels.annotations,
        explained,
        explained_labels: labels.explained,
        revision,
    }
}

/// Returns the commit that the rules name an event's images after.
pub fn revision(rules: &IdentityRules, event: &Event) -> CommitId {
    match (&event.kind, rules.pr_sha) {
        (Kind::PullRequest(pull_request), PullRequestSha::Merge) => pull_request.merge_sha.clone(),
        (Kind::PullRequest(pull_request), PullRequestSha::Head) => pull_request.head_sha.clone(),
        _ => None,
    }
    .unwrap_or_else(|| event.revision.clone())
}

#[cfg(test)]
mod tests;
