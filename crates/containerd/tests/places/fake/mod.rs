//! A containerd for tests: it keeps content, names and leases in memory as the real one does, counts what it is
//! sent, and lies where it is told to.

mod answers;
mod content;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use containerd::protocol::Target;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixListener;
use tokio::sync::Notify;

/// What it does instead of what it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lie {
    #[default]
    Honest,
    /// Content is not what it was.
    OtherBytes,
    /// Content never ends.
    EndlessBytes,
    /// Content comes in pieces without a byte.
    EmptyPieces,
    /// The second half of content does not come.
    HalfOfIt,
    /// Every blob has this size.
    Size(i64),
    /// What was named is not there.
    ForgetsNames,
    /// What was named is something else.
    OtherTarget,
    /// There is no room for content.
    FullDisk,
    /// Nothing is allowed.
    Denies,
    /// It goes away when it was sent so many bytes of content.
    BreaksAfter(u64),
    /// Another client writes whatever is to be written, for so many tries.
    Locked(u32),
}

/// A blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) bytes: Vec<u8>,
    pub(crate) labels: HashMap<String, String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Lease {
    pub(crate) labels: HashMap<String, String>,
    pub(crate) held: BTreeSet<String>,
}

/// By namespace and name, digest or reference.
type ByNamespace<T> = BTreeMap<(String, String), T>;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) blobs: ByNamespace<Kept>,
    pub(crate) images: ByNamespace<Target>,
    /// Content that is not finished.
    pub(crate) ingests: ByNamespace<Vec<u8>>,
    pub(crate) leases: BTreeMap<String, Lease>,
    /// Content that somebody writes now.
    pub(crate) locked: BTreeSet<(String, String)>,
    /// Leases that were ended.
    pub(crate) ended: Vec<Lease>,
    /// Bytes of content that arrived.
    pub(crate) received: u64,
    pub(crate) lie: Lie,
    /// Called once when so many bytes arrived.
    pub(crate) at_bytes: Option<(u64, Box<dyn FnOnce() + Send>)>,
}

/// The server; ends with the value.
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(folder.path().join("containerd.sock")).unwrap()
        };
        runtime.spawn(accept(listener, Arc::clone(&state)));
        Self { state, folder, _runtime: runtime }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("containerd.sock")
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lie(&self, lie: Lie) {
        self.state().lie = lie;
    }

    /// Returns how many bytes of content arrived since it was asked last.
    pub(crate) fn received(&self) -> u64 {
        std::mem::take(&mut self.state().received)
    }
}

async fn accept(listener: UnixListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (state, breaking) = (Arc::clone(&state), Arc::new(Notify::new()));
        tokio::spawn(async move {
            let server = answers::Server { state, breaking: Arc::clone(&breaking) };
            let answer = service_fn(move |request| {
                let server = server.clone();
                async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
            });
            let connection =
                http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer);
            tokio::select! {
                _ = connection => {}
                () = breaking.notified() => {}
            }
        });
    }
}
