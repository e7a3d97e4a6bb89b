//! `build`: images of services, or of one Dockerfile without any configuration.

mod caches;
mod check;
mod options;
mod output;
mod publish;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;

use builder::{
    Base, BaseNote, BaseRequest, Bases, BuildEvent, BuildOptions, BuildRequest, Built, Engine as _,
};
use layer::Settings;
use oci::{Annotations, Digest, Document, Platform, Reference, Tag};
use pipeline::build::{self, BuildChoices, OnFailure};
use pipeline::configuration::{Cache, Name};
use pipeline::ledger::Status;
use pipeline::place::{Place, Places};
use pipeline::progress::Progress;
use serde::Serialize;
use store::{ImageStore as _, image_for_platform};

use super::reproducible::{self, Reproducible};
use crate::error::{Code, Error};
use crate::project::Project;
use crate::session::Session;
use crate::ui::Verbosity;
use crate::workbench::{self, Workbench};

/// Builds images and leaves them in the local store
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without -f and -t, services of plimsoll.toml are built. With one of them, one Dockerfile is, and
the argument is its context. -q prints the digests and nothing else.

Examples:
  $ plimsoll build
  $ plimsoll build api
  $ plimsoll build -f Dockerfile -t local/api:dev --build-arg MODE=debug ."
)]
pub struct Arguments {
    /// Services of plimsoll.toml [default: all]; with -f or -t, the context's folder
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
    /// What the image is for [default: this machine's]
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    platform: Option<Platform>,
    /// Runs every step even where its result is known
    #[arg(long)]
    no_cache: bool,
    /// check: builds twice, running every step again, and fails where the images differ, naming the first difference
    #[arg(long, value_name = "WHAT", hide_possible_values = true)]
    reproducible: Option<Reproducible>,
    /// How layers are compressed that are made: gzip, zstd or none, with a level as in zstd:9 [default: gzip:3]
    #[arg(long, value_name = "FORMAT[:LEVEL]")]
    compression: Option<Settings>,
    /// Says of every step that runs what changed since it ran last
    #[arg(long)]
    explain: bool,
    /// Writes what took how long to this file, in Chrome's trace format
    #[arg(long, value_name = "FILE")]
    timings: Option<PathBuf>,
    /// Longest time one step may take, such as 30m
    #[arg(long, value_name = "TIME")]
    step_timeout: Option<pipeline::configuration::Timespan>,
    /// Says what the build checks find, and builds nothing; exit code 8 where they find something
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    options: options::Options,
    #[command(flatten)]
    caches: caches::Caches,
    #[command(flatten)]
    publish: publish::Publish,
    #[command(flatten)]
    results: output::Results,
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
        let one = self.file.is_some() || !self.tag.is_empty() || self.check;
        match one || self.results.are_asked_for() || self.publish.is_asked_for() {
            true => self.one(session),
            false => self.services(session),
        }
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
        }
        if session.global.dry_run {
            return session.ui.document(&super::plan::Shown(plan));
        }
        let asked = self.compression.or_else(|| project.compression());
        let workbench = Workbench::open_with(session, asked)?;
        let observer = |progress: Progress| workbench.tell(progress);
        let tools = workbench.tools(None, &observer);
        let cache = project.configuration.defaults.cache.clone();
        let (wait, on_error) = (cache.wait.0, cache.on_error);
        let outcomes = build::build(&plan, &tools, self.choices(session, cache)?);
        let written = pipeline::caches::start(&plan, &outcomes, false, &tools).wait(wait);
        let not_cached = pipeline::caches::report(&written, on_error, &tools);
        workbench.tell_timings(session, self.timings.as_deref())?;
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

    fn one(&self, session: &Session) -> Result<(), Error> {
        session.refuse_locked()?;
        session.refuse_dry_run("build of one Dockerfile")?;
        let context = match &self.what[..] {
            [] => PathBuf::from("."),
            [context] => PathBuf::from(context),
            _ => return Err(Error::usage("with -f or -t there is one context")),
        };
        let workbench = Workbench::open_with(session, self.compression)?;
        let mut request = self.request(session, context)?;
        if self.check {
            return check::run(session, workbench.engine(), &request);
        }
        self.publish.check(&self.tag)?;
        let needs_all = self.reproducible.is_some() || self.results.are_written();
        request.options.settle = self.publish.settle(&workbench, &self.tag, needs_all)?;
        request.options.tiers = self.caches.tiers(session, workbench.places())?;
        let progress = Single::new(&workbench, &request.platform);
        let bases = NamedPlaces(workbench.places());
        let built = workbench.engine().build(&request, &bases, &|event| progress.take(event));
        workbench.tell_timings(session, self.timings.as_deref())?;
        let built = built.map_err(|error| Error::Reported(session.ui.failure("the build failed", &error)))?;
        match self.publish.is_asked_for() {
            true => self.publish.push(session, &workbench, &built, &self.tag)?,
            false => self.store(&workbench, &built.manifest)?,
        }
        self.results.write(session, &workbench, &built, &self.tag)?;
        if self.reproducible.is_some() {
            self.compare(session, &workbench, &request, &built)?;
        }
        self.write_caches(session, &workbench, &request, &built)?;
        let status = if built.steps.total == built.steps.cached { Status::Cached } else { Status::Built };
        let image = Image {
            image: self.tag.first().map(ToString::to_string),
            digest: Some(built.manifest.digest()),
            status,
            steps: built.steps.total,
            cached: built.steps.cached,
        };
        let name =
            self.tag.first().map_or_else(|| "image".to_owned(), |tag| tag.repository().path().to_owned());
        self.answer(session, BTreeMap::from([(name, image)]))
    }

    fn write_caches(
        &self,
        session: &Session,
        workbench: &Workbench,
        request: &BuildRequest,
        built: &Built,
    ) -> Result<(), Error> {
        let scope = caches::scope(&self.tag, &request.dockerfile, self.target.as_deref());
        let pushed: Vec<oci::Repository> = match self.publish.is_asked_for() {
            true => self.tag.iter().map(|name| name.repository().clone()).collect(),
            false => Vec::new(),
        };
        self.caches.write(session, workbench.engine(), workbench.places(), &scope, built, &pushed)
    }

    /// Builds once more with every step run again.
    fn compare(
        &self,
        session: &Session,
        workbench: &Workbench,
        request: &BuildRequest,
        first: &Built,
    ) -> Result<(), Error> {
        session.ui.note("building once more to compare");
        let again = BuildRequest { no_cache: true, explain: false, ..request.clone() };
        let progress = Single::new(workbench, &request.platform);
        let bases = NamedPlaces(workbench.places());
        let second = workbench.engine().build(&again, &bases, &|event| progress.take(event));
        let second =
            second.map_err(|error| Error::Reported(session.ui.failure("the second build failed", &error)))?;
        let unnamed = unnamed();
        let name = self.tag.first().unwrap_or(&unnamed);
        let repository = workbench.places().local().repository(name.repository());
        match reproducible::difference(workbench.engine(), &repository, first, &second)? {
            None => Ok(()),
            Some(difference) => {
                session.ui.problem(&format!(
                    "the second build gives another image; the first difference is {difference}"
                ));
                Err(Error::Reported(Code::Failed))
            }
        }
    }

    fn answer(&self, session: &Session, services: BTreeMap<String, Image>) -> Result<(), Error> {
        let quiet = session.ui.verbosity() == Verbosity::Quiet;
        session.ui.answer("build", &Answer { services, quiet })
    }

    fn store(&self, workbench: &Workbench, manifest: &Document) -> Result<(), Error> {
        let unnamed = unnamed();
        let names = if self.tag.is_empty() { std::slice::from_ref(&unnamed) } else { &self.tag[..] };
        for name in names {
            let repository = workbench.places().local().repository(name.repository());
            repository.tag(&name.tag_or_latest().unwrap_or_else(Tag::latest), manifest)?;
        }
        Ok(())
    }

    fn request(&self, session: &Session, context: PathBuf) -> Result<BuildRequest, Error> {
        let folder = &session.environment.folder;
        let dockerfile = self.file.clone().unwrap_or_else(|| match context.as_os_str() == "." {
            true => "Dockerfile".into(),
            false => context.join("Dockerfile"),
        });
        let epoch = session.source_date_epoch()?;
        // Without a commit there is no moment but the one asked for; any other would move the digest.
        let created = jiff::Timestamp::from_second(epoch.unwrap_or(0))
            .map_err(|_| Error::usage("SOURCE_DATE_EPOCH lies outside of the calendar"))?;
        Ok(BuildRequest {
            dockerfile: folder.join(&dockerfile),
            dockerfile_name: dockerfile.display().to_string(),
            context: folder.join(context),
            target: self.target.clone(),
            build_args: self.build_args(session)?,
            platform: self.platform.clone().unwrap_or_else(Platform::host),
            labels: pairs(&self.label, "--label")?,
            annotations: Annotations::new(),
            base_note: BaseNote::Nowhere,
            created: created.to_string(),
            source_date_epoch: epoch,
            step_timeout: self.step_timeout.map(|timeout| timeout.0),
            no_cache: self.no_cache,
            explain: self.explain,
            options: self.build_options(session)?,
        })
    }

    fn build_options(&self, session: &Session) -> Result<BuildOptions, Error> {
        let fetch = Some(workbench::fetcher(session)?);
        Ok(BuildOptions { fetch, ..self.options.read(&session.environment)? })
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

    fn choices(&self, session: &Session, cache: Cache) -> Result<BuildChoices, Error> {
        Ok(BuildChoices {
            on_failure: OnFailure::Continue,
            no_cache: self.no_cache,
            explain: self.explain,
            step_timeout: self.step_timeout.map(|timeout| timeout.0),
            source_date_epoch: session.source_date_epoch()?,
            options: self.build_options(session)?,
            cache,
        })
    }
}

/// The name of an image that was given none.
fn unnamed() -> Reference {
    "local/build".parse().expect("a literal reference of the grammar")
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

/// Base images by their names alone.
struct NamedPlaces<'a>(&'a Places);

impl Bases for NamedPlaces<'_> {
    fn find(&self, request: &BaseRequest<'_>) -> Result<Base, Box<dyn std::error::Error + Send + Sync>> {
        let place: Place = request.name.parse()?;
        let located = self.0.find(&place)?;
        let document = located.document.descriptor();
        let manifest = image_for_platform(located.store.as_ref(), document, request.platform)?;
        let repository = located.remote().cloned();
        Ok(Base { manifest, store: located.store, repository, reference: None })
    }
}

/// Progress of a build that is no service's.
struct Single<'a> {
    watch: Mutex<build::Watch<'a>>,
}

impl<'a> Single<'a> {
    fn new(workbench: &'a Workbench, platform: &Platform) -> Self {
        let name: Name = "image".parse().expect("a literal name");
        let tell = |progress: Progress| workbench.tell(progress);
        Self { watch: Mutex::new(build::Watch::new(name, platform, Box::new(tell))) }
    }

    fn take(&self, event: BuildEvent) {
        self.watch.lock().expect("no holder panics").take(event);
    }
}
