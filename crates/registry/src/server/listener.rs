//! Connections: taking them, bounding them, and stopping in good order.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::plain::{Plain, Wire};
use super::routes::{self, State};
use super::{collector, webhook};

/// How long requests under way get to end after the server was told to stop.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long a client may take to send the head of a request, or to think of another one.
const HEAD_LIMIT: Duration = Duration::from_secs(60);
/// How long a client may take to agree on TLS.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How much of a request is held in memory before it is taken out, and the largest head.
const MAX_BUFFER_BYTES: usize = 128 << 10;
/// How long is waited after the machine had no file descriptor for another connection.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(50);

/// Serves until it is told to stop and the connections have ended.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>, mut stopped: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the registry server cannot watch its socket");
            return;
        }
    };
    let mut connections = JoinSet::new();
    let places = Arc::new(Semaphore::new(state.options.max_connections.max(1)));
    let sweeper = tokio::spawn(sweep(state.clone()));
    let collector = tokio::spawn(collector::run(state.clone()));
    let teller = state.hooks.clone().map(|hooks| tokio::spawn(webhook::run(hooks)));
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        tokio::select! {
            () = told(&mut stopped) => break,
            Some(_) = connections.join_next() => {}
            (accepted, place) = next => match accepted {
                Ok((stream, peer)) => {
                    let (state, stopped) = (state.clone(), stopped.clone());
                    connections.spawn(async move {
                        let _place = place;
                        state.metrics.connections.fetch_add(1, Ordering::Relaxed);
                        connection(stream, peer, state.clone(), stopped).await;
                        state.metrics.connections.fetch_sub(1, Ordering::Relaxed);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(EXHAUSTED_WAIT).await;
                }
            },
        }
    }
    drop(listener);
    sweeper.abort();
    collector.abort();
    if let Some(teller) = teller {
        teller.abort();
    }
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_LIMIT, ended).await.is_err() {
        tracing::warn!("requests were cut off because the server was stopped");
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, state: Arc<State>, stopped: watch::Receiver<bool>) {
    // Answers are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let Some(tls) = state.options.tls.clone() else {
        let (stream, wire) = Plain::new(stream);
        return talk(stream, Some(wire), peer, state, stopped).await;
    };
    match tokio::time::timeout(HANDSHAKE_LIMIT, tls.acceptor.accept(stream)).await {
        Ok(Ok(stream)) => talk(stream, None, peer, state, stopped).await,
        Ok(Err(error)) => tracing::debug!(%error, %peer, "a client did not agree on TLS"),
        Err(_) => tracing::debug!(%peer, "a client took too long to agree on TLS"),
    }
}

/// Answers the requests of one connection.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    wire: Option<Wire>,
    peer: SocketAddr,
    state: Arc<State>,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |request| {
        let (state, wire) = (state.clone(), wire.clone());
        // In a box: a connection that waits for its next request then takes no room for one.
        Box::pin(async move { Ok::<_, Infallible>(routes::answer(state, peer, wire, request).await) })
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection broke off");
    }
}

/// Waits until the server is told to stop, or nobody is left who could tell it.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Forgets uploads that do not go on.
async fn sweep(state: Arc<State>) {
    let mut ticks = tokio::time::interval((state.options.session_lifetime / 4).max(Duration::from_secs(1)));
    loop {
        ticks.tick().await;
        state.sessions.sweep();
    }
}
