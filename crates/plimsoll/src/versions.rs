//! Which versions registries know, asked where the clone does not have the git tags to compare a
//! release with.
//!
//! It is asked once and briefly: a plan is made without a network too, and then says what it does
//! not know.

use std::collections::BTreeMap;
use std::time::Duration;

use oci::{Registry, Repository};
use pipeline::configuration::{Configuration, Name};
use pipeline::event::Event;
use pipeline::git::Checkout;
use pipeline::identity::RegistryTags;
use pipeline::place::Places;
use pipeline::plan::{self, PlanFacts};
use registry::client::RetryPolicy;

use crate::session::Session;

/// How long a registry has to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Returns the tags of every service's repository, where an event about a version needs them.
pub fn in_registries(
    session: &Session,
    configuration: &Configuration,
    event: &Event,
    checkout: &Checkout,
    facts: &PlanFacts,
) -> BTreeMap<Name, RegistryTags> {
    let Some(lack) = lack(configuration, event, checkout, facts) else { return BTreeMap::new() };
    let retry = RetryPolicy { attempts: 1, timeout: PATIENCE, ..RetryPolicy::default() };
    let places = session.places_with(retry).map_err(|error| error.to_string());
    let mut silent: BTreeMap<Registry, String> = BTreeMap::new();
    let mut known = BTreeMap::new();
    for name in configuration.service.keys() {
        let Ok(repository) = plan::repository(configuration, &facts.registry, name) else { continue };
        let registry = repository.registry().clone();
        let asked = match (&places, silent.get(&registry)) {
            (Err(reason), _) | (_, Some(reason)) => Err(reason.clone()),
            (Ok(places), None) => ask(places, &repository),
        };
        let tags = asked.unwrap_or_else(|reason| {
            silent.entry(registry.clone()).or_insert_with(|| reason.clone());
            RegistryTags::Unknown { reason: format!("{lack}, and {registry} was not asked: {reason}") }
        });
        known.insert(name.clone(), tags);
    }
    known
}

/// Returns what the clone lacks to compare the event's version with others, where it lacks something.
fn lack(
    configuration: &Configuration,
    event: &Event,
    checkout: &Checkout,
    facts: &PlanFacts,
) -> Option<&'static str> {
    let tag = event.tag()?;
    let own = configuration.service.values().filter_map(|service| service.identity.tag.as_ref());
    let mut rules = own.flatten().chain(&configuration.identity.tag);
    if !rules.any(|rule| rule.parse.is_some()) {
        return None;
    }
    if checkout.is_shallow() {
        return Some("the clone is shallow");
    }
    let is_only = facts.existing_tags.iter().all(|other| other == tag);
    // Without a remote the clone is all there is, and no tag in it means that there is none.
    (is_only && checkout.has_remote()).then_some("the clone has no other git tags")
}

fn ask(places: &Places, repository: &Repository) -> Result<RegistryTags, String> {
    let store = places.repository(repository).map_err(|error| error.to_string())?;
    match store.tags() {
        Ok(tags) => Ok(RegistryTags::Known(tags)),
        Err(store::StoreError::NotFound { .. }) => Ok(RegistryTags::Known(Vec::new())),
        Err(error) => Err(error.to_string()),
    }
}
