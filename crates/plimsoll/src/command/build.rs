//! `build`: images of services, or of one Dockerfile without any configuration.

mod annotations;
mod cache_words;
pub mod caches;
mod check;
pub mod context;
pub mod destination;
mod elsewhere;
mod limits;
mod machine;
mod one;
mod options;
pub mod output;
mod publish;
pub mod steps;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use builder::BuildOptions;
use oci::{Digest, Platform, Reference};
use pipeline::build::{self, BuildChoices, OnFailure};
use pipeline::configuration::{Defaults, Name};
use pipeline::ledger::Status;
use pipeline::progress::Progress;
use pipeline::text::Text;
use serde::Serialize;

use super::reproducible::Reproducible;
use crate::error::{Code, Error};
use crate::project::Project;
use crate::session::Session;
use crate::ui::Verbosity;
use crate::workbench;

/// Builds images and leaves them in the local store
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without -f and -t, services of plimsoll.toml are built. With one of them, one Dockerfile is, and
the argument is its context. -q prints the digests and nothing else.

Examples:
  $ plimsoll build
  $ plimsoll build api
  $ plimsoll build -f Dockerfile -t local/api:dev --build-arg MODE=debug .
  $ plimsoll build -t ghcr.io/acme/api:1 --platform linux/amd64,linux/arm64 --push .
  $ plimsoll build -t local/api:dev https://github.com/acme/api.git#main:server"
)]
pub struct Arguments {
    /// Services of plimsoll.toml [default: all]; with -f or -t, the context: a folder, the address of a git repository
    /// or of an archive, or - for an archive or a Dockerfile on standard input
    #[arg(value_name = "SERVICE|CONTEXT")]
    what: Vec<String>,
    /// The Dockerfile [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Names for the image in the local store
    #[arg(short, long, value_name = "REF")]
    tag: Vec<Reference>,
    /// The stage to build
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Value of an ARG; NAME alone takes it from the environment
    #[arg(long, value_name = "NAME=VALUE")]
    build_arg: Vec<String>,
    /// Label of the image
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Annotation: [manifest|index|manifest-descriptor[PLATFORM]:]KEY=VALUE
    #[arg(long, value_name = "ANNOTATION")]
    annotation: Vec<String>,
    /// What the image is for; of several an index is made [default: this machine's]
    #[arg(long, value_name = "OS/ARCHITECTURE", value_delimiter = ',')]
    platform: Vec<Platform>,
    /// Asks the registries of base images even where the local store has them
    #[arg(long)]
    pull: bool,
    /// check: builds twice, running every step again, and fails where the images differ, naming the first difference
    #[arg(long, value_name = "WHAT", hide_possible_values = true)]
    reproducible: Option<Reproducible>,
    /// Says what the build checks find, and builds nothing; exit code 8 where they find something
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    steps: steps::Steps,
    #[command(flatten)]
    options: options::Options,
    #[command(flatten)]
    caches: caches::Caches,
    #[command(flatten)]
    publish: publish::Publish,
    #[command(flatten)]
    results: output::Results,
    #[command(flatten)]
    elsewhere: elsewhere::Elsewhere,
}

#[derive(Serialize)]
struct Answer {
    services: BTreeMap<String, Image>,
    #[serde(skip)]
    quiet: bool,
}

#[derive(Serialize)]
struct Image {
    image: Option<String>,
    digest: Option<Digest>,
    status: Status,
    steps: u32,
    cached: u32,
}

impl Arguments {
    /// Builds.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        self.elsewhere.refuse()?;
        match self.is_one() {
            true => self.one(session),
            false => self.services(session),
        }
    }

    /// Whether something is asked for that only one Dockerfile can give.
    fn is_one(&self) -> bool {
        self.file.is_some()
            || !self.tag.is_empty()
            || !self.annotation.is_empty()
            || self.check
            || self.elsewhere.checks()
            || self.results.are_asked_for()
            || self.publish.is_asked_for()
            || self.what.first().is_some_and(|what| context::is_elsewhere(what))
    }

    fn services(&self, session: &Session) -> Result<(), Error> {
        if self.reproducible.is_some() {
            return Err(Error::usage(
                "--reproducible=check is about one Dockerfile: name it with -f, or the image with -t",
            ));
        }
        let project = Project::open(session)?;
        let mut plan = project.plan(&self.what)?;
        for service in plan.services.values_mut() {
            service.args.extend(self.build_args(session)?);
            if let Some(target) = &self.target {
                service.target = Some(target.clone());
            }
            if !self.platform.is_empty() {
                service.platforms = self.platform.iter().cloned().map(Text).collect();
            }
        }
        if session.global.dry_run {
            return session.ui.document(&super::plan::Shown(plan));
        }
        let workbench = self.steps.open(session, project.compression())?;
        let observer = |progress: Progress| workbench.tell(progress);
        let tools = workbench.tools(None, &observer);
        let defaults = &project.configuration.defaults;
        let (wait, on_error) = (defaults.cache.wait.0, defaults.cache.on_error);
        self.steps
            .check_mounts(session, !(defaults.cache.read.is_empty() && defaults.cache.write.is_empty()));
        let outcomes = build::build(&plan, &tools, self.choices(session, defaults)?);
        let written = pipeline::caches::start(&plan, &outcomes, false, &tools).wait(wait);
        let not_cached = pipeline::caches::report(&written, on_error, &tools);
        self.steps.tell_timings(session, &workbench)?;
        let mut codes = Vec::new();
        for (name, outcome) in &outcomes {
            if let Some(error) = &outcome.error {
                codes.push(session.ui.failure(&format!("service {name} failed"), error));
            }
        }
        let image = |(name, outcome): (&Name, &build::ServiceOutcome)| {
            let record = &outcome.record;
            let image = Image {
                image: record.pinned().map(|image| image.to_string()),
                digest: record.pinned().map(|image| image.digest()),
                status: record.status,
                steps: record.steps.total,
                cached: record.steps.cached,
            };
            (name.to_string(), image)
        };
        self.answer(session, outcomes.iter().map(image).collect())?;
        for message in &not_cached {
            session.ui.problem(message);
        }
        match &codes[..] {
            [] if !not_cached.is_empty() => Err(Error::Reported(Code::Remote)),
            [] => Ok(()),
            [first, ..] if codes.len() == outcomes.len() => Err(Error::Reported(*first)),
            _ => Err(Error::Reported(Code::Partly)),
        }
    }

    fn answer(&self, session: &Session, services: BTreeMap<String, Image>) -> Result<(), Error> {
        let quiet = session.ui.verbosity() == Verbosity::Quiet;
        session.ui.answer("build", &Answer { services, quiet })
    }

    fn build_options(&self, session: &Session, defaults: Option<&Defaults>) -> Result<BuildOptions, Error> {
        let options = self.options.read(&session.environment)?;
        let git = Some(workbench::git_fetcher(session, &options.secrets));
        let options = BuildOptions { fetch: Some(workbench::fetcher(session)?), git, ..options };
        self.steps.lend(session, defaults, options)
    }

    fn build_args(&self, session: &Session) -> Result<BTreeMap<String, String>, Error> {
        let (given, named): (Vec<String>, Vec<String>) =
            self.build_arg.iter().cloned().partition(|argument| argument.contains('='));
        let mut arguments = pairs(&given, "--build-arg")?;
        for name in named {
            if let Some(value) = session.environment.variables.get(&name) {
                arguments.insert(name, value.clone());
            }
        }
        Ok(arguments)
    }

    fn choices(&self, session: &Session, defaults: &Defaults) -> Result<BuildChoices, Error> {
        Ok(BuildChoices {
            on_failure: OnFailure::Continue,
            no_cache: self.steps.no_cache,
            explain: self.steps.explain,
            step_timeout: self.steps.timeout(),
            source_date_epoch: session.source_date_epoch()?,
            options: self.build_options(session, Some(defaults))?,
            cache: defaults.cache.clone(),
            pull: self.pull,
            keep: build::Keep::default(),
        })
    }
}

fn pairs(given: &[String], flag: &str) -> Result<BTreeMap<String, String>, Error> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Error::usage(format!("{flag} takes NAME=VALUE, not {text:?}"))),
    };
    given.iter().map(pair).collect()
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, image) in &self.services {
            let Some(digest) = image.digest else { continue };
            match (self.quiet, &image.image) {
                (true, _) => writeln!(f, "{digest}")?,
                (false, Some(full)) if full.contains('@') => writeln!(f, "{full}")?,
                (false, Some(full)) => writeln!(f, "{full}@{digest}")?,
                (false, None) => writeln!(f, "{name} {digest}")?,
            }
        }
        Ok(())
    }
}
