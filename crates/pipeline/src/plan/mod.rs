//! What a run will do, as a value: computed from the configuration, the event and a few facts,
//! printed, saved, and handed to other jobs. Doing it is the stages'.

mod action;
pub mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use oci::{Annotations, Digest, InvalidReference, Platform, Registry, Repository, Tag};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use crate::configuration::{Configuration, ForkPush, Name, Prefix, PushEvent};
use crate::event::{CommitId, Event, Kind};
use crate::identity::{self, Explained, Movement, Subject};
use crate::text::Text;

pub use action::Action;
pub use order::Circle;

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

/// What [`plan`] must be told, because finding it out is work.
#[derive(Clone, Debug)]
pub struct PlanFacts {
    /// Now.
    pub now: Timestamp,
    /// First line of the commit's message, where the commit is there.
    pub subject: Option<String>,
    /// All git tags.
    pub existing_tags: Vec<String>,
    /// The last image of each service on the event's branch.
    pub last: BTreeMap<Name, LastImage>,
    /// Path of the configuration in the repository; a change of it rebuilds everything.
    pub configuration_path: Option<String>,
    /// Where images go when no registry is configured: `{registry}/{project}/{service}`.
    pub registry: Registry,
}

/// The last image of a service on a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastImage {
    /// Its digest.
    pub digest: Digest,
    /// The commit it was built from.
    pub revision: CommitId,
    /// Paths that changed between that commit and the event's; `None` where git cannot tell.
    pub changed_paths: Option<Vec<String>>,
}

/// There is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Services need each other.
    #[error("services need each other in a circle: {0}; take one of the `needs` out")]
    Circle(Circle),
    /// Two services would overwrite each other's image.
    #[error("services {first} and {second} both go to {image}: give one of them its own `image`")]
    SameRepository {
        /// One service.
        first: Name,
        /// The other one.
        second: Name,
        /// Where both go.
        image: Repository,
    },
    /// Somebody asked for a service that there is not.
    #[error("there is no service {name:?}: {hint}")]
    UnknownService {
        /// The name asked for.
        name: String,
        /// What there is.
        hint: String,
    },
    /// No repository can be named after a service.
    #[error("service {service} has no place to go")]
    Repository {
        /// The service.
        service: Name,
        /// Why not.
        #[source]
        source: InvalidReference,
    },
}

/// Returns what a run of `selection` (or of everything, where it is empty) will do for `event`.
/// What a selected service needs is selected too.
///
/// # Errors
/// See [`PlanError`]: all of them are mistakes in the configuration or the selection.
pub fn plan(
    configuration: &Configuration,
    event: &Event,
    facts: &PlanFacts,
    selection: &[String],
) -> Result<Plan, PlanError> {
    let selected = select(configuration, selection)?;
    let needs = |name: &Name| configuration.service[name].needs.0.values().cloned().collect();
    let order = order::waves(&selected, needs).map_err(PlanError::Circle)?;
    let skipped = action::skipped(&configuration.skip, event, facts.subject.as_deref());
    let planning = Planning { configuration, event, facts, skipped };
    let mut services: BTreeMap<Name, PlannedService> = BTreeMap::new();
    let mut explained = BTreeMap::new();
    for name in order.iter().flatten() {
        let (service, why) = planning.service(name, &services)?;
        services.insert(name.clone(), service);
        explained.insert(name.clone(), why);
    }
    check_repositories(&services)?;
    Ok(Plan {
        schema: SCHEMA.to_owned(),
        event: event.clone(),
        revision: identity::revision(&configuration.identity, event),
        version: planning.version(&order),
        push: push(configuration, event),
        suites: planning.suites(&services),
        matrix: matrix(&services),
        services,
        order,
        explained,
    })
}

/// Returns the JSON Schema of the plan.
pub fn schema() -> Schema {
    let mut schema = schemars::schema_for!(Plan);
    schema.insert("$id".to_owned(), SCHEMA.into());
    schema
}

fn select(configuration: &Configuration, selection: &[String]) -> Result<BTreeSet<Name>, PlanError> {
    let services = &configuration.service;
    if selection.is_empty() {
        return Ok(services.keys().cloned().collect());
    }
    let mut waiting = Vec::new();
    for asked in selection {
        let name = services.keys().find(|name| name.as_str() == asked);
        waiting.push(name.ok_or_else(|| unknown(configuration, asked))?.clone());
    }
    let mut selected = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        waiting
            .extend(services[&name].needs.0.values().filter(|needed| !selected.contains(*needed)).cloned());
        selected.insert(name);
    }
    Ok(selected)
}

fn unknown(configuration: &Configuration, asked: &str) -> PlanError {
    let known: Vec<&str> = configuration.service.keys().map(Name::as_str).collect();
    let hint = match crate::suggest::closest(asked, known.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("there are {}", known.join(", ")),
    };
    PlanError::UnknownService { name: asked.to_owned(), hint }
}

fn check_repositories(services: &BTreeMap<Name, PlannedService>) -> Result<(), PlanError> {
    let mut seen: BTreeMap<&Repository, &Name> = BTreeMap::new();
    for (name, service) in services {
        if let Some(first) = seen.insert(&service.image, name) {
            let (first, second, image) = (first.clone(), name.clone(), service.image.clone());
            return Err(PlanError::SameRepository { first, second, image });
        }
    }
    Ok(())
}

fn push(configuration: &Configuration, event: &Event) -> PushPlan {
    let push = &configuration.defaults.push;
    let kind = match event.kind {
        Kind::PullRequest(_) => PushEvent::PullRequest,
        Kind::Branch { .. } | Kind::Detached => PushEvent::Push,
        Kind::Tag { .. } => PushEvent::Tag,
        Kind::Schedule { .. } => PushEvent::Schedule,
        Kind::Dispatch { .. } => PushEvent::Dispatch,
        Kind::MergeGroup { .. } => PushEvent::MergeGroup,
    };
    if !push.events.contains(&kind) {
        return PushPlan::Nowhere { reason: format!("[defaults.push] does not list {}", event.kind.name()) };
    }
    match (event.is_fork(), push.forks) {
        (true, ForkPush::Archive) => PushPlan::Archive { reason: "a fork may not push".to_owned() },
        (true, ForkPush::Skip) => PushPlan::Nowhere { reason: "a fork may not push".to_owned() },
        _ => PushPlan::Registry,
    }
}

fn matrix(services: &BTreeMap<Name, PlannedService>) -> Vec<Leg> {
    let built = services.iter().filter(|(_, service)| service.action == Action::Build);
    let legs = |(name, service): (&Name, &PlannedService)| {
        let leg = |platform: &Text<Platform>| Leg { service: name.clone(), platform: platform.clone() };
        service.platforms.iter().map(leg).collect::<Vec<_>>()
    };
    built.flat_map(legs).collect()
}

/// One planning, while it is going on.
struct Planning<'a> {
    configuration: &'a Configuration,
    event: &'a Event,
    facts: &'a PlanFacts,
    skipped: Option<String>,
}

impl Planning<'_> {
    /// Plans one service; `planned` holds those it needs.
    fn service(
        &self,
        name: &Name,
        planned: &BTreeMap<Name, PlannedService>,
    ) -> Result<(PlannedService, Vec<Explained>), PlanError> {
        let service = &self.configuration.service[name];
        let identity = self.identity(name.as_str());
        let decision = match &self.skipped {
            Some(reason) => action::Decision { action: Action::Skip, reason: reason.clone() },
            None => action::decide(self.configuration, name, self.event, self.facts, |needed| {
                planned.get(needed).is_some_and(|needed| needed.action == Action::Build)
            }),
        };
        let moved = |movement: Movement| -> Vec<Tag> {
            let chosen = identity.tags.iter().filter(|planned| planned.movement == movement);
            chosen.map(|planned| planned.tag.clone()).collect()
        };
        let planned = PlannedService {
            image: self.repository(name)?,
            tags: identity.tags.iter().map(|planned| planned.tag.clone()).collect(),
            immutable: moved(Movement::Immutable),
            moving: moved(Movement::Moving),
            labels: identity.labels,
            platforms: self.platforms(service),
            action: decision.action,
            reason: decision.reason,
            needs: service.needs.0.clone(),
            context: service.context().to_owned(),
            dockerfile: service.dockerfile(),
            target: service.target.clone(),
            args: service.args.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect(),
        };
        Ok((planned, identity.explained))
    }

    fn identity(&self, service: &str) -> identity::Identity {
        let subject = Subject {
            event: self.event,
            service,
            now: self.facts.now,
            existing_tags: &self.facts.existing_tags,
        };
        identity::identify(&self.configuration.identity, &subject)
    }

    fn version(&self, order: &[Vec<Name>]) -> String {
        let first = order.iter().flatten().next();
        self.identity(first.map_or("", Name::as_str)).version
    }

    fn platforms(&self, service: &crate::configuration::Service) -> Vec<Text<Platform>> {
        let configured = service.platforms.as_ref().unwrap_or(&self.configuration.defaults.platforms);
        let mut platforms: Vec<Text<Platform>> = Vec::new();
        for platform in configured {
            if !platforms.contains(platform) {
                platforms.push(platform.clone());
            }
        }
        if platforms.is_empty() { vec![Text(Platform::host())] } else { platforms }
    }

    fn repository(&self, name: &Name) -> Result<Repository, PlanError> {
        if let Some(image) = &self.configuration.service[name].image {
            return Ok(image.0.clone());
        }
        let found = match &self.configuration.registry {
            Some(prefix) => prefix.join(name.as_str()),
            None => {
                let project = self.configuration.project.as_deref().unwrap_or("app");
                Prefix::new(self.facts.registry.clone()).join(&format!("{project}/{name}"))
            }
        };
        found.map_err(|source| PlanError::Repository { service: name.clone(), source })
    }

    fn suites(&self, services: &BTreeMap<Name, PlannedService>) -> BTreeMap<Name, PlannedSuite> {
        let is_there = |name: &Name| services.get(name).is_some_and(|service| service.action != Action::Skip);
        let suites = self.configuration.suite.iter().map(|(name, suite)| (name, suite, suite.all_services()));
        let runnable = suites.filter(|(_, _, of_suite)| of_suite.iter().all(is_there));
        let planned = runnable.filter(|_| self.skipped.is_none()).map(|(name, suite, services)| {
            let (shards, needs_daemon) = (suite.shards, suite.needs_daemon);
            (name.clone(), PlannedSuite { services, needs: suite.needs.clone(), shards, needs_daemon })
        });
        let mut planned: BTreeMap<Name, PlannedSuite> = planned.collect();
        let names: BTreeSet<Name> = planned.keys().cloned().collect();
        planned.values_mut().for_each(|suite| suite.needs.retain(|needed| names.contains(needed)));
        planned
    }
}

#[cfg(test)]
mod tests;
