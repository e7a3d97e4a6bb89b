//! `meta`: the names and labels that the event gives to images.

mod batch;
mod docker;
mod output;

use std::collections::BTreeMap;
use std::fmt;

use clap::ValueEnum;
use oci::{Annotations, Reference};
use pipeline::configuration::{AnnotationLevel, Name};
use pipeline::event::{Assumed, CommitId, Event};
use pipeline::forge::Outputs;
use pipeline::identity;
use pipeline::plan::{Plan, PlannedService};
use serde::Serialize;

use output::Named;

use super::explain::{Explanation, line};
use crate::cli::Format;
use crate::error::Error;
use crate::project::{OUTPUT_FOLDER, Project};
use crate::session::Session;

/// Shows the tags and labels that the event gives to images
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll meta
  $ plimsoll meta api --as tag:v1.2.3 --explain
  $ plimsoll meta --format env > image.env
  $ plimsoll meta --metadata docker --images user/app --tags type=ref,event=branch --output docker-build
  $ cat requests.ndjson | plimsoll meta --batch")]
pub struct Arguments {
    /// The services [default: all]
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Says what became of each tag template, and why it gave none
    #[arg(long)]
    explain: bool,
    /// Prints lines that a shell or an env file takes, as `--format env` does
    #[arg(long, conflicts_with_all = ["explain", "output"])]
    env: bool,
    /// Form of the results: as --format says, or github, bake, docker-build
    #[arg(long, value_name = "FORM", conflicts_with = "explain", hide_possible_values = true)]
    output: Option<Form>,
    /// Which engine: native, docker for docker/metadata-action's [default: as configured]
    #[arg(long, value_name = "ENGINE", conflicts_with = "services", hide_possible_values = true)]
    metadata: Option<EngineName>,
    #[command(flatten)]
    docker: docker::Flags,
    #[command(flatten)]
    separators: output::Separators,
    /// Answers requests on standard input, a line of JSON each, as docker/metadata-action would
    #[arg(long, conflicts_with_all = ["services", "explain", "env", "output", "metadata"])]
    batch: bool,
}

/// Forms of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// One JSON document.
    Json,
    /// Assignments for a shell.
    Env,
    /// Outputs and variables of the CI host, by docker/metadata-action's names.
    Github,
    /// A bake file.
    Bake,
    /// Arguments of `docker build`.
    DockerBuild,
}

/// Engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EngineName {
    /// As configured under `[identity]`.
    Native,
    /// docker/metadata-action's.
    Docker,
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
        let form = self.form(session);
        if self.metadata == Some(EngineName::Docker) {
            let named = self.docker.named(session)?;
            return self.show_docker(session, form, named);
        }
        if self.docker.are_given() {
            return Err(Error::Usage {
                message: "inputs of docker/metadata-action are for its engine".to_owned(),
                hint: Some("add --metadata docker".to_owned()),
            });
        }
        let plan = Project::open(session)?.plan(&self.services)?;
        match form {
            Form::Env => session.ui.text(self.metadata(plan).environment()),
            Form::Github | Form::Bake | Form::DockerBuild => self.show_services(session, form, plan),
            Form::Json => session.ui.json("meta", &self.metadata(plan)),
            Form::Text => session.ui.text(self.metadata(plan)),
        }
    }

    fn form(&self, session: &Session) -> Form {
        match (self.output, session.global.format) {
            (Some(form), _) => form,
            _ if self.env => Form::Env,
            (None, Format::Text) => Form::Text,
            (None, Format::Json) => Form::Json,
            (None, Format::Env) => Form::Env,
        }
    }

    fn show_docker(&self, session: &Session, form: Form, named: Named) -> Result<(), Error> {
        match form {
            Form::Text => session.ui.text(docker::Shown::new(&named.metadata)),
            Form::Json => session.ui.json("metadata", &docker::Shown::new(&named.metadata)),
            Form::Bake => session.ui.text(output::bake_file([&named].into_iter())),
            Form::DockerBuild => session.ui.text(named.build_arguments()),
            Form::Env => {
                let outputs = self.outputs(session, &named)?;
                session.ui.text(output::assignments(&output::variables(&outputs)))
            }
            Form::Github => self.hand_over(session, &named),
        }
    }

    /// Shows services in a form of the neighbour's, whichever engine named them.
    fn show_services(&self, session: &Session, form: Form, plan: Plan) -> Result<(), Error> {
        let services: Vec<Named> = plan.services.into_iter().map(of_service).collect();
        if form == Form::Bake {
            return session.ui.text(output::bake_file(services.iter()));
        }
        match services.as_slice() {
            [named] if form == Form::DockerBuild => session.ui.text(named.build_arguments()),
            [named] => self.hand_over(session, named),
            _ => Err(Error::usage(
                "this form is for one service; name it, such as `plimsoll meta api --output ...`",
            )),
        }
    }

    /// Writes outputs and variables where the CI host reads them.
    fn hand_over(&self, session: &Session, named: &Named) -> Result<(), Error> {
        let (environment, forge) = (&session.environment, session.ui.host());
        let outputs = self.outputs(session, named)?;
        if !session.global.dry_run {
            forge.write_outputs(&outputs)?;
            let is_off = |value: &str| matches!(value.to_ascii_lowercase().as_str(), "false" | "0" | "f");
            if !environment.variable("DOCKER_METADATA_SET_OUTPUT_ENV").is_some_and(is_off) {
                forge.write_variables(&output::variables(&outputs))?;
            }
        }
        session.ui.text(docker::Shown::new(&named.metadata))
    }

    fn outputs(&self, session: &Session, named: &Named) -> Result<Outputs, Error> {
        let folder = session.environment.folder.join(OUTPUT_FOLDER);
        let files = if session.global.dry_run { Vec::new() } else { named.write_bake_files(&folder)? };
        Ok(named.outputs(&self.separators, &files))
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

/// Returns a planned service in the neighbour's terms.
fn of_service((name, service): (Name, PlannedService)) -> Named {
    let mut tags = service.tags.into_iter();
    let main = tags.next();
    let version = main.as_ref().map(ToString::to_string).unwrap_or_default();
    let level = |level: &AnnotationLevel| match level {
        AnnotationLevel::Manifest => "manifest".to_owned(),
        AnnotationLevel::Index => "index".to_owned(),
        AnnotationLevel::ManifestDescriptor => "manifest-descriptor".to_owned(),
    };
    let metadata = identity::docker::Metadata {
        version: identity::docker::Version { main, partial: tags.collect(), is_latest: false },
        latest: None,
        images: vec![service.image.into()],
        labels: service.labels.into_iter().collect(),
        annotations: service.annotations.into_iter().collect(),
        levels: service.annotation_levels.iter().map(level).collect(),
        bake_target: name.to_string(),
        warnings: Vec::new(),
    };
    Named { version, metadata }
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
            .map(|(name, value)| format!("PLIMSOLL_{name}={}\n", output::always_quoted(value)))
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
    line(&Assumed::from(&event.kind).to_string())
}
