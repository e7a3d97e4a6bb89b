//! Writing to caches beside whatever else is done.

use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use builder::cache::{Limits, Tier, Used};
use builder::{Exported, Exporter};
use oci::Descriptor;
use store::StoreError;

use crate::place::PlaceError;

/// What is to be written to one cache.
pub struct CacheWrite {
    /// The cache.
    pub tier: Tier,
    /// What builds used, each with the name of its scope.
    pub used: Vec<(String, Used)>,
    /// The image that a cache is attached to.
    pub subject: Option<Descriptor>,
}

/// How writing to a cache ended.
#[derive(Debug)]
pub enum Written {
    /// The cache has it.
    Done(Exported),
    /// It failed, and the cache is what it was.
    Failed(StoreError),
    /// There is no such place, or it cannot be reached.
    NotOpened(Box<PlaceError>),
    /// It was not done when the time was over, and was given up.
    GivenUp,
}

/// Caches that are being written.
pub struct CacheWriting {
    labels: Vec<String>,
    outcomes: Receiver<(usize, Result<Exported, StoreError>)>,
}

/// Starts to write, each cache on a thread of its own; the threads go with the process.
pub fn write(exporter: &Exporter, writes: Vec<CacheWrite>, limits: Limits) -> CacheWriting {
    let (sender, outcomes) = mpsc::channel();
    let labels = writes.iter().map(|write| write.tier.label.clone()).collect();
    for (number, write) in writes.into_iter().enumerate() {
        let (sender, exporter) = (sender.clone(), exporter.clone());
        std::thread::spawn(move || {
            let outcome = exporter.write(&write.tier, &write.used, write.subject.as_ref(), limits);
            // Who waited may have given up.
            let _ = sender.send((number, outcome));
        });
    }
    CacheWriting { labels, outcomes }
}

impl CacheWriting {
    /// Waits until all is written, at most for `budget`, and returns how each ended, by the cache's name.
    pub fn wait(self, budget: Duration) -> Vec<(String, Written)> {
        let end = Instant::now() + budget;
        let mut results: Vec<Written> = self.labels.iter().map(|_| Written::GivenUp).collect();
        for _ in 0..results.len() {
            let left = end.saturating_duration_since(Instant::now());
            match self.outcomes.recv_timeout(left) {
                Ok((number, Ok(exported))) => results[number] = Written::Done(exported),
                Ok((number, Err(error))) => results[number] = Written::Failed(error),
                Err(_) => break,
            }
        }
        self.labels.into_iter().zip(results).collect()
    }
}
