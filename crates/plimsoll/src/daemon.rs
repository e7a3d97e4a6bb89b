//! Which container daemon is meant: as `docker` finds it, by `DOCKER_HOST` or by a context, else at a usual place.
//!
//! Source: docker/cli, cli/command/cli.go, "resolveContextName"; cli/context/store: a context's settings are in
//! `contexts/meta/SHA-256 OF ITS NAME/meta.json` beside `config.json`.

use std::path::{Path, PathBuf};

use oci::Digest;
use pipeline::daemon::{Daemon, DaemonError, socket_of};
use serde::Deserialize;

use crate::env::Environment;
use crate::session::Session;

/// The context that names no daemon.
const DEFAULT: &str = "default";

/// What is read of `config.json`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    #[serde(default)]
    current_context: String,
}

/// What is read of a context.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Context {
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: Option<Endpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint {
    #[serde(default)]
    host: String,
}

/// Finds the container daemon for what can do without: `None` where none answers, where it has no socket on this machine, or
/// where nobody asked for the one that this user may not use.
///
/// # Errors
/// `DOCKER_HOST` or a context names a socket that does not answer.
pub fn wanted(session: &Session) -> Result<Option<Daemon>, DaemonError> {
    let here = || session.environment.folder.clone();
    let scratch = session.scratch().unwrap_or_else(|_| here());
    match named(&session.environment) {
        Ok(Some(socket)) => Daemon::connect(&socket, &scratch).map(Some),
        // A daemon that this user may not use is none for who did not ask for it.
        Ok(None) => Ok(usual(&session.environment, &scratch).unwrap_or_default()),
        Err(DaemonError::Elsewhere { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Finds the container daemon. Archives on their way are kept in `scratch`.
///
/// # Errors
/// None answers; `Denied` where this user may not use it, `Elsewhere` where it has no socket on this machine.
pub fn find(environment: &Environment, scratch: &Path) -> Result<Daemon, DaemonError> {
    match named(environment)? {
        Some(socket) => Daemon::connect(&socket, scratch),
        None => usual(environment, scratch)?.ok_or(DaemonError::None),
    }
}

/// Returns the socket that the environment or a context names.
fn named(environment: &Environment) -> Result<Option<PathBuf>, DaemonError> {
    let socket = |named: String, host: &str| {
        socket_of(host).map(Some).map_err(|host| DaemonError::Elsewhere { named, host })
    };
    if let Some(host) = environment.variable("DOCKER_HOST") {
        return socket("DOCKER_HOST".to_owned(), host);
    }
    let Some(config) = environment.login_file() else { return Ok(None) };
    let set = environment.variable("DOCKER_CONTEXT").map(ToOwned::to_owned);
    let read =
        || std::fs::read(&config).ok().and_then(|bytes| serde_json::from_slice::<Settings>(&bytes).ok());
    // A file that is not there, or that Docker could not read either, chooses no context.
    let name = set.unwrap_or_else(|| read().unwrap_or_default().current_context);
    if name.is_empty() || name == DEFAULT {
        return Ok(None);
    }
    let folder = config.with_file_name("contexts/meta").join(Digest::of(name.as_bytes()).hex());
    // A context whose file cannot be read is none: that is said below.
    let context = std::fs::read(folder.join("meta.json")).ok();
    let context = context.and_then(|bytes| serde_json::from_slice::<Context>(&bytes).ok());
    let endpoint = context.and_then(|context| context.endpoints.docker);
    match endpoint {
        Some(endpoint) if endpoint.host.is_empty() => Ok(None),
        Some(endpoint) => socket(format!("Docker's context {name}"), &endpoint.host),
        None => Err(DaemonError::NoContext { name }),
    }
}

/// Returns the first that answers at a usual place.
fn usual(environment: &Environment, scratch: &Path) -> Result<Option<Daemon>, DaemonError> {
    let runtime = environment.variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own =
        runtime.iter().flat_map(|folder| [folder.join("docker.sock"), folder.join("podman/podman.sock")]);
    let mut denied = None;
    for socket in own.chain(["/var/run/docker.sock", "/run/podman/podman.sock"].map(PathBuf::from)) {
        match Daemon::connect(&socket, scratch) {
            Ok(daemon) => return Ok(Some(daemon)),
            Err(DaemonError::Unreachable { .. }) => {}
            Err(error) => denied = denied.or(Some(error)),
        }
    }
    denied.map_or(Ok(None), Err)
}
