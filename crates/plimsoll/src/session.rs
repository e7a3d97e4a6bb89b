//! What one run of the binary works with: the environment, the global flags, the printer, and the
//! places that follow from them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use oci::Registry;
use pipeline::configuration::{
    self, Configuration, FILE_NAME, HostRanges, HostRetry, HostTransfer, Push, Retry,
};
use pipeline::place::{Places, Reach};
use registry::client::{
    ClientOptions, Credential, CredentialError, Credentials, HostOptions, Next, Notice, Ranges, RetryPolicy,
    RouteSettings, Secret,
};
use store::{LayoutStore, PartFolder};

use crate::cli::Global;
use crate::elsewhere;
use crate::env::Environment;
use crate::error::Error;
use crate::ui::{Ui, quantity};
use crate::workbench;

/// What every command is handed.
#[derive(Debug)]
pub struct Session {
    /// The world outside.
    pub environment: Environment,
    /// Flags of every command.
    pub global: Global,
    /// The printer.
    pub ui: Ui,
    /// What the configuration says of pushing, once it was read.
    push: OnceLock<Push>,
}

impl Session {
    /// Puts the parts together.
    pub fn new(environment: Environment, global: Global, ui: Ui) -> Self {
        Self { environment, global, ui, push: OnceLock::new() }
    }

    /// Returns the folder for state: `--root`, else what the environment says.
    pub fn root(&self) -> Result<PathBuf, Error> {
        if let Some(root) = &self.global.root {
            return Ok(self.environment.folder.join(root));
        }
        self.environment.state_folder().ok_or_else(|| Error::Usage {
            message: "there is no folder for images and cache: neither HOME nor XDG_DATA_HOME is set"
                .to_owned(),
            hint: Some("name one with --root DIR or PLIMSOLL_ROOT".to_owned()),
        })
    }

    /// Refuses `--locked`, which nothing here can hold to yet; taking it in silence would be a lie.
    pub fn refuse_locked(&self) -> Result<(), Error> {
        if !self.global.locked {
            return Ok(());
        }
        Err(Error::Usage {
            message: "this version writes no plimsoll.lock, so --locked has nothing to hold to".to_owned(),
            hint: Some("name base images by digest, FROM name@sha256:..., and leave out --locked".to_owned()),
        })
    }

    /// Refuses `--dry-run` where what a command does can only be known by doing it.
    pub fn refuse_dry_run(&self, command: &str) -> Result<(), Error> {
        if !self.global.dry_run {
            return Ok(());
        }
        Err(Error::usage(format!("what {command} does is only known by doing it; leave out --dry-run")))
    }

    /// Opens the local store, which is made where it is not there.
    pub fn store(&self) -> Result<LayoutStore, Error> {
        Ok(LayoutStore::open(&self.root()?.join("store"))?)
    }

    /// Returns what places are opened with.
    pub fn places(&self) -> Result<Places, Error> {
        self.places_with(self.retry_policy()?)
    }

    /// Returns what places are opened with, by another patience than the configured one.
    pub fn places_with(&self, retry: RetryPolicy) -> Result<Places, Error> {
        let reach = if self.global.offline { Reach::Loopback } else { Reach::Everywhere };
        let options = ClientOptions { retry, ..self.client_options()? };
        let environment = self.environment.clone();
        let connect = move || {
            let credentials = Arc::new(credentials(&environment)?);
            Ok(ClientOptions { credentials, ..options.clone() })
        };
        let (environment, scratch) = (self.environment.clone(), self.scratch()?);
        let daemon = move || crate::daemon::find(&environment, &scratch);
        let places = Places::new(self.store()?, self.scratch()?, reach, Box::new(connect), Box::new(daemon));
        let environment = self.environment.clone();
        let places = places.with_containerd(Box::new(move || workbench::containerd_of(&environment)));
        Ok(places.with_caches(elsewhere::caches(self.environment.clone())))
    }

    /// Returns how registries are reached, without credentials.
    pub fn client_options(&self) -> Result<ClientOptions, Error> {
        let (ui, push) = (self.ui.clone(), self.push_settings()?);
        Ok(ClientOptions {
            plain_http: self.global.insecure_registry.clone(),
            authorities: self.environment.variable("SSL_CERT_FILE").map(PathBuf::from),
            certificate_folders: self.environment.certificate_folders(),
            clouds: self.environment.clouds(),
            // Mirrors are other machines: with --offline nobody but the registry on loopback is asked.
            routes: if self.global.offline { RouteSettings::default() } else { self.environment.routes() },
            proxy: self.environment.proxies(),
            retry: self.retry_policy()?,
            hosts: self.host_options()?,
            requests_per_host: push.requests as usize,
            ranges: ranges(&push.ranges),
            chunks: self.chunks()?,
            sessions: Some(self.root()?.join("uploads")),
            parts: Some(PartFolder::new(self.root()?.join("store/partial"))),
            follow_urls: !self.global.offline,
            notice: Arc::new(move |notice: &Notice| ui.warn(retry_message(notice))),
            ..ClientOptions::new(self.environment.clock(), self.scratch()?)
        })
    }

    /// Returns how patiently registries are asked: as the configuration says, where there is one.
    fn retry_policy(&self) -> Result<RetryPolicy, Error> {
        Ok(policy(&self.push_settings()?.retry))
    }

    /// Returns what is different for single registries.
    fn host_options(&self) -> Result<BTreeMap<Registry, HostOptions>, Error> {
        let push = self.push_settings()?;
        let options = |own: &HostTransfer| HostOptions {
            retry: (own.retry != HostRetry::default()).then(|| policy(&own.retry.over(&push.retry))),
            requests: own.requests.map(|count| count as usize),
            ranges: (own.ranges != HostRanges::default()).then(|| ranges(&own.ranges.over(&push.ranges))),
        };
        let hosts = push.host.iter();
        Ok(hosts.filter_map(|(host, own)| Some((host.parse().ok()?, options(own)))).collect())
    }

    /// Returns the registries that get blobs in chunks, with their sizes in bytes.
    fn chunks(&self) -> Result<BTreeMap<Registry, u64>, Error> {
        let chunks = self.push_settings()?.chunk.iter();
        Ok(chunks.filter_map(|(host, size)| Some((host.parse().ok()?, size.0))).collect())
    }

    /// Returns what the configuration says of pushing, where there is one.
    fn push_settings(&self) -> Result<&Push, Error> {
        if let Some(push) = self.push.get() {
            return Ok(push);
        }
        let Global { config, settings, .. } = &self.global;
        let file = config.clone().unwrap_or_else(|| FILE_NAME.into());
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if config.is_none() && error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(Error::file("read", &file, source)),
        };
        let label = file.display().to_string();
        let push = Configuration::parse_with(&text, &label, settings)?.defaults.push;
        Ok(self.push.get_or_init(|| push))
    }

    /// Returns the moment, in seconds since 1970, that `SOURCE_DATE_EPOCH` asks for.
    pub fn source_date_epoch(&self) -> Result<Option<i64>, Error> {
        let Some(text) = self.environment.variable("SOURCE_DATE_EPOCH") else { return Ok(None) };
        let number = text.parse::<i64>().ok().filter(|epoch| *epoch >= 0);
        number.map(Some).ok_or_else(|| {
            Error::usage(format!(
                "SOURCE_DATE_EPOCH is {text:?} and must be seconds since 1970, such as 1700000000"
            ))
        })
    }

    /// Returns the folder for files that do not outlive the process.
    pub fn scratch(&self) -> Result<PathBuf, Error> {
        let folder = self.root()?.join("scratch");
        std::fs::create_dir_all(&folder).map_err(|source| Error::file("make the folder", &folder, source))?;
        Ok(folder)
    }
}

/// Returns who we are to registries.
///
/// # Errors
/// A credential file that is there and cannot be used.
pub fn credentials(environment: &Environment) -> Result<Credentials, CredentialError> {
    let helpers = environment.variable("PATH").map(OsStr::new);
    let credentials = Credentials::from_files(&environment.credential_files(), helpers)?;
    let credentials = match environment.variable("DOCKER_AUTH_CONFIG") {
        Some(text) => credentials.with_text("$DOCKER_AUTH_CONFIG", text)?,
        None => credentials,
    };
    let of_job = forge::logins(&environment.variables).into_iter();
    Ok(of_job.fold(credentials, |credentials, login| {
        let forge::Login { registry, username, password } = login;
        let password = Secret::new(password);
        credentials.with_last(registry, Credential::Password { username, password })
    }))
}

fn retry_message(notice: &Notice) -> String {
    let Notice { attempt, attempts, what, reason, next } = notice;
    match next {
        Next::Again(wait) => format!(
            "{what}: attempt {attempt} of {attempts} failed: {reason}; next one in {}",
            quantity::duration(*wait)
        ),
        Next::Elsewhere(place) => format!("{what} failed: {reason}; going on with {place}"),
    }
}

fn policy(retry: &Retry) -> RetryPolicy {
    RetryPolicy {
        attempts: retry.attempts,
        wait: retry.wait.0,
        backoff: retry.backoff,
        timeout: retry.timeout.0,
        total: retry.total.0,
        budget: retry.budget,
        silence: retry.silence.0,
        ..RetryPolicy::default()
    }
}

/// One of the connections brings the beginning, the others what lies ahead.
fn ranges(ranges: &configuration::Ranges) -> Ranges {
    let parts = ranges.connections.saturating_sub(1) as usize;
    Ranges { parts, part_bytes: ranges.size.0, near: ranges.near.0 }
}
