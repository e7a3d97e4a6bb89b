//! A draft for what a workflow of GitHub builds.

use std::path::Path;

use pipeline::configuration::Prefix;

use super::Draft;
use crate::error::Error;
use crate::session::Session;

/// Reads `file`.
///
/// # Errors
/// Always: no workflow is read in this version.
pub(super) fn draft(_: &Session, file: &Path, _: Option<&Prefix>) -> Result<Draft, Error> {
    Err(Error::usage(format!("{}: a workflow cannot be read by this version", file.display())))
}
