//! `meta --metadata docker`: docker/metadata-action without the action.

use std::fmt;

use clap::ValueEnum;
use forge::github::metadata::{self, Place};
use pipeline::configuration::{Configuration, FILE_NAME, IdentityRules};
use pipeline::git::Checkout;
use pipeline::identity::Description;
use pipeline::identity::docker::{self, Around, Context, Engine, Inputs, Metadata};
use serde::Serialize;

use super::output::Named;
use crate::error::Error;
use crate::project;
use crate::session::Session;

/// Inputs of docker/metadata-action; each flag may be repeated, and takes several lines.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Inputs of docker/metadata-action")]
pub struct Flags {
    /// Names of images
    #[arg(long, value_name = "LIST")]
    images: Vec<String>,
    /// What tags are made of, such as `type=semver,pattern={{version}}`
    #[arg(long, value_name = "LIST")]
    tags: Vec<String>,
    /// What holds for all tags, such as `latest=false`
    #[arg(long, value_name = "LIST")]
    flavor: Vec<String>,
    /// Labels, `key=value`
    #[arg(long, value_name = "LIST")]
    labels: Vec<String>,
    /// Annotations, `key=value`
    #[arg(long, value_name = "LIST")]
    annotations: Vec<String>,
    /// Where annotations go, with commas between [default: manifest]
    #[arg(long, value_name = "LEVELS", value_delimiter = ',')]
    annotation_levels: Vec<String>,
    /// Where reference and commit come from: workflow, or git for what is checked out
    #[arg(long, value_name = "SOURCE", hide_possible_values = true)]
    context: Option<Source>,
    /// The target that bake files are for [default: docker-metadata-action]
    #[arg(long, value_name = "NAME")]
    bake_target: Option<String>,
}

/// Where reference and commit come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    /// What the CI host says.
    Workflow,
    /// What is checked out.
    Git,
}

impl Flags {
    /// Whether any is given.
    pub fn are_given(&self) -> bool {
        let lists = [&self.images, &self.tags, &self.flavor, &self.labels, &self.annotations];
        lists.iter().any(|list| !list.is_empty())
            || !self.annotation_levels.is_empty()
            || self.context.is_some()
            || self.bake_target.is_some()
    }

    /// Computes the names; where no inputs are given, with those of the configuration.
    pub fn named(&self, session: &Session) -> Result<Named, Error> {
        let rules = self.rules(session)?;
        let mut context = self.context(session, &rules)?;
        if !self.annotation_levels.is_empty() {
            context.annotation_levels.clone_from(&self.annotation_levels);
        }
        let metadata = Engine::default().metadata(&self.inputs(&rules)?, &context)?;
        metadata.warnings.iter().for_each(|warning| session.ui.warn(warning));
        let version = metadata.version.main.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(Named { version, metadata })
    }

    /// Returns `[identity]`, where there is a configuration.
    fn rules(&self, session: &Session) -> Result<IdentityRules, Error> {
        let folder = &session.environment.folder;
        let file = session.global.config.as_deref();
        if file.is_none() && !folder.join(FILE_NAME).exists() {
            return Ok(IdentityRules::default());
        }
        Ok(Configuration::load(folder, file, &session.global.settings)?.identity)
    }

    fn inputs(&self, rules: &IdentityRules) -> Result<Inputs, Error> {
        let configured_images = rules.images.as_ref().map(|images| images.0.clone()).unwrap_or_default();
        let images = lists(&configured_images)?;
        let mut inputs = match rules.metadata {
            pipeline::configuration::Metadata::Docker => docker::inputs(rules, images)?,
            pipeline::configuration::Metadata::Native => Inputs::default(),
        };
        for (given, input) in [
            (&self.images, &mut inputs.images),
            (&self.tags, &mut inputs.tags),
            (&self.flavor, &mut inputs.flavor),
            (&self.labels, &mut inputs.labels),
            (&self.annotations, &mut inputs.annotations),
        ] {
            if !given.is_empty() {
                *input = lists(given)?;
            }
        }
        if let Some(target) = &self.bake_target {
            inputs.bake_target.clone_from(target);
        }
        Ok(inputs)
    }

    /// Returns the context: of a step of GitHub as the neighbour has it, elsewhere of the event.
    fn context(&self, session: &Session, rules: &IdentityRules) -> Result<Context, Error> {
        let environment = &session.environment;
        let folder = &environment.folder;
        let epoch = project::epoch(session)?;
        let forge = session.ui.host();
        let is_replayed = session.global.event.is_some() || session.global.event_file.is_some();
        let is_step = !is_replayed && matches!(forge.name(), "github" | "forgejo");
        if is_step {
            let place = if self.context == Some(Source::Git) { Place::Git } else { Place::Workflow };
            let mut context = metadata::of_step(&environment.variables, folder, place, environment.now)?;
            context.created = epoch;
            return Ok(context);
        }
        let event = project::happened(session, forge.as_ref())?;
        let description = Description::nothing();
        let around = Around { now: environment.now, source_date_epoch: epoch, description: &description };
        let mut context = Context::of_event(&event, rules, around);
        context.annotation_levels = metadata::Variables::of(&environment.variables).annotation_levels();
        if self.context == Some(Source::Git) {
            context.reference = Checkout::open(folder)?.full_reference()?;
        }
        Ok(context)
    }
}

fn lists(texts: &[String]) -> Result<Vec<String>, Error> {
    let mut all = Vec::new();
    for text in texts {
        all.extend(docker::entries(text).map_err(docker::MetadataError::from)?);
    }
    Ok(all)
}

/// The result for people and for programs.
#[derive(Debug, Serialize)]
pub struct Shown {
    version: Versions,
    tags: Vec<String>,
    tag_names: Vec<oci::Tag>,
    labels: Vec<String>,
    annotations: Vec<String>,
    json: serde_json::Value,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Versions {
    main: Option<oci::Tag>,
    partial: Vec<oci::Tag>,
    latest: bool,
}

impl Shown {
    /// Returns what is shown of `metadata`.
    pub fn new(metadata: &Metadata) -> Self {
        let lines = |pairs: &[(String, String)]| -> Vec<String> {
            pairs.iter().map(|(key, value)| format!("{key}={value}")).collect()
        };
        Self {
            version: Versions {
                main: metadata.version.main.clone(),
                partial: metadata.version.partial.clone(),
                latest: metadata.version.is_latest,
            },
            tags: metadata.tags(),
            tag_names: metadata.tag_names().cloned().collect(),
            labels: lines(&metadata.labels),
            annotations: lines(&metadata.annotations),
            json: value(&metadata.documents().json()),
            warnings: metadata.warnings.clone(),
        }
    }
}

fn value(document: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(document).expect("documents have only string keys")
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version.main {
            Some(main) => writeln!(f, "version     {main}")?,
            None => writeln!(f, "version     none: no entry of `tags` is for this event")?,
        }
        let rows = [("tag", &self.tags), ("label", &self.labels), ("annotation", &self.annotations)];
        rows.iter().try_for_each(|(name, values)| {
            values.iter().try_for_each(|value| writeln!(f, "{name:<10}  {value}"))
        })
    }
}
