//! Where requests for a repository go besides its own registry: mirrors that are asked first, other
//! locations, and what is not asked at all.
//!
//! | room | reads |
//! |---|---|
//! | `hosts` | containerd's `certs.d/HOST/hosts.toml` |
//! | `registries` | `registries.conf` of Podman, Buildah, CRI-O and skopeo |
//!
//! A registry that has a `hosts.toml` is treated as that says, any other one as `registries.conf`
//! says. Mirrors are asked for content only, in their order; what a mirror gives must have the digest
//! that was asked for, so it can withhold and not forge. Credentials are looked up for each host's own name.

mod hosts;
mod registries;
mod site;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use oci::{Registry, Repository};

use registries::Rules;
pub(crate) use site::{Security, Site, SiteCertificates};

/// Files that say where requests go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteSettings {
    /// Folders with `HOST/hosts.toml`; the first that has one for a host counts.
    pub hosts_folders: Vec<PathBuf>,
    /// `registries.conf`; one that is not there says nothing.
    pub registries: Option<PathBuf>,
    /// Folders of `*.conf` files that are read after it, in their order.
    pub registries_folders: Vec<PathBuf>,
}

/// A file says something that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct InvalidRoute {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, with the line where it is known.
    pub reason: String,
}

/// What all files say.
#[derive(Debug)]
pub(crate) struct Routes {
    hosts_folders: Vec<PathBuf>,
    rules: Rules,
    /// What `hosts.toml` says, by registry; read when a registry is first asked for.
    hosts: Mutex<HashMap<Registry, Read>>,
}

/// What came of reading a registry's file; `None` where it has none.
type Read = Result<Option<Arc<HostRoute>>, InvalidRoute>;

/// A registry's `hosts.toml`.
#[derive(Debug)]
struct HostRoute {
    mirrors: Vec<(Arc<Site>, Answers)>,
    /// Where the registry itself is, where it is not where its name says.
    home: Option<Arc<Site>>,
}

/// Where requests for one repository go.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// Asked before the registry itself, in order.
    pub mirrors: Vec<Mirror>,
    /// What the repository is called where it really is.
    pub repository: Repository,
    /// Where that is; `None` where its name says it.
    pub home: Option<Arc<Site>>,
}

/// A place that may have the same content.
#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    pub site: Arc<Site>,
    pub repository: Repository,
    pub answers: Answers,
}

/// What a mirror is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    /// What a tag points to.
    pub tags: bool,
    /// Content by its digest.
    pub digests: bool,
}

impl Answers {
    pub const ALL: Self = Self { tags: true, digests: true };
}

impl Routes {
    /// Reads `registries.conf`; the files of hosts are read when they are needed.
    pub fn read(settings: &RouteSettings) -> Result<Self, InvalidRoute> {
        let rules = Rules::read(settings.registries.as_deref(), &settings.registries_folders)?;
        Ok(Self { hosts_folders: settings.hosts_folders.clone(), rules, hosts: Mutex::default() })
    }

    /// Returns where requests for `repository` go.
    ///
    /// # Errors
    /// A file that cannot be followed, or a registry that is blocked.
    pub fn of(&self, repository: &Repository) -> Result<Route, InvalidRoute> {
        if let Some(host) = self.of_host(repository.registry())? {
            let mirror = |(site, answers): &(Arc<Site>, Answers)| Mirror {
                site: site.clone(),
                repository: named_at(repository, &site.registry),
                answers: *answers,
            };
            let mirrors = host.mirrors.iter().map(mirror).collect();
            return Ok(Route { mirrors, repository: repository.clone(), home: host.home.clone() });
        }
        self.rules.of(repository)
    }

    /// Returns where the registry itself is; `None` where its name says it.
    ///
    /// # Errors
    /// As for [`Routes::of`].
    pub fn home(&self, registry: &Registry) -> Result<Option<Arc<Site>>, InvalidRoute> {
        match self.of_host(registry)? {
            Some(host) => Ok(host.home.clone()),
            None => self.rules.home(registry),
        }
    }

    fn of_host(&self, registry: &Registry) -> Read {
        let mut hosts = self.hosts.lock().expect("nothing panics while it holds the lock");
        if let Some(known) = hosts.get(registry) {
            return known.clone();
        }
        let found = hosts::find(&self.hosts_folders, registry).map(|found| found.map(Arc::new));
        hosts.insert(registry.clone(), found.clone());
        found
    }
}

/// Returns the repository's path under another registry's name.
fn named_at(repository: &Repository, registry: &Registry) -> Repository {
    repository.at(registry.clone()).unwrap_or_else(|_| repository.clone())
}

/// Reads a file that need not be there.
fn read_text(path: &Path) -> Result<Option<String>, InvalidRoute> {
    match std::fs::read(path) {
        Ok(bytes) if bytes.len() > MAX_FILE_BYTES => Err(invalid(path, "it is longer than 1 MiB")),
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| invalid(path, "it is not text")),
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(invalid(path, format!("it cannot be read: {error}"))),
    }
}

const MAX_FILE_BYTES: usize = 1 << 20;

fn invalid(path: &Path, reason: impl Into<String>) -> InvalidRoute {
    InvalidRoute { path: path.to_owned(), reason: reason.into() }
}

/// Parses TOML; what is wrong is told with its line.
fn parse(path: &Path, text: &str) -> Result<toml_edit::DocumentMut, InvalidRoute> {
    text.parse().map_err(|error: toml_edit::TomlError| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
        invalid(path, format!("line {line}: {}", error.message().lines().next().unwrap_or("not TOML")))
    })
}
