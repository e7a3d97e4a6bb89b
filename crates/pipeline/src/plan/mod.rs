//! What a run will do, as a value: computed from the configuration, the event and a few facts,
//! printed, saved, and handed to other jobs. Doing it is the stages'.

mod action;
mod document;
mod facts;
pub mod order;
mod selection;

use std::collections::{BTreeMap, BTreeSet};

use oci::{InvalidReference, Platform, Reference, Registry, Repository, Tag};

use crate::configuration::{Configuration, ForkPush, Metadata, Name, Prefix, PushEvent};
use crate::event::{Event, Kind};
use crate::identity::docker::MetadataError;
use crate::identity::{self, Components, Description, Identity, Movement, RegistryTags, Subject};
use crate::text::Text;

pub use action::Action;
use action::Decision;
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
    /// Two services share a repository by their `image`, and a tag in it.
    #[error(
        "services {first} and {second} both claim {reference}: put {{service}} into the tags, or give one of them its own `image`"
    )]
    SameReference {
        /// One service.
        first: Name,
        /// The other one.
        second: Name,
        /// What both would be called.
        reference: Box<Reference>,
    },
    /// Somebody asked for a service that there is not.
    #[error("there is no service {name:?}: {hint}")]
    UnknownService {
        /// The name asked for.
        name: String,
        /// What there is.
        hint: String,
    },
    /// docker/metadata-action's inputs give a service no tags.
    #[error("service {service} gets no tags from metadata = \"docker\"")]
    Metadata {
        /// The service.
        service: Name,
        /// Why not.
        #[source]
        source: Box<MetadataError>,
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
    let components = Components::of(&configuration.service);
    let alone = released_alone(configuration, event, &components)?;
    let planning = Planning { configuration, event, facts, skipped, components, alone };
    let mut services: BTreeMap<Name, PlannedService> = BTreeMap::new();
    let (mut explained, mut explained_labels) = (BTreeMap::new(), BTreeMap::new());
    let mut versions = BTreeMap::new();
    for name in order.iter().flatten() {
        let identity = planning.identity(name)?;
        explained.insert(name.clone(), identity.explained.clone());
        explained_labels.insert(name.clone(), identity.explained_labels.clone());
        versions.insert(name, identity.version.clone());
        services.insert(name.clone(), planning.service(name, identity, &services)?);
    }
    check_references(configuration, &services)?;
    Ok(Plan {
        schema: SCHEMA.to_owned(),
        event: event.clone(),
        revision: identity::revision(&configuration.identity, event),
        version: planning.version(&order, &versions),
        push: push(configuration, event),
        suites: planning.suites(&services),
        matrix: matrix(&services),
        services,
        order,
        explained,
        explained_labels,
    })
}

/// Returns where a service's image goes; `registry` is for projects that name none.
///
/// # Errors
/// `Repository`.
pub fn repository(
    configuration: &Configuration,
    registry: &Registry,
    name: &Name,
) -> Result<Repository, PlanError> {
    if let Some(image) = configuration.service.get(name).and_then(|service| service.image.as_ref()) {
        return Ok(image.0.clone());
    }
    let found = match &configuration.registry {
        Some(prefix) => prefix.join(name.as_str()),
        None => {
            let project = configuration.project.as_deref().unwrap_or("app");
            Prefix::new(registry.clone()).join(&format!("{project}/{name}"))
        }
    };
    found.map_err(|source| PlanError::Repository { service: name.clone(), source })
}

/// The one service that the event's git tag releases, and those it needs.
struct Alone {
    tag: String,
    service: Name,
    with_needs: BTreeSet<Name>,
}

fn released_alone(
    configuration: &Configuration,
    event: &Event,
    components: &Components<'_>,
) -> Result<Option<Alone>, PlanError> {
    let Some(tag) = event.tag() else { return Ok(None) };
    let Some((service, _)) = components.released_by(tag) else { return Ok(None) };
    let with_needs = selection::select(configuration, &[service.to_owned()])?;
    let service = with_needs.iter().find(|name| name.as_str() == service).cloned();
    Ok(service.map(|service| Alone { tag: tag.to_owned(), service, with_needs }))
}

/// Two services go to one repository only where both say so, and no tag in it is both's.
fn check_references(
    configuration: &Configuration,
    services: &BTreeMap<Name, PlannedService>,
) -> Result<(), PlanError> {
    let is_explicit = |name: &Name| configuration.service[name].image.is_some();
    let mut seen: BTreeMap<&Repository, Vec<(&Name, &PlannedService)>> = BTreeMap::new();
    for (name, service) in services {
        let others = seen.entry(&service.image).or_default();
        for (other, of_other) in others.iter().copied() {
            let (first, second, image) = (other.clone(), name.clone(), service.image.clone());
            if !is_explicit(name) || !is_explicit(other) {
                return Err(PlanError::SameRepository { first, second, image });
            }
            if let Some(tag) = service.tags.iter().find(|tag| of_other.tags.contains(tag)) {
                let reference = Box::new(image.tagged(tag.clone()));
                return Err(PlanError::SameReference { first, second, reference });
            }
        }
        others.push((name, service));
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
    components: Components<'a>,
    alone: Option<Alone>,
}

impl Planning<'_> {
    /// Plans one service; `planned` holds those it needs.
    fn service(
        &self,
        name: &Name,
        identity: Identity,
        planned: &BTreeMap<Name, PlannedService>,
    ) -> Result<PlannedService, PlanError> {
        let service = &self.configuration.service[name];
        let decision = self.decision(name, planned);
        let moved = |movement: Movement| -> Vec<Tag> {
            let chosen = identity.tags.iter().filter(|planned| planned.movement == movement);
            chosen.map(|planned| planned.tag.clone()).collect()
        };
        Ok(PlannedService {
            image: repository(self.configuration, &self.facts.registry, name)?,
            tags: identity.tags.iter().map(|planned| planned.tag.clone()).collect(),
            immutable: moved(Movement::Immutable),
            moving: moved(Movement::Moving),
            labels: identity.labels,
            annotations: identity.annotations,
            annotation_levels: self.configuration.identity.annotation_levels.clone(),
            platforms: self.platforms(service),
            action: decision.action,
            reason: decision.reason,
            needs: service.needs.0.clone(),
            context: service.context().to_owned(),
            dockerfile: service.dockerfile(),
            target: service.target.clone(),
            args: service.args.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect(),
            secrets: service.secrets.clone(),
        })
    }

    fn decision(&self, name: &Name, planned: &BTreeMap<Name, PlannedService>) -> Decision {
        if let Some(reason) = &self.skipped {
            return Decision { action: Action::Skip, reason: reason.clone() };
        }
        if let Some(Alone { tag, service, with_needs }) = &self.alone
            && service != name
        {
            return match with_needs.contains(name) {
                true => {
                    Decision::build(format!("git tag {tag:?} releases {service} alone, and it needs this"))
                }
                false => Decision {
                    action: Action::Skip,
                    reason: format!("git tag {tag:?} releases {service} alone"),
                },
            };
        }
        action::decide(self.configuration, name, self.event, self.facts, |needed| {
            planned.get(needed).is_some_and(|needed| needed.action == Action::Build)
        })
    }

    fn identity(&self, name: &Name) -> Result<Identity, PlanError> {
        let (nothing, not_needed) = (Description::default(), RegistryTags::NotNeeded);
        let subject = Subject {
            event: self.event,
            project: self.configuration.project.as_deref().unwrap_or("app"),
            service: name.as_str(),
            components: &self.components,
            now: self.facts.now,
            source_date_epoch: self.facts.source_date_epoch,
            existing_tags: &self.facts.existing_tags,
            registry_tags: self.facts.registry_tags.get(name).unwrap_or(&not_needed),
            description: self.facts.descriptions.get(name).unwrap_or(&nothing),
        };
        let own = &self.configuration.service[name].identity;
        let rules = self.configuration.identity.of_service(own);
        if rules.metadata == Metadata::Native {
            return Ok(identity::identify(&rules, &subject));
        }
        let image = repository(self.configuration, &self.facts.registry, name)?;
        let failed = |source| PlanError::Metadata { service: name.clone(), source: Box::new(source) };
        identity::docker::identify(&rules, &subject, &image).map_err(failed)
    }

    /// Returns the version of what the git tag releases, or else of the first service.
    fn version(&self, order: &[Vec<Name>], versions: &BTreeMap<&Name, String>) -> String {
        let first = order.iter().flatten().next();
        let released = self.alone.as_ref().map(|alone| &alone.service);
        let version = released.and_then(|name| versions.get(name)).or_else(|| versions.get(first?));
        version.cloned().unwrap_or_default()
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
