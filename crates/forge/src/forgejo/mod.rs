//! Forgejo Actions and Gitea Actions: GitHub's protocol, with differences.
//!
//! | about | difference |
//! |---|---|
//! | detection | `GITEA_ACTIONS`, `FORGEJO_ACTIONS`, or the address of a server that is no GitHub |
//! | variables | `FORGEJO_X` and `GITEA_X` stand in for a `GITHUB_X` that is not there |
//! | pull requests | `refs/pull/N/head`: the step has the head, no merge is tried |
//! | payloads | thinner; the clone says the rest |
//! | address of a run | by its number in the repository, not by its id |
//! | annotations | not shown by the host, so messages stay plain |
//! | summary | a file where the host names one |
//!
//! Source: documentation of Forgejo Actions and Gitea Actions, "Comparison with GitHub Actions".

use std::borrow::Cow;
use std::path::Path;

use pipeline::event::Event;
use pipeline::forge::{Annotation, Forge, ForgeError, Outputs};

use crate::Environment;
use crate::github::{self, GitHub, Host};

/// A step of Forgejo Actions or Gitea Actions.
#[derive(Debug)]
pub struct Forgejo {
    environment: Environment,
    protocol: GitHub,
}

/// Variables that only these hosts set.
const MARKERS: [&str; 5] = [
    "FORGEJO_ACTIONS",
    "GITEA_ACTIONS",
    "FORGEJO_SERVER_URL",
    "GITEA_ACTIONS_RUNNER_VERSION",
    "FORGEJO_REPOSITORY",
];

/// Servers that are known to be no GitHub.
const SERVERS: [&str; 3] = ["https://codeberg.org", "https://gitea.com", "https://code.forgejo.org"];

/// Whether a step with these variables is one of these hosts.
pub(crate) fn is_ours(environment: &Environment) -> bool {
    let is_set = |name: &&str| environment.get(*name).is_some_and(|value| !value.is_empty());
    let server = environment.get("GITHUB_SERVER_URL").map(|server| server.trim_end_matches('/'));
    MARKERS.iter().any(is_set) || server.is_some_and(|server| SERVERS.contains(&server))
}

impl Forgejo {
    /// Returns the step that `environment` is of.
    pub fn new(environment: &Environment) -> Self {
        let environment = in_words_of_github(environment);
        Self { protocol: GitHub::new(&environment), environment }
    }

    /// Returns what a step with `environment` runs for, with the clone in `folder`.
    ///
    /// # Errors
    /// Where the payload cannot be read, or lacks what makes its event one.
    pub fn event_of(environment: &Environment, folder: &Path) -> Result<Event, ForgeError> {
        github::event_of(Host::Forgejo, &in_words_of_github(environment), folder)
    }
}

/// Adds, for each variable by the host's own name, the one by GitHub's that is not there.
fn in_words_of_github(environment: &Environment) -> Environment {
    let mut words = environment.clone();
    for prefix in ["FORGEJO_", "GITEA_"] {
        for (name, value) in environment {
            if let Some(rest) = name.strip_prefix(prefix).filter(|_| !value.is_empty()) {
                let known = words.entry(format!("GITHUB_{rest}")).or_default();
                if known.is_empty() {
                    known.clone_from(value);
                }
            }
        }
    }
    words
}

impl Forge for Forgejo {
    fn name(&self) -> &'static str {
        "forgejo"
    }

    fn event(&self, folder: &Path) -> Result<Event, ForgeError> {
        github::event_of(Host::Forgejo, &self.environment, folder)
    }

    fn write_outputs(&self, outputs: &Outputs) -> Result<(), ForgeError> {
        self.protocol.write_outputs(outputs)
    }

    fn write_variables(&self, variables: &Outputs) -> Result<(), ForgeError> {
        self.protocol.write_variables(variables)
    }

    fn write_summary(&self, markdown: &str) -> Result<(), ForgeError> {
        self.protocol.write_summary(markdown)
    }

    fn annotation(&self, _: &Annotation) -> Option<String> {
        None
    }

    fn group_start(&self, title: &str) -> Option<String> {
        self.protocol.group_start(title)
    }

    fn group_end(&self) -> Option<String> {
        self.protocol.group_end()
    }

    fn harmless<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.protocol.harmless(text)
    }
}

#[cfg(test)]
mod tests;
