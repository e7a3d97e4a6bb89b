//! What lies neither in a registry nor on this machine: buckets, and the cache service of a CI host. Here
//! the environment and the files of the AWS tools are read and handed down as values.

use std::path::PathBuf;
use std::sync::Arc;

use forge::github::cache::CacheService;
use pipeline::configuration::CacheKind;
use pipeline::place::OpenCache;
use registry::client::Client;
use store::object::S3Settings;
use store::{Bucket, ImageStore, ObjectStore, S3Place, StoreError};

use crate::env::Environment;

/// The repository of a bucket that a build cache is in.
const CACHE_REPOSITORY: &str = "local/cache";

/// Returns what opens build caches elsewhere.
pub fn caches(environment: Environment) -> OpenCache {
    Box::new(move |client, kind, name| match kind {
        CacheKind::S3 => {
            let place: S3Place = name.parse().map_err(|error| refused("s3:", name, &error))?;
            let store = ObjectStore::open(bucket(&environment, &place, client)?)?;
            let repository = CACHE_REPOSITORY.parse().expect("a literal of the grammar");
            Ok(Arc::new(store.repository(&repository)) as Arc<dyn ImageStore>)
        }
        _ => {
            let service = CacheService::find(client, &environment.variables);
            let service = service.map_err(|error| refused("ci:", name, &error))?;
            Ok(Arc::new(service.cache(name)))
        }
    })
}

/// Returns the bucket, reached by the client's connections and as the environment says.
///
/// # Errors
/// There are no credentials or no region.
pub fn bucket(environment: &Environment, place: &S3Place, client: &Client) -> Result<Bucket, StoreError> {
    let settings = settings(environment, place.profile.as_deref());
    Ok(place.open(&settings, client.object_transport())?)
}

fn settings(environment: &Environment, profile: Option<&str>) -> S3Settings {
    let file = |variable: &str, below_home: &str| {
        let named = environment.variable(variable).map(PathBuf::from);
        let path = named.or_else(|| environment.home().map(|home| home.join(below_home)));
        // A file that cannot be read says nothing; what is missing then is told.
        path.and_then(|path| std::fs::read_to_string(environment.folder.join(path)).ok()).unwrap_or_default()
    };
    let credentials = file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
    let configuration = file("AWS_CONFIG_FILE", ".aws/config");
    let variable = |name: &str| environment.variable(name).map(str::to_owned);
    S3Settings::read(&variable, &credentials, &configuration, profile)
}

fn refused(word: &str, name: &str, error: &dyn std::error::Error) -> StoreError {
    StoreError::Denied { what: format!("the cache {word}{name}"), reason: error.to_string() }
}
