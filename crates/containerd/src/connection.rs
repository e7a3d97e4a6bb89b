//! The connection: one socket, one HTTP/2 connection over it, and questions that have one answer.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::names::{InvalidNamespace, Namespace};
use crate::protocol::{Empty, VersionResponse, method};

/// How long a socket may say nothing until it is taken for something else.
const GREETING_LIMIT: Duration = Duration::from_secs(10);
/// How long one answer may take. Removing with `sync` waits for a collection.
const QUESTION_LIMIT: Duration = Duration::from_secs(120);
/// Answers longer than this are refused: what containerd itself allows of a message.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// How much of one answer may be under way before it is read.
const STREAM_WINDOW_BYTES: u32 = 512 << 10;
/// How much of all answers may.
const CONNECTION_WINDOW_BYTES: u32 = 2 << 20;

/// A containerd that answers.
#[derive(Clone)]
pub struct Containerd {
    connection: Arc<Connection>,
}

/// Why there is no containerd to ask.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// What is to say where containerd is says no place of this machine.
    #[error("{text:?} is no address of containerd: {reason}")]
    Address {
        /// What was given.
        text: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// No namespace is called like this.
    #[error(transparent)]
    Namespace(#[from] InvalidNamespace),
    /// There is no socket.
    #[error("no containerd: there is no socket at {}", list(tried))]
    NoSocket {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// This user may not open the socket.
    #[error("containerd's socket {} may not be opened by this user", socket.display())]
    Denied {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody listens at the socket.
    #[error("no containerd answers at {}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody answers who is not containerd.
    #[error("what answers at {} is not containerd: {reason}", socket.display())]
    Other {
        /// The socket.
        socket: PathBuf,
        /// What it said.
        reason: String,
    },
}

/// Returns the socket that an address names: `/run/x.sock` or `unix:///run/x.sock`.
///
/// # Errors
/// `Address` for everything else.
pub fn socket_of(address: &str) -> Result<PathBuf, ConnectError> {
    let path = address.strip_prefix("unix://").unwrap_or(address);
    match path.starts_with('/') {
        true => Ok(PathBuf::from(path)),
        false => Err(ConnectError::Address {
            text: address.chars().take(200).collect(),
            reason: "it is the path of a socket, such as /run/containerd/containerd.sock",
        }),
    }
}

fn list(sockets: &[PathBuf]) -> String {
    sockets.iter().map(|socket| socket.display().to_string()).collect::<Vec<_>>().join(" or ")
}

impl Containerd {
    /// Returns the containerd at the first of `sockets` that is there.
    ///
    /// # Errors
    /// `NoSocket` where none is there; of the first that is, why it cannot be used.
    pub fn connect(sockets: &[PathBuf]) -> Result<Self, ConnectError> {
        let Some(socket) = sockets.iter().find(|socket| may_be_there(socket)) else {
            return Err(ConnectError::NoSocket { tried: sockets.to_vec() });
        };
        Ok(Self { connection: Arc::new(Connection::open(socket)?) })
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Returns the socket.
    pub fn socket(&self) -> &Path {
        &self.connection.socket
    }
}

impl std::fmt::Debug for Containerd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Containerd({})", self.socket().display())
    }
}

/// Whether a socket is there, or in a folder that does not say.
fn may_be_there(socket: &Path) -> bool {
    !matches!(socket.metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// In whose name something is asked.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub namespace: Namespace,
    /// The lease that holds what is written.
    pub lease: Option<String>,
}

pub(crate) struct Connection {
    /// `None` only while the value is dropped.
    runtime: Option<Runtime>,
    sender: SendRequest<Body>,
    pub socket: PathBuf,
}

impl Connection {
    fn open(socket: &Path) -> Result<Self, ConnectError> {
        let unreachable = |source: io::Error| ConnectError::Unreachable { socket: socket.to_owned(), source };
        let other = |reason: String| ConnectError::Other { socket: socket.to_owned(), reason };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("containerd")
            .enable_all()
            .build()
            .map_err(unreachable)?;
        let stream = runtime.block_on(UnixStream::connect(socket)).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => ConnectError::Denied { socket: socket.to_owned(), source },
            _ => unreachable(source),
        })?;
        let sender = runtime.block_on(async {
            let (sender, connection) = Builder::new(TokioExecutor::new())
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .handshake(TokioIo::new(stream))
                .await?;
            // How it ends is told to whoever waits for an answer.
            tokio::spawn(async move { drop(connection.await) });
            Ok(sender)
        });
        let sender = sender.map_err(|error: hyper::Error| other(error.to_string()))?;
        let connection = Self { runtime: Some(runtime), sender, socket: socket.to_owned() };
        let greeting = connection.unary::<_, VersionResponse>(None, method::VERSION, Empty {});
        match connection.wait(GREETING_LIMIT, greeting) {
            Ok(_) => Ok(connection),
            Err(status) if status.code() == Code::PermissionDenied => {
                let source = io::Error::new(io::ErrorKind::PermissionDenied, status.message().to_owned());
                Err(ConnectError::Denied { socket: socket.to_owned(), source })
            }
            Err(status) => Err(other(words(&status))),
        }
    }

    /// Asks one thing.
    pub fn ask<Q, A>(&self, scope: &Scope, path: &'static str, question: Q) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.wait(QUESTION_LIMIT, self.unary(Some(scope), path, question))
    }

    async fn unary<Q, A>(&self, scope: Option<&Scope>, path: &'static str, question: Q) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut client = self.client().await?;
        let request = with_scope(tonic::Request::new(question), scope)?;
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        let answer = client.unary(request, PathAndQuery::from_static(path), codec).await?;
        Ok(answer.into_inner())
    }

    /// Returns a client that is ready for one request.
    pub async fn client(&self) -> Result<Grpc<Http>, Status> {
        let mut client = Grpc::new(Http(self.sender.clone())).max_decoding_message_size(MAX_ANSWER_BYTES);
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(client)
    }

    /// Blocks the calling thread until the future is ready or its time is up.
    pub fn wait<T>(
        &self,
        limit: Duration,
        future: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let late = |_| Status::deadline_exceeded(format!("nothing came for {} s", limit.as_secs()));
        self.runtime().block_on(async { tokio::time::timeout(limit, future).await.map_err(late)? })
    }

    pub fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is there until the value is dropped")
    }
}

impl Drop for Connection {
    /// Does not wait for answers that nobody reads any more.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Returns a request with the names that containerd reads beside it.
pub(crate) fn with_scope<T>(
    mut request: tonic::Request<T>,
    scope: Option<&Scope>,
) -> Result<tonic::Request<T>, Status> {
    let Some(scope) = scope else { return Ok(request) };
    let value = |text: &str| -> Result<MetadataValue<Ascii>, Status> {
        text.parse().map_err(|_| Status::invalid_argument(format!("{text:?} is no name")))
    };
    let metadata = request.metadata_mut();
    metadata.insert("containerd-namespace", value(scope.namespace.as_str())?);
    if let Some(lease) = &scope.lease {
        metadata.insert("containerd-lease", value(lease)?);
    }
    Ok(request)
}

/// Returns what a status says, with what it does not say itself.
pub(crate) fn words(status: &Status) -> String {
    let causes = std::iter::successors(std::error::Error::source(status), |cause| cause.source());
    let mut words: Vec<String> = vec![status.message().chars().take(1000).collect()];
    words.extend(causes.map(ToString::to_string));
    words.dedup();
    words.retain(|word| !word.is_empty());
    if words.is_empty() { status.code().description().to_owned() } else { words.join(": ") }
}

/// HTTP/2 as gRPC wants to see it.
#[derive(Clone)]
pub(crate) struct Http(SendRequest<Body>);

impl Service<Request<Body>> for Http {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // A path alone is no address of a request over HTTP/2; the host has no meaning over a socket.
        let path = request.uri().path_and_query().cloned();
        let address = path.and_then(|path| {
            Uri::builder().scheme("http").authority("localhost").path_and_query(path).build().ok()
        });
        if let Some(address) = address {
            *request.uri_mut() = address;
        }
        Box::pin(self.0.send_request(request))
    }
}
