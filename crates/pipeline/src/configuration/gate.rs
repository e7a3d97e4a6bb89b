//! `[gate.*]` and `[sign]`: what must be true of an image before it ships.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::values::{ByteSize, InvalidValue, Percent};
use crate::identity::Glob;

/// What must be true of an image; an absent gate is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Gates {
    /// Known vulnerabilities.
    pub vulnerabilities: Option<VulnerabilityGate>,
    /// The revision label must equal the commit.
    pub freshness: Option<FreshnessGate>,
    /// The image must not be too big.
    pub size: Option<SizeGate>,
    /// Policies in Rego.
    pub policy: Option<PolicyGate>,
    /// What must be green before a moving tag moves.
    pub promote: Option<PromoteGate>,
}

/// What a refusal does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The run fails.
    #[default]
    Block,
    /// A warning.
    Warn,
}

/// Known vulnerabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct VulnerabilityGate {
    /// Severities that refuse.
    pub fail_on: Vec<Severity>,
    /// What a refusal does.
    pub mode: Mode,
    /// Whether only what a newer version repairs counts.
    pub only_fixed: bool,
    /// Findings that are known and accepted, by identifier.
    pub ignore: BTreeMap<String, Ignored>,
}

impl Default for VulnerabilityGate {
    fn default() -> Self {
        let fail_on = vec![Severity::Critical, Severity::High];
        Self { fail_on, mode: Mode::Block, only_fixed: false, ignore: BTreeMap::new() }
    }
}

/// Severity of a vulnerability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// CVSS from 9.0.
    Critical,
    /// CVSS from 7.0.
    High,
    /// CVSS from 4.0.
    Medium,
    /// CVSS above 0.
    Low,
    /// Nobody said.
    Unknown,
}

/// A finding that is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ignored {
    /// The last day on which it is.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "read_date")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Date>,
    /// Why.
    pub reason: String,
}

/// Reads a date of TOML, or the same as text.
fn read_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Date>, D::Error> {
    let datetime = toml_edit::Datetime::deserialize(deserializer)?;
    let not_a_day = || serde::de::Error::custom(format!("{datetime} is not a day such as 2026-12-31"));
    match (datetime.date, datetime.time) {
        (Some(_), None) => datetime.to_string().parse().map(Some).map_err(|_| not_a_day()),
        _ => Err(not_a_day()),
    }
}

/// The revision label must equal the commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FreshnessGate {
    /// What a refusal does.
    pub mode: Mode,
}

/// The image must not be too big.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SizeGate {
    /// Growth against the last image of the branch.
    pub max_growth: Option<Percent>,
    /// Compressed size of all layers of a platform.
    pub max: Option<ByteSize>,
    /// What a refusal does.
    pub mode: Mode,
}

/// Policies in Rego.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PolicyGate {
    /// Files of policies, as patterns from the project's folder.
    pub rego: Vec<Glob>,
    /// What a refusal does.
    pub mode: Mode,
}

/// What must be green before a moving tag moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PromoteGate {
    /// Suites, gates, the signature.
    pub needs: Vec<PromoteNeed>,
}

impl Default for PromoteGate {
    fn default() -> Self {
        let all = Glob::from_str("*").expect("a star is a pattern");
        Self { needs: vec![PromoteNeed::Suite(all.clone()), PromoteNeed::Gate(all)] }
    }
}

/// One condition of a promotion: `suite:*`, `gate:vulnerabilities`, `signature`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromoteNeed {
    /// Suites of such names pass.
    Suite(Glob),
    /// Gates of such names pass.
    Gate(Glob),
    /// The image is signed.
    Signature,
}

impl FromStr for PromoteNeed {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let expected = "a condition: suite:PATTERN, gate:PATTERN or signature";
        let invalid = || InvalidValue { text: text.chars().take(100).collect(), expected };
        let glob = |pattern: &str| pattern.parse().map_err(|_| invalid());
        match text.split_once(':') {
            Some(("suite", pattern)) => Ok(Self::Suite(glob(pattern)?)),
            Some(("gate", pattern)) => Ok(Self::Gate(glob(pattern)?)),
            None if text == "signature" => Ok(Self::Signature),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for PromoteNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Suite(glob) => write!(f, "suite:{glob}"),
            Self::Gate(glob) => write!(f, "gate:{glob}"),
            Self::Signature => f.write_str("signature"),
        }
    }
}

crate::text::written_as_text!(PromoteNeed, "Condition: suite:PATTERN, gate:PATTERN or signature");

/// Signing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sign {
    /// How.
    pub mode: SignMode,
    /// The private key, for `auto` and `key`.
    pub key: Option<SecretSource>,
}

/// How images are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SignMode {
    /// With the key where there is one, else with the CI's identity where it has one, else not at all.
    #[default]
    Auto,
    /// With the key.
    Key,
    /// With the CI's identity.
    Keyless,
    /// Not at all.
    Off,
}

/// Where a secret text comes from: `env:NAME` or `file:PATH`. It is never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file.
    File(PathBuf),
}

impl FromStr for SecretSource {
    type Err = InvalidSecretSource;

    fn from_str(text: &str) -> Result<Self, InvalidSecretSource> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            _ => Err(InvalidSecretSource),
        }
    }
}

/// A string does not say where a secret comes from. It may be the secret: it is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected env:NAME or file:PATH; secrets themselves do not belong into the configuration")]
pub struct InvalidSecretSource;

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

crate::text::written_as_text!(SecretSource, "Where a secret comes from: env:NAME or file:PATH");
