//! One line for each change, with the service in front: what a CI log keeps.

use pipeline::progress::{Progress, StepId};

use super::words;
use crate::ui::quantity;
use crate::ui::style::Style;

/// Returns the line for a change; `None` for what is shown otherwise or is no change of state.
pub fn line(progress: &Progress, style: Style) -> Option<String> {
    Some(match progress {
        Progress::StageStarted { stage } => style.bold(&format!("== {}", stage_name(*stage))),
        Progress::ServiceStarted { service, steps: 1 } => format!("{service} | 1 step"),
        Progress::ServiceStarted { service, steps } => format!("{service} | {steps} steps"),
        Progress::StepStarted(step) => format!("{} | {}", words::step_label(step), step.instruction),
        Progress::StepCached(step) => format!("{} {}", prefix(&step.id), style.dim(&words::cached(step))),
        Progress::StepOutput { step, line, .. } => format!("{} {line}", prefix(step)),
        Progress::StepFinished { step, seconds, layer_bytes } => {
            let layer = quantity::size(*layer_bytes);
            format!("{} done in {}, layer of {layer}", prefix(step), words::seconds(*seconds))
        }
        Progress::StepFailed { step, seconds, reason } => {
            format!("{} {} after {}: {reason}", prefix(step), style.error("failed"), words::seconds(*seconds))
        }
        Progress::PushStarted { service, target, total_bytes } => {
            format!("{service} | push to {target}, {}", quantity::size(*total_bytes))
        }
        Progress::SuiteStarted { suite } => format!("suite {suite} | started"),
        Progress::SuiteOutput { suite, line, .. } => format!("suite {suite} | {line}"),
        Progress::TagMoved { service, tag } => format!("{service} | tag {tag} moved"),
        Progress::Note { message } => message.clone(),
        ended => return words::ended(ended, style),
    })
}

fn prefix(step: &StepId) -> String {
    format!("{} {} |", words::whose(step), step.number)
}

/// Returns a stage as people read it.
pub fn stage_name(stage: pipeline::progress::Stage) -> String {
    let name = serde_json::to_value(stage).expect("a stage is a word");
    name.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use pipeline::ledger::Status;
    use pipeline::progress::{FilePlace, Stage, Step, Stream};

    use super::*;

    fn step() -> Step {
        Step {
            id: StepId {
                service: "api".parse().unwrap(),
                platform: oci::Platform::host().to_string(),
                number: 3,
            },
            of: 7,
            instruction: "RUN make".to_owned(),
            place: Some(FilePlace { file: "api/Dockerfile".to_owned(), line: 9 }),
            cache: None,
        }
    }

    #[track_caller]
    fn check(progress: Progress, expected: &str) {
        assert_eq!(line(&progress, Style::new(false)).as_deref(), Some(expected));
    }

    #[test]
    fn every_change_is_one_line_with_its_service() {
        let output = |line: &str| Progress::StepOutput {
            step: step().id,
            line: line.to_owned(),
            stream: Stream::Stdout,
        };
        check(Progress::StageStarted { stage: Stage::Build }, "== build");
        check(Progress::StepStarted(step()), "api 3/7 | RUN make");
        check(Progress::StepCached(step()), "api 3 | cached");
        let elsewhere = Step { cache: Some("registry:ghcr.io/acme/api:cache".to_owned()), ..step() };
        check(Progress::StepCached(elsewhere), "api 3 | cached in registry:ghcr.io/acme/api:cache");
        check(output("hello"), "api 3 | hello");
        let finished = Progress::StepFinished { step: step().id, seconds: 1.3, layer_bytes: 3 << 20 };
        check(finished, "api 3 | done in 1.3 s, layer of 3.00 MiB");
        let reason = "exit code 2".to_owned();
        check(
            Progress::StepFailed { step: step().id, seconds: 0.02, reason },
            "api 3 | failed after 20 ms: exit code 2",
        );
        let foreign = StepId { platform: "linux/s390x".to_owned(), ..step().id };
        let elsewhere = Progress::StepOutput { step: foreign, line: "hi".to_owned(), stream: Stream::Stdout };
        check(elsewhere, "api linux/s390x 3 | hi");
        let failed = Progress::ServiceFinished {
            service: "api".parse().unwrap(),
            status: Status::Failed,
            digest: None,
            seconds: 61.0,
            reason: Some("step 3 failed".to_owned()),
        };
        check(failed, "api: failed in 1 min 01 s: step 3 failed");
    }
}
