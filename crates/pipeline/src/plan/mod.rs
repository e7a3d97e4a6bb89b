//! What a run will do, as a value: computed from the configuration, the event and a few facts,
//! printed, saved, and handed to other jobs. Doing it is the stages'.

mod action;
mod document;
mod facts;
pub mod order;
mod selection;

use std::collections::{BTreeMap, BTreeSet};

use oci::{InvalidReference, Platform, Repository, Tag};

use crate::configuration::{Configuration, ForkPush, Name, Prefix, PushEvent};
use crate::event::{Event, Kind};
use crate::identity::{self, Explained, Movement, Subject};
use crate::text::Text;

pub use action::Action;
pub use document::{Leg, Plan, PlannedService, PlannedSuite, PushPlan, SCHEMA, schema};
pub use facts::{LastImage, PlanFacts, Surroundings};
pub use order::Circle;

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
    let selected = selection::select(configuration, selection)?;
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
        Kind::Tag { .. } | Kind::Release { .. } => PushEvent::Tag,
        Kind::Schedule { .. } => PushEvent::Schedule,
        Kind::Dispatch { .. } | Kind::WorkflowRun { .. } => PushEvent::Dispatch,
        Kind::Delete { .. } => {
            return PushPlan::Nowhere { reason: format!("{}: there is nothing to push", event.kind) };
        }
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
