//! `meta`: the names and labels that the event gives to images.

mod batch;

use std::collections::BTreeMap;
use std::fmt;

use oci::{Annotations, Reference};
use pipeline::configuration::Name;
use pipeline::event::{CommitId, Event};
use pipeline::plan::Plan;
use serde::Serialize;

use super::explain::{Explanation, line};
use crate::error::Error;
use crate::project::Project;
use crate::session::Session;

/// Shows the tags and labels that the event gives to images
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll meta
  $ plimsoll meta api --as tag:v1.2.3 --explain
  $ plimsoll meta --env > image.env
  $ plimsoll meta --batch < requests.ndjson")]
pub struct Arguments {
    /// The services [default: all]
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Says what became of each tag template, and why it gave none
    #[arg(long)]
    explain: bool,
    /// Prints lines that a shell or an env file takes
    #[arg(long, conflicts_with = "explain")]
    env: bool,
    /// Answers requests on standard input, a line of JSON each, as docker/metadata-action would
    #[arg(long, conflicts_with_all = ["services", "explain", "env"])]
    batch: bool,
}

#[derive(Debug, Serialize)]
struct Metadata {
    event: Event,
    revision: CommitId,
    version: String,
    services: BTreeMap<Name, Names>,
}

/// What one service's image is called.
#[derive(Debug, Serialize)]
struct Names {
    image: String,
    tags: Vec<Reference>,
    labels: Annotations,
    annotations: Annotations,
    #[serde(flatten)]
    explained: Option<Explanation>,
}

impl Arguments {
    /// Shows the names.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        if self.batch {
            return batch::run(session);
        }
        let plan = Project::open(session)?.plan(&self.services)?;
        let metadata = self.metadata(plan);
        if self.env {
            return session.ui.text(metadata.environment());
        }
        session.ui.answer("meta", &metadata)
    }

    fn metadata(&self, mut plan: Plan) -> Metadata {
        let mut services = BTreeMap::new();
        for (name, service) in plan.services {
            let explained = self.explain.then(|| Explanation {
                tags: plan.explained.remove(&name).unwrap_or_default(),
                labels: plan.explained_labels.remove(&name).unwrap_or_default(),
            });
            let tags = service.tags.iter().map(|tag| service.image.clone().tagged(tag.clone())).collect();
            let image = service.image.to_string();
            let (labels, annotations) = (service.labels, service.annotations);
            let names = Names { image, tags, labels, annotations, explained };
            services.insert(name, names);
        }
        Metadata { event: plan.event, revision: plan.revision, version: plan.version, services }
    }
}

impl Metadata {
    /// Returns one assignment a line; values in single quotes, as a POSIX shell wants them.
    fn environment(&self) -> String {
        let mut lines = vec![("VERSION".to_owned(), self.version.clone())];
        lines.push(("REVISION".to_owned(), self.revision.to_string()));
        for (name, service) in &self.services {
            let name = name.for_environment();
            let tags: Vec<String> = service.tags.iter().map(Reference::to_string).collect();
            lines.push((format!("IMAGE_{name}"), service.image.clone()));
            lines.push((format!("TAGS_{name}"), tags.join(" ")));
        }
        lines
            .iter()
            .map(|(name, value)| format!("PLIMSOLL_{name}='{}'\n", value.replace('\'', "'\\''")))
            .collect()
    }
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "event     {}", event_text(&self.event))?;
        writeln!(f, "revision  {}", self.revision)?;
        writeln!(f, "version   {}", self.version)?;
        for (name, service) in &self.services {
            writeln!(f, "\n{name}")?;
            service.tags.iter().try_for_each(|tag| writeln!(f, "  tag    {tag}"))?;
            let mut labels = service.labels.iter();
            labels.try_for_each(|(key, value)| writeln!(f, "  label  {key}={}", line(value)))?;
            service.explained.iter().try_for_each(|explained| write!(f, "{explained}"))?;
        }
        Ok(())
    }
}

/// Returns an event as `--as` takes it, where it does.
pub fn event_text(event: &Event) -> String {
    match (event.pull_request(), event.tag(), event.branch()) {
        (Some(number), _, _) => format!("pr:{number}"),
        (_, Some(tag), _) => format!("tag:{}", line(tag)),
        (_, _, Some(branch)) if event.kind.name() == "branch" => format!("branch:{}", line(branch)),
        _ => event.kind.name().to_owned(),
    }
}
