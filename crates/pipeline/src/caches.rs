//! Build caches outside this machine: from a place and a name to a tier of the engine, and writing to it beside
//! whatever else is done.
//!
//! | place | store | name in it |
//! |---|---|---|
//! | `registry:REPOSITORY[:TAG]` | the repository | the tag, `cache` where none is given |
//! | `local:FOLDER` | an image layout in the folder | `cache` |
//! | `image:REPOSITORY[:TAG]` | the repository | what refers to the image with the tag, `latest` where none is given |
//! | `ci:NAME`, `s3:NAME` | not yet | |

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use builder::cache::{Limits, Tier, TierName, Used};
use builder::{Exported, Exporter};
use oci::{Descriptor, Reference, Repository, Tag};
use store::{ImageStore, OciFolder, StoreError};

use crate::configuration::CacheKind;
use crate::place::{PlaceError, Places};

/// A cache by its kind and name, fields filled in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheName {
    /// What kind of place.
    pub kind: CacheKind,
    /// The place's name there.
    pub name: String,
}

/// What a cache is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheAccess {
    /// Steps are looked up; a folder that is not there is a cache that is empty.
    Read,
    /// Steps are put.
    Write,
}

impl fmt::Display for CacheName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.word(), self.name)
    }
}

impl CacheName {
    /// Opens the cache; `None` where it is to be read and is a folder that is not there. Relative folders start at
    /// `folder`. A registry links blobs from the repositories `links` instead of taking them again.
    ///
    /// # Errors
    /// `Unsupported` for what is not there yet and for names that are none; what the place says.
    pub fn open(
        &self,
        places: &Places,
        folder: &Path,
        access: CacheAccess,
        links: &[Repository],
    ) -> Result<Option<Tier>, PlaceError> {
        match self.kind {
            CacheKind::Registry => {
                let reference = self.reference()?;
                let tag = reference.tag().cloned().unwrap_or_else(cache_tag);
                self.in_registry(places, &reference, TierName::Tag(tag), links).map(Some)
            }
            CacheKind::Image => {
                let reference = self.reference()?;
                let tag = reference.tag().cloned().unwrap_or_else(Tag::latest);
                self.in_registry(places, &reference, TierName::Attached(tag), links).map(Some)
            }
            CacheKind::Local => self.in_folder(&folder.join(&self.name), access),
            CacheKind::Ci => Err(self.unsupported("the cache service of a CI host is not supported yet")),
            CacheKind::S3 => Err(self.unsupported("caches in S3 are not supported yet")),
        }
    }

    fn reference(&self) -> Result<Reference, PlaceError> {
        let reference: Result<Reference, _> = self.name.parse();
        let is_pinned = |reference: &Reference| reference.digest().is_some();
        match reference {
            Ok(reference) if reference.repository().registry().is_local() => {
                Err(self.unsupported("local/ is this machine's store, which is asked first anyway"))
            }
            Ok(reference) if !is_pinned(&reference) => Ok(reference),
            _ => Err(self.unsupported("it is not REGISTRY/PATH[:TAG]")),
        }
    }

    fn in_registry(
        &self,
        places: &Places,
        reference: &Reference,
        name: TierName,
        links: &[Repository],
    ) -> Result<Tier, PlaceError> {
        let repository = reference.repository();
        let mut remote = places.remote(repository)?;
        for link in links {
            remote = remote.mount_from(link);
        }
        let store: Arc<dyn ImageStore> = Arc::new(remote);
        Ok(Tier { label: self.to_string(), store, name, repository: Some(repository.clone()) })
    }

    fn in_folder(&self, folder: &Path, access: CacheAccess) -> Result<Option<Tier>, PlaceError> {
        let opened = match access {
            CacheAccess::Read => OciFolder::open(folder),
            CacheAccess::Write => OciFolder::create(folder),
        };
        let store: Arc<dyn ImageStore> = match opened {
            Ok(folder) => Arc::new(folder),
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let name = TierName::Tag(cache_tag());
        Ok(Some(Tier { label: self.to_string(), store, name, repository: None }))
    }

    fn unsupported(&self, reason: &'static str) -> PlaceError {
        PlaceError::Unsupported { place: format!("the cache {self}"), action: "used", reason }
    }
}

fn cache_tag() -> Tag {
    "cache".parse().expect("a literal tag of the grammar")
}

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
    /// The cache has it; `None` where nothing was new.
    Done(Option<Exported>),
    /// It failed, and the cache is what it was.
    Failed(StoreError),
    /// It was not done when the time was over, and was given up.
    GivenUp,
}

/// Caches that are being written.
pub struct CacheWriting {
    labels: Vec<String>,
    outcomes: Receiver<(usize, Result<Option<Exported>, StoreError>)>,
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
