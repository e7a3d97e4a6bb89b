//! `plimsoll.toml` as typed values.
//!
//! Every key of every stage is known here, whenever its stage comes: nothing that somebody wrote
//! is ignored in silence. Unknown keys, wrong types and names that refer to nothing are errors
//! with file, line, column and the way out. Conditions go by kind of event, never by expressions.
//! Finding the file and the values of `--set` is the binary's; deciding by them is [`crate::plan`]'s.

mod cache;
mod check;
mod destination;
mod document;
mod error;
mod gate;
mod identity;
mod keys;
mod labels;
mod parse;
mod pattern;
mod release;
mod serve;
mod service;
mod suite;
mod transfer;
mod values;

use std::collections::BTreeMap;
use std::path::Path;

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

pub use cache::{Cache, CacheKind, CachePlace, InvalidCachePlace, MOUNT_LIMIT, OnError};
pub use destination::{ImageRepository, Prefix};
pub use error::{ConfigurationError, Place, Problem};
pub use gate::{
    FreshnessGate, Gates, Ignored, InvalidSecretSource, Mode, PolicyGate, PromoteGate, PromoteNeed,
    SecretSource, Severity, Sign, SignMode, SizeGate, VulnerabilityGate,
};
pub use identity::{
    AnnotationLevel, Created, IdentityRules, Latest, Metadata, PullRequestSha, ServiceIdentity, TagRule,
};
pub use labels::LabelRules;
pub use parse::{Parse, Scheme};
pub use pattern::Pattern;
pub use release::{Notify, NotifyChannel, NotifyOn, Release, Retention, RetentionRule, RetentionWhen};
pub use serve::{AccessLogForm, Serve, ServeRegistry, ServeStorage, ServeWebhook};
pub use service::{
    Argument, Defaults, Engine, ForkPush, InvalidEngine, Needs, Push, PushEvent, Retry, Sbom, Secret,
    Service, Skip,
};
pub use suite::{Archive, Command, Handoff, Network, Suite};
pub use transfer::{HostRanges, HostRetry, HostTransfer, Ranges};
pub use values::{ByteSize, InvalidValue, Name, OneOrMany, Percent, Timespan};

/// The version of the configuration's format that this program reads.
pub const SCHEMA: u32 = 1;

/// The name of the configuration's file.
pub const FILE_NAME: &str = "plimsoll.toml";

/// A project's configuration; every key has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Configuration {
    /// Version of the format.
    pub schema: u32,
    /// Name of the project, such as `acme/shop`; the folder's name where absent.
    pub project: Option<String>,
    /// Where images go: `{registry}/{service}`. The embedded registry where absent.
    pub registry: Option<Prefix>,
    /// How images are called.
    pub identity: IdentityRules,
    /// What applies to every service.
    pub defaults: Defaults,
    /// Images, by name.
    pub service: BTreeMap<Name, Service>,
    /// When nothing is built at all.
    pub skip: Skip,
    /// Tests of the images, by name.
    pub suite: BTreeMap<Name, Suite>,
    /// How images travel between jobs.
    pub handoff: Handoff,
    /// What must be true of an image before it ships.
    pub gate: Gates,
    /// Signing.
    pub sign: Sign,
    /// Releases.
    pub release: Release,
    /// What is deleted from registries, and what never is.
    pub retention: Retention,
    /// Messages to people.
    pub notify: Notify,
    /// What this machine serves to others.
    pub serve: Serve,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            project: None,
            registry: None,
            identity: IdentityRules::default(),
            defaults: Defaults::default(),
            service: BTreeMap::new(),
            skip: Skip::default(),
            suite: BTreeMap::new(),
            handoff: Handoff::default(),
            gate: Gates::default(),
            sign: Sign::default(),
            release: Release::default(),
            retention: Retention::default(),
            notify: Notify::default(),
            serve: Serve::default(),
        }
    }
}

impl Configuration {
    /// Reads a configuration; `label` names it in errors.
    ///
    /// # Errors
    /// [`ConfigurationError::Invalid`] with everything that is wrong of one sort.
    pub fn parse(text: &str, label: &str) -> Result<Self, ConfigurationError> {
        Self::parse_with(text, label, &[])
    }

    /// Reads a configuration after setting keys in it: each override is `key=value`, the key
    /// dotted, the value as in TOML or, where that is none or does not fit, as text.
    ///
    /// # Errors
    /// As for [`Configuration::parse`], and [`ConfigurationError::Override`].
    pub fn parse_with(text: &str, label: &str, overrides: &[String]) -> Result<Self, ConfigurationError> {
        document::read(text, label, overrides)
    }

    /// Reads `file`, or `plimsoll.toml` of `folder` where `file` is `None`; that one may be absent.
    /// Without any `[service]`, a Dockerfile in `folder` is the one service, named after the folder.
    ///
    /// # Errors
    /// As for [`Configuration::parse_with`]; `Unreadable`; `NoService` where there is nothing to build.
    pub fn load(
        folder: &Path,
        file: Option<&Path>,
        overrides: &[String],
    ) -> Result<Self, ConfigurationError> {
        let (mut configuration, label) = Self::read(folder, file, overrides)?;
        configuration.name_the_folder(folder, label)?;
        Ok(configuration)
    }

    /// Reads only what `[serve]` of such a file says: there need be nothing to build.
    ///
    /// # Errors
    /// As for [`Configuration::parse_with`]; `Unreadable`.
    pub fn load_serve(
        folder: &Path,
        file: Option<&Path>,
        overrides: &[String],
    ) -> Result<Serve, ConfigurationError> {
        if file.is_none() && overrides.is_empty() && is_absent(&folder.join(FILE_NAME)) {
            // The code that reads and checks all the rest would be four megabytes of a server's memory.
            return Ok(Serve::default());
        }
        Self::read(folder, file, overrides).map(|(configuration, _)| configuration.serve)
    }

    /// Reads the file, and returns how errors call it.
    fn read(
        folder: &Path,
        file: Option<&Path>,
        overrides: &[String],
    ) -> Result<(Self, String), ConfigurationError> {
        let default = folder.join(FILE_NAME);
        let path = file.unwrap_or(&default);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(_) if file.is_none() && is_absent(path) => String::new(),
            Err(source) => return Err(ConfigurationError::Unreadable { path: path.to_owned(), source }),
        };
        let label = path.strip_prefix(folder).unwrap_or(path).display().to_string();
        Ok((Self::parse_with(&text, &label, overrides)?, label))
    }

    /// Fills in what the folder says: the project's name, and the one service of a lone Dockerfile.
    fn name_the_folder(&mut self, folder: &Path, label: String) -> Result<(), ConfigurationError> {
        let name = folder_name(folder);
        if self.service.is_empty() {
            if !folder.join("Dockerfile").is_file() {
                return Err(ConfigurationError::NoService { label, folder: folder.to_owned() });
            }
            self.service.insert(name.clone(), Service::default());
        }
        self.project.get_or_insert_with(|| name.to_string());
        Ok(())
    }
}

/// Whether there is no such file; one that cannot be looked at may be there.
fn is_absent(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

/// Returns the folder's name as a slug, or `app` where nothing of it may stand in a name.
pub fn folder_name(folder: &Path) -> Name {
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = full.components().next_back().map(|last| last.as_os_str().to_string_lossy().into_owned());
    let mut slug = crate::identity::slug(&name.unwrap_or_default());
    slug.truncate(63);
    slug.trim_end_matches('-').parse().unwrap_or_else(|_| "app".parse().expect("app is a name"))
}

/// Returns the JSON Schema of the configuration.
pub fn schema() -> Schema {
    let mut schema = schemars::schema_for!(Configuration);
    schema.insert("$id".to_owned(), "plimsoll.config/1".into());
    schema
}

#[cfg(test)]
mod tests;
