//! Which answer a request gets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hyper::body::{Body as _, Incoming};
use hyper::header::ALLOW;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use oci::{Algorithm, Registry, Repository};
use store::{Reach, RepositoryOptions};

use super::access::{Action, Entry, Principal, Want};
use super::body::Content;
use super::defect::{Defect, caught};
use super::holders::Holders;
use super::immutable::Immutable;
use super::metrics::Metrics;
use super::plain::Wire;
use super::proxy::{self, Proxy};
use super::quota::Quotas;
use super::referrers::Referrers;
use super::refusal::Refusal;
use super::rules::{Current, Rules};
use super::session::Sessions;
use super::shelf::Shelf;
use super::sprint::Track;
use super::storage::{Storage, StoredRepository};
use super::webhook::Hooks;
use super::{Access, LogEntry, ServerOptions, answer, blob, list, manifest, referrers, upload};
use crate::protocol::{Endpoint, ErrorCode, query};

/// How much connections hold together, as long as each may have [`MIN_BUFFER_BYTES`].
const ALL_BUFFER_BYTES: u64 = 32 << 20;
const MIN_BUFFER_BYTES: usize = 32 << 10;
/// How much one holds however few there are. It is the largest head of a request, too.
const MAX_BUFFER_BYTES: usize = 128 << 10;

/// What all requests share.
pub(super) struct State {
    pub options: ServerOptions,
    pub sessions: Sessions,
    pub referrers: Referrers,
    pub shelf: Shelf,
    pub quotas: Arc<Quotas>,
    pub proxy: Option<Arc<Proxy>>,
    pub hooks: Option<Arc<Hooks>>,
    pub metrics: Metrics,
    /// How many requests bring content of blobs just now.
    pub uploading: AtomicUsize,
    /// How many bytes of manifests have come that are not read yet.
    pub manifest_bytes: AtomicUsize,
    pub holders: Holders,
    pub track: Track,
    /// Tags that stay.
    pub immutable: Current<Vec<Immutable>>,
    entry: Option<Entry>,
}

/// A request without its body.
pub(super) struct Question {
    pub head: Parts,
    /// How the connection moves content past the HTTP library, where it can.
    pub wire: Option<Wire>,
    /// Who makes the request; `None` where everybody may do everything.
    who: Option<Principal>,
    query: Vec<(String, String)>,
}

pub(super) type Answer = Result<Response<Content>, Refusal>;

impl State {
    pub fn new(options: ServerOptions, hooks: Option<Arc<Hooks>>) -> Result<Self, getrandom::Error> {
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let entry = options
            .policy
            .clone()
            .map(|policy| Entry::new(policy, scheme, options.public_url.clone()))
            .transpose()?;
        let sessions = Sessions::new(options.session_lifetime);
        let quotas = Arc::new(Quotas::new(options.quotas.clone()));
        let proxy = options.proxy.clone().map(|proxy| Arc::new(Proxy::new(proxy, options.store.clone())));
        Ok(Self {
            sessions,
            referrers: Referrers::default(),
            shelf: Shelf::default(),
            quotas,
            proxy,
            hooks,
            metrics: Metrics::default(),
            uploading: AtomicUsize::new(0),
            manifest_bytes: AtomicUsize::new(0),
            holders: Holders::default(),
            track: Track::default(),
            immutable: Current::new(options.immutable.clone()),
            entry,
            options,
        })
    }

    /// Goes by other rules from now on.
    pub fn change(&self, rules: Rules) {
        if let (Some(entry), Some(policy)) = (&self.entry, rules.policy) {
            entry.change(policy);
        }
        self.immutable.set(rules.immutable);
        self.quotas.change(rules.quotas);
    }

    /// Returns the view that clients have of a repository: only its own blobs.
    pub fn repository(&self, name: &Repository) -> StoredRepository {
        let options = RepositoryOptions { reach: Reach::Repository, children: self.options.children };
        match name.registry().is_local() {
            true => self.storage().repository(name, options),
            // What is kept of other registries lies in the folder, whatever holds our own images.
            false => Storage::Folder(&self.options.store).repository(name, options),
        }
    }

    /// Returns where images are.
    pub fn storage(&self) -> Storage<'_> {
        Storage::of(&self.options)
    }

    /// Returns how many bytes of requests and answers one connection may hold, so that thousands whose
    /// clients do not read stay small together.
    pub fn share(&self) -> usize {
        let connections = self.metrics.connections.load(Ordering::Relaxed).max(1);
        let share = usize::try_from(ALL_BUFFER_BYTES / connections).unwrap_or(MAX_BUFFER_BYTES);
        share.clamp(MIN_BUFFER_BYTES, MAX_BUFFER_BYTES)
    }

    /// Tells of a panic that somebody caught: `what` ended with it.
    pub fn note_defect(&self, what: &str, Defect(reason): &Defect) {
        self.metrics.ran_into_defect();
        tracing::error!(reason, "{what} was ended by a defect of the server, which goes on");
    }

    /// Does work on the disk; other requests go on meanwhile.
    pub fn on_disk<T>(&self, work: impl FnOnce() -> T) -> T {
        tokio::task::block_in_place(work)
    }
}

impl Question {
    /// Returns the first value of `key` in the query.
    pub fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Returns all values of `key` in the query, in order.
    pub fn queries(&self, key: &str) -> impl Iterator<Item = &str> {
        self.query.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Returns a header as text; `None` where it is missing or not text.
    pub fn header(&self, name: impl hyper::header::AsHeaderName) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// Whether whoever asks may pull from a repository, whatever the request is for.
    pub fn may_pull_from(&self, repository: &Repository) -> bool {
        self.who.as_ref().is_none_or(|who| who.granted(repository.path()).has(Action::Pull))
    }

    /// Returns the name of whoever asks; empty where nobody was named.
    pub fn who(&self) -> &str {
        self.who.as_ref().map_or("", |who| who.name.as_str())
    }

    pub fn is_head(&self) -> bool {
        self.head.method == Method::HEAD
    }
}

/// Answers a request and notes it in the access log.
pub(super) async fn answer(
    state: Arc<State>,
    peer: SocketAddr,
    wire: Option<Wire>,
    request: Request<Incoming>,
) -> Response<Content> {
    let started = Instant::now();
    let (head, body) = request.into_parts();
    let query = query::pairs(head.uri.query().unwrap_or_default());
    let mut question = Question { head, wire, who: None, query };
    let response = caught(respond(&state, &mut question, body)).await.unwrap_or_else(|defect| {
        state.note_defect(&format!("{} {}", question.head.method, question.head.uri.path()), &defect);
        Err(Refusal::defect())
    });
    let response = response.unwrap_or_else(Refusal::into_response);
    let bytes = response.body().size_hint().exact();
    let (method, status) = (question.head.method.as_str(), response.status().as_u16());
    state.metrics.answered(method, status, bytes.unwrap_or(0), started.elapsed());
    (state.options.access_log)(&LogEntry {
        peer,
        who: question.who.map(|who| who.name).unwrap_or_default(),
        method: method.to_owned(),
        path: question.head.uri.path().to_owned(),
        status,
        bytes,
        elapsed: started.elapsed(),
    });
    response
}

async fn respond(state: &State, question: &mut Question, body: Incoming) -> Answer {
    if let Some(response) = beside(state, question) {
        return Ok(response);
    }
    admit(state, question).await?;
    route(state, question, body).await
}

/// Answers what is beside the protocol and asks nobody for credentials: whether the server is well,
/// and what it counted, where that is wanted.
fn beside(state: &State, question: &Question) -> Option<Response<Content>> {
    let reads = question.head.method == Method::GET || question.is_head();
    match question.head.uri.path() {
        "/healthz" if reads => {
            let is_well = state.on_disk(|| state.storage().is_well());
            let (status, text) = match is_well {
                true => (StatusCode::OK, "ok\n"),
                false => (StatusCode::SERVICE_UNAVAILABLE, "the store is not there\n"),
            };
            Some(answer::text(status, text.to_owned()))
        }
        "/metrics" if reads && state.options.metrics => {
            Some(answer::text(StatusCode::OK, metrics_text(state)))
        }
        _ => None,
    }
}

fn metrics_text(state: &State) -> String {
    let mut text = state.metrics.text(state.sessions.count());
    if let Some(proxy) = &state.proxy {
        proxy.counts.write(&mut text);
    }
    if let Some(hooks) = &state.hooks {
        hooks.write_metrics(&mut text);
    }
    text
}

/// Finds out who asks.
async fn admit(state: &State, question: &mut Question) -> Result<(), Refusal> {
    if let Some(entry) = &state.entry {
        question.who = Some(entry.admit(&question.head).await?);
    }
    Ok(())
}

/// Refuses what whoever asks may not do.
fn check_allowed(state: &State, question: &Question, endpoint: &Endpoint) -> Result<(), Refusal> {
    let (Some(entry), Some(who)) = (&state.entry, &question.who) else { return Ok(()) };
    let want = match (question.head.method.as_str(), endpoint) {
        (_, Endpoint::Base) => Want::Name,
        (_, Endpoint::Catalog) => Want::Nothing,
        ("GET" | "HEAD", Endpoint::Upload(name, _)) => Want::Action(Action::Push, name),
        ("DELETE", Endpoint::Manifest(name, _) | Endpoint::Blob(name, _)) => {
            Want::Action(Action::Delete, name)
        }
        ("GET" | "HEAD", other) => {
            other.repository().map_or(Want::Name, |name| Want::Action(Action::Pull, name))
        }
        (_, other) => other.repository().map_or(Want::Name, |name| Want::Action(Action::Push, name)),
    };
    entry.check(who, want, &question.head)
}

async fn route(state: &State, question: &Question, body: Incoming) -> Answer {
    let method = question.head.method.as_str();
    let reads = method == "GET" || method == "HEAD";
    if let (true, "/token", Some(entry), Some(who)) =
        (reads, question.head.uri.path(), &state.entry, &question.who)
    {
        return Ok(entry.ticket(who, question.queries("scope")));
    }
    let mut endpoint = Endpoint::parse(question.head.uri.path(), &Registry::local())?;
    let mapped = match (&state.proxy, endpoint.repository()) {
        (Some(proxy), Some(name)) => proxy.find(name, question)?.map(|mapped| (proxy, mapped)),
        _ => None,
    };
    if let Some((_, mapped)) = &mapped {
        // Rules are about the name that says whose it is, however the client asked.
        endpoint = endpoint.of(mapped.client.clone());
    }
    check_allowed(state, question, &endpoint)?;
    if state.options.access == Access::ReadOnly && !reads {
        return Err(not_allowed("GET, HEAD", "this registry is read-only"));
    }
    if let Some((proxy, mapped)) = &mapped {
        return proxy::route(state, question, proxy, mapped, &endpoint).await;
    }
    match (method, &endpoint) {
        ("GET" | "HEAD", Endpoint::Base) => Ok(answer::json(StatusCode::OK, b"{}".to_vec())),
        ("GET" | "HEAD", Endpoint::Catalog) => list::catalog(state, question),
        ("GET" | "HEAD", Endpoint::Tags(name)) => list::tags(state, question, name),
        ("GET" | "HEAD", Endpoint::Referrers(name, digest)) => referrers::list(state, question, name, digest),
        ("GET" | "HEAD", Endpoint::Manifest(name, wanted)) => manifest::get(state, question, name, wanted),
        ("PUT", Endpoint::Manifest(name, wanted)) => manifest::put(state, question, name, wanted, body).await,
        ("DELETE", Endpoint::Manifest(name, wanted)) => manifest::delete(state, question, name, wanted),
        ("GET" | "HEAD", Endpoint::Blob(name, digest)) => blob::get(state, question, name, digest),
        ("DELETE", Endpoint::Blob(name, digest)) => blob::delete(state, name, digest),
        ("POST", Endpoint::Uploads(name)) => upload::begin(state, question, name, body).await,
        ("GET" | "HEAD", Endpoint::Upload(name, session)) => upload::status(state, name, session).await,
        ("PATCH", Endpoint::Upload(name, session)) => {
            upload::append(state, question, name, session, body).await
        }
        ("PUT", Endpoint::Upload(name, session)) => {
            upload::finish(state, question, name, session, body).await
        }
        ("DELETE", Endpoint::Upload(name, session)) => upload::cancel(state, name, session),
        _ => Err(not_allowed(allowed(&endpoint), format!("{method} is not possible here"))),
    }
}

/// Returns the algorithm by which the client says it will name content; `None` where it does not.
pub(super) fn algorithm(question: &Question) -> Result<Option<Algorithm>, Refusal> {
    let Some(name) = question.query("digest-algorithm") else { return Ok(None) };
    let algorithm = Algorithm::from_name(name).ok_or_else(|| {
        Refusal::bad_request(ErrorCode::DigestInvalid, "the digest algorithm is neither sha256 nor sha512")
    })?;
    Ok(Some(algorithm))
}

fn allowed(endpoint: &Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Base | Endpoint::Catalog | Endpoint::Tags(_) | Endpoint::Referrers(..) => "GET, HEAD",
        Endpoint::Manifest(..) => "GET, HEAD, PUT, DELETE",
        Endpoint::Blob(..) => "GET, HEAD, DELETE",
        Endpoint::Uploads(_) => "POST",
        Endpoint::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
    }
}

fn not_allowed(allowed: &str, message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message).with(ALLOW, allowed)
}
