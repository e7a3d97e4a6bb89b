//! The cache service of GitHub Actions, version 2, as a store for build caches.
//!
//! The service keeps entries that cannot be changed or listed; an entry is found by its key or, newest
//! first, by the beginning of one. Which branches' entries are found is the service's: the own
//! branch, then the one it goes to, then the default branch. A job writes into the scope of its own
//! branch, so what a pull request of a fork writes is never read by another branch.
//!
//! | entry | key |
//! |---|---|
//! | what a tag pointed to when a run wrote it: documents and blobs up to 1 MiB, packed | `plimsoll/NAME@TAG:RUN-ATTEMPT-DIGEST` |
//! | a larger blob | `plimsoll/blob/ALGORITHM-HEX` |
//!
//! `resolve` takes the newest entry that begins with `plimsoll/NAME@TAG:`. Small things go together
//! because the service takes 200 uploads a minute; where it asks for a pause it gets it. Old
//! entries go by the service's own rules (seven days unread, 10 GB a repository), so a blob that is
//! gone is no error but one that has to be made again.
//!
//! Source: actions/toolkit, packages/cache (`CacheService` in results/api/v1); Azure Storage, "Put
//! Blob", "Put Block", "Put Block List" for the addresses that it hands out.

mod pack;
mod service;
mod store;

#[cfg(test)]
mod tests;

use registry::client::{Client, Failure};

use crate::Environment;
use crate::forgejo;

pub use store::CiCache;

/// What the entries' format is told apart by; the service never mixes versions.
const FORMAT: &str = "plimsoll.ci-cache/1";

/// The service, as one run of a workflow reaches it.
#[derive(Clone)]
pub struct CacheService {
    client: Client,
    /// Ends with `/`.
    address: String,
    token: String,
    /// The run and its attempt.
    run: String,
}

/// Why there is no service that could be used.
#[derive(Debug, thiserror::Error)]
pub enum NoCacheService {
    /// This is no job of GitHub Actions.
    #[error("ci: is the cache service of GitHub Actions, and this is no job of it")]
    Elsewhere,
    /// The runner speaks an older protocol.
    #[error(
        "{host} offers version 1 of the cache service only, which this program does not speak; use registry:IMAGE:cache or s3: instead"
    )]
    Old {
        /// Whose runner it is.
        host: &'static str,
    },
    /// The step cannot see it.
    #[error(
        "{variable} is not set: GitHub gives it to actions and not to `run:` steps; put a step with crazy-max/ghaction-github-runtime before this one"
    )]
    Hidden {
        /// Which variable.
        variable: &'static str,
    },
    /// The token would go in the open.
    #[error("ACTIONS_RESULTS_URL is {address}, which is neither HTTPS nor this machine")]
    Open {
        /// The address.
        address: String,
    },
}

impl CacheService {
    /// Returns the service of the job that `environment` is of.
    ///
    /// # Errors
    /// It is none, or its service cannot be used.
    pub fn find(client: &Client, environment: &Environment) -> Result<Self, NoCacheService> {
        let get = |name: &str| environment.get(name).map(String::as_str).filter(|value| !value.is_empty());
        if get("GITHUB_ACTIONS").is_none() && get("ACTIONS_RESULTS_URL").is_none() {
            return Err(NoCacheService::Elsewhere);
        }
        let is_github = get("GITHUB_SERVER_URL").is_none_or(|server| {
            let host = server.trim_start_matches("https://").trim_end_matches('/');
            host == "github.com" || host.ends_with(".ghe.com")
        });
        if get("ACTIONS_CACHE_SERVICE_V2").is_none() {
            if forgejo::is_ours(environment) {
                return Err(NoCacheService::Old { host: "Forgejo's or Gitea's runner" });
            }
            if !is_github {
                return Err(NoCacheService::Old { host: "this GitHub Enterprise Server" });
            }
        }
        let need = |variable: &'static str| get(variable).ok_or(NoCacheService::Hidden { variable });
        let (address, token) = (need("ACTIONS_RESULTS_URL")?, need("ACTIONS_RUNTIME_TOKEN")?);
        if !is_safe(address) {
            return Err(NoCacheService::Open { address: address.to_owned() });
        }
        let number = |name| get(name).unwrap_or("0");
        Ok(Self {
            client: client.clone(),
            address: format!("{}/", address.trim_end_matches('/')),
            token: token.to_owned(),
            run: format!("{}-{}", number("GITHUB_RUN_ID"), number("GITHUB_RUN_ATTEMPT")),
        })
    }

    /// Returns the cache `name`, such as that of a branch.
    pub fn cache(&self, name: &str) -> CiCache {
        CiCache::new(self.clone(), name)
    }
}

impl std::fmt::Debug for CacheService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CacheService({})", self.address)
    }
}

fn is_safe(address: &str) -> bool {
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    address.starts_with("https://")
        || local.iter().any(|start| {
            address.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
        })
}

/// Returns the error of a store for a request that could not be made.
fn unreachable(action: &'static str, what: &str, failure: Failure) -> ::store::StoreError {
    failure.into_store_error(action, what.to_owned())
}
