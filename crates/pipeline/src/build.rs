//! All services of a plan, side by side, each as soon as what it needs is there.
//!
//! A service that fails takes only those with it that need it, unless the run is to stop at the
//! first failure.

mod watch;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use builder::cache::Used;
use builder::{BaseNote, BuildError, BuildOptions, BuildRequest, Built, MadeSteps, Settle};
use oci::{Annotations, Digest, Document, Platform, annotations};
use store::{ImageStore, LayoutRepository, StoreError};

use crate::bases::PlanBases;
use crate::caches::{self, CacheUse, ServiceCaches};
use crate::configuration::{AnnotationLevel, Cache, Name, Secret};
use crate::event::CommitId;
use crate::image::{Image, ImageError};
use crate::ledger::{PlatformRecord, ServiceRecord, Status, Steps};
use crate::place::PlaceError;
use crate::plan::{Action, Plan, PlannedService};
use crate::platforms::{self, Child, IndexAnnotations};
use crate::progress::Progress;
use crate::text::Text;
use crate::tools::Tools;

pub use watch::Watch;
pub(crate) use watch::whole_lines;

/// How a service's image came to be, or why it did not.
#[derive(Debug)]
pub struct ServiceOutcome {
    /// What the ledger says of it.
    pub record: ServiceRecord,
    /// The manifest or index, in the local store; `None` where there is none.
    pub image: Option<Document>,
    /// What of it can be cached elsewhere; `None` where it was not built.
    pub cache: Option<CacheUse>,
    /// Why it failed.
    pub error: Option<ServiceError>,
}

/// Why a service has no image.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Its build failed.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The store failed, or the image to be promoted is nowhere.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The image to be promoted cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The registry of the image to be promoted cannot be asked.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// What it needs was not built.
    #[error("it needs {0}, which was not built")]
    Needs(Name),
    /// Another service failed and the run stops at the first failure.
    #[error("another service failed before it was built")]
    Stopped,
}

/// Whether one failure ends all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The others go on.
    Continue,
    /// Nothing new is started.
    Stop,
}

/// Which layers of an image are here when it is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// All.
    #[default]
    Everything,
    /// Those that its registry neither has nor can link.
    WhatIsSent,
}

/// Choices of the one who asks for a build.
#[derive(Clone, Debug)]
pub struct BuildChoices {
    /// What a failure does to the others.
    pub on_failure: OnFailure,
    /// Whether every step runs even where its result is known.
    pub no_cache: bool,
    /// Whether to say of every step that runs what changed since it ran last.
    pub explain: bool,
    /// The longest one step may take.
    pub step_timeout: Option<std::time::Duration>,
    /// The time that newer files get, where the user asks for one (`SOURCE_DATE_EPOCH`).
    pub source_date_epoch: Option<i64>,
    /// Secrets and whatever else builds may use, over what the configuration says.
    pub options: BuildOptions,
    /// Caches outside this machine.
    pub cache: Cache,
    /// Whether registries of base images are asked even where the local store has them.
    pub pull: bool,
    /// Which layers have to be here.
    pub keep: Keep,
}

/// Builds, or finds, the images of all services of the plan. Every service of the plan is in the result.
pub fn build(plan: &Plan, tools: &Tools<'_>, choices: BuildChoices) -> BTreeMap<Name, ServiceOutcome> {
    let builds = Builds {
        plan,
        tools,
        choices,
        known: Mutex::default(),
        changed: Condvar::new(),
        stopped: AtomicBool::new(false),
    };
    std::thread::scope(|threads| {
        for name in plan.services.keys() {
            let builds = &builds;
            threads.spawn(move || builds.service(name));
        }
    });
    let known = builds.known.into_inner().expect("no holder panics");
    known
        .into_iter()
        .map(|(name, outcome)| {
            (name, Arc::into_inner(outcome).expect("the threads that shared it have ended"))
        })
        .collect()
}

struct Builds<'a> {
    plan: &'a Plan,
    tools: &'a Tools<'a>,
    choices: BuildChoices,
    known: Mutex<BTreeMap<Name, Arc<ServiceOutcome>>>,
    changed: Condvar,
    stopped: AtomicBool,
}

struct Made {
    image: Document,
    platforms: BTreeMap<Text<Platform>, PlatformRecord>,
    steps: Steps,
    status: Status,
    built_from: Option<CommitId>,
    cache: Option<CacheUse>,
}

impl Builds<'_> {
    fn service(&self, name: &Name) {
        let service = &self.plan.services[name];
        let needed = self.needed(service);
        let started = Instant::now();
        let made = needed.and_then(|named| match &service.action {
            Action::Skip => Ok(None),
            _ if self.stopped.load(Ordering::Acquire) => Err(ServiceError::Stopped),
            Action::Promote { digest } => self.promote_or_build(name, service, *digest, named).map(Some),
            Action::Build => self.build(name, service, named).map(Some),
        });
        let outcome = self.outcome(service, made, started.elapsed().as_secs_f64());
        if outcome.error.is_some() && self.choices.on_failure == OnFailure::Stop {
            self.stopped.store(true, Ordering::Release);
        }
        (self.tools.observer)(Progress::ServiceFinished {
            service: name.clone(),
            status: outcome.record.status,
            digest: outcome.image.as_ref().map(Document::digest),
            seconds: outcome.record.seconds,
            reason: outcome.record.reason.clone(),
        });
        self.known.lock().expect("no holder panics").insert(name.clone(), Arc::new(outcome));
        self.changed.notify_all();
    }

    /// Waits for the services that this one needs.
    fn needed(
        &self,
        service: &PlannedService,
    ) -> Result<BTreeMap<String, (Document, LayoutRepository)>, ServiceError> {
        let mut named = BTreeMap::new();
        for (base, needed) in &service.needs {
            let known = self.known.lock().expect("no holder panics");
            let known = self.changed.wait_while(known, |known| !known.contains_key(needed));
            let outcome = Arc::clone(&known.expect("no holder panics")[needed]);
            let image = outcome.image.clone().ok_or_else(|| ServiceError::Needs(needed.clone()))?;
            named.insert(base.clone(), (image, self.tools.local(outcome.record.repository())));
        }
        Ok(named)
    }

    fn outcome(
        &self,
        service: &PlannedService,
        made: Result<Option<Made>, ServiceError>,
        seconds: f64,
    ) -> ServiceOutcome {
        let (made, error) = match made {
            Ok(made) => (made, None),
            Err(error) => (None, Some(error)),
        };
        let status = match (&made, &error) {
            (_, Some(_)) => Status::Failed,
            (Some(made), None) => made.status,
            (None, None) => Status::Skipped,
        };
        let mut record = ServiceRecord::new(service.image.clone(), status);
        record.seconds = seconds;
        record.tags.planned.clone_from(&service.tags);
        record.reason = match &error {
            Some(error) => Some(error.to_string()),
            None => (status != Status::Built && status != Status::Cached).then(|| service.reason.clone()),
        };
        if let Some(made) = &made {
            record.set_digest(made.image.digest());
            record.platforms.clone_from(&made.platforms);
            record.steps = made.steps;
            record.built_from.clone_from(&made.built_from);
        }
        let (image, cache) = made.map(|made| (made.image, made.cache)).unzip();
        ServiceOutcome { record, image, cache: cache.flatten(), error }
    }

    /// Takes the last image; where that is gone, from here and from its registry, it is made again.
    fn promote_or_build(
        &self,
        name: &Name,
        service: &PlannedService,
        digest: Digest,
        named: BTreeMap<String, (Document, LayoutRepository)>,
    ) -> Result<Made, ServiceError> {
        match self.promote(service, digest) {
            Err(ServiceError::Store(StoreError::NotFound { .. })) => {
                let message = format!("{name} is built: its last image {digest} is nowhere any more");
                (self.tools.observer)(Progress::Note { message });
                self.build(name, service, named)
            }
            promoted => promoted,
        }
    }

    /// Finds the image to be promoted: here, or in its registry, from where it is then fetched.
    fn promote(&self, service: &PlannedService, digest: Digest) -> Result<Made, ServiceError> {
        let local = self.tools.local(&service.image);
        let image = match local.document(&digest) {
            Ok(image) => image,
            Err(StoreError::NotFound { .. }) => {
                let remote = self.tools.remote(&service.image)?;
                let image = remote.document(&digest)?;
                let options = store::CopyOptions::whole();
                store::copy_image(&remote, &local, image.descriptor(), &options, &|_| {})?;
                image
            }
            Err(error) => return Err(error.into()),
        };
        let platforms = platforms_of(&local, &image)?;
        let revision = Image::open(&local, &image, None)?.revision();
        let built_from = revision.and_then(|revision| revision.parse().ok());
        Ok(Made {
            image,
            platforms,
            steps: Steps::default(),
            status: Status::Promoted,
            built_from,
            cache: None,
        })
    }

    fn build(
        &self,
        name: &Name,
        service: &PlannedService,
        named: BTreeMap<String, (Document, LayoutRepository)>,
    ) -> Result<Made, ServiceError> {
        let bases = PlanBases { named, places: self.tools.places, anew: self.choices.pull };
        let local = self.tools.lazy(&service.image);
        // Layers that were found to be there must not be collected before the image names them.
        let _lock = self.tools.store.lock_shared()?;
        let caches = ServiceCaches::plan(&self.choices.cache, &self.plan.event, name, &service.image);
        let tiers = if self.choices.no_cache { None } else { caches::open(&caches, self.tools)? };
        let mut cache = CacheUse { caches, used: Used::default() };
        let settle = self.settle(service)?;
        let options = BuildOptions { tiers, settle, ..self.options(service)? };
        let wanted: Vec<Platform> = service.platforms.iter().map(|platform| platform.0.clone()).collect();
        let children = platforms::build_each(&wanted, |platform| {
            let request = self.request(service, platform, options.clone());
            let watch = Watch::new(name.clone(), platform, Box::new(self.tools.observer));
            let built = self.tools.engine.build(&request, &bases, &|event| watch.take(event));
            let built = built.inspect_err(|error| watch.failed(error))?;
            local.put_document(&built.manifest)?;
            Ok::<_, ServiceError>(built)
        })?;
        let mut steps = Steps::default();
        for (_, built) in &children {
            steps.total += built.steps.total;
            steps.cached += built.steps.cached;
            cache.used.add(built.used.clone());
        }
        let image = platforms::assemble(&children, &index_annotations(service, &children));
        local.put_document(&image)?;
        let record = |(platform, built): &Child| {
            (Text(platform.clone()), PlatformRecord { digest: built.manifest.digest() })
        };
        let status = if steps.cached == steps.total { Status::Cached } else { Status::Built };
        let platforms = children.iter().map(record).collect();
        Ok(Made { image, platforms, steps, status, built_from: None, cache: Some(cache) })
    }

    fn request(&self, service: &PlannedService, platform: &Platform, options: BuildOptions) -> BuildRequest {
        let created = service.labels.get(annotations::CREATED).cloned();
        let annotated = service.annotation_levels.contains(&AnnotationLevel::Manifest);
        BuildRequest {
            context: self.tools.project.join(&service.context),
            dockerfile: self.tools.project.join(&service.dockerfile),
            dockerfile_name: service.dockerfile.display().to_string(),
            target: service.target.clone(),
            build_args: service.args.clone(),
            platform: platform.clone(),
            labels: service.labels.clone(),
            annotations: if annotated { service.annotations.clone() } else { Annotations::new() },
            base_note: if annotated { BaseNote::LabelsAndAnnotations } else { BaseNote::Labels },
            created: created.unwrap_or_else(|| self.plan.event.committed.to_string()),
            source_date_epoch: self.choices.source_date_epoch,
            step_timeout: self.choices.step_timeout,
            no_cache: self.choices.no_cache,
            explain: self.choices.explain,
            options,
        }
    }

    /// Returns which layers have to be here when the build ends.
    fn settle(&self, service: &PlannedService) -> Result<Settle, ServiceError> {
        if self.choices.keep == Keep::Everything {
            return Ok(Settle::Everything);
        }
        let store = Arc::new(self.tools.remote(&service.image)?);
        Ok(Settle::Target { repository: store.name().clone(), store })
    }

    /// Returns what the build may use: the secrets of the configuration, and what was asked for beside it.
    fn options(&self, service: &PlannedService) -> Result<BuildOptions, ServiceError> {
        let mut options = BuildOptions { made: MadeSteps::default(), ..self.choices.options.clone() };
        for (id, place) in &service.secrets {
            if options.secrets.contains_key(id) {
                continue;
            }
            let value = match place {
                // A step that needs a secret that is not set says so itself.
                Secret::Env(name) => self.tools.environment.get(name).map(|value| value.clone().into_bytes()),
                Secret::File(path) => {
                    let path = self.tools.project.join(path);
                    let read = std::fs::read(&path);
                    let failed = |source| BuildError::Io { action: "read the secret", path, source };
                    Some(read.map_err(failed)?)
                }
            };
            options.secrets.extend(value.map(|value| (id.clone(), builder::Secret::new(value))));
        }
        Ok(options)
    }
}

/// Returns what the index of a service and its entries are annotated with.
fn index_annotations(service: &PlannedService, children: &[Child]) -> IndexAnnotations {
    let at = |level: AnnotationLevel| service.annotation_levels.contains(&level);
    let mut annotations = IndexAnnotations::default();
    if at(AnnotationLevel::ManifestDescriptor) {
        let of = |(platform, _): &Child| (platform.clone(), service.annotations.clone());
        annotations.entries = children.iter().map(of).collect();
    }
    if at(AnnotationLevel::Index) {
        annotations.index = common_base(children);
        annotations.index.extend(service.annotations.clone());
    }
    annotations
}

/// Returns the base image of all platforms as an annotation of their index, where it is one and
/// the same.
fn common_base(children: &[Child]) -> Annotations {
    let of_child = |key: &str, built: &Built| built.config.config.labels.as_ref()?.get(key).cloned();
    let common = |key: &str| {
        let mut values = children.iter().map(|(_, built)| of_child(key, built));
        let first = values.next().flatten()?;
        values.all(|value| value.as_deref() == Some(&first)).then(|| (key.to_owned(), first))
    };
    [annotations::BASE_NAME, annotations::BASE_DIGEST].into_iter().filter_map(common).collect()
}

fn platforms_of(
    store: &dyn ImageStore,
    image: &Document,
) -> Result<BTreeMap<Text<Platform>, PlatformRecord>, ImageError> {
    let mut platforms = BTreeMap::new();
    let Some(index) = image.as_index() else {
        let config = Image::open(store, image, None)?.config;
        platforms.insert(Text(config.platform()), PlatformRecord { digest: image.digest() });
        return Ok(platforms);
    };
    for child in &index.manifests {
        if let Some(platform) = child.platform.as_ref().filter(|platform| platform.os != "unknown") {
            platforms.insert(Text(platform.normalized()), PlatformRecord { digest: child.digest });
        }
    }
    Ok(platforms)
}
