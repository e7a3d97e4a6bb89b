//! The plan as a document that is printed, saved, and handed to other jobs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci::{Annotations, Platform, Repository, Tag};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use super::action::Action;
use crate::configuration::{AnnotationLevel, Name, Secret};
use crate::event::{CommitId, Event};
use crate::identity::{Explained, ExplainedLabel};
use crate::text::Text;

/// The plan's format and its version.
pub const SCHEMA: &str = "plimsoll.plan/1";

/// What a run will do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// [`SCHEMA`].
    pub schema: String,
    /// What happened.
    pub event: Event,
    /// The commit that images are labelled with.
    #[schemars(with = "String")]
    pub revision: CommitId,
    /// The version for people.
    pub version: String,
    /// Whether images are pushed.
    pub push: PushPlan,
    /// Images, by service.
    pub services: BTreeMap<Name, PlannedService>,
    /// Services in the order they are built: one wave after the other, a wave side by side.
    pub order: Vec<Vec<Name>>,
    /// Suites whose services are all in the plan.
    pub suites: BTreeMap<Name, PlannedSuite>,
    /// One entry per image and platform to build, for the job matrix of a CI host.
    pub matrix: Vec<Leg>,
    /// What became of each tag template, with the reason where it gave none.
    pub explained: BTreeMap<Name, Vec<Explained>>,
    /// Where each label came from; not a part of the document, which has the labels already.
    #[serde(skip)]
    pub explained_labels: BTreeMap<Name, Vec<ExplainedLabel>>,
}

/// Whether images are pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum PushPlan {
    /// To their registry.
    Registry,
    /// Handed over as archives.
    Archive {
        /// Why not to the registry.
        reason: String,
    },
    /// Nowhere.
    Nowhere {
        /// Why not.
        reason: String,
    },
}

/// What happens to one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedService {
    /// Where its image goes.
    #[schemars(with = "String")]
    pub image: Repository,
    /// Tags it gets, in the order of the rules.
    #[schemars(with = "Vec<String>")]
    pub tags: Vec<Tag>,
    /// Those of `tags` that refuse to move.
    #[schemars(with = "Vec<String>")]
    pub immutable: Vec<Tag>,
    /// Those of `tags` that move last, when everything is green.
    #[schemars(with = "Vec<String>")]
    pub moving: Vec<Tag>,
    /// Labels of the image.
    pub labels: Annotations,
    /// Annotations of its documents.
    #[serde(default)]
    pub annotations: Annotations,
    /// Which documents get them.
    #[serde(default)]
    pub annotation_levels: Vec<AnnotationLevel>,
    /// Platforms; never empty.
    pub platforms: Vec<Text<Platform>>,
    /// What happens.
    #[serde(flatten)]
    pub action: Action,
    /// Why.
    pub reason: String,
    /// Services that are built first, by the name the Dockerfile uses.
    pub needs: BTreeMap<String, Name>,
    /// The context, from the project's folder.
    pub context: PathBuf,
    /// The Dockerfile, from the project's folder.
    pub dockerfile: PathBuf,
    /// The stage to build; the last one where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Where secrets of its build come from, by id; never their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Secret>,
}

/// A suite that will run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedSuite {
    /// Services whose images it tests, in order of name.
    pub services: Vec<Name>,
    /// Suites that must pass first.
    pub needs: Vec<Name>,
    /// Into how many parts it is cut.
    pub shards: u32,
    /// Whether it needs a container daemon.
    pub needs_daemon: bool,
}

/// One job of a matrix: one image for one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Leg {
    /// The service.
    pub service: Name,
    /// The platform.
    pub platform: Text<Platform>,
}

/// Returns the JSON Schema of the plan.
pub fn schema() -> Schema {
    let mut schema = schemars::schema_for!(Plan);
    schema.insert("$id".to_owned(), SCHEMA.into());
    schema
}
