//! `init`: a first `plimsoll.toml`, for the Dockerfiles of a project or for what builds it today.
//!
//! One file for each source makes a [`Draft`]; writing it, and telling what was not taken over, is
//! the same for all.

mod bake;
mod compose;
mod dockerfiles;
mod workflow;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use pipeline::configuration::Prefix;
use serde::Serialize;

use crate::error::Error;
use crate::session::Session;

/// Writes a first plimsoll.toml, for the Dockerfiles found here or for what builds them today
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll init
  $ plimsoll -C services/api init --registry ghcr.io/acme
  $ plimsoll init --dry-run
  $ plimsoll init --from workflow .github/workflows/build.yml --dry-run")]
pub struct Arguments {
    /// Where images go: a registry and the path in front of each service's name
    #[arg(long, value_name = "REGISTRY/PATH")]
    registry: Option<Prefix>,
    /// What FILE is: workflow (of GitHub), bake or compose
    #[arg(long, value_name = "KIND", requires = "file", hide_possible_values = true)]
    from: Option<From>,
    /// The file that builds the images today
    #[arg(value_name = "FILE", requires = "from")]
    file: Option<PathBuf>,
    /// Replaces a file that is there
    #[arg(long)]
    force: bool,
}

/// Where a draft is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    /// A workflow of GitHub.
    Workflow,
    /// A bake file.
    Bake,
    /// A compose file.
    Compose,
}

/// A configuration that is not written yet.
#[derive(Debug, Default)]
struct Draft {
    /// The whole file.
    text: String,
    /// Its services, by name.
    services: BTreeMap<String, Service>,
    /// What the source says and the configuration does not, in the order of lines.
    not_taken: Vec<NotTaken>,
    /// What people should know of how the draft was made, a sentence each.
    remarks: Vec<String>,
    /// What programs may want to know besides.
    details: serde_json::Map<String, serde_json::Value>,
}

/// A service of a draft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Service {
    context: PathBuf,
    dockerfile: PathBuf,
}

/// Something of the source that the configuration does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct NotTaken {
    /// Line in the source, from 1.
    line: usize,
    /// What stands there.
    what: String,
    /// Why it was not taken over, and what to do.
    reason: String,
}

/// What was found and written.
#[derive(Debug, Serialize)]
struct Written {
    file: PathBuf,
    services: BTreeMap<String, Service>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_taken: Vec<NotTaken>,
    #[serde(flatten)]
    details: serde_json::Map<String, serde_json::Value>,
    text: String,
    dry_run: bool,
}

impl Arguments {
    /// Makes the draft and writes the file.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let file = session.global.config.clone().unwrap_or_else(|| "plimsoll.toml".into());
        let draft = self.draft(session)?;
        self.tell(session, &draft);
        if !session.global.dry_run {
            self.write(&file, &draft.text)?;
        }
        let Draft { text, services, not_taken, details, .. } = draft;
        let dry_run = session.global.dry_run;
        session.ui.answer("init", &Written { file, services, not_taken, details, text, dry_run })
    }

    fn draft(&self, session: &Session) -> Result<Draft, Error> {
        match (self.from, &self.file) {
            (Some(From::Workflow), Some(file)) => workflow::draft(session, file, self.registry.as_ref()),
            (Some(From::Bake), Some(file)) => bake::draft(session, file, self.registry.as_ref()),
            (Some(From::Compose), Some(file)) => compose::draft(session, file, self.registry.as_ref()),
            _ => dockerfiles::draft(&session.environment.folder, self.registry.as_ref()),
        }
    }

    /// Says on standard error what the file will not say.
    fn tell(&self, session: &Session, draft: &Draft) {
        let source = self.file.as_deref().unwrap_or(Path::new("")).display();
        draft.remarks.iter().for_each(|remark| session.ui.note(remark));
        for NotTaken { line, what, reason } in &draft.not_taken {
            session.ui.warn(format_args!("{source}:{line}: {what} is not taken over: {reason}"));
        }
    }

    fn write(&self, file: &Path, text: &str) -> Result<(), Error> {
        if !self.force && file.exists() {
            return Err(Error::Usage {
                message: format!("{} is there already", file.display()),
                hint: Some(
                    "replace it with --force, or look at what would be written with --dry-run".to_owned(),
                ),
            });
        }
        let cannot = |source| Error::file("write", file, source);
        let temporary = file.with_extension("toml.new");
        std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, file)).map_err(cannot)
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dry_run {
            return f.write_str(&self.text);
        }
        let names: Vec<&str> = self.services.keys().map(String::as_str).collect();
        let plural = if names.len() == 1 { "service" } else { "services" };
        writeln!(f, "wrote {} with the {plural} {}", self.file.display(), names.join(", "))
    }
}

/// Returns `text` as a TOML string.
fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}
