//! What the pipeline asks of a CI host, and what it tells one. The hosts themselves are in the
//! crate `forge`; here is the seam, and what is the same for all of them.
//!
//! What a host reads from a log is returned as lines and printed by the binary; what it reads
//! from files is written.

use std::borrow::Cow;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use crate::event::Event;
use crate::git::GitError;
use crate::ledger::{Ledger, Status};
use crate::plan::{Action, Plan};
use crate::progress::FilePlace;

/// A CI host, or none.
pub trait Forge: Debug + Send + Sync {
    /// Returns the host's name, such as `github`.
    fn name(&self) -> &'static str;

    /// Returns what happened; `folder` is the project's, in a clone of its repository.
    ///
    /// # Errors
    /// Where the host's files cannot be read, or where the commit is known to nobody.
    fn event(&self, folder: &Path) -> Result<Event, ForgeError>;

    /// Hands values to later steps and jobs; a host without such a thing takes none.
    ///
    /// # Errors
    /// Where a value cannot be handed over whole.
    fn write_outputs(&self, outputs: &Outputs) -> Result<(), ForgeError>;

    /// Sets variables for later steps of the job; a host without such a thing sets none.
    ///
    /// # Errors
    /// Where a value cannot be handed over whole.
    fn write_variables(&self, variables: &Outputs) -> Result<(), ForgeError>;

    /// Adds Markdown to the page of the run; what is too long for the host is cut at a line.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn write_summary(&self, markdown: &str) -> Result<(), ForgeError>;

    /// Returns the line that puts a message beside a line of code; `None` where the host has no
    /// such thing, or shows no more of the kind.
    fn annotation(&self, annotation: &Annotation) -> Option<String>;

    /// Returns the line that begins a group of lines, folded under `title`.
    fn group_start(&self, title: &str) -> Option<String>;

    /// Returns the line that ends a group.
    fn group_end(&self) -> Option<String>;

    /// Returns `text` so that the host takes no line of it for a command: what is printed comes in part
    /// from programs that are not ours. It looks the same to people.
    fn harmless<'a>(&self, text: &'a str) -> Cow<'a, str>;
}

/// A message beside a line of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// How bad it is.
    pub level: Level,
    /// Headline.
    pub title: Option<String>,
    /// What is said.
    pub message: String,
    /// Where.
    pub place: Option<FilePlace>,
}

/// How bad what an annotation says is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something should be looked at.
    Warning,
    /// Something is worth knowing.
    Notice,
}

/// Values for later steps and jobs, in order.
///
/// | name | value |
/// |---|---|
/// | `version` | for people |
/// | `skipped` | `true` where nothing at all is done, else `false` |
/// | `matrix` | list of `{service, platform}`, as JSON |
/// | `ledger` | path of the ledger |
/// | `digest-<service>` | of the image |
/// | `image-<service>` | `repository@digest` |
/// | `tags-<service>` | planned tags, one a line |
///
/// A service without an image has none of the last three, and a service without tags no tags:
/// hosts drop what is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs(pub Vec<(String, String)>);

impl Outputs {
    /// Returns what a plan tells.
    pub fn of_plan(plan: &Plan) -> Self {
        let skipped = plan.services.values().all(|service| service.action == Action::Skip);
        let matrix = serde_json::to_string(&plan.matrix).expect("a matrix is plain data");
        let named = [("version", plan.version.clone()), ("skipped", skipped.to_string()), ("matrix", matrix)];
        Self(named.map(|(name, value)| (name.to_owned(), value)).to_vec())
    }

    /// Returns what a ledger in the file `path` tells.
    pub fn of_ledger(ledger: &Ledger, path: &Path) -> Self {
        let skipped = ledger.services.values().all(|service| service.status == Status::Skipped);
        let mut outputs = vec![
            ("version".to_owned(), ledger.version.clone()),
            ("skipped".to_owned(), skipped.to_string()),
            ("ledger".to_owned(), path.display().to_string()),
        ];
        for (name, service) in &ledger.services {
            let Some(pinned) = service.pinned() else { continue };
            outputs.push((format!("digest-{name}"), pinned.digest().to_string()));
            outputs.push((format!("image-{name}"), pinned.to_string()));
            let tags: Vec<&str> = service.tags.planned.iter().map(oci::Tag::as_str).collect();
            if !tags.is_empty() {
                outputs.push((format!("tags-{name}"), tags.join("\n")));
            }
        }
        Self(outputs)
    }

    /// Adds those of `other` that are not there yet.
    pub fn and(mut self, other: Self) -> Self {
        let new = |(name, _): &(String, String)| !self.0.iter().any(|(known, _)| known == name);
        let added: Vec<_> = other.0.into_iter().filter(new).collect();
        self.0.extend(added);
        self
    }
}

/// A CI host cannot be asked or told something.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// The clone does not say what is needed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A file of the host cannot be read or written.
    #[error("cannot {action} {} ({variable})", path.display())]
    File {
        /// `read`, `write`.
        action: &'static str,
        /// The environment variable that names the file.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The host's description of the event is not as it should be.
    #[error("the event is not one that {host} describes: {reason}")]
    Event {
        /// The host.
        host: &'static str,
        /// What is missing or wrong, and where.
        reason: String,
    },
    /// A value cannot be handed over.
    #[error("cannot hand over the output {name:?}: {reason}")]
    Output {
        /// The output's name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The machine gives no random numbers.
    #[error("the machine gives no random numbers: {reason}")]
    Random {
        /// What happened.
        reason: String,
    },
    /// A file that was given as an event is none.
    #[error("{} is no event: {reason}", file.display())]
    Replay {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, and what to try.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::{COMMIT, assumed};
    use crate::ledger::ServiceRecord;

    #[test]
    fn a_ledger_tells_of_images_that_are_there() {
        let mut ledger = Ledger::new(assumed("pr:42"), COMMIT.parse().unwrap(), "pr-42".to_owned());
        let mut api = ServiceRecord::new("ghcr.io/acme/api".parse().unwrap(), Status::Built);
        api.set_digest(oci::Digest::of(b"api"));
        api.tags.planned = vec!["pr-42".parse().unwrap(), "pr-42-abc1234".parse().unwrap()];
        ledger.services.insert("api".parse().unwrap(), api);
        let failed = ServiceRecord::new("ghcr.io/acme/web".parse().unwrap(), Status::Failed);
        ledger.services.insert("web".parse().unwrap(), failed);
        let digest = oci::Digest::of(b"api");
        let shown: Vec<String> = Outputs::of_ledger(&ledger, Path::new(".plimsoll/ledger.json"))
            .0
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let expected = [
            "version=pr-42".to_owned(),
            "skipped=false".to_owned(),
            "ledger=.plimsoll/ledger.json".to_owned(),
            format!("digest-api={digest}"),
            format!("image-api=ghcr.io/acme/api@{digest}"),
            "tags-api=pr-42\npr-42-abc1234".to_owned(),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_first_of_two_values_stays() {
        let outputs = |pairs: &[(&str, &str)]| {
            Outputs(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        let both = outputs(&[("a", "1")]).and(outputs(&[("a", "2"), ("b", "3")]));
        assert_eq!(both, outputs(&[("a", "1"), ("b", "3")]));
    }
}
