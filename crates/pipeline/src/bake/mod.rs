//! Build definitions of `docker buildx bake`: HCL, JSON and compose files, to groups and targets.
//!
//! Reading is pure: files come as texts, and the environment, the moment and the random bytes that a
//! definition may ask for come in a [`World`]. The order is that of the neighbour (buildx 0.29): files
//! are parsed, variables take their values, blocks are resolved as they look at each other
//! ([`read`]); then targets are chosen, inherit, take overrides and are linked
//! ([`Definition::select`]). What is computed is bounded in depth and in amount.
//!
//! [`jobs`] says what the engine does for each target; doing it is the binary's.

mod access;
mod check;
mod compose;
mod convert;
mod csv;
mod entries;
mod error;
mod evaluate;
mod functions;
mod hcl;
mod job;
mod json;
mod number;
mod operate;
mod overrides;
mod path;
mod print;
mod resolve;
mod select;
mod syntax;
mod target;
#[cfg(test)]
mod tests;
mod type_expression;
mod value;
mod world;

pub use entries::{Entry, Secret, Ssh};
pub use error::BakeError;
pub use job::{Destination, Dockerfile, Job, NamedBase, jobs};
pub use print::Printed;
pub use resolve::{Group, Notice, Variable};
pub use select::{Bake, Definition, Request};
pub use target::Target;
pub use world::World;

use error::{Fault, Source, Sources};
use resolve::Outcome;

/// Files that are read where none is named, in their order.
pub const DEFAULT_FILES: [&str; 8] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
];

/// The largest file that is read, in bytes.
const LARGEST: usize = 8 << 20;

/// A file of a definition.
#[derive(Clone, Debug)]
pub struct File {
    /// Its name; the ending says what is in it.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Hcl,
    Json,
    Compose,
}

impl File {
    /// By its ending; without a known one, HCL is tried, then JSON, then compose.
    fn form(&self) -> Option<Form> {
        let name = self.name.to_lowercase();
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("hcl") => Some(Form::Hcl),
            Some("json") => Some(Form::Json),
            Some("yml" | "yaml") => Some(Form::Compose),
            _ => None,
        }
    }
}

/// Reads the files of a definition, later ones over earlier ones.
///
/// # Errors
/// [`BakeError::Invalid`] names file, line and column of what is wrong.
pub fn read(files: &[File], world: &World<'_>) -> Result<Definition, BakeError> {
    let mut sources = Sources(
        files.iter().map(|file| Source { name: file.name.clone(), text: file.text.clone() }).collect(),
    );
    let outcome = read_all(files, &mut sources, world).map_err(|fault| sources.show(fault))?;
    let Outcome { mut groups, targets, variables, notices } = outcome;
    for group in &mut groups {
        let mut seen = std::collections::BTreeSet::new();
        group.targets.retain(|target| seen.insert(target.clone()));
    }
    Ok(Definition { groups, targets, variables, notices, sources })
}

fn read_all(files: &[File], sources: &mut Sources, world: &World<'_>) -> Result<Outcome, Fault> {
    let mut bodies = Vec::new();
    let mut composed = Vec::new();
    for (number, file) in (0u16..).zip(files) {
        if file.text.len() > LARGEST {
            return Err(Fault::new(hcl::start_of(number), "Too large", "the file is larger than 8 MiB"));
        }
        match file.form() {
            // As with the neighbour, the ending only says which mistakes are told.
            Some(Form::Hcl) => {
                let read = hcl::read(&file.text, number);
                bodies.push(read.or_else(|fault| json::read(&file.text, number).map_err(|_| fault))?);
            }
            Some(Form::Json) => {
                let read = json::read(&file.text, number);
                bodies.push(read.or_else(|fault| hcl::read(&file.text, number).map_err(|_| fault))?);
            }
            Some(Form::Compose) => composed.push(number),
            None => match hcl::read(&file.text, number) {
                Ok(body) => bodies.push(body),
                Err(fault) => match (json::read(&file.text, number), compose::looks_like(&file.text)) {
                    (Ok(body), _) => bodies.push(body),
                    (_, true) => composed.push(number),
                    _ => return Err(fault),
                },
            },
        }
    }
    let mut outcome = Outcome::default();
    if !composed.is_empty() {
        outcome = compose::read(&composed, sources, world)?;
    }
    match bodies.is_empty() {
        true => Ok(outcome),
        false => resolve::resolve(&bodies, outcome, sources, world),
    }
}
