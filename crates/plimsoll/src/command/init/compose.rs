//! A draft for what a compose file builds: its services with a `build` section.

use std::path::Path;

use pipeline::configuration::Prefix;

use super::{Draft, bake};
use crate::error::Error;
use crate::session::Session;

/// Reads `file`.
///
/// # Errors
/// The file cannot be read, or builds nothing.
pub(super) fn draft(session: &Session, file: &Path, registry: Option<&Prefix>) -> Result<Draft, Error> {
    bake::draft(session, file, registry)
}
