//! How a run goes, for people and programs: live lines on a terminal (`live`), a line for each
//! change elsewhere (`plain`), one JSON object for each change.

mod live;
mod plain;
mod words;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pipeline::progress::{Progress, Step, StepId};

use super::Ui;
use crate::cli::ProgressStyle;

/// So many last lines of a step are shown when it fails.
const TAIL_LINES: usize = 20;

/// Shows what a run tells. Used as its observer: `&|progress| reporter.tell(progress)`.
pub struct Reporter {
    ui: Ui,
    shown: Shown,
    steps: Mutex<BTreeMap<StepId, Running>>,
}

/// Where progress is shown.
enum Shown {
    Live(live::Lines),
    Plain,
    Json,
    Nowhere,
}

/// A step that is running: what its failure will be told with.
#[derive(Debug)]
struct Running {
    step: Step,
    tail: VecDeque<String>,
}

impl Reporter {
    /// Returns a reporter in the style that was asked for.
    pub fn new(ui: &Ui) -> Self {
        let shown = match ui.progress {
            ProgressStyle::Tty => Shown::Live(live::Lines::new(ui.live.clone(), ui.messages)),
            ProgressStyle::Json => Shown::Json,
            ProgressStyle::None => Shown::Nowhere,
            ProgressStyle::Plain | ProgressStyle::Auto => Shown::Plain,
        };
        Self { ui: ui.clone(), shown, steps: Mutex::default() }
    }

    /// Takes note of one thing that happened. May be called from several threads.
    pub fn tell(&self, progress: Progress) {
        self.remember(&progress);
        match &self.shown {
            Shown::Json => self.ui.event(&progress),
            Shown::Live(lines) => {
                lines.tell(&progress);
                self.say(words::lasting(&progress, self.ui.messages, self.ui.verbosity));
            }
            Shown::Plain => self.say(plain::line(&progress, self.ui.messages)),
            Shown::Nowhere => {}
        }
        self.tell_always(&progress);
        self.forget(&progress);
    }

    /// Warnings and the output of failed steps are shown in every style for people.
    fn tell_always(&self, progress: &Progress) {
        if matches!(self.shown, Shown::Json) {
            return;
        }
        match progress {
            Progress::Warning { message, place: Some(place) } => {
                self.ui.warn(format_args!("{}:{}: {message}", place.file, place.line));
            }
            Progress::Warning { message, place: None } => self.ui.warn(message),
            Progress::Retry { .. } => self.ui.warn(words::retry(progress)),
            Progress::StepFailed { step, reason, .. } if !matches!(self.shown, Shown::Plain) => {
                if let Some(running) = self.steps().get(step) {
                    self.say_always(&words::failed_step(
                        &running.step,
                        &running.tail,
                        reason,
                        self.ui.messages,
                    ));
                }
            }
            _ => {}
        }
    }

    fn remember(&self, progress: &Progress) {
        match progress {
            Progress::StepStarted(step) => {
                let running = Running { step: step.clone(), tail: VecDeque::new() };
                self.steps().insert(step.id.clone(), running);
            }
            Progress::StepOutput { step, line, .. } => {
                if let Some(running) = self.steps().get_mut(step) {
                    running.tail.push_back(line.clone());
                    if running.tail.len() > TAIL_LINES {
                        running.tail.pop_front();
                    }
                }
            }
            _ => {}
        }
    }

    fn forget(&self, progress: &Progress) {
        if let Progress::StepFinished { step, .. } | Progress::StepFailed { step, .. } = progress {
            self.steps().remove(step);
        }
    }

    fn say(&self, line: Option<String>) {
        if let Some(line) = line {
            self.ui.note(line);
        }
    }

    fn say_always(&self, text: &str) {
        self.ui.line(text);
    }

    fn steps(&self) -> MutexGuard<'_, BTreeMap<StepId, Running>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
