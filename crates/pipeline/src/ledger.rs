//! What a run did, as a document that travels between jobs: the one thing they exchange.
//!
//! A ledger carries references as values: nobody downstream puts one together from strings.
//! It is written whole to a temporary file and renamed, so that a reader sees the old one or the
//! new one. Who adds what is each stage's business.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use oci::{Digest, Pinned, Platform, Reference, Repository, Tag};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use crate::configuration::Name;
use crate::event::{CommitId, Event};
use crate::text::Text;

/// The ledger's format and its version.
pub const SCHEMA: &str = "plimsoll.ledger/1";

/// What a run did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ledger {
    /// [`SCHEMA`].
    pub schema: String,
    /// The commit that the images are labelled with.
    #[schemars(with = "String")]
    pub revision: CommitId,
    /// The version for people.
    pub version: String,
    /// What happened.
    pub event: Event,
    /// Images, by service.
    pub services: BTreeMap<Name, ServiceRecord>,
}

/// What became of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceRecord {
    /// The image: `repository@digest`, or the repository alone while there is no image.
    image: ImageRecord,
    /// Digest of the index, or of the manifest where there is one platform and no index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    digest: Option<Digest>,
    /// Images by platform.
    #[serde(default)]
    pub platforms: BTreeMap<Text<Platform>, PlatformRecord>,
    /// The archive for hand-over, from the ledger's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<PathBuf>,
    /// Repositories that have layers which the archive leaves out, beside the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub layers_from: Vec<Repository>,
    /// Tags, planned and moved.
    #[serde(default)]
    pub tags: TagRecord,
    /// What became of it.
    pub status: Status,
    /// Why it was promoted, skipped or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The commit that a promoted image was built from, as its label says; others are of the
    /// ledger's revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub built_from: Option<CommitId>,
    /// Steps of the build.
    #[serde(default)]
    pub steps: Steps,
    /// Time of the build.
    #[serde(default)]
    pub seconds: f64,
    /// Suites that tested the image.
    #[serde(default)]
    pub suites: BTreeMap<Name, SuiteRecord>,
    /// Gates that judged the image.
    #[serde(default)]
    pub gates: BTreeMap<String, GateRecord>,
}

impl ServiceRecord {
    /// Returns the record of a service that has no image yet.
    pub fn new(repository: Repository, status: Status) -> Self {
        Self {
            image: ImageRecord(Reference::new(repository)),
            digest: None,
            platforms: BTreeMap::new(),
            archive: None,
            layers_from: Vec::new(),
            tags: TagRecord::default(),
            status,
            reason: None,
            built_from: None,
            steps: Steps::default(),
            seconds: 0.0,
            suites: BTreeMap::new(),
            gates: BTreeMap::new(),
        }
    }

    /// Sets the digest of the image in the service's repository.
    pub fn set_digest(&mut self, digest: Digest) {
        let pinned = self.repository().clone().pin(digest);
        self.image = ImageRecord(pinned.to_string().parse().expect("a pinned reference is a reference"));
        self.digest = Some(digest);
    }

    /// Returns the repository.
    pub fn repository(&self) -> &Repository {
        self.image.0.repository()
    }

    /// Returns the image that later stages test, sign and release; `None` where there is none.
    pub fn pinned(&self) -> Option<Pinned> {
        self.image.0.pinned()
    }
}

/// The reference of a service's image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct ImageRecord(Reference);

impl JsonSchema for ImageRecord {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Image".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "examples": ["ghcr.io/acme/api@sha256:..."] })
    }
}

/// The image of one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlatformRecord {
    /// Digest of its manifest.
    #[schemars(with = "String")]
    pub digest: Digest,
}

/// Tags of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TagRecord {
    /// Tags it shall get, in order.
    #[schemars(with = "Vec<String>")]
    pub planned: Vec<Tag>,
    /// Tags that point to it, in the order they were moved.
    #[schemars(with = "Vec<String>")]
    pub moved: Vec<Tag>,
}

/// What became of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// At least one step was run.
    Built,
    /// Every step was known already.
    Cached,
    /// Its last image was taken.
    Promoted,
    /// Nothing was to be done.
    Skipped,
    /// There is no image.
    Failed,
}

/// Steps of a build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Steps {
    /// All that the image needed.
    pub total: u32,
    /// Those among them that were known already.
    pub cached: u32,
}

/// What a suite said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuiteRecord {
    /// Whether it passed.
    pub status: SuiteStatus,
    /// How long it took.
    pub seconds: f64,
    /// Its log, from the project's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
}

/// Whether a suite passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SuiteStatus {
    /// It did.
    Passed,
    /// It did not.
    Failed,
    /// It took too long and was ended.
    TimedOut,
    /// It was not run.
    Skipped,
}

/// What a gate said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GateRecord {
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A gate's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing is wrong.
    Pass,
    /// Something is, and it may ship all the same.
    Warn,
    /// It must not ship.
    Fail,
}

/// A ledger cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be read.
    #[error("cannot read the ledger {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the ledger {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// It is not a ledger, or not a whole one.
    #[error("{label} is not a ledger, or was cut short")]
    Corrupt {
        /// The file, or where else it came from.
        label: String,
        /// Line, column and what was expected there.
        #[source]
        source: serde_json::Error,
    },
    /// Another program wrote it, or a newer one.
    #[error(
        "{label} has the schema {found:?}, and this program reads {SCHEMA:?}; use the plimsoll that wrote it"
    )]
    Schema {
        /// The file, or where else it came from.
        label: String,
        /// What it says.
        found: String,
    },
    /// The image and its digest are not the same.
    #[error("{label} says of service {service} that its image is {image}, and that its digest is {digest}")]
    Contradiction {
        /// The file, or where else it came from.
        label: String,
        /// The service.
        service: Name,
        /// The reference.
        image: String,
        /// The digest, or `none`.
        digest: String,
    },
}

/// What every document of ours says of itself.
#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    schema: String,
}

impl Ledger {
    /// Returns the ledger of a run that did nothing yet.
    pub fn new(event: Event, revision: CommitId, version: String) -> Self {
        Self { schema: SCHEMA.to_owned(), revision, version, event, services: BTreeMap::new() }
    }

    /// Reads a ledger from JSON; `label` names it in errors.
    ///
    /// # Errors
    /// `Corrupt`, `Schema`, `Contradiction`.
    pub fn parse(json: &[u8], label: &str) -> Result<Self, LedgerError> {
        let corrupt = |source| LedgerError::Corrupt { label: label.to_owned(), source };
        let envelope: Envelope = serde_json::from_slice(json).map_err(corrupt)?;
        if envelope.schema != SCHEMA {
            return Err(LedgerError::Schema { label: label.to_owned(), found: envelope.schema });
        }
        let ledger: Self = serde_json::from_slice(json).map_err(corrupt)?;
        ledger.check(label)?;
        Ok(ledger)
    }

    /// Reads the ledger in `path`.
    ///
    /// # Errors
    /// `Read`, and those of [`Ledger::parse`].
    pub fn read(path: &Path) -> Result<Self, LedgerError> {
        let json =
            std::fs::read(path).map_err(|source| LedgerError::Read { path: path.to_owned(), source })?;
        Self::parse(&json, &path.display().to_string())
    }

    /// Writes the ledger to `path`, whole or not at all; the folder is made where it is missing.
    ///
    /// # Errors
    /// `Write`.
    pub fn write(&self, path: &Path) -> Result<(), LedgerError> {
        self.write_through(path).map_err(|source| LedgerError::Write { path: path.to_owned(), source })
    }

    fn write_through(&self, path: &Path) -> std::io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        // Other jobs and other users read it; a temporary file is its owner's only.
        rustix::fs::fchmod(file.as_file(), rustix::fs::Mode::from_raw_mode(0o644))?;
        file.as_file().sync_data()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    fn check(&self, label: &str) -> Result<(), LedgerError> {
        let differs = |record: &ServiceRecord| record.image.0.digest() != record.digest;
        let Some((service, record)) = self.services.iter().find(|(_, record)| differs(record)) else {
            return Ok(());
        };
        Err(LedgerError::Contradiction {
            label: label.to_owned(),
            service: service.clone(),
            image: record.image.0.to_string(),
            digest: record.digest.map_or("none".to_owned(), |digest| digest.to_string()),
        })
    }
}

/// Returns the JSON Schema of the ledger.
pub fn schema() -> Schema {
    let mut schema = schemars::schema_for!(Ledger);
    schema.insert("$id".to_owned(), SCHEMA.into());
    schema
}

#[cfg(test)]
mod tests;
