//! Targets with what only the command line knows the words of: caches and outputs.

use pipeline::bake::{Bake, Destination, Job, jobs};

use crate::command::build::caches::Caches;
use crate::command::build::destination::Output;
use crate::error::Error;

/// A target to build, and what is to become of it.
pub(super) struct Wanted {
    pub job: Job,
    pub caches: Caches,
    pub outputs: Vec<Output>,
    /// Whether it goes to the registries of its names.
    pub is_pushed: bool,
}

/// Reads the targets in the order of their links. The caches `given` are in the place of those of the definition.
///
/// # Errors
/// At the place in the file of what is not known or cannot be done.
pub(super) fn read(bake: &Bake, given: &Caches) -> Result<Vec<Wanted>, Error> {
    let read = |job: Job| {
        let target = &bake.targets[&job.target];
        let at = |(key, reason): (&'static str, String)| bake.at(target, key, reason);
        let caches = given.or(&job.cache_from, &job.cache_to).map_err(at)?;
        let outputs = outputs(&job).map_err(|reason| at(("output", reason)))?;
        let is_pushed = job.destinations.contains(&Destination::Registry);
        Ok(Wanted { job, caches, outputs, is_pushed })
    };
    jobs(bake)?.into_iter().map(read).collect()
}

fn outputs(job: &Job) -> Result<Vec<Output>, String> {
    let mut outputs = Vec::new();
    for destination in &job.destinations {
        if let Destination::Output(words) = destination {
            let output: Output = words.parse()?;
            output.refuse_impossible(&job.platforms).map_err(|error| error.to_string())?;
            outputs.push(output);
        }
    }
    Ok(outputs)
}
