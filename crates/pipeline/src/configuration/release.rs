//! `[release]`, `[retention]` and `[notify.*]`: what happens to an image after it shipped.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gate::SecretSource;
use super::values::Timespan;
use crate::identity::Glob;

/// Releases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Release {
    /// Template of the notes, in Handlebars, from the project's folder.
    pub notes: Option<PathBuf>,
}

/// What is deleted from registries, and what never is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Retention {
    /// Rules; a tag goes where any of them says so.
    pub rule: Vec<RetentionRule>,
    /// How many of the newest images of a rule stay whatever their age.
    pub keep_latest: u32,
    /// Tags that never go.
    pub protect: Vec<Glob>,
}

/// What one rule deletes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RetentionRule {
    /// Name for people.
    pub name: String,
    /// Tags it is about.
    #[serde(default)]
    pub tags: Vec<Glob>,
    /// Whether it is about images without a tag.
    #[serde(default)]
    pub untagged: bool,
    /// What must have happened.
    #[serde(default)]
    pub when: Option<RetentionWhen>,
    /// How long ago that must be.
    #[serde(default)]
    pub after: Option<Timespan>,
    /// How long ago the push must be.
    #[serde(default)]
    pub pushed: Option<Timespan>,
}

/// What must have happened before an image is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RetentionWhen {
    /// Its pull request was closed or merged.
    PrClosed,
    /// Its branch was deleted.
    BranchDeleted,
}

/// Messages to people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Notify {
    /// A channel of Slack.
    pub slack: Option<NotifyChannel>,
    /// Any address that takes JSON.
    pub webhook: Option<NotifyChannel>,
}

/// Where messages go, and which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NotifyChannel {
    /// The address, which is a secret.
    pub webhook: SecretSource,
    /// What is told.
    pub on: Vec<NotifyOn>,
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NotifyOn {
    /// A gate refused.
    GateFailed,
    /// A suite failed.
    SuiteFailed,
    /// A run failed.
    RunFailed,
    /// A release went out.
    Release,
}
