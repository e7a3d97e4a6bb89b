//! Compose files: the `build` sections of services become targets.
//!
//! Read as the neighbour reads them: variables are filled in, `include` and `extends` are followed,
//! files are laid over each other, and then `image`, `build`, `environment` and `env_file` of each
//! service count and nothing else. Source: compose-spec, "build.md", "Interpolation", "Merge".

mod dotenv;
mod interpolate;
mod limits;
mod merge;
mod project;
mod service;
mod tree;

use std::collections::BTreeMap;

use super::error::{Fault, Sources};
use super::resolve::{Group, Outcome};
use super::world::World;
use crate::yaml;
pub(super) use limits::bytes;
use project::Project;

/// Whether a text without a telling name may be a compose file.
pub(super) fn looks_like(text: &str) -> bool {
    yaml::read(text).is_ok_and(|node| node.get("services").is_some())
}

/// Reads compose files, later ones over earlier ones.
pub(super) fn read(files: &[u16], sources: &mut Sources, world: &World<'_>) -> Result<Outcome, Fault> {
    let environment = environment(world)?;
    let project = Project::load(files, sources, world, environment)?;
    let mut outcome = Outcome::default();
    let mut default = Group { name: "default".to_owned(), ..Group::default() };
    for (name, service) in &project.services {
        if let Some(target) = service::target(&project, name, service, sources, &mut outcome.notices)? {
            default.targets.push(target.name.clone());
            outcome.targets.push(target);
        }
    }
    outcome.groups.push(default);
    Ok(outcome)
}

/// Returns the environment with what `.env` adds to it.
fn environment(world: &World<'_>) -> Result<BTreeMap<String, String>, Fault> {
    let mut environment = world.environment.clone();
    if let Ok(text) = (world.files)(".env") {
        let read = dotenv::read(&text, &environment)
            .map_err(|reason| Fault::new(super::hcl::start_of(u16::MAX), ".env cannot be read", reason))?;
        for (name, value) in read {
            environment.entry(name).or_insert(value);
        }
    }
    environment.extend(world.given.iter().map(|(name, value)| (name.clone(), value.clone())));
    Ok(environment)
}
