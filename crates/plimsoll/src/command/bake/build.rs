//! `bake` without `--print`: targets to images in the local store, and from there to where they are to go.
//!
//! Targets that others are linked to are built before them; those that do not need each other are
//! built side by side. One that fails takes only those with it that are linked to it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use builder::{
    Base, BaseNote, BaseRequest, Bases, BuildError, BuildOptions, BuildRequest, Engine as _, NamedContext,
};
use oci::{Digest, Document, Platform, Reference, Repository, Tag};
use pipeline::archive::{self, Parcel};
use pipeline::bake::{Bake, Destination, Dockerfile, Job, NamedBase, jobs};
use pipeline::build::Watch;
use pipeline::configuration::Name;
use pipeline::copy;
use pipeline::ledger::Status;
use pipeline::place::Places;
use pipeline::platforms::{self, IndexAnnotations};
use pipeline::progress::Progress;
use serde::Serialize;
use store::{ArchiveFormat, ArchiveOptions, ImageStore as _, StoreError, image_for_platform};

use crate::error::{Code, Error};
use crate::session::Session;
use crate::ui::Verbosity;
use crate::ui::transfer::Transfer;
use crate::workbench::{self, Workbench};

/// How many targets are built at the same time.
const AT_ONCE: usize = 4;

/// What was made of the targets.
#[derive(Debug, Serialize)]
struct Answer {
    targets: BTreeMap<String, Image>,
    #[serde(skip)]
    quiet: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Image {
    digest: Option<Digest>,
    status: Status,
    tags: Vec<String>,
    steps: u32,
    cached: u32,
    #[serde(skip)]
    linked: bool,
}

/// Images made so far, by target; `None` where a build failed.
type Made = BTreeMap<String, Option<Document>>;

struct Building<'a> {
    session: &'a Session,
    workbench: &'a Workbench,
    scratch: tempfile::TempDir,
    made: Mutex<Made>,
    images: Mutex<BTreeMap<String, Image>>,
    codes: Mutex<Vec<Code>>,
}

/// Builds all targets.
pub(super) fn run(session: &Session, bake: &Bake, metadata: Option<&Path>) -> Result<(), Error> {
    session.refuse_locked()?;
    let jobs = jobs(bake)?;
    for remark in jobs.iter().flat_map(|job| &job.remarks) {
        session.ui.note(remark);
    }
    let workbench = Workbench::open(session)?;
    let scratch = session.scratch()?;
    let scratch =
        tempfile::tempdir_in(&scratch).map_err(|source| Error::file("make a folder in", &scratch, source))?;
    let building = Building {
        session,
        workbench: &workbench,
        scratch,
        made: Mutex::default(),
        images: Mutex::default(),
        codes: Mutex::default(),
    };
    building.all(&jobs);
    building.deliver(&jobs);
    let images = building.images.into_inner().expect("no holder panics");
    let codes = building.codes.into_inner().expect("no holder panics");
    if let Some(file) = metadata {
        write_metadata(file, &images)?;
    }
    let wanted = images.iter().filter(|(_, image)| !image.linked).count();
    let built = images.values().filter(|image| !image.linked && image.digest.is_some()).count();
    let quiet = session.ui.verbosity() == Verbosity::Quiet;
    let targets = images.into_iter().filter(|(_, image)| !image.linked).collect();
    session.ui.answer("bake", &Answer { targets, quiet })?;
    match codes[..] {
        [] => Ok(()),
        [first, ..] if built == 0 || wanted == 1 => Err(Error::Reported(first)),
        _ => Err(Error::Reported(Code::Partly)),
    }
}

impl Building<'_> {
    /// Builds in waves: each takes the targets whose links are made.
    fn all(&self, jobs: &[Job]) {
        let mut waiting: Vec<&Job> = jobs.iter().collect();
        while !waiting.is_empty() {
            let known = |target: &String| self.made.lock().expect("no holder panics").contains_key(target);
            let linked = |job: &Job| {
                let targets = job.bases.values().filter_map(|base| {
                    if let NamedBase::Target(name) = base { Some(name.clone()) } else { None }
                });
                targets.collect::<Vec<_>>()
            };
            let (ready, rest): (Vec<&Job>, Vec<&Job>) =
                waiting.into_iter().partition(|job| linked(job).iter().all(known));
            if ready.is_empty() {
                return;
            }
            for group in ready.chunks(AT_ONCE) {
                std::thread::scope(|threads| {
                    for job in group {
                        threads.spawn(move || self.one(job));
                    }
                });
            }
            waiting = rest;
        }
    }

    fn one(&self, job: &Job) {
        let result = self.build(job);
        let mut image = Image {
            digest: None,
            status: Status::Failed,
            tags: job.tags.iter().map(ToString::to_string).collect(),
            steps: 0,
            cached: 0,
            linked: job.linked,
        };
        let document = match result {
            Ok((document, steps)) => {
                image.digest = Some(document.digest());
                (image.steps, image.cached) = steps;
                image.status = if steps.0 == steps.1 { Status::Cached } else { Status::Built };
                Some(document)
            }
            Err(error) => {
                let code = self.session.ui.failure(&format!("target {} failed", job.target), error.as_ref());
                self.codes.lock().expect("no holder panics").push(code);
                None
            }
        };
        self.images.lock().expect("no holder panics").insert(job.target.clone(), image);
        self.made.lock().expect("no holder panics").insert(job.target.clone(), document);
    }

    fn build(&self, job: &Job) -> Result<(Document, (u32, u32)), Box<dyn std::error::Error + Send + Sync>> {
        let made = self.made.lock().expect("no holder panics").clone();
        let bases = TargetBases { job, made, places: self.workbench.places() };
        bases.check()?;
        let home = repository(&job.target);
        let local = self.workbench.places().local().repository(&home);
        let options = self.options(job)?;
        let built = platforms::build_each(&job.platforms, |platform| {
            let request = self.request(job, platform, options.clone())?;
            let watch = Watch::new(
                name(&job.target),
                platform,
                Box::new(|progress: Progress| self.workbench.tell(progress)),
            );
            let one = self.workbench.engine().build(&request, &bases, &|event| watch.take(event));
            let one = one.inspect_err(|error: &BuildError| watch.failed(error))?;
            local.put_document(&one.manifest)?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(one)
        })?;
        let steps =
            built.iter().fold((0, 0), |sum, (_, one)| (sum.0 + one.steps.total, sum.1 + one.steps.cached));
        let annotations =
            IndexAnnotations { index: job.index_annotations.clone(), ..IndexAnnotations::default() };
        let image = platforms::assemble(&built, &annotations);
        local.put_document(&image)?;
        local.tag(&Tag::latest(), &image)?;
        for tag in &job.tags {
            let repository = self.workbench.places().local().repository(tag.repository());
            let options = store::CopyOptions::default();
            store::copy_image(&local, &repository, image.descriptor(), &options, &|_| {})?;
            repository.tag(&tag.tag_or_latest().unwrap_or_else(Tag::latest), &image)?;
        }
        Ok((image, steps))
    }

    fn request(&self, job: &Job, platform: &Platform, options: BuildOptions) -> Result<BuildRequest, Error> {
        let folder = &self.session.environment.folder;
        let epoch = self.session.source_date_epoch()?;
        let created = jiff::Timestamp::from_second(epoch.unwrap_or(0))
            .map_err(|_| Error::usage("SOURCE_DATE_EPOCH lies outside of the calendar"))?;
        let (dockerfile, dockerfile_name) = match &job.dockerfile {
            Dockerfile::File(file) => (folder.join(file), file.clone()),
            Dockerfile::Text(text) => {
                (self.inline(&job.target, text)?, format!("{}.dockerfile-inline", job.target))
            }
        };
        Ok(BuildRequest {
            dockerfile,
            dockerfile_name,
            context: folder.join(&job.context),
            target: job.stage.clone(),
            build_args: job.args.clone(),
            platform: platform.clone(),
            labels: job.labels.clone(),
            annotations: job.manifest_annotations.clone(),
            base_note: BaseNote::Nowhere,
            created: created.to_string(),
            source_date_epoch: epoch,
            step_timeout: None,
            no_cache: job.no_cache,
            explain: false,
            options,
        })
    }

    /// Reads secrets and finds agents; what is missing was told before the first build.
    fn options(&self, job: &Job) -> Result<BuildOptions, Error> {
        let environment = &self.session.environment;
        let mut options = BuildOptions {
            network: job.network,
            hosts: job.hosts.clone(),
            insecure: job.insecure,
            no_cache_filter: job.no_cache_filter.clone(),
            shared_memory: job.shared_memory,
            limits: job.limits.clone(),
            fetch: Some(workbench::fetcher(self.session)?),
            ..BuildOptions::default()
        };
        for secret in &job.secrets {
            let by_name = secret.variable.is_empty() && secret.file.is_empty();
            let variable = if by_name { &secret.id } else { &secret.variable };
            let bytes = match environment.variables.get(variable) {
                Some(value) => value.clone().into_bytes(),
                None if !secret.variable.is_empty() => {
                    return Err(Error::usage(format!("the secret {}: ${variable} is not set", secret.id)));
                }
                None => {
                    let file = environment.folder.join(if by_name { &secret.id } else { &secret.file });
                    std::fs::read(&file).map_err(|source| Error::file("read the secret", &file, source))?
                }
            };
            options.secrets.insert(secret.id.clone(), builder::Secret::new(bytes));
        }
        options.git = Some(workbench::git_fetcher(self.session, &options.secrets));
        for agent in &job.ssh {
            let socket = agent.paths.first().map(|path| environment.folder.join(path));
            let socket = socket.or_else(|| environment.variable("SSH_AUTH_SOCK").map(PathBuf::from));
            let socket = socket.filter(|socket| !socket.is_file()).ok_or_else(|| Error::Usage {
                message: format!(
                    "target {}, ssh: {} is given by a key and no agent's socket",
                    job.target, agent.id
                ),
                hint: Some("start an agent, give it the key (ssh-add), and name the agent alone".to_owned()),
            })?;
            options
                .ssh
                .insert(if agent.id.is_empty() { "default".to_owned() } else { agent.id.clone() }, socket);
        }
        for (name, base) in &job.bases {
            if let NamedBase::Folder(folder) = base {
                let folder = NamedContext::Folder(environment.folder.join(folder));
                options.contexts.insert(name.clone(), folder);
            }
        }
        Ok(options)
    }

    /// Keeps a Dockerfile that is written in the definition in a file.
    fn inline(&self, target: &str, text: &str) -> Result<PathBuf, Error> {
        let file = self.scratch.path().join(format!("{target}.Dockerfile"));
        std::fs::write(&file, text).map_err(|source| Error::file("write", &file, source))?;
        Ok(file)
    }

    /// Takes the images to where they are to go, once all are built: a failure leaves everything where it was.
    fn deliver(&self, jobs: &[Job]) {
        if !self.codes.lock().expect("no holder panics").is_empty() {
            return;
        }
        for job in jobs {
            for destination in &job.destinations {
                if let Err(error) = self.deliver_one(job, destination) {
                    let code = error.code();
                    self.session.ui.failure(
                        &format!("target {} was built and did not get where it is to go", job.target),
                        &error,
                    );
                    self.codes.lock().expect("no holder panics").push(code);
                }
            }
        }
    }

    fn deliver_one(&self, job: &Job, destination: &Destination) -> Result<(), Error> {
        let places = self.workbench.places();
        let home = repository(&job.target).tagged(Tag::latest());
        let image = || {
            places
                .find_local(&home)?
                .ok_or_else(|| StoreError::NotFound { what: format!("the image of target {}", job.target) })
        };
        let (format, file) = match destination {
            Destination::Registry => {
                for tag in &job.tags {
                    let transfer = Transfer::new(&self.session.ui, tag.to_string());
                    copy::copy(places, &image()?, tag, &copy::Choice::default(), &|event| {
                        transfer.observe(event)
                    })?;
                }
                return Ok(());
            }
            Destination::DockerArchive(file) => (ArchiveFormat::DockerArchive, file),
            Destination::OciArchive(file) => (ArchiveFormat::OciArchive, file),
        };
        let parcel = Parcel::new(image()?, None, job.tags.clone())?;
        archive::save(
            &[parcel],
            format,
            &ArchiveOptions::default(),
            &self.session.environment.folder.join(file),
        )?;
        Ok(())
    }
}

/// Where the image of a target lies in the local store, whatever its tags are.
fn repository(target: &str) -> Repository {
    let path = target.to_lowercase().replace(|character: char| !character.is_ascii_alphanumeric(), "-");
    let path =
        path.trim_matches('-').split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
    let path = if path.is_empty() { "target" } else { &path };
    format!("local/bake/{path}").parse().expect("letters, digits and single hyphens are a path")
}

/// The target's name as progress shows it.
fn name(target: &str) -> Name {
    let short: String = target.trim_matches(|c: char| !c.is_ascii_alphanumeric()).chars().take(60).collect();
    let short = short.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    short.parse().unwrap_or_else(|_| "target".parse().expect("a literal name"))
}

/// Base images of one target: what its contexts name, then images by their names.
struct TargetBases<'a> {
    job: &'a Job,
    made: Made,
    places: &'a Places,
}

#[derive(Debug, thiserror::Error)]
#[error("it is linked to the target {0}, which was not built")]
struct NotBuilt(String);

impl TargetBases<'_> {
    fn check(&self) -> Result<(), NotBuilt> {
        for base in self.job.bases.values() {
            if let NamedBase::Target(name) = base
                && self.made.get(name).is_none_or(Option::is_none)
            {
                return Err(NotBuilt(name.clone()));
            }
        }
        Ok(())
    }

    /// A context goes for the name as it is written, and for the image that the name means.
    fn named(&self, wanted: &str) -> Option<&NamedBase> {
        let full = |name: &str| {
            name.parse::<Reference>().ok().map(|name| (name.repository().clone(), name.tag_or_latest()))
        };
        let same =
            |name: &&String| *name == wanted || full(name).is_some_and(|name| Some(name) == full(wanted));
        let exact = self.job.bases.get(wanted);
        exact.or_else(|| self.job.bases.keys().find(same).and_then(|name| self.job.bases.get(name)))
    }
}

impl Bases for TargetBases<'_> {
    fn find(&self, request: &BaseRequest<'_>) -> Result<Base, Box<dyn std::error::Error + Send + Sync>> {
        let place = match self.named(request.name) {
            Some(NamedBase::Target(target)) => {
                let document =
                    self.made.get(target).cloned().flatten().ok_or_else(|| NotBuilt(target.clone()))?;
                let store = self.places.local().repository(&repository(target));
                let manifest = image_for_platform(&store, document.descriptor(), request.platform)?;
                return Ok(Base { manifest, store: Box::new(store), repository: None, reference: None });
            }
            Some(NamedBase::Image(place)) => place.clone(),
            Some(NamedBase::Folder(_)) | None => request.name.parse()?,
        };
        let located =
            if self.job.pull { self.places.find_anew(&place)? } else { self.places.find(&place)? };
        let repository = located.remote().cloned();
        let store = located.store;
        let manifest = image_for_platform(store.as_ref(), located.document.descriptor(), request.platform)?;
        Ok(Base { manifest, store, repository, reference: None })
    }
}

/// Writes what the neighbour writes for `--metadata-file`.
fn write_metadata(file: &Path, images: &BTreeMap<String, Image>) -> Result<(), Error> {
    let entry = |(name, image): (&String, &Image)| {
        let mut fields = serde_json::Map::new();
        fields.insert("containerimage.digest".to_owned(), serde_json::json!(image.digest?.to_string()));
        if !image.tags.is_empty() {
            fields.insert("image.name".to_owned(), image.tags.join(",").into());
        }
        Some((name.clone(), serde_json::Value::Object(fields)))
    };
    let all: serde_json::Map<String, serde_json::Value> =
        images.iter().filter(|(_, image)| !image.linked).filter_map(entry).collect();
    let text = serde_json::to_string_pretty(&all).expect("names and digests are JSON");
    std::fs::write(file, text + "\n").map_err(|source| Error::file("write", file, source))
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, image) in &self.targets {
            let Some(digest) = image.digest else { continue };
            match (self.quiet, image.tags.first()) {
                (true, _) => writeln!(f, "{digest}")?,
                (false, Some(tag)) => writeln!(f, "{tag}@{digest}")?,
                (false, None) => writeln!(f, "{}@{digest}", repository(name))?,
            }
        }
        Ok(())
    }
}
