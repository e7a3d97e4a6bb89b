//! The server: a local store as a registry that any client can push to and pull from.
//!
//! It runs in threads of its own until it is stopped. The repository `a/b` of its URLs is the
//! store's `local/a/b`; other registries' images in the same store are not shown. A blob is
//! visible in a repository only where it was put or mounted there, whatever else the store holds
//! (the flaw behind CVE-2024-39897). What lies where, and what survives a crash, is the store's.
//!
//! | room | owns |
//! |---|---|
//! | `listener`, `talk` | connections, those that wait, and stopping in good order |
//! | `plain`, `outlet`, `inlet` | connections whose content the kernel moves from and to files |
//! | `tls`, `certificate` | encryption |
//! | `access`, `quota` | who may do what, and how much |
//! | `rules` | which of that can change while the server runs |
//! | `proxy` | a cache of other registries |
//! | `webhook` | events for other programs |
//! | `storage` | a folder or a bucket |
//! | `collector` | garbage collection while it runs |
//! | `metrics` | what is counted |
//! | `routes` | which answer a request gets; the access log |
//! | `blob`, `upload`, `session` | blobs, and those that are still coming |
//! | `intake`, `sprint` | how their content comes in |
//! | `patience` | how long slow clients are waited for |
//! | `holders` | from where a blob can be mounted |
//! | `manifest`, `shelf`, `immutable`, `referrers`, `list` | documents, tags, and lists of them |
//! | `refusal`, `answer`, `body` | the shape of answers |
//! | `defect` | panics, which end one request and not the server |
//!
//! Source: distribution-spec v1.1.

pub mod access;
mod answer;
mod blob;
mod body;
mod certificate;
mod collector;
mod defect;
mod holders;
mod immutable;
mod inlet;
mod intake;
mod list;
mod listener;
mod manifest;
mod metrics;
mod outlet;
mod patience;
mod pattern;
mod plain;
mod proxy;
mod public_url;
mod quota;
mod referrers;
mod refusal;
mod routes;
mod rules;
mod session;
mod shelf;
mod sprint;
mod storage;
mod talk;
mod tls;
mod upload;
pub mod webhook;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use oci::Registry;
use store::{Children, LayoutStore, RepositoryOptions};
use tokio::sync::watch;

pub use access::Policy;
pub use certificate::{NoCertificate, SelfSigned};
pub use collector::{Collection, CollectionReport, Keep};
pub(crate) use defect::mark_thread;
pub use defect::{is_survivable, survive};
pub use immutable::Immutable;
pub use patience::Patience;
pub use pattern::Pattern;
pub use proxy::{InvalidUpstream, ProxyOptions, ProxyReport, ProxyTrouble, Upstream};
pub use public_url::{InvalidPublicUrl, PublicUrl};
pub use quota::Quota;
pub use rules::Rules;
pub use storage::InBucket;
pub use tls::{InvalidTls, Tls};

use routes::State;
use webhook::{Hooks, WebhookError, WebhookOptions};

/// How a server behaves.
#[derive(Clone)]
pub struct ServerOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What to serve; with a bucket, where uploads lie while they come.
    pub store: LayoutStore,
    /// Where images are instead of the store.
    pub bucket: Option<InBucket>,
    /// Tags that neither move nor go once they are set.
    pub immutable: Vec<Immutable>,
    /// How much repositories may hold.
    pub quotas: Vec<Quota>,
    /// When what nothing needs is removed; never where it is not said.
    pub collection: Option<Collection>,
    /// Which other registries are cached.
    pub proxy: Option<ProxyOptions>,
    /// Who is told of what happens.
    pub webhooks: Option<WebhookOptions>,
    /// Whether `/metrics` is answered.
    pub metrics: bool,
    /// Who may do what; everybody may do everything where it is not said.
    pub policy: Option<Policy>,
    /// How clients reach the server, where something stands before it.
    pub public_url: Option<PublicUrl>,
    /// The certificate; plain HTTP where there is none.
    pub tls: Option<Tls>,
    /// Whether clients may change anything.
    pub access: Access,
    /// What an index or an image needs before it is taken.
    pub children: Children,
    /// Told of every answer.
    pub access_log: AccessLog,
    /// The largest blob that is taken, in bytes.
    pub max_blob_bytes: Option<u64>,
    /// After how long an upload that does not go on is forgotten.
    pub session_lifetime: Duration,
    /// How many connections are open at once; further ones wait.
    pub max_connections: usize,
    /// How long slow clients are waited for.
    pub patience: Patience,
}

/// What clients may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    ReadWrite,
    /// Pull and list.
    ReadOnly,
}

/// Who is told of answers.
pub type AccessLog = Arc<dyn Fn(&LogEntry) + Send + Sync>;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Where the request came from.
    pub peer: SocketAddr,
    /// The account, token or job it was made for; empty where nobody was named.
    pub who: String,
    /// The method.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
    /// The size of the answer's content in bytes, where it is known.
    pub bytes: Option<u64>,
    /// From the head of the request to the head of the answer.
    pub elapsed: Duration,
}

impl ServerOptions {
    /// Returns options that let everybody who reaches `listen` read and write.
    pub fn new(listen: SocketAddr, store: LayoutStore) -> Self {
        Self {
            listen,
            store,
            bucket: None,
            immutable: Vec::new(),
            quotas: Vec::new(),
            collection: None,
            proxy: None,
            webhooks: None,
            metrics: false,
            policy: None,
            public_url: None,
            tls: None,
            access: Access::ReadWrite,
            children: Children::SparseLayers,
            access_log: Arc::new(|_| {}),
            max_blob_bytes: None,
            session_lifetime: Duration::from_secs(60 * 60),
            max_connections: 4096,
            patience: Patience::default(),
        }
    }
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// Events cannot be told.
    #[error(transparent)]
    Webhooks(#[from] WebhookError),
    /// The machine has no random numbers to make a key from.
    #[error("cannot make a key for tokens: the machine gave no random numbers")]
    Random,
    /// The machine has no threads to give.
    #[error("cannot start the threads of the registry server")]
    Threads(#[source] io::Error),
}

/// The registry server.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Listens and serves in threads of its own.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn start(options: ServerOptions) -> Result<ServerHandle, ServerError> {
        let failed = |source| ServerError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("registry-server")
            .on_thread_start(defect::mark_thread)
            .enable_all()
            .build()
            .map_err(ServerError::Threads)?;
        let (stop, stopped) = watch::channel(false);
        let hooks = open_hooks(&options)?;
        let state = Arc::new(State::new(options, hooks).map_err(|_| ServerError::Random)?);
        let shared = Arc::downgrade(&state);
        let serve = move || {
            runtime.block_on(listener::serve(listener, state, stopped));
            // Work on the store that a cut connection left behind is not waited for for ever.
            runtime.shutdown_timeout(listener::STOP_LIMIT);
        };
        let thread = std::thread::Builder::new().name("registry-listener".to_owned()).spawn(serve);
        Ok(ServerHandle { address, stop, state: shared, thread: Some(thread.map_err(ServerError::Threads)?) })
    }
}

/// Reads which events wait to be told from an earlier run.
fn open_hooks(options: &ServerOptions) -> Result<Option<Arc<Hooks>>, WebhookError> {
    let Some(webhooks) = options.webhooks.clone() else { return Ok(None) };
    let storage = storage::Storage::of(options);
    let is_so = |happening: &webhook::Happening| {
        happening.is_so(&storage.repository(&happening.repository, RepositoryOptions::default()))
    };
    Ok(Some(Arc::new(Hooks::open(webhooks, is_so)?)))
}

/// Changes the rules of a server, from wherever somebody watches for changes.
pub struct RuleBook(Weak<State>);

impl RuleBook {
    /// Puts other rules in force: the next request goes by them. A server that has ended does nothing.
    pub fn change(&self, rules: Rules) {
        if let Some(state) = self.0.upgrade() {
            state.change(rules);
        }
    }
}

/// A running server. Dropping it stops the server and waits for it.
pub struct ServerHandle {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    state: Weak<State>,
    thread: Option<JoinHandle<()>>,
}

impl ServerHandle {
    /// Returns the address that is listened on, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the registry as image references name it.
    pub fn registry(&self) -> Registry {
        self.address.to_string().parse().expect("an address with a port is a registry")
    }

    /// Returns what changes the rules while the server runs.
    pub fn rule_book(&self) -> RuleBook {
        RuleBook(self.state.clone())
    }

    /// Takes no more connections and lets requests that are under way come to their end, within
    /// limits. Returns at once.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until the server has ended, which needs [`ServerHandle::stop`] from somewhere.
    pub fn join(mut self) {
        self.wait();
    }

    fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed where it happened; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerHandle({})", self.address)
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop();
            self.wait();
        }
    }
}
