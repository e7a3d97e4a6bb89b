//! `[defaults]`, `[service.*]` and `[skip]`: what is built, how, and when not.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use oci::Platform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use super::Pattern;
use super::cache::Cache;
use super::destination::ImageRepository;
use super::identity::ServiceIdentity;
use super::transfer::{HostTransfer, Ranges};
use super::values::{ByteSize, Name, OneOrMany, Timespan};
use crate::identity::Glob;
use crate::text::Text;

/// What applies to every service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Defaults {
    /// Platforms to build for; empty means this machine's.
    pub platforms: Vec<Text<Platform>>,
    /// What builds.
    pub engine: OneOrMany<Engine>,
    /// How layers are compressed that are made here: `gzip`, `zstd` or `none`, with a level as in `zstd:9`.
    pub compression: Option<Text<layer::Settings>>,
    /// Bills of materials to make.
    pub sbom: Vec<Sbom>,
    /// Build caches outside this machine.
    pub cache: Cache,
    /// Pushing.
    pub push: Push,
    /// Whether RUN steps are lent this machine's certificate authorities and proxy settings.
    pub host_ca: bool,
    /// What all steps of a build may use together.
    pub limits: Limits,
}

/// What all steps of a build may use together, where the kernel lets this be said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Memory.
    pub memory: Option<ByteSize>,
    /// Processes and threads.
    #[schemars(range(min = 1))]
    pub processes: Option<u64>,
}

/// What builds: a word, or the address of a BuildKit daemon. Several addresses are a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The embedded engine.
    Auto,
    /// The embedded engine, and nothing else.
    Embedded,
    /// A BuildKit daemon at its usual place.
    BuildKit,
    /// The BuildKit in a Docker daemon.
    Docker,
    /// A BuildKit daemon at an address, such as `tcp://host:1234`.
    Address(String),
}

impl std::str::FromStr for Engine {
    type Err = InvalidEngine;

    fn from_str(text: &str) -> Result<Self, InvalidEngine> {
        let schemes =
            ["tcp://", "unix://", "docker-container://", "kube-pod://", "ssh://", "podman-container://"];
        Ok(match text {
            "auto" => Self::Auto,
            "embedded" => Self::Embedded,
            "buildkit" => Self::BuildKit,
            "docker" => Self::Docker,
            address if schemes.iter().any(|scheme| address.starts_with(scheme)) => {
                Self::Address(address.to_owned())
            }
            other => {
                let hint = crate::suggest::did_you_mean(other, ["auto", "embedded", "buildkit", "docker"]);
                return Err(InvalidEngine { text: other.chars().take(100).collect(), hint });
            }
        })
    }
}

/// A string names no engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not an engine: expected auto, embedded, buildkit, docker or an address such as tcp://host:1234{hint}"
)]
pub struct InvalidEngine {
    /// What was given, cut at 100 characters.
    pub text: String,
    hint: String,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Embedded => "embedded",
            Self::BuildKit => "buildkit",
            Self::Docker => "docker",
            Self::Address(address) => address,
        })
    }
}

crate::text::written_as_text!(
    Engine,
    "auto, embedded, buildkit, docker, or an address such as tcp://host:1234"
);

/// A format of a bill of materials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sbom {
    /// SPDX, JSON.
    Spdx,
    /// CycloneDX, JSON.
    Cyclonedx,
}

/// Pushing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Push {
    /// Kinds of events that push.
    pub events: Vec<PushEvent>,
    /// What a run does that may not push, such as one of a fork's pull request.
    pub forks: ForkPush,
    /// Whether layers that are not to be distributed are pushed too: Docker's foreign ones, the OCI's non-distributable ones.
    pub allow_nondistributable: bool,
    /// How often a request is made again.
    pub retry: Retry,
    /// Registries, as `host` or `host:port`, that get blobs in chunks of this size; all others get each
    /// in one request.
    pub chunk: BTreeMap<String, ByteSize>,
    /// How many uploads a registry gets at once, and twice as many other requests.
    #[schemars(range(min = 1, max = 64))]
    pub requests: u32,
    /// How a large blob comes over several connections.
    pub ranges: Ranges,
    /// What is different for single registries, as `host` or `host:port`.
    pub host: BTreeMap<String, HostTransfer>,
}

impl Default for Push {
    fn default() -> Self {
        use PushEvent::*;
        let events = vec![PullRequest, Push, Tag, Schedule, Dispatch, MergeGroup];
        Self {
            events,
            forks: ForkPush::Archive,
            allow_nondistributable: false,
            retry: Retry::default(),
            chunk: BTreeMap::new(),
            requests: 6,
            ranges: Ranges::default(),
            host: BTreeMap::new(),
        }
    }
}

/// A kind of event in `[defaults.push]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PushEvent {
    /// A pull request.
    PullRequest,
    /// A branch got commits, or a commit is checked out.
    Push,
    /// A tag.
    Tag,
    /// A schedule.
    Schedule,
    /// By hand.
    Dispatch,
    /// A merge queue.
    MergeGroup,
}

/// What a run does that may not push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForkPush {
    /// Hand the images over as archives.
    Archive,
    /// Push all the same; the credentials decide.
    Push,
    /// Neither.
    Skip,
}

/// How often a request to a registry is made again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Retry {
    /// How often a request is made at most, at least once.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// Wait before the second attempt.
    pub wait: Timespan,
    /// Each wait is this many times the one before; at least 1.
    #[schemars(range(min = 1.0, max = 10.0))]
    pub backoff: f64,
    /// Time for one attempt.
    pub timeout: Timespan,
    /// Time after which a host is given up that answered nothing in it.
    pub total: Timespan,
    /// How many times all requests to one host are made again together; five answers give one back.
    #[schemars(range(min = 0, max = 10_000))]
    pub budget: u32,
    /// How long a connection may be silent before the attempt is given up.
    pub silence: Timespan,
}

impl Default for Retry {
    fn default() -> Self {
        let seconds = |count| Timespan(std::time::Duration::from_secs(count));
        Self {
            attempts: 3,
            wait: seconds(10),
            backoff: 1.0,
            timeout: seconds(25 * 60),
            total: seconds(15 * 60),
            budget: 30,
            silence: seconds(60),
        }
    }
}

/// One image of the project.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Service {
    /// The folder COPY reads from; the project's folder where absent.
    pub context: Option<PathBuf>,
    /// The Dockerfile, from the project's folder; `Dockerfile` in the context where absent.
    pub dockerfile: Option<PathBuf>,
    /// The stage to build; the last one where absent.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, Argument>,
    /// What the image is made of. Where none of it changed, the last digest is promoted.
    pub paths: Vec<Glob>,
    /// Secrets for RUN steps, by id.
    pub secrets: BTreeMap<String, Secret>,
    /// Services whose image this one's Dockerfile names, by that name.
    pub needs: Needs,
    /// Platforms, where they differ from `[defaults]`.
    pub platforms: Option<Vec<Text<Platform>>>,
    /// The whole repository, where it is not `{registry}/{service}`.
    pub image: Option<ImageRepository>,
    /// How its image is called, where that differs from `[identity]`.
    pub identity: ServiceIdentity,
}

impl Service {
    /// Returns the context, from the project's folder.
    pub fn context(&self) -> &Path {
        self.context.as_deref().unwrap_or(Path::new("."))
    }

    /// Returns the Dockerfile, from the project's folder.
    pub fn dockerfile(&self) -> PathBuf {
        let beside = || match &self.context {
            Some(context) => context.join("Dockerfile"),
            None => PathBuf::from("Dockerfile"),
        };
        self.dockerfile.clone().unwrap_or_else(beside)
    }
}

/// A build argument's value; whole numbers and booleans are taken as they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Argument(pub String);

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ArgumentVisitor)
    }
}

struct ArgumentVisitor;

impl serde::de::Visitor<'_> for ArgumentVisitor {
    type Value = Argument;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a text, a whole number or a boolean (a number with a point in quotes: 1.10 would become 1.1)",
        )
    }

    fn visit_str<E>(self, text: &str) -> Result<Argument, E> {
        Ok(Argument(text.to_owned()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Argument, E> {
        Ok(Argument(number.to_string()))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Argument, E> {
        Ok(Argument(flag.to_string()))
    }
}

impl JsonSchema for Argument {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Argument".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer", "boolean"] })
    }
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Secret {
    /// An environment variable of this name.
    Env(String),
    /// A file.
    File(PathBuf),
}

/// Services that are built first, by the name under which the Dockerfile uses them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Needs(pub BTreeMap<String, Name>);

impl<'de> Deserialize<'de> for Needs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NeedsVisitor)
    }
}

struct NeedsVisitor;

impl<'de> serde::de::Visitor<'de> for NeedsVisitor {
    type Value = Needs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table such as { base = \"api\" } or a list of services")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Needs, A::Error> {
        let mut needs = BTreeMap::new();
        while let Some((name, service)) = map.next_entry()? {
            needs.insert(name, service);
        }
        Ok(Needs(needs))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Needs, A::Error> {
        let mut needs = BTreeMap::new();
        while let Some(service) = sequence.next_element::<Name>()? {
            needs.insert(service.to_string(), service);
        }
        Ok(Needs(needs))
    }
}

impl JsonSchema for Needs {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Needs".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "object", "additionalProperties": { "type": "string" } },
            { "type": "array", "items": { "type": "string" } }
        ] })
    }
}

/// When nothing is built at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Skip {
    /// Regular expressions; a commit whose subject one of them finds is not built.
    pub commits: Vec<Pattern>,
    /// Branches that are built all the same.
    pub always: Vec<Glob>,
}
