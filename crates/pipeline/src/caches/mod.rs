//! Build caches outside this machine: from a place and a name to a tier of the engine, and writing to it beside
//! whatever else is done.
//!
//! | place | store | name in it |
//! |---|---|---|
//! | `registry:REPOSITORY[:TAG]` | the repository | the tag, `cache` where none is given |
//! | `local:FOLDER` | an image layout in the folder | `cache` |
//! | `image:REPOSITORY[:TAG]` | the repository | what refers to the image with the tag, `latest` where none is given |
//! | `ci:NAME` | the cache service of the CI host, with its scopes by branch | `cache` |
//! | `s3:BUCKET/PREFIX?region=...&endpoint=...` | the bucket | `cache` |

mod places;
mod service;
mod writing;

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use builder::cache::{Tier, TierName};
use oci::{Reference, Repository, Tag};
use store::{ImageStore, OciFolder, StoreError};

use crate::configuration::{CacheKind, CachePlace, InvalidCachePlace};
use crate::identity::template::Nothing;
use crate::place::{PlaceError, Places};

pub use places::ServiceCaches;
pub(crate) use service::open;
pub use service::{CacheUse, ServiceWriting, WrittenCache, report, start};
pub use writing::{CacheWrite, CacheWriting, Written, write};

/// Longest name of a place, in bytes.
const MAX_NAME: usize = 1024;

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

impl FromStr for CacheName {
    type Err = InvalidCachePlace;

    fn from_str(text: &str) -> Result<Self, InvalidCachePlace> {
        let CachePlace { kind, name } = text.parse()?;
        let invalid = |reason| InvalidCachePlace { text: text.chars().take(100).collect(), reason };
        if let Some(field) = name.fields().next() {
            return Err(invalid(format!("{{{field}}} is for the configuration")));
        }
        let name = name.render(MAX_NAME, |_| Ok(String::new()));
        Ok(Self { kind, name: name.map_err(|Nothing(reason)| invalid(reason))? })
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
            CacheKind::Ci | CacheKind::S3 => {
                let store = places.cache(self.kind, &self.name)?;
                let name = TierName::Tag(cache_tag());
                Ok(Some(Tier { label: self.to_string(), store, name, repository: None }))
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_places_without_fields() {
        for text in ["registry:ghcr.io/a/b:cache", "local:/var/cache", "image:ghcr.io/a/b:1"] {
            assert_eq!(text.parse::<CacheName>().unwrap().to_string(), text);
        }
        for (text, reason) in [("registry:{image}", "for the configuration"), ("x:y", "expected ci:")] {
            let error = text.parse::<CacheName>().unwrap_err();
            assert!(error.reason.contains(reason), "{error}");
        }
    }
}
