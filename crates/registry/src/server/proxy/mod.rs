//! A cache of other registries: what clients ask for is fetched there once, kept, and served from here.
//!
//! What is kept of `docker.io/library/debian` is the store's repository of that very name, so builds on
//! this machine find it too. It cannot be pushed to. What a digest names never changes, so it is asked
//! for once; what a tag points to is asked for again after some time. Where the other registry does not
//! answer, what is kept is served, however old.
//!
//! | room | owns |
//! |---|---|
//! | `upstream` | which names are whose |
//! | `documents` | manifests and tags |
//! | `blobs`, `flight` | blobs that are sent on while they come |
//! | `lists` | tags and referrers |
//! | `eviction` | letting go of what nobody asks for any more |
//! | `turns` | one question at a time about one thing |

mod blobs;
mod documents;
mod eviction;
mod flight;
mod lists;
mod turns;
mod upstream;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::ALLOW;
use oci::{Registry, Repository, Tag};
use store::{Children, LayoutRepository, LayoutStore, Reach, RepositoryOptions, StoreError};
use tokio::sync::Semaphore;

use super::refusal::{Refusal, placeless};
use super::routes::{Answer, Question, State};
use super::{blob, manifest};
use crate::client::{Client, RemoteRepository};
use crate::protocol::{Endpoint, ErrorCode};

pub use upstream::{InvalidUpstream, Upstream};

pub(in crate::server) use upstream::Mapped;

use flight::Flights;
use turns::Turns;

/// How many questions to other registries are under way at once; each holds a thread.
const MAX_QUESTIONS: usize = 64;
/// How long a registry that did not answer is left alone.
const REST: Duration = Duration::from_secs(5);
/// How many tags are remembered before all are asked for again.
const MAX_TAGS: usize = 50_000;

/// Which registries are cached, and how.
#[derive(Clone)]
pub struct ProxyOptions {
    /// The registries.
    pub upstreams: Vec<Upstream>,
    /// How they are reached.
    pub client: Client,
    /// After how long a tag is looked up again.
    pub max_age: Duration,
    /// After how long a manifest that nobody asked for is let go of, at the next collection.
    pub max_idle: Option<Duration>,
    /// How many bytes are kept of all of them; beyond that those go that nobody asked for longest.
    pub max_bytes: Option<u64>,
    /// Told of what did not go as it should.
    pub report: ProxyReport,
}

/// Who is told of a registry that does not answer.
pub type ProxyReport = Arc<dyn Fn(&ProxyTrouble) + Send + Sync>;

/// Why a cached registry could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyTrouble {
    /// What was asked for.
    pub what: String,
    /// What happened, with its causes.
    pub reason: String,
    /// Whether something that was kept was served instead.
    pub is_served: bool,
}

impl std::fmt::Debug for ProxyOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyOptions").field("upstreams", &self.upstreams).finish_non_exhaustive()
    }
}

/// Why a registry is not asked just now.
#[derive(Debug, thiserror::Error)]
#[error("it did not answer a moment ago")]
struct Silent;

/// The cache while the server runs.
pub(super) struct Proxy {
    options: ProxyOptions,
    store: LayoutStore,
    /// When a tag was last looked up. It is asked for once more after a restart.
    verified: Mutex<HashMap<(Repository, Tag), Instant>>,
    /// Registries that did not answer, and when.
    silent: Mutex<HashMap<Registry, Instant>>,
    turns: Turns,
    flights: Flights,
    places: Semaphore,
    pub counts: Counts,
}

/// What is counted of the cache.
#[derive(Default)]
pub(super) struct Counts {
    /// Manifests and blobs that were here.
    pub hits: AtomicU64,
    /// Those that were not.
    pub misses: AtomicU64,
    /// Tags that were served although their registry did not answer.
    pub stale: AtomicU64,
    /// Questions that other registries did not answer.
    pub failures: AtomicU64,
    /// Bytes of blobs that came from other registries.
    pub fetched_bytes: AtomicU64,
    /// Manifests that were let go of.
    pub evicted: AtomicU64,
}

impl Proxy {
    pub fn new(options: ProxyOptions, store: LayoutStore) -> Self {
        Self {
            options,
            store,
            verified: Mutex::default(),
            silent: Mutex::default(),
            turns: Turns::default(),
            flights: Flights::default(),
            places: Semaphore::new(MAX_QUESTIONS),
            counts: Counts::default(),
        }
    }

    /// Returns whose the name is; `None` for one of ours.
    pub fn find(&self, name: &Repository, question: &Question) -> Result<Option<Mapped>, Refusal> {
        // A mirror that containerd asks is told which registry it stands for.
        let registry = question.query("ns").filter(|registry| question.header("host") != Some(registry));
        upstream::find(&self.options.upstreams, name, registry)
            .map_err(|error| Refusal::new(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, error.to_string()))
    }

    /// Returns the name that clients have for a repository of which something is kept.
    pub fn client_name(&self, upstream: &Repository) -> Option<Repository> {
        self.options.upstreams.iter().find_map(|one| one.client_name(upstream))
    }

    /// Returns what is kept of a repository.
    fn view(&self, upstream: &Repository) -> LayoutRepository {
        let options = RepositoryOptions { reach: Reach::Repository, children: Children::Nothing };
        self.store.repository_with(upstream, options)
    }

    /// Asks a registry; one that just did not answer is not asked.
    async fn ask<T>(
        &self,
        upstream: &Repository,
        work: impl FnOnce(&RemoteRepository) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.check_silence(upstream)?;
        let _place = self.places.acquire().await.expect("it is never closed");
        let asked = tokio::task::block_in_place(|| work(&self.options.client.repository(upstream)));
        if let Err(error) = &asked {
            self.note_failure(upstream, error);
        }
        asked
    }

    fn check_silence(&self, upstream: &Repository) -> Result<(), StoreError> {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        match silent.get(upstream.registry()) {
            Some(since) if since.elapsed() < REST => Err(StoreError::Unreachable {
                action: "ask",
                what: upstream.registry().to_string(),
                transient: true,
                source: Box::new(Silent),
            }),
            _ => Ok(()),
        }
    }

    fn note_failure(&self, upstream: &Repository, error: &StoreError) {
        if matches!(error, StoreError::Unreachable { source, .. } if !source.is::<Silent>()) {
            self.counts.failures.fetch_add(1, Relaxed);
            let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
            silent.insert(upstream.registry().clone(), Instant::now());
        }
    }

    /// Tells of trouble; once for a registry that is left alone.
    fn report(&self, what: impl ToString, error: &StoreError, is_served: bool) {
        if matches!(error, StoreError::Unreachable { source, .. } if source.is::<Silent>()) {
            return;
        }
        let reason = store::with_causes(error);
        (self.options.report)(&ProxyTrouble { what: what.to_string(), reason, is_served });
    }

    fn is_fresh(&self, upstream: &Repository, tag: &Tag) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let when = verified.get(&(upstream.clone(), tag.clone()));
        when.is_some_and(|when| when.elapsed() < self.options.max_age)
    }

    fn note_verified(&self, upstream: &Repository, tag: &Tag) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= MAX_TAGS {
            verified.clear();
        }
        verified.insert((upstream.clone(), tag.clone()), Instant::now());
    }
}

/// Answers a request about a repository of another registry.
pub(super) async fn route(
    state: &State,
    question: &Question,
    proxy: &Arc<Proxy>,
    mapped: &Mapped,
    endpoint: &Endpoint,
) -> Answer {
    let upstream = &mapped.upstream;
    match (question.head.method.as_str(), endpoint) {
        ("GET" | "HEAD", Endpoint::Manifest(_, wanted)) => {
            documents::get(state, question, proxy, mapped, wanted).await
        }
        ("GET" | "HEAD", Endpoint::Blob(_, digest)) => {
            blobs::get(state, question, proxy, upstream, digest).await
        }
        ("GET" | "HEAD", Endpoint::Tags(_)) => lists::tags(state, question, proxy, mapped).await,
        ("GET" | "HEAD", Endpoint::Referrers(_, digest)) => {
            lists::referrers(state, question, proxy, upstream, digest).await
        }
        // Whoever may delete here lets go of what is kept; it comes back when it is asked for.
        ("DELETE", Endpoint::Manifest(_, wanted)) => manifest::delete(state, question, upstream, wanted),
        ("DELETE", Endpoint::Blob(_, digest)) => blob::delete(state, upstream, digest),
        (method, _) => {
            let message = format!(
                "{method} is not possible here: {} is a cache of {upstream}; push there",
                mapped.client.path()
            );
            let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message);
            Err(refusal.with(ALLOW, "GET, HEAD, DELETE"))
        }
    }
}

/// Returns what a client is told of an error of another registry.
fn refusal(error: &StoreError, missing: ErrorCode) -> Refusal {
    let unavailable = ErrorCode::Other("UNAVAILABLE".to_owned());
    match error {
        StoreError::NotFound { what } => {
            let message = format!("{} does not exist", placeless(what));
            Refusal::new(StatusCode::NOT_FOUND, missing, message)
        }
        StoreError::Denied { what, reason } => {
            let message = format!("{} was refused: {reason}", placeless(what));
            Refusal::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message)
        }
        StoreError::Corrupt { what, .. } => {
            let message = format!("{} came with other content than its digest says", placeless(what));
            Refusal::new(StatusCode::BAD_GATEWAY, unavailable, message)
        }
        StoreError::Unsupported { what, reason } => {
            let message = format!("{} cannot be kept here: {reason}", placeless(what));
            Refusal::new(StatusCode::BAD_GATEWAY, unavailable, message)
        }
        StoreError::Unreachable { what, .. } => {
            let message = format!("the registry that is cached here did not give {}", placeless(what));
            Refusal::new(StatusCode::BAD_GATEWAY, unavailable, message)
        }
    }
}
