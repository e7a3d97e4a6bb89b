//! `[suite.*]` and `[handoff]`: how an image is tested, and how it travels between jobs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{Name, OneOrMany, Timespan};

/// A test of images that are built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Suite {
    /// The service whose image `run` runs inside.
    pub image: Option<Name>,
    /// A command inside the image: a list is executed, a text goes to `/bin/sh -c`.
    pub run: Option<Command>,
    /// The services it is told the addresses or names of; `image` and `start` are among them.
    pub services: Vec<Name>,
    /// Services whose entry point is started for the suite.
    pub start: OneOrMany<Name>,
    /// A command on this machine: a list is executed, a text goes to `/bin/sh -c`.
    pub host: Option<Command>,
    /// The port that tells that a started service is up; what the image exposes where absent.
    pub port: Option<u16>,
    /// The network that `run` and `start` get.
    pub network: Network,
    /// Environment of the command.
    pub env: BTreeMap<String, String>,
    /// File in JUnit's format that the command writes, from where it runs.
    pub junit: Option<PathBuf>,
    /// Suites that must pass first.
    pub needs: Vec<Name>,
    /// Time for the whole suite.
    pub timeout: Timespan,
    /// Whether the images must be loaded into a container daemon first.
    pub needs_daemon: bool,
    /// How many equal parts the suite is run in, each with its number in the environment.
    #[schemars(range(min = 1, max = 256))]
    pub shards: u32,
}

impl Default for Suite {
    fn default() -> Self {
        Self {
            image: None,
            run: None,
            services: Vec::new(),
            start: OneOrMany::default(),
            host: None,
            port: None,
            network: Network::Private,
            env: BTreeMap::new(),
            junit: None,
            needs: Vec::new(),
            timeout: Timespan(std::time::Duration::from_secs(15 * 60)),
            needs_daemon: false,
            shards: 1,
        }
    }
}

impl Suite {
    /// Returns every service the suite has to do with, in order of name, none twice.
    pub fn all_services(&self) -> Vec<Name> {
        let all = self.services.iter().chain(&self.image).chain(self.start.iter());
        all.cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }
}

/// A command: a list of words, or a text for a shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a command: a text for a shell, or a list of words")]
pub enum Command {
    /// A text for `/bin/sh -c`.
    Shell(String),
    /// A program and its arguments.
    Words(Vec<String>),
}

impl Command {
    /// Returns the program and its arguments.
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Shell(text) => ["/bin/sh", "-c", text].map(str::to_owned).to_vec(),
            Self::Words(words) => words.clone(),
        }
    }

    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Shell(text) => text.trim().is_empty(),
            Self::Words(words) => words.is_empty(),
        }
    }
}

/// The network of a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Loopback of its own, shared by the suite's services.
    Private,
    /// This machine's.
    Host,
    /// None but loopback, not shared.
    None,
}

/// How images travel between jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Handoff {
    /// Form of the archives.
    pub archive: Archive,
    /// Whether `run` writes the archives. Where it does not, layers that the registry has are not fetched.
    pub on_run: bool,
    /// How long archives are kept.
    pub keep: Timespan,
}

impl Default for Handoff {
    fn default() -> Self {
        let keep = Timespan(std::time::Duration::from_secs(86_400));
        Self { archive: Archive::DockerArchive, on_run: true, keep }
    }
}

/// Form of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Archive {
    /// What `docker load` takes.
    DockerArchive,
    /// An OCI layout in a tar.
    OciArchive,
}
