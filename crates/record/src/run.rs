//! One run of the pipeline, as it is remembered.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use oci::{Digest, Repository};

/// A run and what it did to each service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// `owner/name` of the project.
    pub project: String,
    /// When it started, kept to the millisecond.
    pub started: Timestamp,
    /// How long it took, kept to the millisecond.
    pub duration: Duration,
    /// What caused it, in the spelling of `--as`: `branch:main`, `pr:42`, `tag:v1.2.3`.
    pub event: String,
    /// The commit, hexadecimal; empty where there was none.
    pub revision: String,
    /// The exit code.
    pub exit_code: u8,
    /// Its services, by name.
    pub services: Vec<RunService>,
}

/// What a run did to one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunService {
    /// The service's name.
    pub name: String,
    /// Where its image goes.
    pub repository: Repository,
    /// The image; none where nothing was built.
    pub digest: Option<Digest>,
    /// How it ended.
    pub status: ServiceStatus,
    /// How long it took, kept to the millisecond.
    pub duration: Duration,
    /// Size of the image in bytes, compressed as it is stored; 0 where there is none.
    pub size: u64,
    /// Steps of its Dockerfile that ran or could have.
    pub steps: u32,
    /// Steps that did not have to run.
    pub cached_steps: u32,
    /// Its suites, by name.
    pub suites: Vec<RunSuite>,
}

/// How one suite ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSuite {
    /// The suite's name.
    pub name: String,
    /// How it ended.
    pub status: SuiteStatus,
    /// How long it took, kept to the millisecond.
    pub duration: Duration,
}

/// A stored word is none of the known ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a known status")]
pub struct UnknownStatus {
    /// What was found.
    pub text: String,
}

/// Gives an enum of plain words its spelling both ways.
macro_rules! words {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$inner])* $variant,)+
        }

        impl $name {
            /// Returns the word as it is stored and printed.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownStatus;

            fn from_str(text: &str) -> Result<Self, UnknownStatus> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownStatus { text: text.to_owned() }),
                }
            }
        }
    };
}

words! {
    /// How a service ended.
    ServiceStatus {
        /// At least one step ran.
        Built = "built",
        /// Every step was known already.
        Cached = "cached",
        /// An earlier digest got this run's names.
        Promoted = "promoted",
        /// Left out on purpose.
        Skipped = "skipped",
        /// Something went wrong.
        Failed = "failed",
    }
}

words! {
    /// How a suite ended.
    SuiteStatus {
        /// Exit code 0.
        Passed = "passed",
        /// Another exit code, or none in time.
        Failed = "failed",
        /// Not run; what it needs is not there.
        Skipped = "skipped",
    }
}
