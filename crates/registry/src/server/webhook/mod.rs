//! Events told to other programs over HTTP, as the Standard Webhooks specification has it.
//!
//! An event is written down before the change it tells of and let go afterwards, so that neither a kill
//! in between nor a receiver that is away loses one; a start looks which of those that were written down
//! came about. Clients never wait for a receiver.
//!
//! | room | owns |
//! |---|---|
//! | `event` | what is told |
//! | `secret` | signatures |
//! | `queue` | what is to be told, in files |
//! | `delivery` | telling it, again and again |
//!
//! Source: Standard Webhooks 1.0, "Webhook Metadata", "Deliverability and reliability".

mod delivery;
mod event;
mod queue;
mod secret;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use oci::{Digest, Repository};
use tokio::sync::Notify;

use super::access::Now;
use super::pattern::Pattern;
use crate::client::Client;

pub use secret::{InvalidSecret, WebhookSecret};

pub(super) use delivery::run;
pub(super) use event::Happening;

use event::Body;
use queue::Queue;

/// How events are told.
#[derive(Clone)]
pub struct WebhookOptions {
    /// Whom to tell.
    pub hooks: Vec<Webhook>,
    /// Where events wait, a folder below it for each receiver.
    pub folder: PathBuf,
    /// How receivers are reached; nobody's credentials go along.
    pub client: Client,
    /// The time it is.
    pub now: Now,
    /// How long is waited after each failed try; one more failure makes a dead letter.
    pub waits: Vec<Duration>,
    /// How many events wait for one receiver at most; further ones are lost.
    pub max_waiting: usize,
    /// Told of what did not go as it should.
    pub report: WebhookReport,
}

/// Somebody who is told of events.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The address; `https`, or `http` to a loopback address.
    pub url: String,
    /// What messages are signed with; several while they are changed.
    pub secrets: Vec<WebhookSecret>,
    /// Which repositories; all where none is named.
    pub repositories: Vec<Pattern>,
    /// Which types of event, such as `tag.*`; all where none is named.
    pub types: Vec<Pattern>,
}

/// Who is told of trouble with receivers.
pub type WebhookReport = Arc<dyn Fn(&WebhookTrouble) + Send + Sync>;

/// Something that a receiver was not told, or not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookTrouble {
    /// The receiver, without the query of its address.
    pub url: String,
    /// What happened.
    pub reason: String,
    /// Whether the event is lost to it, as a dead letter or because too many wait.
    pub is_lost: bool,
}

/// How long is waited after each failed try where nothing else is said: ten tries within 28 hours.
pub const WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(2 * 60 * 60),
    Duration::from_secs(4 * 60 * 60),
    Duration::from_secs(8 * 60 * 60),
    Duration::from_secs(12 * 60 * 60),
];

/// Why events cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The folder in which events wait cannot be used.
    #[error("cannot use {folder} for events that wait to be told")]
    Folder {
        /// Which one.
        folder: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
}

impl std::fmt::Debug for WebhookOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookOptions").field("hooks", &self.hooks).finish_non_exhaustive()
    }
}

impl Webhook {
    fn wants(&self, repository: &Repository, kind: &str) -> bool {
        let covers = |patterns: &[Pattern], name: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name))
        };
        covers(&self.repositories, repository.path()) && covers(&self.types, kind)
    }

    /// Returns the address without its query, which may hold a secret.
    fn shown(&self) -> String {
        self.url.split('?').next().unwrap_or_default().to_owned()
    }
}

/// All receivers while the server runs.
pub(super) struct Hooks {
    options: WebhookOptions,
    receivers: Vec<Arc<Receiver>>,
}

/// One receiver and what it is to be told.
struct Receiver {
    hook: Webhook,
    queue: Mutex<Queue>,
    /// That something was added.
    added: Notify,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    failed: AtomicU64,
    dead: AtomicU64,
    lost: AtomicU64,
}

/// Events that were written down; they are told when the change came about, and forgotten when this is
/// dropped without.
#[must_use = "what is not let go is never told"]
pub(super) struct Announced<'a> {
    hooks: Option<&'a Hooks>,
    /// The receiver's place in the list and the message.
    written: Vec<(usize, queue::Message)>,
}

impl Hooks {
    /// Reads what waits from an earlier run; `is_so` says whether a change that was announced came about.
    ///
    /// # Errors
    /// A folder cannot be made or read.
    pub fn open(options: WebhookOptions, is_so: impl Fn(&Happening) -> bool) -> Result<Self, WebhookError> {
        let mut receivers = Vec::new();
        for hook in &options.hooks {
            let folder = folder_of(&options.folder, &hook.url);
            let queue = Queue::open(&folder, options.max_waiting, &is_so)
                .map_err(|source| WebhookError::Folder { folder, source })?;
            receivers.push(Arc::new(Receiver {
                hook: hook.clone(),
                queue: Mutex::new(queue),
                added: Notify::new(),
                counts: Counts::default(),
            }));
        }
        Ok(Self { options, receivers })
    }

    /// Writes down what is about to happen. What cannot be written is reported and lost: no client is
    /// refused for it.
    pub fn announce(&self, who: &str, happenings: &[Happening]) -> Announced<'_> {
        let mut written = Vec::new();
        for happening in happenings {
            let body = Body::new(happening, who, (self.options.now)());
            for (place, receiver) in self.receivers.iter().enumerate() {
                if !receiver.hook.wants(&happening.repository, happening.kind()) {
                    continue;
                }
                let message = receiver.queue.lock().unwrap_or_else(PoisonError::into_inner).write(&body);
                match message {
                    Ok(message) => written.push((place, message)),
                    Err(reason) => self.lose(receiver, reason),
                }
            }
        }
        Announced { hooks: Some(self), written }
    }

    fn lose(&self, receiver: &Receiver, reason: String) {
        receiver.counts.lost.fetch_add(1, Relaxed);
        self.report(receiver, reason, true);
    }

    fn report(&self, receiver: &Receiver, reason: String, is_lost: bool) {
        (self.options.report)(&WebhookTrouble { url: receiver.hook.shown(), reason, is_lost });
    }

    /// Adds what is counted, in the form of `/metrics`.
    pub fn write_metrics(&self, text: &mut String) {
        use std::fmt::Write as _;

        let sum = |count: fn(&Counts) -> &AtomicU64| -> u64 {
            self.receivers.iter().map(|one| count(&one.counts).load(Relaxed)).sum()
        };
        let waiting: usize = self
            .receivers
            .iter()
            .map(|one| one.queue.lock().unwrap_or_else(PoisonError::into_inner).len())
            .sum();
        let all = [
            ("delivered_total", "counter", "Events that receivers took.", sum(|counts| &counts.delivered)),
            ("failures_total", "counter", "Tries that failed.", sum(|counts| &counts.failed)),
            ("dead_total", "counter", "Events given up after all tries.", sum(|counts| &counts.dead)),
            ("lost_total", "counter", "Events that could not be kept.", sum(|counts| &counts.lost)),
            ("waiting", "gauge", "Events that wait to be told.", waiting as u64),
        ];
        for (name, kind, help, value) in all {
            let name = format!("plimsoll_registry_webhook_{name}");
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
    }
}

impl<'a> Announced<'a> {
    /// Returns what announces nothing.
    pub fn nothing() -> Self {
        Self { hooks: None, written: Vec::new() }
    }

    /// Lets the events go: what they tell of has come about.
    pub fn confirm(mut self) {
        let Some(hooks) = self.hooks else { return };
        for (place, message) in std::mem::take(&mut self.written) {
            let receiver = &hooks.receivers[place];
            let released = receiver.queue.lock().unwrap_or_else(PoisonError::into_inner).release(message);
            match released {
                Ok(()) => receiver.added.notify_one(),
                Err(reason) => hooks.lose(receiver, reason),
            }
        }
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        let Some(hooks) = self.hooks else { return };
        for (place, message) in std::mem::take(&mut self.written) {
            hooks.receivers[place].queue.lock().unwrap_or_else(PoisonError::into_inner).forget(message);
        }
    }
}

/// Returns the folder of a receiver; its address may have signs that no file name has.
fn folder_of(folder: &Path, url: &str) -> PathBuf {
    folder.join(&Digest::of(url.as_bytes()).hex()[..16])
}
