//! `[identity]`: how images are called.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::labels::LabelRules;
use super::parse::{Parse, Scheme};
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
    /// Labels that are added to, or replace, those of the repository; one that is empty is left out.
    pub labels: LabelRules,
    /// Annotations that are added to, or replace, the labels that are repeated as annotations.
    pub annotations: LabelRules,
    /// Where annotations are written.
    pub annotation_levels: Vec<AnnotationLevel>,
    /// What keys of this project's own labels start with, such as `PREFIX.feature.branch`; the
    /// project's name with dots for slashes where absent, none of these labels where empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_prefix: Option<String>,
    /// Whether the run's address is a label: every run then gives another digest.
    pub run_url: bool,
    /// Which engine computes tags and labels.
    pub metadata: Metadata,
    /// Entries of docker/metadata-action's input `tags`; with `metadata = "docker"` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<OneOrMany<String>>,
    /// Entries of docker/metadata-action's input `flavor`; with `metadata = "docker"` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flavor: Option<OneOrMany<String>>,
    /// Entries of docker/metadata-action's input `images`, for `meta`; the services' images where
    /// absent; with `metadata = "docker"` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<OneOrMany<String>>,
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
            labels: LabelRules::default(),
            annotations: LabelRules::default(),
            annotation_levels: vec![AnnotationLevel::Manifest, AnnotationLevel::Index],
            label_prefix: None,
            run_url: false,
            metadata: Metadata::Native,
            tags: None,
            flavor: None,
            images: None,
        }
    }
}

/// What one service has of its own under `[service.NAME.identity]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServiceIdentity {
    /// Rules instead of those of `[[identity.tag]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Vec<TagRule>>,
    /// When this service's `latest` moves, where that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<Latest>,
    /// Labels over those of `[identity.labels]`.
    pub labels: BTreeMap<String, Template>,
    /// Annotations over those of `[identity.annotations]`.
    pub annotations: BTreeMap<String, Template>,
    /// What git tags that release this service alone start with; `NAME/`, `NAME-`, `NAME@` and
    /// `releases/NAME/` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag_prefix: Option<String>,
}

impl IdentityRules {
    /// Returns the rules with what a service has of its own.
    pub fn of_service(&self, own: &ServiceIdentity) -> Self {
        let mut rules = self.clone();
        if let Some(tag) = &own.tag {
            rules.tag.clone_from(tag);
        }
        rules.latest = own.latest.unwrap_or(rules.latest);
        rules.labels.templates.extend(own.labels.clone());
        rules.annotations.templates.extend(own.annotations.clone());
        rules
    }
}

/// A document of an image that annotations are written into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AnnotationLevel {
    /// The manifest of each platform.
    Manifest,
    /// The index over the platforms, which registries show.
    Index,
    /// What the index says of each manifest.
    ManifestDescriptor,
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
///
/// What a deletion, the end of a failed workflow and events of other kinds are about gets no image,
/// so no rule is for them.
fn default_rules() -> Vec<TagRule> {
    let rule = |on: &[&str], tags: &[&str], immutable: &[&str]| TagRule {
        on: OneOrMany(on.iter().map(|on| on.parse().expect("the defaults are kinds of events")).collect()),
        tags: templates(tags),
        immutable: templates(immutable),
        parse: None,
    };
    let dated = ["{date:%Y%m%d}", "{date:%Y%m%d-%H%M%S}"];
    let default_branch = ["{branch|slug}", "{branch|slug}-{sha}", "sha-{sha:long}", dated[0], dated[1]];
    let version = ["v{version}", "{version}", "{major}.{minor}", "{major}"];
    vec![
        rule(&["pull_request"], &["pr-{pr}", "pr-{pr}-{sha}"], &["pr-{pr}-{sha}"]),
        rule(&["default-branch"], &default_branch, &[]),
        TagRule { parse: Some(Scheme::Semver.into()), ..rule(&["tag:v*", "tag:[0-9]*"], &version, &[]) },
        rule(&["tag:**"], &["{tag}"], &[]),
        rule(&["branch:**"], &["{branch|slug}-{sha}"], &[]),
        rule(&["schedule"], &["nightly", "nightly-{date:%Y%m%d}"], &[]),
        rule(&["dispatch", "detached"], &["sha-{sha}"], &[]),
        rule(&["merge_group"], &["merge-{pr}-{sha}", "merge-{sha}"], &[]),
        rule(&["workflow_run"], &["pr-{pr}-{sha}", "{branch|slug}-{sha}", "sha-{sha}"], &[]),
    ]
}

fn templates(texts: &[&str]) -> Vec<Template> {
    texts.iter().map(|text| text.parse().expect("the defaults are templates")).collect()
}
