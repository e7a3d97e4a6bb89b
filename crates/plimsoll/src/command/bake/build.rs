//! `bake` without `--print`: targets to images in the local store, and from there to where they are to go.
//!
//! Targets that others are linked to are built before them; those that do not need each other are
//! built side by side. One that fails takes only those with it that are linked to it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use builder::{BuildError, Engine as _};
use oci::{Digest, Document, Reference, Repository, Tag};
use pipeline::bake::{Bake, Job, NamedBase};
use pipeline::build::Watch;
use pipeline::configuration::Name;
use pipeline::ledger::Status;
use pipeline::platforms::{self, Child, IndexAnnotations};
use pipeline::progress::Progress;
use serde::Serialize;
use store::ImageStore as _;

use super::Arguments;
use super::bases::TargetBases;
use super::prepare::Prepared;
use super::wanted::{self, Wanted};
use crate::command::build::output::Made;
use crate::error::{Code, Error};
use crate::session::Session;
use crate::ui::Verbosity;
use crate::workbench::Workbench;

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
}

/// Targets being built.
pub(super) struct Building<'a> {
    pub session: &'a Session,
    pub arguments: &'a Arguments,
    pub workbench: &'a Workbench,
    pub scratch: tempfile::TempDir,
    /// What was made, by target; `None` where a build failed.
    made: Mutex<BTreeMap<String, Option<Made>>>,
    pub codes: Mutex<Vec<Code>>,
}

/// Builds all targets.
pub(super) fn run(session: &Session, bake: &Bake, arguments: &Arguments) -> Result<(), Error> {
    session.refuse_locked()?;
    let all = wanted::read(bake, &arguments.caches)?;
    arguments.steps.check_mounts(session, all.iter().any(|one| one.caches.are_given()));
    let workbench = arguments.steps.open(session, None)?;
    let scratch = session.scratch()?;
    let scratch =
        tempfile::tempdir_in(&scratch).map_err(|source| Error::file("make a folder in", &scratch, source))?;
    let building = Building {
        session,
        arguments,
        workbench: &workbench,
        scratch,
        made: Mutex::default(),
        codes: Mutex::default(),
    };
    building.all(&all);
    arguments.steps.tell_timings(session, &workbench)?;
    let made = std::mem::take(&mut *building.made.lock().expect("no holder panics"));
    if building.codes.lock().expect("no holder panics").is_empty() {
        // A failure leaves everything where it was.
        building.deliver(&all, &made);
    }
    building.write_caches(&all, &made)?;
    if let Some(file) = &arguments.metadata_file {
        super::deliver::write_metadata(session, file, &all, &made)?;
    }
    let codes = building.codes.into_inner().expect("no holder panics");
    let quiet = session.ui.verbosity() == Verbosity::Quiet;
    let asked = all.iter().filter(|one| !one.job.linked);
    let targets: BTreeMap<String, Image> =
        asked.map(|one| (one.job.target.clone(), Image::of(&one.job, &made))).collect();
    let (wanted, built) = (targets.len(), targets.values().filter(|image| image.digest.is_some()).count());
    session.ui.answer("bake", &Answer { targets, quiet })?;
    match codes[..] {
        [] => Ok(()),
        [first, ..] if built == 0 || wanted == 1 => Err(Error::Reported(first)),
        _ => Err(Error::Reported(Code::Partly)),
    }
}

impl Building<'_> {
    /// Builds in waves: each takes the targets whose links are made.
    fn all(&self, all: &[Wanted]) {
        let mut waiting: Vec<&Wanted> = all.iter().collect();
        while !waiting.is_empty() {
            let known = |target: &String| self.made.lock().expect("no holder panics").contains_key(target);
            let linked = |job: &Job| {
                let targets = job.bases.values().filter_map(|base| {
                    if let NamedBase::Target(name) = base { Some(name.clone()) } else { None }
                });
                targets.collect::<Vec<_>>()
            };
            let (ready, rest): (Vec<&Wanted>, Vec<&Wanted>) =
                waiting.into_iter().partition(|one| linked(&one.job).iter().all(known));
            if ready.is_empty() {
                return;
            }
            for group in ready.chunks(AT_ONCE) {
                std::thread::scope(|threads| {
                    for one in group {
                        threads.spawn(move || self.one(one));
                    }
                });
            }
            waiting = rest;
        }
    }

    fn one(&self, wanted: &Wanted) {
        let target = &wanted.job.target;
        let made = match self.build(wanted) {
            Ok(made) => Some(made),
            Err(error) => {
                let code = self.session.ui.failure(&format!("target {target} failed"), error.as_ref());
                self.codes.lock().expect("no holder panics").push(code);
                None
            }
        };
        self.made.lock().expect("no holder panics").insert(target.clone(), made);
    }

    fn build(&self, wanted: &Wanted) -> Result<Made, Box<dyn std::error::Error + Send + Sync>> {
        let job = &wanted.job;
        let made: BTreeMap<String, Option<Document>> = {
            let made = self.made.lock().expect("no holder panics");
            made.iter()
                .map(|(name, made)| (name.clone(), made.as_ref().map(|made| made.image.clone())))
                .collect()
        };
        let bases = TargetBases { job, made, places: self.workbench.places() };
        bases.check()?;
        let local = self.workbench.places().local().repository(&repository(&job.target));
        let prepared = Prepared::new(self, wanted)?;
        let children = platforms::build_each(&job.platforms, |platform| {
            let request = prepared.request(self, job, platform)?;
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
        let annotations =
            IndexAnnotations { index: job.index_annotations.clone(), ..IndexAnnotations::default() };
        let image = platforms::assemble(&children, &annotations);
        local.put_document(&image)?;
        local.tag(&Tag::latest(), &image)?;
        for tag in &job.tags {
            let repository = self.workbench.places().local().repository(tag.repository());
            let options = store::CopyOptions::whole();
            store::copy_image(&local, &repository, image.descriptor(), &options, &|_| {})?;
            repository.tag(&tag.tag_or_latest().unwrap_or_else(Tag::latest), &image)?;
        }
        let is_named = !job.tags.is_empty();
        let names = if is_named { job.tags.clone() } else { vec![home(job)] };
        Ok(Made { image, children, names, is_named })
    }
}

impl Image {
    fn of(job: &Job, made: &BTreeMap<String, Option<Made>>) -> Self {
        let made = made.get(&job.target).and_then(Option::as_ref);
        let count = |of: fn(&Child) -> u32| made.iter().flat_map(|made| &made.children).map(of).sum();
        let (steps, cached) = (count(|child| child.1.steps.total), count(|child| child.1.steps.cached));
        Self {
            digest: made.map(|made| made.image.digest()),
            status: match made {
                None => Status::Failed,
                Some(_) if steps == cached => Status::Cached,
                Some(_) => Status::Built,
            },
            tags: job.tags.iter().map(ToString::to_string).collect(),
            steps,
            cached,
        }
    }
}

/// The name of a target's image in the local store, whatever its tags are.
pub(super) fn home(job: &Job) -> Reference {
    repository(&job.target).tagged(Tag::latest())
}

/// Where the image of a target lies in the local store, whatever its tags are.
pub(super) fn repository(target: &str) -> Repository {
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
