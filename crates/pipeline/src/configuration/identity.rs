//! `[identity]`: how images are called.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::OneOrMany;
use crate::identity::On;
use crate::identity::template::Template;

/// How images are called: the rules of tags and labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct IdentityRules {
    /// Digits of `{sha}`, from 4 to 64; fixed, whatever git says.
    #[schemars(range(min = 4, max = 64))]
    pub short_sha: usize,
    /// Which commit a pull request's image is named after.
    pub pr_sha: PullRequestSha,
    /// The time of an image.
    pub created: Created,
    /// The longest tag, from 16 to 128 characters; 63 where tags become Kubernetes label values.
    #[schemars(range(min = 16, max = 128))]
    pub max_length: usize,
    /// When `latest` moves.
    pub latest: Latest,
    /// Rules, in order; the first one for the event wins.
    pub tag: Vec<TagRule>,
    /// Labels that are added to, or replace, those of the repository.
    pub labels: BTreeMap<String, Template>,
    /// Which engine computes tags and labels.
    pub metadata: Metadata,
    /// Entries of docker/metadata-action's input `tags`; with `metadata = "docker"` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<OneOrMany<String>>,
    /// Entries of docker/metadata-action's input `flavor`; with `metadata = "docker"` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flavor: Option<OneOrMany<String>>,
}

impl Default for IdentityRules {
    fn default() -> Self {
        Self {
            short_sha: 7,
            pr_sha: PullRequestSha::Head,
            created: Created::Commit,
            max_length: oci::tag::MAX_LENGTH,
            latest: Latest::HighestSemver,
            tag: default_rules(),
            labels: BTreeMap::new(),
            metadata: Metadata::Native,
            tags: None,
            flavor: None,
        }
    }
}

/// The tags of one kind of event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TagRule {
    /// The events it is for.
    pub on: OneOrMany<On>,
    /// Templates of the tags.
    pub tags: Vec<Template>,
    /// Those of `tags` that refuse to move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub immutable: Vec<Template>,
    /// What the git tag is read as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parse: Option<Parse>,
}

impl TagRule {
    /// Returns the rule's `on`, which is what people know it by.
    pub fn name(&self) -> String {
        self.on.iter().map(On::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// Which commit a pull request's image is named after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PullRequestSha {
    /// The last commit of the branch: one that people know.
    Head,
    /// The merge that the CI host tries: the one that is built.
    Merge,
}

/// The time of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Created {
    /// Of the commit: the same input gives the same digest.
    Commit,
    /// Of the build: every run gives another digest.
    Now,
    /// 1970-01-01.
    Epoch,
}

/// When `latest` moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Latest {
    /// With a release that no other git tag is higher than.
    HighestSemver,
    /// With every push to the default branch.
    DefaultBranch,
    /// With every git tag but pre-releases, as docker/metadata-action does.
    Auto,
    /// Never.
    Never,
}

/// What a git tag is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Parse {
    /// A semantic version, with or without a `v`.
    Semver,
}

/// Which engine computes tags and labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Metadata {
    /// The rules of `[[identity.tag]]`.
    Native,
    /// docker/metadata-action's own inputs.
    Docker,
}

/// What applies where the configuration has no `[[identity.tag]]`.
fn default_rules() -> Vec<TagRule> {
    let rule = |on: &str, tags: &[&str], immutable: &[&str], parse: Option<Parse>| TagRule {
        on: OneOrMany(vec![on.parse().expect("the defaults are kinds of events")]),
        tags: templates(tags),
        immutable: templates(immutable),
        parse,
    };
    let dated = ["{date:%Y%m%d}", "{date:%Y%m%d-%H%M%S}"];
    let default_branch = ["{branch|slug}", "{branch|slug}-{sha}", "sha-{sha:long}", dated[0], dated[1]];
    vec![
        rule("pull_request", &["pr-{pr}", "pr-{pr}-{sha}"], &["pr-{pr}-{sha}"], None),
        rule("default-branch", &default_branch, &[], None),
        rule("branch:**", &["{branch|slug}-{sha}"], &[], None),
        rule("tag:v*", &["v{version}", "{version}", "{major}.{minor}", "{major}"], &[], Some(Parse::Semver)),
        rule("tag:**", &["{tag}"], &[], None),
        rule("schedule", &["nightly", "nightly-{date:%Y%m%d}"], &[], None),
        rule("merge_group", &["merge-{sha}"], &[], None),
        rule("detached", &["sha-{sha}"], &[], None),
    ]
}

fn templates(texts: &[&str]) -> Vec<Template> {
    texts.iter().map(|text| text.parse().expect("the defaults are templates")).collect()
}
