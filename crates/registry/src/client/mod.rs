//! The client: a repository of any registry as a store.
//!
//! [`Client`] owns connections, tokens and the bounds of what happens at once; a
//! [`RemoteRepository`] is a cheap view of one repository through it. Everything blocks the
//! calling thread. What to transfer, and several transfers side by side, belong to `store::copy`.
//!
//! | room | owns |
//! |---|---|
//! | `host` | one request: redirects, credentials, error answers |
//! | `retry`, `budget` | when it is made again |
//! | `auth`, `token`, `credentials`, `cloud` | being let in |
//! | `fetch`, `post` | one small document from or to any address |
//! | `upload`, `download`, `manifest`, `list`, `referrers`, `remove` | what requests mean |
//! | `outside` | services that are no registries: object stores, caches of CI hosts |
//! | `certificates`, `own` | what is kept and set for single registries |
//! | `route` | mirrors, other locations, what is blocked |
//! | `transport`, `connector`, `proxy`, `payload` | bytes on sockets; the only async rooms |
//! | `direct`, `answer` | a file on a plain socket, moved by the kernel |
//! | `address`, `gate` | where requests may go, and how many at once |
//!
//! Source: distribution-spec v1.1.

mod address;
mod answer;
mod auth;
mod budget;
mod certificates;
mod clock;
mod cloud;
mod connector;
mod credentials;
mod direct;
mod download;
mod failure;
mod fetch;
mod gate;
mod host;
mod list;
mod manifest;
mod outside;
mod own;
mod payload;
mod post;
mod proxy;
mod referrers;
mod remove;
mod repository;
mod retry;
mod route;
mod scope;
mod secret;
mod token;
mod transport;
mod upload;
mod url;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use hyper::{Method, StatusCode};
use oci::{Registry, Repository};
use store::{PartFolder, StoreError};

pub use clock::Clock;
pub use cloud::CloudSettings;
pub use connector::TlsError;
pub use credentials::{Credential, CredentialError, CredentialFile, Credentials};
pub use download::Ranges;

pub use failure::{Failure, GaveUp, Limit};
pub use outside::{Ask, Told};
pub use own::HostOptions;
pub use post::PostFailure;
pub use proxy::{InvalidProxy, ProxySettings};
pub use remove::Removal;
pub use repository::RemoteRepository;
pub use retry::{Next, Notice, NoticeSink, RetryPolicy};
pub use route::{InvalidRoute, RouteSettings};
pub use secret::Secret;

use crate::protocol::Endpoint;
use connector::{Authorities, Connector};
use download::Teams;
use gate::Gates;
use host::{Call, Host};
use payload::Payload;
use proxy::Proxies;
use route::{Mirror, Routes, Site};
use scope::Scope;
use transport::Transport;

/// How the client reaches registries.
#[derive(Clone)]
pub struct ClientOptions {
    /// Who we are.
    pub credentials: Arc<Credentials>,
    /// Registries that are spoken to in plain HTTP. Loopback addresses always are.
    pub plain_http: Vec<Registry>,
    /// How often and how patiently requests are made again.
    pub retry: RetryPolicy,
    /// The name we give to servers.
    pub user_agent: String,
    /// A PEM file of certificate authorities that are trusted besides those of the machine.
    pub authorities: Option<PathBuf>,
    /// Folders in which `HOST[:PORT]/` holds certificates for one registry; the first that knows it counts.
    pub certificate_folders: Vec<PathBuf>,
    /// What clouds give jobs and machines, from which logins to their registries are made.
    pub clouds: CloudSettings,
    /// Files that name mirrors and say which registries are where.
    pub routes: RouteSettings,
    /// The proxies to use.
    pub proxy: ProxySettings,
    /// Told before a request is made again.
    pub notice: NoticeSink,
    /// Time.
    pub clock: Clock,
    /// A folder for content that comes as a stream and goes to a registry; a file in it has no
    /// name and is gone with the process.
    pub scratch: PathBuf,
    /// A folder in which uploads that may go on in another process are noted; none where it is `None`.
    pub sessions: Option<PathBuf>,
    /// A folder for what arrived of content on its way to another registry, so that another process goes on with it;
    /// that of the local store is meant. Nothing is kept where it is `None`.
    pub parts: Option<PartFolder>,
    /// Registries that get blobs in chunks of so many bytes instead of in one request.
    pub chunks: BTreeMap<Registry, u64>,
    /// How many uploads one host gets at once, and half of how many other requests.
    pub requests_per_host: usize,
    /// How a large blob comes over several connections.
    pub ranges: Ranges,
    /// What is different for single registries.
    pub hosts: BTreeMap<Registry, HostOptions>,
    /// Whether a blob that a registry does not have is fetched from the `urls` that a manifest names for it.
    pub follow_urls: bool,
}

impl ClientOptions {
    /// Returns options for anonymous use with Docker's patience and no proxy.
    pub fn new(clock: Clock, scratch: impl Into<PathBuf>) -> Self {
        Self {
            credentials: Arc::new(Credentials::anonymous()),
            plain_http: Vec::new(),
            retry: RetryPolicy::default(),
            user_agent: concat!("plimsoll/", env!("CARGO_PKG_VERSION")).to_owned(),
            authorities: None,
            certificate_folders: Vec::new(),
            clouds: CloudSettings::default(),
            routes: RouteSettings::default(),
            proxy: ProxySettings::default(),
            notice: Arc::new(|_| {}),
            clock,
            scratch: scratch.into(),
            sessions: None,
            parts: None,
            chunks: BTreeMap::new(),
            requests_per_host: 6,
            ranges: Ranges::default(),
            hosts: BTreeMap::new(),
            follow_urls: false,
        }
    }
}

/// Why a client could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The proxy settings are wrong.
    #[error(transparent)]
    Proxy(#[from] InvalidProxy),
    /// A file about registries is wrong.
    #[error(transparent)]
    Route(#[from] InvalidRoute),
    /// The certificate authorities are wrong.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The machine has no threads to give.
    #[error("cannot start the threads of the registry client")]
    Threads(#[source] std::io::Error),
}

/// What all views of a client share.
pub(crate) struct Shared {
    options: ClientOptions,
    transport: Transport,
    authenticator: auth::Authenticator,
    gates: Gates,
    budgets: budget::Budgets,
    teams: Teams,
    swept: upload::Swept,
    routes: Routes,
    clouds: cloud::Clouds,
    /// Mirrors that failed in another way than by not having something: they are not asked again.
    failed_mirrors: Mutex<HashSet<Registry>>,
    /// Held while a list of referrers under a fallback tag is read and written.
    fallback: Mutex<()>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

/// A client of registries. Cloning it shares connections and tokens.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

impl Client {
    /// Returns a client; nothing is connected yet.
    ///
    /// # Errors
    /// Proxy or certificate settings that cannot be used.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let connector = Connector::new(Proxies::new(&options.proxy)?);
        let authorities = Authorities::read(options.authorities.as_deref())?;
        let authorities = authorities.with_folders(options.certificate_folders.clone());
        // One lane of uploads and one of other requests.
        let connections = options.most_requests() * (1 + gate::EXCHANGES);
        let transport = Transport::new(connector, authorities, connections).map_err(ClientError::Threads)?;
        let gates = Gates::default();
        let authenticator = auth::Authenticator::default();
        let routes = Routes::read(&options.routes)?;
        let (failed_mirrors, fallback) = (Mutex::default(), Mutex::default());
        let clouds = cloud::Clouds::default();
        let (teams, budgets) = (Teams::default(), budget::Budgets::default());
        let shared = Shared {
            options,
            transport,
            authenticator,
            gates,
            budgets,
            teams,
            swept: upload::Swept::default(),
            routes,
            clouds,
            failed_mirrors,
            fallback,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns the view of one repository. Nothing is asked of the registry yet. Content comes from the
    /// mirrors that are configured for it, where they have it; everything else goes to the registry.
    pub fn repository(&self, repository: &Repository) -> RemoteRepository {
        let route = match self.shared.routes.of(repository) {
            Ok(route) => route,
            Err(refused) => {
                let host = self.host(repository.registry());
                return RemoteRepository::new(Host { refused: Some(refused), ..host }, repository.clone());
            }
        };
        let host = match route.home {
            Some(site) => self.host_at(site),
            None => self.host(route.repository.registry()),
        };
        let mirror = |mirror: Mirror| {
            let host = Host { is_mirror: true, ..self.host_at(mirror.site) };
            (RemoteRepository::new(host, mirror.repository), mirror.answers)
        };
        let mirrors = route.mirrors.into_iter().map(mirror).collect();
        RemoteRepository::new(host, route.repository).with_mirrors(mirrors)
    }

    /// Asks whether `registry` is one and lets us in; this is what `login` checks with.
    ///
    /// # Errors
    /// `Denied` where the credentials are refused, `Unreachable` where no registry answers.
    pub fn ping(&self, registry: &Registry) -> Result<(), StoreError> {
        let host = self.home(registry);
        let answer = host.at(&Endpoint::Base.to_string()).and_then(|address| {
            host.call(&Call {
                method: Method::GET,
                address,
                headers: Vec::new(),
                payload: Payload::empty(),
                repository: None,
                scope: Scope::none(),
                expected: &[StatusCode::OK],
                what: format!("question to {registry}"),
            })
        });
        answer
            .map(|reply| reply.body.discard())
            .map_err(|failure| failure.into_store_error("reach", format!("the registry {registry}")))
    }

    /// Returns who we are to `registry`: as its first credential file or helper says, else by what
    /// a cloud gives us; `None` is anonymous. The registry itself may be asked to make a login.
    ///
    /// # Errors
    /// `Denied` where a helper fails or a cloud refuses.
    pub fn credential(&self, registry: &Registry) -> Result<Option<Credential>, StoreError> {
        auth::credential(&self.home(registry), None)
            .map_err(|failure| failure.into_store_error("log in to", format!("the registry {registry}")))
    }

    /// Returns the repositories of `registry` in the order it gives them.
    ///
    /// # Errors
    /// `Denied` or `NotFound` where the registry offers no such list, as Docker Hub and GHCR.
    pub fn catalog(&self, registry: &Registry) -> Result<Vec<Repository>, StoreError> {
        list::catalog(&self.home(registry), registry)
            .map_err(|failure| failure.into_store_error("list", format!("the repositories of {registry}")))
    }

    /// Returns the registry where it really is.
    fn home(&self, registry: &Registry) -> Host {
        match self.shared.routes.home(registry) {
            Ok(Some(site)) => self.host_at(site),
            Ok(None) => self.host(registry),
            Err(refused) => Host { refused: Some(refused), ..self.host(registry) },
        }
    }

    fn host(&self, registry: &Registry) -> Host {
        Host::new(self.shared.clone(), registry.clone())
    }

    fn host_at(&self, site: Arc<Site>) -> Host {
        self.shared.transport.know(site.registry.as_str(), &site.certificates);
        let host = self.host(&site.registry);
        Host { site: Some(site), ..host }
    }
}
