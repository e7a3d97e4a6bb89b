//! Caches outside this machine, in the order they are asked: a store with images, and a name in it.
//!
//! What a tier says it has is fetched once, on a thread of its own that starts with the build; who asks waits for
//! it. Two documents are fetched, the manifest and its configuration; blobs come when something needs them.

use std::fmt;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use oci::{Descriptor, Document, MediaType, Repository, Tag};
use store::{ImageStore, StoreError};

use super::artifact::{CACHE_TYPE, CacheArtifact, MAX_CONFIG_BYTES};

/// What the caches have as configuration that BuildKit keeps in registries.
const BUILDKIT_CACHE: &str = "application/vnd.buildkit.cacheconfig.v0";
/// How long a build waits for a cache to say what it has: running the steps may be quicker.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cache outside this machine.
#[derive(Clone)]
pub struct Tier {
    /// What people call it, such as `registry:ghcr.io/acme/api:cache`.
    pub label: String,
    /// Where it lies.
    pub store: Arc<dyn ImageStore>,
    /// Its name there.
    pub name: TierName,
    /// The store as a repository of a registry, whose blobs the same registry can link elsewhere.
    pub repository: Option<Repository>,
}

/// The name of a cache in its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TierName {
    /// A tag of its own.
    Tag(Tag),
    /// It refers to the image with this tag.
    Attached(Tag),
}

/// What a failure of a cache does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCacheError {
    /// It is told, and the build goes on as if the cache had nothing.
    #[default]
    Warn,
    /// The build fails.
    Fail,
}

/// What was found at a tier.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Its manifest; `None` where there is none yet.
    pub document: Option<Document>,
    /// What it has.
    pub artifact: CacheArtifact,
}

/// The tiers of one build, being fetched.
pub struct Tiers {
    tiers: Vec<Asked>,
    /// What a failure does.
    pub on_error: OnCacheError,
}

struct Asked {
    tier: Tier,
    coming: Mutex<Option<Receiver<Result<Found, StoreError>>>>,
    answer: OnceLock<Result<Found, StoreError>>,
    /// Whether somebody has taken note of the answer.
    told: AtomicBool,
}

/// The answer of a tier.
pub(crate) struct Answer<'a> {
    pub tier: &'a Tier,
    pub found: &'a Result<Found, StoreError>,
    /// Whether this is the first time that somebody sees it.
    pub is_news: bool,
}

impl Tier {
    /// Fetches what the tier says it has; that it says nothing yet is no error.
    ///
    /// # Errors
    /// `Corrupt` where it is no cache that can be read, and what the store says.
    pub fn read(&self) -> Result<Found, StoreError> {
        match self.document()? {
            None => Ok(Found::default()),
            Some(document) => {
                let artifact = self.artifact(&document)?;
                Ok(Found { document: Some(document), artifact })
            }
        }
    }

    /// Returns the manifest that the tier's name leads to; `None` where there is none yet.
    ///
    /// # Errors
    /// What the store says.
    pub fn document(&self) -> Result<Option<Document>, StoreError> {
        let (TierName::Tag(tag) | TierName::Attached(tag)) = &self.name;
        let Some(named) = absent_is_none(self.store.resolve(tag))? else { return Ok(None) };
        let digest = match &self.name {
            TierName::Tag(_) => Some(named.digest),
            TierName::Attached(_) => {
                let is_cache = |found: &&Descriptor| found.artifact_type.as_deref() == Some(CACHE_TYPE);
                let referrers = absent_is_none(self.store.referrers(&named.digest))?.unwrap_or_default();
                referrers.iter().find(is_cache).map(|found| found.digest)
            }
        };
        match digest {
            Some(digest) => absent_is_none(self.store.document(&digest)),
            None => Ok(None),
        }
    }

    fn artifact(&self, document: &Document) -> Result<CacheArtifact, StoreError> {
        let corrupt =
            |reason: String| StoreError::Corrupt { what: format!("the cache {}", self.label), reason };
        let Some(manifest) = document.as_image() else { return Err(corrupt("it is an index".to_owned())) };
        let config = &manifest.config;
        if config.media_type.as_str() != CACHE_TYPE {
            return Err(corrupt(foreign(config)));
        }
        if config.size > MAX_CONFIG_BYTES {
            return Err(corrupt(format!("its configuration has {} bytes", config.size)));
        }
        let blob = self.store.open_blob(&config.digest)?;
        let mut bytes = Vec::new();
        let read = blob.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| corrupt(format!("its configuration: {error}")))?;
        CacheArtifact::parse(&bytes).map_err(|error| corrupt(error.to_string()))
    }
}

/// Says what something is that is no cache of ours.
fn foreign(config: &Descriptor) -> String {
    let kind = &config.media_type;
    let what = match kind.as_str() {
        BUILDKIT_CACHE => ", so it is BuildKit's, whose keys are other ones",
        _ if [MediaType::OciConfig, MediaType::DockerConfig].contains(kind) => {
            ", so it is an image; a cache that is attached to an image is read with type=image,ref=REF"
        }
        _ => "",
    };
    format!("its configuration is a {kind}, expected {CACHE_TYPE}{what}")
}

fn absent_is_none<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Tiers {
    /// Starts to fetch what `tiers` have, all at once; they are asked in their order.
    pub fn start(tiers: Vec<Tier>, on_error: OnCacheError) -> Self {
        let ask = |tier: Tier| {
            let reader = tier.clone();
            let (sender, coming) = mpsc::channel();
            // Who asked may have given up.
            std::thread::spawn(move || drop(sender.send(reader.read())));
            let (answer, told) = (OnceLock::new(), AtomicBool::new(false));
            Asked { tier, coming: Mutex::new(Some(coming)), answer, told }
        };
        Self { tiers: tiers.into_iter().map(ask).collect(), on_error }
    }

    /// Returns the answers in their order, waiting for each when it is taken.
    pub(crate) fn answers(&self) -> impl Iterator<Item = Answer<'_>> {
        self.tiers.iter().map(|asked| {
            let found = asked.answer();
            Answer { tier: &asked.tier, found, is_news: !asked.told.swap(true, Ordering::AcqRel) }
        })
    }
}

impl Asked {
    fn answer(&self) -> &Result<Found, StoreError> {
        self.answer.get_or_init(|| {
            let coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner).take();
            let answer = coming.map(|coming| coming.recv_timeout(PATIENCE));
            answer.and_then(Result::ok).unwrap_or_else(|| {
                let source = format!("no answer within {} s", PATIENCE.as_secs()).into();
                let what = format!("the cache {}", self.tier.label);
                Err(StoreError::Unreachable { action: "read", what, transient: true, source })
            })
        })
    }
}

impl fmt::Debug for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tier({})", self.label)
    }
}

impl fmt::Debug for Tiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tiers.iter().map(|asked| &asked.tier)).finish()
    }
}
