//! The caches of services: opened before a build, written after all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use builder::cache::{Limits, OnCacheError, Tier, Tiers, Used};
use oci::{Descriptor, Repository};

use super::{CacheAccess, CacheName, CacheWrite, CacheWriting, ServiceCaches, Written, write};
use crate::build::ServiceOutcome;
use crate::configuration::{CacheKind, Name, OnError};
use crate::place::PlaceError;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::tools::Tools;

/// What a service used of what can be cached, and where that is to go.
#[derive(Clone, Debug, Default)]
pub struct CacheUse {
    /// The service's caches.
    pub caches: ServiceCaches,
    /// What its builds used.
    pub used: Used,
}

/// A cache that was written, or not.
#[derive(Debug)]
pub struct WrittenCache {
    /// Its name.
    pub label: String,
    /// How it ended.
    pub written: Written,
}

/// Caches of services that are being written.
pub struct ServiceWriting {
    writing: CacheWriting,
    /// Those that could not be opened.
    failed: Vec<WrittenCache>,
}

impl ServiceWriting {
    /// Waits until all is written, at most for `budget`.
    pub fn wait(self, budget: Duration) -> Vec<WrittenCache> {
        let written = self.writing.wait(budget).into_iter();
        let written = written.map(|(label, written)| WrittenCache { label, written });
        self.failed.into_iter().chain(written).collect()
    }
}

/// Opens the caches that a service reads, and starts to fetch what they have; one that cannot be opened is told.
pub(crate) fn open(caches: &ServiceCaches, tools: &Tools<'_>) -> Result<Option<Arc<Tiers>>, PlaceError> {
    for note in &caches.notes {
        (tools.observer)(Progress::Note { message: note.clone() });
    }
    let mut tiers: Vec<Tier> = Vec::new();
    for name in &caches.read {
        match name.open(tools.places, &tools.project, CacheAccess::Read, &[]) {
            Ok(tier) => tiers.extend(tier),
            Err(error) if caches.on_error == OnError::Fail => return Err(error),
            Err(error) => warn(tools, format!("the cache {name} is not used: {error}")),
        }
    }
    let on_error = match caches.on_error {
        OnError::Warn => OnCacheError::Warn,
        OnError::Fail => OnCacheError::Fail,
    };
    Ok((!tiers.is_empty()).then(|| Arc::new(Tiers::start(tiers, on_error))))
}

fn warn(tools: &Tools<'_>, message: String) {
    (tools.observer)(Progress::Warning { message, place: None });
}

/// Starts to write what services used; several of them may share a cache. What is attached to images is left out where
/// they were not pushed.
pub fn start(
    plan: &Plan,
    outcomes: &BTreeMap<Name, ServiceOutcome>,
    is_pushed: bool,
    tools: &Tools<'_>,
) -> ServiceWriting {
    let mut writes: BTreeMap<&CacheName, Write> = BTreeMap::new();
    for (name, outcome) in outcomes {
        let Some(cached) = &outcome.cache else { continue };
        for cache in cached.caches.write.iter().filter(|cache| is_pushed || cache.kind != CacheKind::Image) {
            let write = writes.entry(cache).or_default();
            write.used.push((name.to_string(), cached.used.clone()));
            write.subject = outcome.image.as_ref().map(|image| image.descriptor().clone());
            write.links.extend(is_pushed.then(|| plan.services[name].image.clone()));
        }
    }
    let (mut opened, mut failed) = (Vec::new(), Vec::new());
    for (name, Write { used, subject, links }) in writes {
        match name.open(tools.places, &tools.project, CacheAccess::Write, &links) {
            Ok(Some(tier)) => opened.push(CacheWrite { tier, used, subject }),
            Ok(None) => {}
            Err(error) => {
                let written = Written::NotOpened(Box::new(error));
                failed.push(WrittenCache { label: name.to_string(), written });
            }
        }
    }
    let exporter = tools.embedded.workspace().exporter();
    ServiceWriting { writing: write(&exporter, opened, Limits::default()), failed }
}

#[derive(Default)]
struct Write {
    used: Vec<(String, Used)>,
    subject: Option<Descriptor>,
    links: Vec<Repository>,
}

/// Tells how caches were written, and returns what is wrong where that is an error.
pub fn report(written: &[WrittenCache], on_error: OnError, tools: &Tools<'_>) -> Vec<String> {
    let mut errors = Vec::new();
    for WrittenCache { label, written } in written {
        let message = match written {
            Written::Done(exported) => {
                for message in exported.told(label) {
                    (tools.observer)(Progress::Note { message });
                }
                // Of what a step may have just as well empty, nothing is an error.
                for problem in &exported.problems {
                    warn(tools, format!("the cache {label} is without {problem}"));
                }
                continue;
            }
            Written::Failed(error) => not_written(label, error),
            Written::NotOpened(error) => not_written(label, error.as_ref()),
            Written::GivenUp => format!("the cache {label} was not written: it took too long"),
        };
        match on_error {
            OnError::Warn => warn(tools, message),
            OnError::Fail => errors.push(message),
        }
    }
    errors
}

fn not_written(label: &str, error: &dyn std::error::Error) -> String {
    format!("the cache {label} was not written: {}", store::with_causes(error))
}
