//! What is going on, told as it happens, as plain data: the terminal, CI logs, NDJSON and records
//! all read these.
//!
//! Stages say what happened; how it looks is the reader's.

use oci::{Digest, Tag};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::configuration::Name;
use crate::ledger::{Status, SuiteStatus};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "progress", rename_all = "snake_case")]
pub enum Progress {
    /// A stage of the run began.
    StageStarted {
        /// The stage.
        stage: Stage,
    },
    /// A stage of the run ended.
    StageFinished {
        /// The stage.
        stage: Stage,
        /// How long it took.
        seconds: f64,
    },
    /// The build of a service began.
    ServiceStarted {
        /// The service.
        service: Name,
        /// How many steps it has, over all platforms.
        steps: u32,
    },
    /// The build of a service ended, well or not.
    ServiceFinished {
        /// The service.
        service: Name,
        /// What became of it.
        status: Status,
        /// The image, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<String>")]
        digest: Option<Digest>,
        /// How long it took.
        seconds: f64,
        /// Why it failed or was not built.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A step is run.
    StepStarted(Step),
    /// A step was known already.
    StepCached(Step),
    /// A step printed a line.
    StepOutput {
        /// The step.
        #[serde(flatten)]
        step: StepId,
        /// The line, without its end; bytes that are no text are replaced.
        line: String,
        /// Where it was printed.
        stream: Stream,
    },
    /// A step ended well.
    StepFinished {
        /// The step.
        #[serde(flatten)]
        step: StepId,
        /// How long it took.
        seconds: f64,
        /// Size of its layer, compressed.
        layer_bytes: u64,
    },
    /// A step failed.
    StepFailed {
        /// The step.
        #[serde(flatten)]
        step: StepId,
        /// How long it took.
        seconds: f64,
        /// What happened, such as `exit code 1`.
        reason: String,
    },
    /// A push began.
    PushStarted {
        /// The service.
        service: Name,
        /// Where to.
        target: String,
        /// Compressed bytes of all blobs.
        total_bytes: u64,
    },
    /// A push moved on.
    PushAdvanced {
        /// The service.
        service: Name,
        /// Bytes that are there by now, moved or not.
        done_bytes: u64,
    },
    /// A push ended.
    PushFinished {
        /// The service.
        service: Name,
        /// Bytes that were moved; the others were there.
        moved_bytes: u64,
        /// How long it took.
        seconds: f64,
    },
    /// A tag points to a service's image now.
    TagMoved {
        /// The service.
        service: Name,
        /// The tag.
        #[schemars(with = "String")]
        tag: Tag,
    },
    /// A request failed and is made again.
    Retry {
        /// What is retried, such as `upload of blob sha256:... to ghcr.io/acme/api`.
        what: String,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// How many there are at most.
        attempts: u32,
        /// Status or error of the attempt.
        reason: String,
        /// Time until the next one.
        wait_seconds: f64,
    },
    /// A suite began.
    SuiteStarted {
        /// The suite.
        suite: Name,
    },
    /// A suite printed a line.
    SuiteOutput {
        /// The suite.
        suite: Name,
        /// The line, without its end.
        line: String,
        /// Where it was printed.
        stream: Stream,
    },
    /// A suite ended.
    SuiteFinished {
        /// The suite.
        suite: Name,
        /// Whether it passed.
        status: SuiteStatus,
        /// How long it took.
        seconds: f64,
        /// Why it failed or was not run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Something worth knowing.
    Note {
        /// What.
        message: String,
    },
    /// Something that should be looked at, and stops nothing.
    Warning {
        /// What.
        message: String,
        /// Where it is about a file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<FilePlace>,
    },
}

/// A stage of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Deciding what to do.
    Plan,
    /// Building images.
    Build,
    /// Handing images to other jobs.
    Handover,
    /// Looking into images.
    Scan,
    /// Judging images.
    Gate,
    /// Pushing images by digest.
    Push,
    /// Testing images.
    Suites,
    /// Making statements about images.
    Attest,
    /// Moving tags.
    Tags,
}

/// Which step of which image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct StepId {
    /// The service.
    pub service: Name,
    /// The platform, such as `linux/amd64`.
    pub platform: String,
    /// Number among the steps of the image, from 1.
    pub number: u32,
}

/// A step of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Which one.
    #[serde(flatten)]
    pub id: StepId,
    /// How many steps the image has.
    pub of: u32,
    /// The instruction, on one line.
    pub instruction: String,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<FilePlace>,
    /// The cache outside this machine that knew it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FilePlace {
    /// The file, from the project's folder.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

/// Where a line was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What stages tell their progress to, from several threads at once. It must be quick: who tells waits.
pub type Observer<'a> = &'a (dyn Fn(Progress) + Send + Sync + 'a);

/// An observer for whom nothing is of interest.
pub fn unobserved(_: Progress) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_flat_object_a_line() {
        let step = Step {
            id: StepId { service: "api".parse().unwrap(), platform: "linux/amd64".to_owned(), number: 3 },
            of: 7,
            instruction: "RUN make".to_owned(),
            place: Some(FilePlace { file: "Dockerfile".to_owned(), line: 9 }),
            cache: None,
        };
        let line = serde_json::to_string(&Progress::StepStarted(step.clone())).unwrap();
        let expected = r#"{"progress":"step_started","service":"api","platform":"linux/amd64","number":3,"of":7,"instruction":"RUN make","place":{"file":"Dockerfile","line":9}}"#;
        assert_eq!(line, expected);
        assert_eq!(serde_json::from_str::<Progress>(&line).unwrap(), Progress::StepStarted(step));
    }

    #[test]
    fn observers_are_called_through_a_reference() {
        let seen = std::sync::Mutex::new(Vec::new());
        let note = Progress::Note { message: "hello".to_owned() };
        let keep = |progress| seen.lock().unwrap().push(progress);
        let observer: Observer<'_> = &keep;
        observer(note.clone());
        assert_eq!(*seen.lock().unwrap(), [note]);
        let nobody: Observer<'_> = &unobserved;
        nobody(Progress::StageStarted { stage: Stage::Plan });
    }
}
