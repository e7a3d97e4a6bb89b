//! What the engine tells, as progress of a service.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use builder::{BuildError, BuildEvent, StepSource};
use oci::Platform;

use crate::configuration::Name;
use crate::progress::{FilePlace, Progress, Step, StepId, Stream};

/// Turns what the engine tells into progress of a service.
pub struct Watch<'a> {
    service: Name,
    platform: String,
    tell: Box<dyn Fn(Progress) + Send + Sync + 'a>,
    state: Mutex<WatchState>,
}

#[derive(Default)]
struct WatchState {
    total: u32,
    running: BTreeMap<u32, (Step, Instant, Vec<u8>)>,
}

impl<'a> Watch<'a> {
    /// Returns a watch that hands its progress to `tell`.
    pub fn new(service: Name, platform: &Platform, tell: Box<dyn Fn(Progress) + Send + Sync + 'a>) -> Self {
        Self { service, platform: platform.to_string(), tell, state: Mutex::default() }
    }

    /// Takes note of one thing that happened in the engine.
    pub fn take(&self, event: BuildEvent) {
        let mut state = self.state.lock().expect("no holder panics");
        let tell = &self.tell;
        match event {
            BuildEvent::Planned { steps } => {
                state.total = steps;
                tell(Progress::ServiceStarted { service: self.service.clone(), steps });
            }
            BuildEvent::MorePlanned { steps } => state.total = state.total.max(steps),
            BuildEvent::StepStarted { number, instruction, file, line, .. } => {
                let id = self.id(number);
                let place = Some(FilePlace { file, line });
                let step = Step { id, of: state.total, instruction, place, cache: None };
                tell(Progress::StepStarted(step.clone()));
                state.running.insert(number, (step, Instant::now(), Vec::new()));
            }
            BuildEvent::StepExplained { number, reason } => {
                let Some((step, ..)) = state.running.get(&number) else { return };
                let (service, of, instruction) = (&self.service, step.of, &step.instruction);
                tell(Progress::Note { message: format!("{service} {number}/{of} {instruction}: {reason}") });
            }
            BuildEvent::StepOutput { number, bytes } => {
                if let Some((_, _, pending)) = state.running.get_mut(&number) {
                    pending.extend_from_slice(&bytes);
                    for line in whole_lines(pending) {
                        self.line(number, line);
                    }
                }
            }
            BuildEvent::StepFinished { number, source, duration, layer_bytes } => {
                let Some((mut step, _, rest)) = state.running.remove(&number) else { return };
                if !rest.is_empty() {
                    self.line(number, String::from_utf8_lossy(&rest).into_owned());
                }
                match source {
                    StepSource::Ran => {
                        let seconds = duration.as_secs_f64();
                        tell(Progress::StepFinished { step: step.id, seconds, layer_bytes });
                    }
                    StepSource::Local => tell(Progress::StepCached(step)),
                    StepSource::Cache(cache) => {
                        step.cache = Some(cache);
                        tell(Progress::StepCached(step));
                    }
                }
            }
            BuildEvent::BaseStarted { name } => {
                tell(Progress::Note { message: format!("{}: fetching the base image {name}", self.service) });
            }
            BuildEvent::Note(message) => {
                tell(Progress::Note { message: format!("{}: {message}", self.service) });
            }
            BuildEvent::Warning(message) => tell(Progress::Warning { message, place: None }),
        }
    }

    /// Ends the step that an error names.
    pub fn failed(&self, error: &BuildError) {
        let state = self.state.lock().expect("no holder panics");
        let Some(location) = error.location() else { return };
        let at = |step: &&(Step, Instant, Vec<u8>)| {
            step.0.place.as_ref().is_some_and(|place| place.line == location.line)
        };
        if let Some((step, started, _)) = state.running.values().find(at) {
            (self.tell)(Progress::StepFailed {
                step: step.id.clone(),
                seconds: started.elapsed().as_secs_f64(),
                reason: error.to_string(),
            });
        }
    }

    fn id(&self, number: u32) -> StepId {
        StepId { service: self.service.clone(), platform: self.platform.clone(), number }
    }

    fn line(&self, number: u32, line: String) {
        (self.tell)(Progress::StepOutput { step: self.id(number), line, stream: Stream::Stdout });
    }
}

/// Takes whole lines out of `pending`; what has no end yet stays.
pub(crate) fn whole_lines(pending: &mut Vec<u8>) -> Vec<String> {
    let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let rest = pending.split_off(end + 1);
    let whole = std::mem::replace(pending, rest);
    String::from_utf8_lossy(&whole).lines().map(|line| line.trim_end_matches('\r').to_owned()).collect()
}
