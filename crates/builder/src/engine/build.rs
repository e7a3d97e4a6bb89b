//! One build: what all its stages share.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use oci::{Annotations, Descriptor, Digest, Document, ImageConfig, ImageManifest, MediaType, Platform};
use store::{Blob, ImageStore};

use super::contexts::Contexts;
use super::explain::InputsElsewhere;
use super::layers::Finishing;
use super::machine;
use super::schedule::Schedule;
use super::scope::{Globals, proxy_environment};
use super::stage::StageRun;
use super::state::State;
use super::workspace::{LayerRef, Workspace, fetch_blob};
use crate::BuildError;
use crate::cache::{CacheKey, StepRecord, Used};
use crate::context::Context;
use crate::dockerfile::{Command, Dockerfile, Instruction, Origin, Span, StageGraph, Word};
use crate::error::Location;
use crate::request::{
    Base, BaseNote, BaseReference, BaseRequest, Bases, BuildEvent, BuildRequest, Built, NamedContext,
    Observer, StepCount,
};
use crate::sandbox::Limits;

/// A build on its way.
pub(crate) struct Build<'a> {
    pub workspace: &'a Workspace,
    pub request: &'a BuildRequest,
    pub observer: Observer<'a>,
    pub dockerfile: Dockerfile,
    pub graph: StageGraph,
    pub globals: Globals,
    pub proxies: Vec<String>,
    pub schedule: Schedule<State>,
    pub contexts: Contexts,
    pub finishing: Finishing,
    /// The stages that are built, and how many steps of triggers there were.
    needed: BTreeSet<usize>,
    triggered: AtomicU32,
    expected: AtomicU32,
    /// Keys of steps that were made before their turn.
    ahead: Mutex<BTreeSet<String>>,
    /// The number of the first step of each stage.
    pub first_steps: Vec<u32>,
    bases: &'a dyn Bases,
    used_bases: Mutex<BTreeMap<String, (Digest, Option<BaseReference>)>>,
    used: Mutex<Used>,
    inputs_elsewhere: OnceLock<InputsElsewhere>,
    context: OnceLock<Context>,
    opening: Mutex<()>,
    total: u32,
    allowance: OnceLock<machine::Allowed>,
    done: AtomicU32,
    cached: AtomicU32,
}

impl<'a> Build<'a> {
    /// Reads the Dockerfile and returns the build with the stages it needs, target last.
    pub fn plan(
        workspace: &'a Workspace,
        request: &'a BuildRequest,
        bases: &'a dyn Bases,
        observer: Observer<'a>,
    ) -> Result<(Self, Vec<usize>), BuildError> {
        let dockerfile = read_dockerfile(&request.dockerfile, &request.dockerfile_name)?;
        super::checks::tell(&dockerfile, request, observer)?;
        let target = dockerfile.target(request.target.as_deref())?;
        let label = dockerfile.stages[target].name.as_ref().map_or("default", Word::as_str);
        let globals = global_arguments(&dockerfile, request, label)?;
        let expand = |word: &Word| expand_global(&dockerfile, &globals, word);
        let names: Result<Vec<String>, _> =
            dockerfile.stages.iter().map(|stage| expand(&stage.base)).collect();
        let graph = dockerfile.graph(&names?)?;
        let needed = dockerfile.stages_needed(&graph, target)?;
        let (first_steps, total) = number_steps(&dockerfile, &needed);
        warn_unused(&dockerfile, &globals, observer);
        let labels = (0..dockerfile.stages.len()).map(|index| dockerfile.stage_label(index)).collect();
        let steps = std::thread::available_parallelism().map_or(2, |count| count.get().max(2));
        let build = Self {
            workspace,
            request,
            observer,
            proxies: proxy_environment(&globals),
            schedule: Schedule::new(labels, steps),
            dockerfile,
            graph,
            globals,
            first_steps,
            contexts: Contexts::new(&request.options.contexts),
            finishing: Finishing::new(),
            needed: needed.iter().copied().collect(),
            triggered: AtomicU32::new(0),
            expected: AtomicU32::new(0),
            ahead: Mutex::default(),
            bases,
            used_bases: Mutex::default(),
            used: Mutex::default(),
            inputs_elsewhere: OnceLock::new(),
            context: OnceLock::new(),
            opening: Mutex::default(),
            total,
            allowance: OnceLock::new(),
            done: AtomicU32::new(0),
            cached: AtomicU32::new(0),
        };
        Ok((build, needed))
    }

    /// Builds the stages `needed` and returns the image of the last.
    pub fn run(&self, needed: &[usize]) -> Result<Built, BuildError> {
        (self.observer)(BuildEvent::Planned { steps: self.total });
        let target = *needed.last().expect("the target is needed");
        let set: BTreeSet<usize> = needed.iter().copied().collect();
        let stages = || self.schedule.run(&set, target, |index| StageRun::run(self, index));
        let state = self.finishing.beside(self, stages)?;
        if let Some(Err(error)) = self.context.get().map(Context::save) {
            // The next build reads the files again; nothing else depends on it.
            (self.observer)(BuildEvent::Warning(format!("digests of the context are not kept: {error}")));
        }
        self.settle(&state)?;
        self.finish(&state, target)
    }

    fn finish(&self, state: &State, target: usize) -> Result<Built, BuildError> {
        let base = self.base_note(target);
        let mut config = state.config.clone();
        config.created = Some(self.request.created.clone());
        if let Some(labels) = &mut config.config.labels
            && self.request.base_note != BaseNote::Nowhere
        {
            // What came with the base image is about the base's own base.
            labels.remove(oci::annotations::BASE_NAME);
            labels.remove(oci::annotations::BASE_DIGEST);
        }
        if !self.request.labels.is_empty() || !base.is_empty() {
            let labels = config.config.labels.get_or_insert_default();
            labels.extend(base.clone());
            labels.extend(self.request.labels.clone());
        }
        let bytes = serde_json::to_vec(&config).expect("a configuration has only string keys");
        let descriptor = Descriptor::of(MediaType::OciConfig, &bytes);
        self.workspace.store.put_blob(&descriptor, Blob::from_bytes(bytes))?;
        let layers: Result<Vec<Descriptor>, BuildError> =
            state.layers.iter().map(|layer| layer.descriptor().cloned()).collect();
        let mut manifest = ImageManifest::new(descriptor, layers?);
        if self.request.base_note == BaseNote::LabelsAndAnnotations {
            manifest.annotations = base;
        }
        manifest.annotations.extend(self.request.annotations.clone());
        Ok(Built {
            manifest: Document::from_manifest(manifest),
            config,
            steps: StepCount {
                total: self.done.load(Ordering::Relaxed),
                cached: self.cached.load(Ordering::Relaxed),
            },
            bases: self.used().iter().map(|(name, (digest, _))| (name.clone(), *digest)).collect(),
            used: self.used_records().clone(),
        })
    }

    /// Returns what caches elsewhere say that steps were made of, fetched at the first call.
    pub(super) fn inputs_elsewhere(&self) -> &InputsElsewhere {
        self.inputs_elsewhere.get_or_init(|| self.fetch_inputs())
    }

    /// Returns the records that were used until now.
    pub fn used_records(&self) -> MutexGuard<'_, Used> {
        self.used.lock().expect("no holder panics")
    }

    fn used(&self) -> MutexGuard<'_, BTreeMap<String, (Digest, Option<BaseReference>)>> {
        self.used_bases.lock().expect("no holder panics")
    }

    /// Returns what is noted of the image that the target's first stage is from.
    fn base_note(&self, target: usize) -> Annotations {
        let mut stage = target;
        while let Origin::Stage(below) = &self.graph.bases[stage] {
            stage = *below;
        }
        let Origin::External(name) = &self.graph.bases[stage] else { return Annotations::new() };
        let used = self.used();
        match used.get(name) {
            Some((_, Some(base))) if self.request.base_note != BaseNote::Nowhere => Annotations::from([
                (oci::annotations::BASE_NAME.to_owned(), base.name.clone()),
                (oci::annotations::BASE_DIGEST.to_owned(), base.digest.to_string()),
            ]),
            _ => Annotations::new(),
        }
    }

    /// Notes that `key` gives `layer`.
    pub fn remember(
        &self,
        key: &CacheKey,
        layer: &LayerRef,
        instruction: &str,
        milliseconds: u64,
    ) -> Result<(), BuildError> {
        let descriptor = layer.descriptor()?.clone();
        let record = StepRecord::new(layer.diff_id, descriptor, instruction, milliseconds);
        let record = record.compressed(self.workspace.compression.to_string());
        self.request.options.made.add(key);
        let written = self.workspace.records.put(key, &record);
        self.note_used(key, record);
        written.map_err(|error| BuildError::layer("write a step of the cache", error))
    }

    /// Notes that a step was made before its turn.
    pub fn made_ahead(&self, key: &CacheKey) {
        self.ahead.lock().expect("no holder panics").insert(key.to_string());
    }

    /// Whether a step was made before its turn; asked when that comes.
    pub fn take_made_ahead(&self, key: &CacheKey) -> bool {
        self.ahead.lock().expect("no holder panics").remove(&key.to_string())
    }

    /// Returns what a RUN step may use; what that is, is found out by the first one.
    pub fn step_limits(&self) -> Limits {
        let make = || machine::Allowed::make(self.request.options.allowance, self.observer);
        self.allowance.get_or_init(make).limits()
    }

    /// Notes that a step has ended.
    pub fn count(&self, cached: bool) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.cached.fetch_add(u32::from(cached), Ordering::Relaxed);
    }

    /// Notes that a base image brings instructions along, of which some make layers.
    pub fn expect_triggers(&self, instructions: &[Instruction]) {
        let more = instructions.iter().filter(|one| makes_layer(&one.command)).count() as u32;
        if more > 0 {
            let before = self.expected.fetch_add(more, Ordering::Relaxed);
            (self.observer)(BuildEvent::MorePlanned { steps: self.total + before + more });
        }
    }

    /// Returns the number of a step that no line of the Dockerfile has: one more than all before.
    pub fn triggered_step(&self) -> u32 {
        self.total + 1 + self.triggered.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns what another stage came to; one that only a trigger of an image asks for is built here.
    pub fn stage(&self, index: usize) -> Result<Arc<State>, BuildError> {
        match self.needed.contains(&index) {
            true => self.schedule.wait(index),
            false => StageRun::run(self, index).map(Arc::new),
        }
    }

    /// Returns a place in the Dockerfile, for messages.
    pub fn location(&self, span: Span, instruction: &str) -> Location {
        let instruction = instruction.split_whitespace().collect::<Vec<_>>().join(" ");
        Location { file: self.dockerfile.source.name().to_owned(), line: span.line as u32, instruction }
    }

    /// Expands a word of a FROM line.
    pub fn global(&self, word: &Word) -> Result<String, BuildError> {
        expand_global(&self.dockerfile, &self.globals, word)
    }

    /// Returns the state of `FROM scratch`.
    pub fn scratch(&self, platform: &Platform) -> State {
        let escape = self.dockerfile.directives.escape;
        let mut state = State::scratch(&self.request.platform, &self.request.created, escape);
        // Nothing is for no platform: the image is for the one that is asked for, as BuildKit has it.
        state.platform.clone_from(platform);
        state
    }

    /// Returns the state of `FROM name` with all blobs in the local store.
    pub fn image(&self, name: &str, platform: &Platform, location: &Location) -> Result<State, BuildError> {
        let refused = |source| BuildError::Base { location: location.clone(), name: name.to_owned(), source };
        let named = match self.contexts.find(name) {
            Some(NamedContext::Image(image)) => image,
            _ => name,
        };
        let request = BaseRequest { name: named, platform };
        let base = self.bases.find(&request).map_err(refused)?;
        let (digest, reference) = (base.manifest.digest(), base.reference.clone());
        let (config, layers) = self.fetch(name, base).map_err(|error| refused(Box::new(error)))?;
        if !platform.accepts(&config.platform()) {
            let reason = format!("it is for {}, the stage is for {platform}", config.platform());
            return Err(refused(reason.into()));
        }
        self.used().insert(name.to_owned(), (digest, reference));
        let escape = self.dockerfile.directives.escape;
        Ok(State::from_image(config, layers, platform, &self.request.created, escape))
    }

    fn fetch(&self, name: &str, base: Base) -> Result<(ImageConfig, Vec<LayerRef>), BuildError> {
        let corrupt = |reason: String| {
            let what = format!("the image {name} ({})", base.manifest.digest());
            BuildError::Store(store::StoreError::Corrupt { what, reason })
        };
        let manifest = base.manifest.as_image().ok_or_else(|| corrupt("it is an index".to_owned()))?;
        let store: Arc<dyn ImageStore> = Arc::from(base.store);
        fetch_blob(&self.workspace.store, store.as_ref(), &manifest.config)?;
        let config: ImageConfig = read_config(&self.workspace.store, &manifest.config).and_then(|bytes| {
            serde_json::from_slice(&bytes).map_err(|error| corrupt(format!("its configuration: {error}")))
        })?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            let (layers, diff_ids) = (manifest.layers.len(), diff_ids.len());
            return Err(corrupt(format!("it has {layers} layers and {diff_ids} diff ids")));
        }
        self.take_base(name, store, base.repository, manifest, diff_ids)?;
        let pairs = diff_ids.iter().zip(&manifest.layers);
        // Annotations are the base's own; without its addresses nobody could get a layer that registries do not hand on.
        let plain = |blob: &Descriptor| Descriptor {
            urls: if blob.media_type.is_nondistributable() { blob.urls.clone() } else { Vec::new() },
            ..Descriptor::new(blob.media_type.clone(), blob.digest, blob.size)
        };
        let bases: Vec<_> = pairs.map(|(diff_id, blob)| (*diff_id, plain(blob))).collect();
        let layers = bases.iter().map(|(diff_id, blob)| LayerRef::new(*diff_id, blob.clone())).collect();
        self.used_records().bases.extend(bases);
        Ok((config, layers))
    }

    /// Returns the context, opened at its first use.
    pub fn context(&self) -> Result<&Context, BuildError> {
        if let Some(context) = self.context.get() {
            return Ok(context);
        }
        let _opening = self.opening.lock().expect("no holder panics");
        if let Some(context) = self.context.get() {
            return Ok(context);
        }
        let context = super::source::open_context(self.request, self.workspace)?;
        Ok(self.context.get_or_init(|| context))
    }
}

/// Returns the bytes of an image configuration.
pub(crate) fn read_config(
    store: &store::layout::LayoutStore,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, BuildError> {
    let blob = store.open_blob(&descriptor.digest)?;
    let mut bytes = Vec::new();
    blob.take(oci::manifest::MAX_DOCUMENT_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| BuildError::layer("read the image configuration", error))?;
    Ok(bytes)
}

pub(crate) fn read_dockerfile(path: &Path, name: &str) -> Result<Dockerfile, BuildError> {
    let bytes = std::fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => BuildError::NoDockerfile { path: name.into() },
        _ => super::workspace::io_error("read", path, source),
    })?;
    Ok(Dockerfile::parse(&bytes, name)?)
}

fn global_arguments(
    dockerfile: &Dockerfile,
    request: &BuildRequest,
    stage: &str,
) -> Result<Globals, BuildError> {
    let mut globals = Globals::new(&request.build_args, &request.platform, stage);
    for argument in &dockerfile.global_args {
        let default = argument.default.as_ref().map(|word| expand_global(dockerfile, &globals, word));
        globals.declare(argument.name.as_str(), default.transpose()?);
    }
    Ok(globals)
}

fn expand_global(dockerfile: &Dockerfile, globals: &Globals, word: &Word) -> Result<String, BuildError> {
    Ok(dockerfile.expand(word, &|name| globals.get(name).map(str::to_owned))?.text)
}

fn makes_layer(command: &Command) -> bool {
    matches!(command, Command::Run(_) | Command::Copy(_) | Command::Add(_) | Command::Workdir(_))
}

/// Numbers the steps of the needed stages in the order of the file, from 1.
fn number_steps(dockerfile: &Dockerfile, needed: &[usize]) -> (Vec<u32>, u32) {
    let mut first_steps = vec![0; dockerfile.stages.len()];
    let mut next = 1;
    for (index, stage) in dockerfile.stages.iter().enumerate().filter(|(index, _)| needed.contains(index)) {
        first_steps[index] = next;
        next += stage.instructions.iter().filter(|one| makes_layer(&one.command)).count() as u32;
    }
    (first_steps, next - 1)
}

fn warn_unused(dockerfile: &Dockerfile, globals: &Globals, observer: Observer<'_>) {
    let mut declared: Vec<String> = Vec::new();
    for stage in &dockerfile.stages {
        for instruction in &stage.instructions {
            if let Command::Arg(arguments) = &instruction.command {
                declared.extend(arguments.iter().map(|argument| argument.name.text.clone()));
            }
            if let Command::Onbuild(onbuild) = &instruction.command
                && let Command::Arg(arguments) = &onbuild.instruction.command
            {
                declared.extend(arguments.iter().map(|argument| argument.name.text.clone()));
            }
        }
    }
    for name in globals.unused(&declared) {
        let file = dockerfile.source.name();
        observer(BuildEvent::Warning(format!("{file}: the build argument {name} is not used by any ARG")));
    }
}
