//! `[defaults.cache]`: build caches outside this machine.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{ByteSize, Timespan};
use crate::identity::template::Template;

/// Build caches outside this machine, in the order they are asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cache {
    /// Where steps are looked for; the first that has one wins.
    pub read: Vec<CachePlace>,
    /// Where steps are put.
    pub write: Vec<CachePlace>,
    /// What an unreachable cache does.
    pub on_error: OnError,
    /// How long the end of a run waits for caches to be written.
    pub wait: Timespan,
    /// Whether folders of `RUN --mount=type=cache` are kept in these caches as well.
    pub mounts: bool,
    /// Of these folders, those that are larger are not kept.
    pub mount_limit: ByteSize,
}

/// The default of `mount-limit`.
pub const MOUNT_LIMIT: ByteSize = ByteSize(2 << 30);

impl Default for Cache {
    fn default() -> Self {
        let wait = Timespan(Duration::from_mins(2));
        Self {
            read: Vec::new(),
            write: Vec::new(),
            on_error: OnError::Warn,
            wait,
            mounts: false,
            mount_limit: MOUNT_LIMIT,
        }
    }
}

impl Cache {
    /// Returns the size up to which folders of cache mounts are kept, in bytes; `None` where none is.
    pub fn kept_mounts(&self) -> Option<u64> {
        self.mounts.then_some(self.mount_limit.0)
    }
}

/// What an unreachable cache does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// A warning; the step is run.
    #[default]
    Warn,
    /// The run fails.
    Fail,
}

/// A place for cached steps: `ci:{branch}`, `registry:{image}:cache`, `image:{image}:{default}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePlace {
    /// What kind of place.
    pub kind: CacheKind,
    /// The place's name there.
    pub name: Template,
}

/// What kind of place a cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheKind {
    /// The CI host's cache service.
    Ci,
    /// A cache image in a registry.
    Registry,
    /// An image, whose own layers are the cache.
    Image,
    /// A bucket of S3.
    S3,
    /// A folder.
    Local,
}

impl CacheKind {
    /// Returns the word in front of the name.
    pub fn word(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).expect("KINDS lists every kind").0
    }
}

const KINDS: [(&str, CacheKind); 5] = [
    ("ci", CacheKind::Ci),
    ("registry", CacheKind::Registry),
    ("image", CacheKind::Image),
    ("s3", CacheKind::S3),
    ("local", CacheKind::Local),
];

/// A string is no place for a cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a cache: {reason}")]
pub struct InvalidCachePlace {
    /// What was given, cut at 100 characters.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FromStr for CachePlace {
    type Err = InvalidCachePlace;

    fn from_str(text: &str) -> Result<Self, InvalidCachePlace> {
        let invalid = |reason| InvalidCachePlace { text: text.chars().take(100).collect(), reason };
        let (word, name) = text.split_once(':').unwrap_or((text, ""));
        let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == word) else {
            let hint = crate::suggest::did_you_mean(word, KINDS.map(|(known, _)| known));
            return Err(invalid(format!("expected ci:, registry:, image:, s3: or local: and a name{hint}")));
        };
        if name.is_empty() {
            return Err(invalid(format!("{word}: takes a name, such as {word}:{{branch}}")));
        }
        let name = name
            .parse()
            .map_err(|error: crate::identity::template::InvalidTemplate| invalid(error.reason))?;
        Ok(Self { kind: *kind, name })
    }
}

impl fmt::Display for CachePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.word(), self.name)
    }
}

crate::text::written_as_text!(
    CachePlace,
    "Place of a cache: ci:NAME, registry:REPOSITORY:TAG, image:REPOSITORY:TAG, s3:NAME, local:FOLDER"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints() {
        for text in ["ci:{branch}", "registry:{image}:cache", "image:{image}:{default}", "local:/var/cache"] {
            assert_eq!(text.parse::<CachePlace>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn names_what_is_wrong() {
        for (text, reason) in [
            ("gha:{branch}", "expected ci:"),
            ("registy:x", "did you mean registry?"),
            ("ci:", "takes a name"),
            ("ci:{brnch}", "did you mean {branch}?"),
        ] {
            let error = text.parse::<CachePlace>().unwrap_err();
            assert!(error.reason.contains(reason), "{text}: {}", error.reason);
        }
    }
}
