//! GitHub Actions, and the hosts that speak its protocol.
//!
//! Commands are lines of the log, values go into files that the environment names; both are
//! limited, and what exceeds a limit is dropped by the host in silence, so the limits are kept here.
//!
//! Source: actions/runner (ActionCommand, FileCommandManager) and actions/toolkit,
//! docs/problem-matchers.md, for the protocol and its limits.

pub mod cache;
mod commands;
mod event;
pub mod expression;
mod files;
pub mod metadata;
pub(crate) mod webhook;
pub mod workflow;

use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use pipeline::event::Event;
use pipeline::forge::{Annotation, Forge, ForgeError, Level, Outputs};

use crate::Environment;

/// A step of GitHub Actions.
#[derive(Debug)]
pub struct GitHub {
    environment: Environment,
    shown: [AtomicU32; 3],
}

/// Whose steps these are: the protocol is one, the hosts differ in details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// GitHub itself.
    GitHub,
    /// Forgejo or Gitea.
    Forgejo,
}

impl Host {
    /// Returns the error of an event that is not as the host describes it.
    pub(crate) fn invalid(self, reason: String) -> ForgeError {
        let host = match self {
            Self::GitHub => "GitHub",
            Self::Forgejo => "Forgejo",
        };
        ForgeError::Event { host, reason }
    }
}

/// Reads the event of a step of `host`.
///
/// # Errors
/// As for [`GitHub::event_of`].
pub(crate) fn event_of(host: Host, environment: &Environment, folder: &Path) -> Result<Event, ForgeError> {
    event::read(host, environment, folder)
}

/// How many annotations of a level a step may have.
const ANNOTATIONS_PER_LEVEL: u32 = 10;

impl GitHub {
    /// Returns the step that `environment` is of.
    pub fn new(environment: &Environment) -> Self {
        Self { environment: environment.clone(), shown: Default::default() }
    }

    /// Returns what a step with `environment` runs for, with the clone in `folder`.
    ///
    /// # Errors
    /// Where the payload cannot be read, or lacks what makes its event one.
    pub fn event_of(environment: &Environment, folder: &Path) -> Result<Event, ForgeError> {
        event::read(Host::GitHub, environment, folder)
    }

    /// Counts an annotation; `false` where the host would not show it any more.
    fn may_show(&self, level: Level) -> bool {
        let count = &self.shown[level as usize];
        count.fetch_add(1, Ordering::Relaxed) < ANNOTATIONS_PER_LEVEL
    }
}

impl Forge for GitHub {
    fn name(&self) -> &'static str {
        "github"
    }

    fn event(&self, folder: &Path) -> Result<Event, ForgeError> {
        Self::event_of(&self.environment, folder)
    }

    fn write_outputs(&self, outputs: &Outputs) -> Result<(), ForgeError> {
        files::write_outputs(&self.environment, outputs)
    }

    fn write_variables(&self, variables: &Outputs) -> Result<(), ForgeError> {
        files::write_variables(&self.environment, variables)
    }

    fn write_summary(&self, markdown: &str) -> Result<(), ForgeError> {
        files::write_summary(&self.environment, markdown)
    }

    fn annotation(&self, annotation: &Annotation) -> Option<String> {
        self.may_show(annotation.level).then(|| commands::annotation(annotation))
    }

    fn group_start(&self, title: &str) -> Option<String> {
        Some(commands::group_start(title))
    }

    fn group_end(&self) -> Option<String> {
        Some(commands::GROUP_END.to_owned())
    }

    fn harmless<'a>(&self, text: &'a str) -> Cow<'a, str> {
        commands::harmless(text)
    }
}

/// Returns a word that nobody can have written before: 128 random bits.
fn random_token() -> Result<String, ForgeError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| ForgeError::Random { reason: error.to_string() })?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("plimsoll_{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_annotations_of_a_level_and_no_more() {
        let github = GitHub::new(&Environment::new());
        let annotation = |level| Annotation { level, title: None, message: "m".to_owned(), place: None };
        let shown = |level| (0..12).filter_map(|_| github.annotation(&annotation(level))).count();
        assert_eq!(shown(Level::Error), 10);
        assert_eq!(shown(Level::Warning), 10);
        assert_eq!(shown(Level::Notice), 10);
        assert_eq!(shown(Level::Error), 0);
    }
}
