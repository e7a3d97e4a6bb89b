//! What an engine is asked for and what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oci::{Annotations, Document, ImageConfig, Platform, Repository};
use store::ImageStore;

use crate::BuildError;
use crate::cache::{CacheKey, Tiers, Used};
use crate::git_source::GitFetcher;
use crate::sandbox::{Allowance, NamedLimit, Network};

/// What builds images: the embedded engine here, BuildKit elsewhere.
pub trait Engine: Send + Sync {
    /// Builds one image for one platform and leaves its blobs in the local store. The manifest is
    /// returned, not stored: under which repository it is kept is the caller's to say.
    ///
    /// # Errors
    /// [`BuildError::Step`] where a step failed; `Dockerfile`, `Unsupported`, `Copy` and `Base`
    /// name the line to mend.
    fn build(
        &self,
        request: &BuildRequest,
        bases: &dyn Bases,
        observer: Observer<'_>,
    ) -> Result<Built, BuildError>;
}

/// Takes events as they happen; called from several threads.
pub type Observer<'a> = &'a (dyn Fn(BuildEvent) + Sync);

/// What to build.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The folder that COPY and ADD read.
    pub context: PathBuf,
    /// The Dockerfile.
    pub dockerfile: PathBuf,
    /// What messages call the Dockerfile, such as its path from the project's folder.
    pub dockerfile_name: String,
    /// The stage to build, by name; the last one where `None`.
    pub target: Option<String>,
    /// Values for ARG, by name.
    pub build_args: BTreeMap<String, String>,
    /// What the image is for.
    pub platform: Platform,
    /// Labels set on the result, over those of the Dockerfile.
    pub labels: Annotations,
    /// Annotations of the manifest.
    pub annotations: Annotations,
    /// Where name and digest of the base image are written.
    pub base_note: BaseNote,
    /// The moment written as `created` into configuration and history, RFC 3339 in UTC.
    pub created: String,
    /// The moment, in seconds since 1970, that files newer than it get as their time, where the
    /// user asks for one (`SOURCE_DATE_EPOCH`); it is then part of every key.
    pub source_date_epoch: Option<i64>,
    /// The longest one step may take.
    pub step_timeout: Option<Duration>,
    /// Whether to run every step even where its result is known.
    pub no_cache: bool,
    /// Whether to say of every step that runs what changed since it ran last.
    pub explain: bool,
    /// What else the build may use and do.
    pub options: BuildOptions,
}

/// What a build may use and do besides what every build needs. The default is nothing of it.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// Values for `RUN --mount=type=secret`, by id. They are in no key.
    pub secrets: BTreeMap<String, Secret>,
    /// Sockets of agents for `RUN --mount=type=ssh`, by id. They are in no key.
    pub ssh: BTreeMap<String, PathBuf>,
    /// The network of RUN steps that say none.
    pub network: Network,
    /// More lines for the `/etc/hosts` of steps.
    pub hosts: Vec<(IpAddr, String)>,
    /// Whether `RUN --security=insecure` is allowed.
    pub insecure: bool,
    /// Fetches what ADD names by URL; without it ADD takes no URLs.
    pub fetch: Option<Fetcher>,
    /// Fetches git repositories that ADD names; without it ADD takes none.
    pub git: Option<GitFetcher>,
    /// What stands in the place of images, by their names in the Dockerfile.
    pub contexts: BTreeMap<String, NamedContext>,
    /// Stages, by name, whose steps run even where their results are known; numbers count as names.
    pub no_cache_filter: Vec<String>,
    /// Caches outside this machine that are asked for steps.
    pub tiers: Option<Arc<Tiers>>,
    /// Which layers are here when the build ends.
    pub settle: Settle,
    /// Steps that were run for this very image, for whatever platform: they need not run again.
    pub made: MadeSteps,
    /// Whether the context is there for this build alone, so that nothing learnt about its files is kept.
    pub transient_context: bool,
    /// Size of the `/dev/shm` of steps in bytes, where it is not to be the usual one.
    pub shared_memory: Option<u64>,
    /// Limits of the processes of steps, over the usual ones.
    pub limits: Vec<NamedLimit>,
    /// What steps get of this machine's ways to the network.
    pub host: HostAccess,
    /// What all steps together may use.
    pub allowance: Allowance,
    /// Whether folders of `RUN --mount=type=cache` are taken from the caches outside this machine and noted for them:
    /// those of at most as many bytes.
    pub kept_mounts: Option<u64>,
}

/// Which layers of the image are in the local store when a build ends.
#[derive(Clone, Default)]
pub enum Settle {
    /// All.
    #[default]
    Everything,
    /// Those that have to be sent to a repository: what it has, or its registry can link, stays where it is.
    Target {
        /// The repository.
        store: Arc<dyn ImageStore>,
        /// Its name.
        repository: Repository,
    },
}

impl fmt::Debug for Settle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("Everything"),
            Self::Target { repository, .. } => write!(f, "Target({repository})"),
        }
    }
}

/// Keys of the steps that were run, shared by the builds of one image for several platforms: a step that depends on
/// no platform runs once even where nothing known is to be used.
#[derive(Clone, Debug, Default)]
pub struct MadeSteps(Arc<Mutex<BTreeSet<String>>>);

impl MadeSteps {
    pub(crate) fn add(&self, key: &CacheKey) {
        self.0.lock().expect("no holder panics").insert(key.to_string());
    }

    pub(crate) fn contains(&self, key: &CacheKey) -> bool {
        self.0.lock().expect("no holder panics").contains(&key.to_string())
    }
}

/// What steps get of this machine's ways to the network, where it is lent to them. In no key and no layer.
#[derive(Clone, Debug, Default)]
pub struct HostAccess {
    /// Certificate authorities, PEM.
    pub certificates: Option<Arc<[u8]>>,
    /// Variables with proxy settings: name and value.
    pub proxies: Vec<(String, String)>,
}

/// What fetches files for ADD: a registry client is a neighbour on this floor and is not known here.
#[derive(Clone)]
pub struct Fetcher(Arc<FetchFile>);

/// Writes what is at an address, and returns when it was changed last, in seconds since 1970.
type FetchFile = dyn Fn(&str, &mut dyn Write) -> Result<Option<i64>, Box<dyn std::error::Error + Send + Sync>>
    + Send
    + Sync;

impl Fetcher {
    /// Fetches with `fetch`.
    pub fn new(
        fetch: impl Fn(&str, &mut dyn Write) -> Result<Option<i64>, Box<dyn std::error::Error + Send + Sync>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Arc::new(fetch))
    }

    /// Writes what is at `address` and returns when it was changed last, where that is known.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn fetch(
        &self,
        address: &str,
        output: &mut dyn Write,
    ) -> Result<Option<i64>, Box<dyn std::error::Error + Send + Sync>> {
        (self.0)(address, output)
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher")
    }
}

/// What stands in the place of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// A folder, for COPY --from and mounts.
    Folder(PathBuf),
    /// Another image, by a name that [`Bases`] finds.
    Image(String),
}

/// Bytes that are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Takes the bytes.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where base images come from.
pub trait Bases: Sync {
    /// Returns the image that `FROM` or `COPY --from` names.
    ///
    /// # Errors
    /// A message for the user: where it was looked for and why it was not found.
    fn find(&self, request: &BaseRequest<'_>) -> Result<Base, Box<dyn std::error::Error + Send + Sync>>;
}

/// A base image asked for.
#[derive(Clone, Copy, Debug)]
pub struct BaseRequest<'a> {
    /// The name as the Dockerfile has it, expanded.
    pub name: &'a str,
    /// The platform it must be for.
    pub platform: &'a Platform,
}

/// A base image found: one manifest, and a store that has its blobs.
pub struct Base {
    /// The manifest of the one platform.
    pub manifest: Document,
    /// Where the configuration and layers are read from, when they are not in the local store.
    pub store: Box<dyn ImageStore>,
    /// The store as a repository of a registry, whose blobs the same registry can link elsewhere.
    pub repository: Option<Repository>,
    /// What others know it by; `None` for what no registry has, such as an archive.
    pub reference: Option<BaseReference>,
}

/// What an image was based on, as `org.opencontainers.image.base.*` have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseReference {
    /// Full name without digest, such as `docker.io/library/debian:12`.
    pub name: String,
    /// Digest of what the name pointed to: of an index, where there are several platforms.
    pub digest: oci::Digest,
}

/// Where name and digest of the base image of the last stage are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BaseNote {
    /// Nowhere, as docker does.
    #[default]
    Nowhere,
    /// Into labels.
    Labels,
    /// Into labels, and annotations of the manifest.
    LabelsAndAnnotations,
}

/// What a build gave.
#[derive(Clone, Debug)]
pub struct Built {
    /// The manifest; its blobs are in the local store.
    pub manifest: Document,
    /// The configuration.
    pub config: ImageConfig,
    /// How many steps there were.
    pub steps: StepCount,
    /// Digests of the base images used, by the name the Dockerfile gives them.
    pub bases: BTreeMap<String, oci::Digest>,
    /// What of it can be cached.
    pub used: Used,
}

/// How the result of a step was come by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepSource {
    /// It ran.
    Ran,
    /// It was known here.
    Local,
    /// The cache of this name knew it.
    Cache(String),
}

impl StepSource {
    /// Whether the result was known.
    pub fn is_known(&self) -> bool {
        *self != Self::Ran
    }
}

/// How many steps make layers, and how many of their results were known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepCount {
    /// RUN, COPY, ADD and WORKDIR of the stages needed.
    pub total: u32,
    /// Those that did not have to run.
    pub cached: u32,
}

/// Something happened in a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildEvent {
    /// The plan is known.
    Planned {
        /// Steps that make layers.
        steps: u32,
    },
    /// A base image brings steps along that no line of the Dockerfile has.
    MorePlanned {
        /// Steps that make layers, with those that were known before.
        steps: u32,
    },
    /// A step starts; `number` counts from 1.
    StepStarted {
        /// Which.
        number: u32,
        /// The stage's name, or its number from 0.
        stage: String,
        /// The instruction on one line.
        instruction: String,
        /// The Dockerfile.
        file: String,
        /// Its line in the Dockerfile.
        line: u32,
    },
    /// Why a step runs, or which cache elsewhere knew it; told where the request asks for explanations.
    StepExplained {
        /// Which.
        number: u32,
        /// What it depends on that changed, or the cache, for people.
        reason: String,
    },
    /// A running step printed something; not necessarily whole lines.
    StepOutput {
        /// Which.
        number: u32,
        /// What.
        bytes: Vec<u8>,
    },
    /// A step ended well.
    StepFinished {
        /// Which.
        number: u32,
        /// How its result was come by.
        source: StepSource,
        /// How long it took.
        duration: Duration,
        /// Size of its layer in bytes, compressed.
        layer_bytes: u64,
    },
    /// A base image is being brought into the local store.
    BaseStarted {
        /// Its name.
        name: String,
    },
    /// Something the user may like to know.
    Note(String),
    /// Something the user should know.
    Warning(String),
}
