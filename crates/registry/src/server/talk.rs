//! What is said over one connection.
//!
//! A connection that waits is *parked*: the HTTP library, whose buffers are most of what a connection
//! costs, comes to it only when something can be read, and goes when all was answered. Thousands that
//! keep theirs open for the next request then take a kilobyte or two each.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::CONNECTION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::body::Content;
use super::listener::told;
use super::patience::Paced;
use super::plain::{Plain, Wire};
use super::routes::{self, State};
use super::tls::Tls;

/// How long what a refused client sends is read away at most, and how long nothing may come meanwhile.
const LINGER_LIMIT: Duration = Duration::from_secs(5);
const LINGER_SILENCE: Duration = Duration::from_millis(500);
const LINGER_BUFFER_BYTES: usize = 64 << 10;
/// How much of an answer is held encrypted at most.
const TLS_BUFFER_BYTES: usize = 64 << 10;
/// How much the kernel holds for a client on this machine that reads slower than we write. What it would
/// choose is made for long ways and grows with them; here each time that it is full costs two threads a turn.
const NEAR_SEND_BYTES: usize = 1 << 20;

/// Serves a connection to its end.
pub(super) async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    state: Arc<State>,
    stopped: watch::Receiver<bool>,
) {
    // Answers are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    if peer.ip().is_loopback() {
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, NEAR_SEND_BYTES);
    }
    match state.options.tls.clone() {
        None => plain(stream, peer, state, stopped).await,
        // In a box: plain connections then have no room for what this one keeps.
        Some(tls) => Box::pin(encrypted(stream, tls, peer, state, stopped)).await,
    }
}

async fn encrypted(
    stream: TcpStream,
    tls: Tls,
    peer: SocketAddr,
    state: Arc<State>,
    mut stopped: watch::Receiver<bool>,
) {
    let patience = state.options.patience;
    let stream = Paced::new(stream, patience);
    let mut stream = match tokio::time::timeout(patience.handshake, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, %peer, "a client did not agree on TLS"),
        Err(_) => return tracing::debug!(%peer, "a client took too long to agree on TLS"),
    };
    stream.get_mut().1.set_buffer_limit(Some(state.share().min(TLS_BUFFER_BYTES)));
    let service = service_fn(|request| Box::pin(answer(state.clone(), peer, None, request)));
    let mut connection = library(&state).serve_connection(TokioIo::new(stream), service);
    let mut stopping = Box::pin(told(&mut stopped));
    let mut stops = false;
    let ended = poll_fn(|context| {
        if !stops && stopping.as_mut().poll(context).is_ready() {
            stops = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        connection.poll_without_shutdown(context)
    });
    if let Err(error) = ended.await {
        return tracing::debug!(%error, %peer, "a connection broke off");
    }
    let mut stream = connection.into_parts().io.into_inner();
    // Whoever waits for the end of the connection sees it.
    if stream.shutdown().await.is_ok() && !stops {
        // What still comes is not even decrypted.
        let _ = tokio::time::timeout(LINGER_LIMIT, linger(stream.into_inner().0.into_socket())).await;
    }
}

async fn plain(stream: TcpStream, peer: SocketAddr, state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    let patience = state.options.patience;
    let (mut stream, wire) = Plain::new(stream, patience);
    loop {
        if !stream.has_more() {
            let found = tokio::select! {
                found = tokio::time::timeout(patience.head, wire.inlet.readable()) => found,
                () = told(&mut stopped) => return,
            };
            if !matches!(found, Ok(Ok(()))) {
                return;
            }
        }
        let turn = Turn { wire: wire.clone(), peer, state: state.clone(), requests: Arc::default() };
        match Box::pin(turn.serve(stream, &mut stopped)).await {
            Some(parked) => stream = parked,
            None => return,
        }
    }
}

/// The requests of a connection from when something comes until nothing does.
struct Turn {
    wire: Wire,
    peer: SocketAddr,
    state: Arc<State>,
    requests: Arc<Requests>,
}

/// What is known of the requests of a turn.
#[derive(Default)]
struct Requests {
    begun: AtomicUsize,
    answered: AtomicUsize,
    /// Of which the client said that they are the last.
    last: AtomicUsize,
}

impl Turn {
    /// Returns the connection when it waits for the next request; `None` when it has ended.
    async fn serve(self, stream: Plain, stopped: &mut watch::Receiver<bool>) -> Option<Plain> {
        let requests = self.requests.clone();
        let (state, wire, peer) = (self.state.clone(), self.wire.clone(), self.peer);
        let service = service_fn(move |request: Request<Incoming>| {
            requests.begin(&request);
            let answer = answer(state.clone(), peer, Some(wire.clone()), request);
            let requests = requests.clone();
            Box::pin(async move {
                let answer = answer.await;
                requests.answered.fetch_add(1, Ordering::Relaxed);
                answer
            })
        });
        let mut connection = library(&self.state).serve_connection(TokioIo::new(stream), service);
        let mut stopping = std::pin::pin!(told(stopped));
        // How many requests there were when it was parked.
        let (mut parked, mut stops) = (None, false);
        let ended = poll_fn(|context| {
            if !stops && stopping.as_mut().poll(context).is_ready() {
                stops = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            let ended = connection.poll_without_shutdown(context);
            if ended.is_ready() || stops || parked.is_some() || !self.waits() {
                return ended;
            }
            // It lets the stream go now, without a word to the client.
            parked = Some(self.begun());
            Pin::new(&mut connection).graceful_shutdown();
            connection.poll_without_shutdown(context)
        });
        let ended = ended.await;
        let parts = connection.into_parts();
        let mut stream = parts.io.into_inner();
        match ended {
            Err(error) => tracing::debug!(%error, peer = %self.peer, "a connection broke off"),
            Ok(()) if parked == Some(self.begun()) && !stops => {
                stream.put_back(parts.read_buf);
                return Some(stream);
            }
            Ok(()) => {}
        }
        // Whoever waits for the end of the connection sees it.
        let _ = poll_fn(|context| Pin::new(&mut stream).poll_shutdown(context)).await;
        if !stops {
            let _ = tokio::time::timeout(LINGER_LIMIT, Box::pin(linger(stream))).await;
        }
        None
    }

    fn begun(&self) -> usize {
        self.requests.begun.load(Ordering::Relaxed)
    }

    /// Whether all that was asked is answered and sent, and more may be asked later.
    fn waits(&self) -> bool {
        let begun = self.begun();
        begun > 0
            && begun == self.requests.answered.load(Ordering::Relaxed)
            && self.requests.last.load(Ordering::Relaxed) == 0
            && self.wire.inlet.is_idle()
    }
}

impl Requests {
    fn begin(&self, request: &Request<Incoming>) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let mut words = request.headers().get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let is_last = words.any(|words| words.to_ascii_lowercase().contains("close"));
        if is_last || request.version() < Version::HTTP_11 {
            self.last.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reads away what a client goes on to send that was refused in the middle of its content. Were the
/// connection let go of at once, the kernel would reset it, and the client lose the answer that says why.
async fn linger(mut stream: impl AsyncRead + Unpin) {
    // Most connections have ended by now: room is taken for those that have not.
    let mut scratch = vec![0; 1];
    while let Ok(Ok(1..)) = tokio::time::timeout(LINGER_SILENCE, stream.read(&mut scratch)).await {
        scratch.resize(LINGER_BUFFER_BYTES, 0);
    }
}

fn library(state: &State) -> http1::Builder {
    let mut library = http1::Builder::new();
    library.timer(TokioTimer::new()).header_read_timeout(state.options.patience.head);
    // The largest head, and what is held of an answer that the client does not take.
    library.max_buf_size(state.share());
    library
}

async fn answer(
    state: Arc<State>,
    peer: SocketAddr,
    wire: Option<Wire>,
    request: Request<Incoming>,
) -> Result<Response<Content>, Infallible> {
    // In a box: a connection that waits for its next request then takes no room for one.
    Ok(Box::pin(routes::answer(state, peer, wire, request)).await)
}
