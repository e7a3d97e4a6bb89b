//! One request and its answer over a pool of connections: where tokio and hyper are hidden.
//!
//! The calling thread reads the file it sends and takes the answer's body; the runtime's own
//! threads only move bytes to and from sockets. Nothing here knows registries, retries or
//! credentials. Must not be called from inside another runtime: it blocks.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{self, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::answer::Answer;
use super::connector::{Authorities, Connector, TlsError};
use super::direct;
use super::failure::{Failure, Limit};
use super::payload::{CHUNK_BYTES, Outgoing, Payload};
use super::route::SiteCertificates;

/// What comes slower than so many bytes a second never ends.
const MIN_RATE: f64 = 256.0;
/// How long a connection that nobody uses is kept.
const KEEP_LIMIT: Duration = Duration::from_secs(30);
/// Threads that move bytes; requests in flight are bounded by the gates, not by them.
const WORKERS: usize = 2;
/// Chunks of a file that were read and not yet sent.
const CHUNKS_AHEAD: usize = 2;

type Pool<C> = legacy::Client<C, Outgoing>;
type SecurePool = Pool<HttpsConnector<Connector>>;

/// The connections to all hosts.
pub(crate) struct Transport {
    runtime: Option<Runtime>,
    connector: Connector,
    authorities: Authorities,
    plain: Pool<Connector>,
    /// For each host with certificates of its own, and under the empty name for all others.
    secure: Mutex<HashMap<String, Result<SecurePool, Arc<TlsError>>>>,
    connections: usize,
}

/// How long parts of a request may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// From the last byte sent to the head of the answer.
    pub answer: Duration,
    /// How long no byte may move.
    pub silence: Duration,
    /// When the whole request is given up.
    pub deadline: Instant,
}

impl Transport {
    /// Returns a transport that keeps up to `connections` idle ones to each host.
    pub fn new(connector: Connector, authorities: Authorities, connections: usize) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("registry-client")
            .on_thread_start(crate::server::mark_thread)
            .enable_all()
            .build()?;
        let plain = pool(connector.clone(), connections);
        let secure = Mutex::default();
        Ok(Self { runtime: Some(runtime), connector, authorities, plain, secure, connections })
    }

    /// Sends the request and returns the answer as soon as its head is there.
    pub fn send(
        &self,
        request: Request<()>,
        payload: &Payload,
        patience: Patience,
    ) -> Result<Reply, Failure> {
        let host = host_of(request.uri());
        let address = request.uri().clone();
        let small = payload.small().map_err(unreadable)?;
        let response = match small.as_ref().unwrap_or(payload) {
            Payload::File(part) if self.connector.is_direct(request.uri()) => {
                let answer = direct::send(&request, part, &host, patience)?;
                return Ok(self.reply(answer, address, host, patience));
            }
            Payload::Bytes(bytes) if bytes.len() <= CHUNK_BYTES => {
                let answer = self.request(request.map(|()| Outgoing::Whole(Some(bytes.clone()))), &host)?;
                self.answer(answer, &host, patience)?.map_err(|error| failure(error, &host))?
            }
            _ => self.send_chunks(request, payload, &host, patience)?,
        };
        let (head, incoming) = response.into_parts();
        let body = ReplyBody {
            handle: self.handle().clone(),
            host,
            pace: Pace::of(patience),
            incoming: Some(incoming),
            pending: None,
        };
        Ok(Reply { status: head.status, headers: head.headers, address, body })
    }

    fn reply(&self, answer: Answer, address: Uri, host: String, patience: Patience) -> Reply {
        let Answer { status, headers, body } = answer;
        let pending = Some(body).filter(|body| !body.is_empty());
        let handle = self.handle().clone();
        let body = ReplyBody { handle, host, pace: Pace::of(patience), incoming: None, pending };
        Reply { status, headers, address, body }
    }

    fn send_chunks(
        &self,
        request: Request<()>,
        payload: &Payload,
        host: &str,
        patience: Patience,
    ) -> Result<Response<Incoming>, Failure> {
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        let body = Outgoing::Chunks { chunks, remaining: payload.len() };
        let answer = self.request(request.map(|()| body), host)?;
        let mut answer = AbortOnDrop(self.handle().spawn(answer));
        self.pump(payload, &sender, &answer.0, host, patience)?;
        drop(sender);
        match self.answer(&mut answer.0, host, patience)? {
            Ok(response) => response.map_err(|error| failure(error, host)),
            Err(stopped) => Err(Failure::Broken { host: host.to_owned(), source: Box::new(stopped) }),
        }
    }

    /// Hands chunks on until all are sent or the answer is there: a server that refuses early is
    /// not sent the rest.
    fn pump<T>(
        &self,
        payload: &Payload,
        sender: &mpsc::Sender<Bytes>,
        answer: &JoinHandle<T>,
        host: &str,
        patience: Patience,
    ) -> Result<(), Failure> {
        let mut done = 0;
        while done < payload.len() && !answer.is_finished() {
            let chunk = payload.chunk(done).map_err(unreadable)?;
            done += chunk.len() as u64;
            let sent = wait(self.handle(), sender.send(chunk), host, patience.silence, patience.deadline)?;
            if sent.is_err() {
                // The connection is gone; the answer says why.
                return Ok(());
            }
        }
        Ok(())
    }

    fn answer<F: Future>(&self, answer: F, host: &str, patience: Patience) -> Result<F::Output, Failure> {
        wait(self.handle(), answer, host, patience.answer, patience.deadline)
    }

    fn request(&self, request: Request<Outgoing>, host: &str) -> Result<ResponseFuture, Failure> {
        if request.uri().scheme_str() == Some("http") {
            return Ok(self.plain.request(request));
        }
        match self.secure_pool(host) {
            Ok(pool) => Ok(pool.request(request)),
            Err(error) => {
                Err(Failure::Connect { host: host.to_owned(), transient: false, source: Box::new(error) })
            }
        }
    }

    /// Returns the connections with TLS to a host; they are shared where it has no certificates of
    /// its own.
    fn secure_pool(&self, host: &str) -> Result<SecurePool, Arc<TlsError>> {
        let own = self.authorities.of_host(host).map_err(Arc::new)?;
        let key = if own.is_some() { host } else { "" };
        let mut pools = self.secure.lock().expect("nothing panics while it holds the lock");
        if let Some(known) = pools.get(key) {
            return known.clone();
        }
        let connector = self.connector.clone().secured(&self.authorities, own).map_err(Arc::new);
        let made = connector.map(|connector| pool(connector, self.connections));
        pools.insert(key.to_owned(), made.clone());
        made
    }

    /// Has connections to `host` use these certificates from now on.
    pub fn know(&self, host: &str, certificates: &SiteCertificates) {
        if *certificates != SiteCertificates::default() {
            self.authorities.know(host, certificates);
        }
    }

    fn handle(&self) -> &Handle {
        self.runtime.as_ref().expect("the runtime is there until drop").handle()
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        // Waiting for the workers would hang where the last owner is itself inside a runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn unreadable(source: io::Error) -> Failure {
    Failure::Local { action: "read", what: "the file that is sent".to_owned(), source }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn pool<C>(connector: C, connections: usize) -> Pool<C>
where
    C: legacy::connect::Connect + Clone,
{
    legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(KEEP_LIMIT)
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(connections)
        .build(connector)
}

/// Blocks the calling thread until the future is ready or its time is up.
fn wait<F: Future>(
    handle: &Handle,
    future: F,
    host: &str,
    limit: Duration,
    deadline: Instant,
) -> Result<F::Output, Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    let waited = handle.block_on(async { tokio::time::timeout(limit.min(left), future).await });
    let limit = if left < limit { Limit::Request } else { Limit::Silence(limit) };
    waited.map_err(|_| Failure::TimedOut { host: host.to_owned(), limit })
}

fn failure(error: legacy::Error, host: &str) -> Failure {
    let host = host.to_owned();
    if error.is_connect() {
        let transient = !is_certificate(&error);
        return Failure::Connect { host, transient, source: Box::new(error) };
    }
    Failure::Broken { host, source: Box::new(error) }
}

/// Whether a certificate was refused somewhere down the chain, which waiting does not mend. An
/// `io::Error` leaves the error it holds out of its own chain.
fn is_certificate(error: &(dyn Error + 'static)) -> bool {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return matches!(tls, rustls::Error::InvalidCertificate(_));
    }
    let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    held.is_some_and(|held| is_certificate(held)) || error.source().is_some_and(is_certificate)
}

fn host_of(address: &Uri) -> String {
    address.authority().map_or_else(String::new, |authority| {
        let host = authority.as_str();
        host.rsplit_once('@').map_or(host, |(_, host)| host).to_owned()
    })
}

/// An answer whose body is still on its way.
pub(crate) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// What was asked for, behind all redirects.
    pub address: Uri,
    pub body: ReplyBody,
}

/// The body of an answer, taken piece by piece.
pub(crate) struct ReplyBody {
    handle: Handle,
    host: String,
    pace: Pace,
    /// `None` where all of it came with the head.
    incoming: Option<Incoming>,
    pending: Option<Bytes>,
}

/// How fast a body comes. Only the time that is waited for it counts, not what its reader takes.
struct Pace {
    silence: Duration,
    deadline: Instant,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn of(patience: Patience) -> Self {
        let Patience { silence, deadline, .. } = patience;
        Self { silence, deadline, waited: Duration::ZERO, bytes: 0 }
    }

    /// Takes note of bytes that were waited for. Who sends one now and then is not waited for without end.
    fn came(&mut self, bytes: u64, waited: Duration, host: &str) -> Result<(), Failure> {
        (self.waited, self.bytes) = (self.waited + waited, self.bytes + bytes);
        if self.waited < self.silence {
            return Ok(());
        }
        let (waited, bytes) = (std::mem::take(&mut self.waited), std::mem::take(&mut self.bytes));
        if (bytes as f64) < MIN_RATE * waited.as_secs_f64() {
            let limit = Limit::Drip(bytes, waited);
            return Err(Failure::TimedOut { host: host.to_owned(), limit });
        }
        Ok(())
    }
}

impl ReplyBody {
    /// Returns the next piece; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if let Some(piece) = self.pending.take() {
            return Ok(Some(piece));
        }
        let Some(incoming) = &mut self.incoming else { return Ok(None) };
        loop {
            let (asked, pace) = (Instant::now(), &mut self.pace);
            let frame = wait(&self.handle, incoming.frame(), &self.host, pace.silence, pace.deadline)?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame
                .map_err(|error| Failure::Broken { host: self.host.clone(), source: Box::new(error) })?;
            // What is not data are trailers, which carry nothing for us.
            if let Ok(data) = frame.into_data() {
                pace.came(data.len() as u64, asked.elapsed(), &self.host)?;
                return Ok(Some(data));
            }
        }
    }

    /// Makes `piece` the next one.
    pub fn put_back(&mut self, piece: Bytes) {
        self.pending = Some(piece);
    }

    /// Returns the whole body, where it is no longer than `limit`.
    pub fn all(mut self, limit: u64) -> Result<Bytes, Failure> {
        let mut body: Vec<u8> = Vec::new();
        while let Some(piece) = self.next()? {
            if (body.len() + piece.len()) as u64 > limit {
                return Err(Failure::protocol(format!("the body is longer than {limit} bytes")));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.into())
    }

    /// Reads a short rest away, so that the connection can be used again.
    pub fn discard(self) {
        // A connection that breaks here is simply not used again.
        let _ = self.all(64 << 10);
    }
}

impl Reply {
    /// Returns a header as text; `None` where it is missing or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
