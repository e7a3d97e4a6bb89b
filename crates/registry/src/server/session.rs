//! Uploads that are under way.
//!
//! A session holds a temporary file of the store, so that a server that is killed leaves only
//! what the next start clears away. It has a random name, belongs to one repository, and is
//! written to by one request at a time.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::RETRY_AFTER;
use oci::Repository;
use store::Ingest;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::refusal::Refusal;
use crate::protocol::ErrorCode;

/// More uploads at once than this are refused; each holds an open file.
const MAX_SESSIONS: usize = 2048;
/// How long a request waits for another one that writes to the same session. Longer than it
/// takes to notice a broken connection on the same machine, shorter than clients wait.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

type ByName = HashMap<String, Arc<Session>>;

/// All sessions.
pub(super) struct Sessions {
    lifetime: Duration,
    sessions: Arc<Mutex<ByName>>,
}

#[derive(Debug)]
struct Session {
    repository: Repository,
    touched: Mutex<Instant>,
    upload: Arc<AsyncMutex<Option<Ingest>>>,
}

/// The content of a session, held by one request. `None` once it was closed. A request that panics while it
/// holds a session ends it: nobody knows what it had written.
#[derive(Debug)]
pub(super) struct Held {
    content: OwnedMutexGuard<Option<Ingest>>,
    /// Where the session is listed, under which name; `None` for content that no session has.
    listed: Option<(Arc<Mutex<ByName>>, String)>,
}

/// Returns content that no session has, in the same form.
pub(super) fn own(ingest: Ingest) -> Held {
    held(Some(ingest))
}

/// Returns the content of a session that has ended.
pub(super) fn nothing() -> Held {
    held(None)
}

fn held(ingest: Option<Ingest>) -> Held {
    let content = Arc::new(AsyncMutex::new(ingest)).try_lock_owned();
    Held { content: content.expect("nobody else knows of the lock"), listed: None }
}

impl Deref for Held {
    type Target = Option<Ingest>;

    fn deref(&self) -> &Self::Target {
        &self.content
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.content
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        self.content.take();
        if let Some((sessions, name)) = &self.listed {
            lock(sessions).remove(name);
        }
    }
}

impl Sessions {
    pub fn new(lifetime: Duration) -> Self {
        Self { lifetime, sessions: Arc::default() }
    }

    /// Begins a session and returns its name.
    pub fn open(&self, repository: &Repository, ingest: Ingest) -> Result<String, Refusal> {
        let name = random_name()?;
        let session = Session {
            repository: repository.clone(),
            touched: Mutex::new(Instant::now()),
            upload: Arc::new(AsyncMutex::new(Some(ingest))),
        };
        let mut sessions = lock(&self.sessions);
        if sessions.len() >= MAX_SESSIONS {
            return Err(busy(format!("{MAX_SESSIONS} uploads are under way")));
        }
        sessions.insert(name.clone(), Arc::new(session));
        Ok(name)
    }

    /// Takes hold of a session of `repository`; waits for a request that holds it.
    pub async fn hold(&self, repository: &Repository, name: &str) -> Result<Held, Refusal> {
        let session = self.find(repository, name).ok_or_else(|| unknown(name))?;
        let held = tokio::time::timeout(LOCK_LIMIT, session.upload.clone().lock_owned()).await;
        let held = held.map_err(|_| busy("another request is writing to this upload".to_owned()))?;
        *lock(&session.touched) = Instant::now();
        match held.is_some() {
            true => Ok(Held { content: held, listed: Some((self.sessions.clone(), name.to_owned())) }),
            false => Err(unknown(name)),
        }
    }

    /// Forgets a session; what it holds is removed as soon as no request uses it.
    pub fn close(&self, repository: &Repository, name: &str) -> Result<(), Refusal> {
        self.find(repository, name).ok_or_else(|| unknown(name))?;
        lock(&self.sessions).remove(name);
        Ok(())
    }

    /// Notes that the session was written to just now.
    pub fn touch(&self, name: &str) {
        if let Some(session) = lock(&self.sessions).get(name) {
            *lock(&session.touched) = Instant::now();
        }
    }

    /// Returns how many uploads are under way.
    pub fn count(&self) -> usize {
        lock(&self.sessions).len()
    }

    /// Forgets sessions that nobody used for their lifetime.
    pub fn sweep(&self) {
        let is_alive = |session: &Arc<Session>| {
            session.upload.try_lock().is_err() || lock(&session.touched).elapsed() < self.lifetime
        };
        lock(&self.sessions).retain(|_, session| is_alive(session));
    }

    fn find(&self, repository: &Repository, name: &str) -> Option<Arc<Session>> {
        let session = lock(&self.sessions).get(name).cloned();
        session.filter(|session| session.repository == *repository)
    }
}

/// The sessions are whole whatever panicked beside them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn random_name() -> Result<String, Refusal> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        let message = format!("no random numbers: {error}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Other("UNKNOWN".to_owned()), message)
    })?;
    Ok(bytes.iter().fold(String::with_capacity(32), |mut name, byte| {
        write!(name, "{byte:02x}").expect("writing to a String cannot fail");
        name
    }))
}

fn unknown(name: &str) -> Refusal {
    let shown: String = name.chars().take(64).collect();
    let message = format!("there is no upload {shown:?} in this repository; it may have ended or expired");
    Refusal::new(StatusCode::NOT_FOUND, ErrorCode::BlobUploadUnknown, message)
}

fn busy(message: String) -> Refusal {
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, message).with(RETRY_AFTER, "5")
}

#[cfg(test)]
mod tests {
    use store::LayoutStore;

    use super::*;

    fn repository(name: &str) -> Repository {
        format!("local/{name}").parse().unwrap()
    }

    #[tokio::test]
    async fn sessions_belong_to_their_repository_and_end() {
        let folder = tempfile::tempdir().unwrap();
        let store = LayoutStore::open(folder.path()).unwrap();
        let sessions = Sessions::new(Duration::ZERO);
        let name = sessions.open(&repository("a"), store.ingest().unwrap()).unwrap();
        assert_eq!(name.len(), 32);
        assert_eq!(sessions.hold(&repository("b"), &name).await.unwrap_err().status, StatusCode::NOT_FOUND);
        let held = sessions.hold(&repository("a"), &name).await.unwrap();
        sessions.sweep();
        drop(held);
        assert!(sessions.hold(&repository("a"), &name).await.is_ok(), "a session in use is not swept");
        sessions.sweep();
        assert_eq!(sessions.hold(&repository("a"), &name).await.unwrap_err().status, StatusCode::NOT_FOUND);
        assert_eq!(std::fs::read_dir(folder.path().join("temporary")).unwrap().count(), 0);
    }
}
