//! Build checks as part of a build, or instead of one.

use std::collections::BTreeSet;

use super::EmbeddedEngine;
use super::build::read_dockerfile;
use super::source::ignore_of;
use crate::BuildError;
use crate::dockerfile::{Dockerfile, Warning};
use crate::request::{BuildEvent, BuildRequest, Observer};

/// Tells what the checks find, and ends the build where the Dockerfile says so.
pub(crate) fn tell(
    dockerfile: &Dockerfile,
    request: &BuildRequest,
    observer: Observer<'_>,
) -> Result<(), BuildError> {
    let found = dockerfile.checks(&ignore_of(request)?);
    for warning in &found {
        let (file, line) = (dockerfile.source.name(), warning.span.line);
        observer(BuildEvent::Warning(format!("{file}:{line}: {} ({})", warning.message, warning.rule)));
    }
    if !dockerfile.check_rules().error || found.is_empty() {
        return Ok(());
    }
    let rules: BTreeSet<&str> = found.iter().map(|warning| warning.rule).collect();
    let file = dockerfile.source.name().to_owned();
    Err(BuildError::Checks { file, rules: rules.into_iter().map(str::to_owned).collect() })
}

impl EmbeddedEngine {
    /// Returns what the checks find in a Dockerfile, and the Dockerfile, without building anything.
    ///
    /// # Errors
    /// The Dockerfile is not there or cannot be read as one; the target is none of its stages.
    pub fn check(&self, request: &BuildRequest) -> Result<(Dockerfile, Vec<Warning>), BuildError> {
        let dockerfile = read_dockerfile(&request.dockerfile, &request.dockerfile_name)?;
        dockerfile.target(request.target.as_deref())?;
        let found = dockerfile.checks(&ignore_of(request)?);
        Ok((dockerfile, found))
    }
}
