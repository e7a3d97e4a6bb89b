//! Connections: taking them, bounding them, and stopping in good order.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

use super::defect::{Defect, caught};
use super::routes::State;
use super::{collector, talk, webhook};

/// How long requests under way get to end after the server was told to stop.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(10);
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
    let sweeper = tokio::spawn(sweep(state.clone()));
    let collector = tokio::spawn(collector::run(state.clone()));
    let teller = state.hooks.clone().map(|hooks| tokio::spawn(webhook::run(state.clone(), hooks)));
    // A panic between two connections must cost neither them nor those that come.
    let places = Arc::new(Semaphore::new(state.options.max_connections.max(1)));
    loop {
        let taking = take_connections(&listener, &state, &places, &mut connections, &mut stopped);
        let Err(defect) = caught(taking).await else { break };
        state.note_defect("taking connections", &defect);
        tokio::time::sleep(EXHAUSTED_WAIT).await;
    }
    drop(listener);
    sweeper.abort();
    collector.abort();
    if let Some(teller) = teller {
        teller.abort();
    }
    let ended = async {
        while let Some(ended) = connections.join_next().await {
            note(&state, ended);
        }
    };
    let ended = caught(ended);
    if tokio::time::timeout(STOP_LIMIT, ended).await.is_err() {
        tracing::warn!("requests were cut off because the server was stopped");
    }
}

/// Takes connections until the server is told to stop. Those that it has taken stay with `connections`.
async fn take_connections(
    listener: &tokio::net::TcpListener,
    state: &Arc<State>,
    places: &Arc<Semaphore>,
    connections: &mut JoinSet<()>,
    stopped: &mut watch::Receiver<bool>,
) {
    let stopping = stopped.clone();
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        tokio::select! {
            () = told(stopped) => break,
            Some(ended) = connections.join_next() => note(state, ended),
            (accepted, place) = next => match accepted {
                Ok((stream, peer)) => {
                    let (state, stopped) = (state.clone(), stopping.clone());
                    connections.spawn(async move {
                        let _place = place;
                        let _open = Open::new(&state.metrics.connections);
                        talk::connection(stream, peer, state.clone(), stopped).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(EXHAUSTED_WAIT).await;
                }
            },
        }
    }
}

/// Tells of a connection that ended because its answer ran into a defect of ours.
fn note(state: &State, ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        state.note_defect("a connection", &Defect::from(error));
    }
}

/// Counts a connection until it is dropped.
struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until the server is told to stop, or nobody is left who could tell it.
pub(super) async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Forgets uploads that do not go on.
async fn sweep(state: Arc<State>) {
    let mut ticks = tokio::time::interval((state.options.session_lifetime / 4).max(Duration::from_secs(1)));
    loop {
        ticks.tick().await;
        if let Err(defect) = caught(async { state.sessions.sweep() }).await {
            state.note_defect("forgetting old uploads", &defect);
        }
    }
}
