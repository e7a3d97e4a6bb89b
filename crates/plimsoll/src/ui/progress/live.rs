//! One live line for each active step, push and suite, with the last line it printed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle as LineStyle};
use pipeline::configuration::Name;
use pipeline::progress::{Progress, StepId};

use super::words;
use crate::ui::style::Style;

/// How often times on live lines move on.
const TICK: Duration = Duration::from_millis(200);

/// The live lines there are.
pub struct Lines {
    live: MultiProgress,
    style: Style,
    lines: Mutex<BTreeMap<Key, Line>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Step(StepId),
    Push(Name),
    Suite(Name),
}

struct Line {
    bar: ProgressBar,
    text: String,
}

impl Lines {
    /// Returns no lines yet.
    pub fn new(live: MultiProgress, style: Style) -> Self {
        Self { live, style, lines: Mutex::default() }
    }

    /// Adds, changes or takes away the line that `progress` is about.
    pub fn tell(&self, progress: &Progress) {
        match progress {
            Progress::StepStarted(step) => {
                self.start(Key::Step(step.id.clone()), words::step_label(step), &step.instruction);
            }
            Progress::StepOutput { step, line, .. } => self.output(&Key::Step(step.clone()), line),
            Progress::StepFinished { step, .. } | Progress::StepFailed { step, .. } => {
                self.end(&Key::Step(step.clone()));
            }
            // A step may turn out to be known after it was started.
            Progress::StepCached(step) => self.end(&Key::Step(step.id.clone())),
            Progress::ServiceFinished { service, .. } => self.end_steps_of(service),
            Progress::PushStarted { service, target, total_bytes } => {
                self.start_push(service, target, *total_bytes);
            }
            Progress::PushAdvanced { service, done_bytes } => {
                self.with(&Key::Push(service.clone()), |line| line.bar.set_position(*done_bytes));
            }
            Progress::PushFinished { service, .. } => self.end(&Key::Push(service.clone())),
            Progress::SuiteStarted { suite } => {
                self.start(Key::Suite(suite.clone()), format!("suite {suite}"), "");
            }
            Progress::SuiteOutput { suite, line, .. } => self.output(&Key::Suite(suite.clone()), line),
            Progress::SuiteFinished { suite, .. } => self.end(&Key::Suite(suite.clone())),
            _ => {}
        }
    }

    fn start(&self, key: Key, label: String, text: &str) {
        let style = LineStyle::with_template("{spinner} {prefix} {elapsed:>4} {wide_msg}");
        let style = style.expect("the template is a literal");
        self.add(key, ProgressBar::no_length().with_style(style), label, text);
    }

    fn start_push(&self, service: &Name, target: &str, bytes: u64) {
        let style =
            LineStyle::with_template("{spinner} {prefix} {bar:24} {bytes} of {total_bytes} {wide_msg}");
        let style = style.expect("the template is a literal").progress_chars("=> ");
        let bar = ProgressBar::new(bytes).with_style(style);
        self.add(Key::Push(service.clone()), bar, format!("{service} push"), &format!("to {target}"));
    }

    fn add(&self, key: Key, bar: ProgressBar, label: String, text: &str) {
        let bar = self.live.add(bar.with_prefix(label).with_message(text.to_owned()));
        bar.enable_steady_tick(TICK);
        let old = self.lock().insert(key, Line { bar, text: text.to_owned() });
        if let Some(old) = old {
            old.bar.finish_and_clear();
        }
    }

    fn output(&self, key: &Key, line: &str) {
        let line = printable(line);
        self.with(key, |shown| {
            let separator = if shown.text.is_empty() { "" } else { " | " };
            shown.bar.set_message(format!("{}{}", shown.text, self.style.dim(&format!("{separator}{line}"))));
        });
    }

    fn end(&self, key: &Key) {
        let line = self.lock().remove(key);
        if let Some(line) = line {
            line.bar.finish_and_clear();
            self.live.remove(&line.bar);
        }
    }

    /// Ends what a failure left: steps that were given up tell nothing.
    fn end_steps_of(&self, service: &Name) {
        let of_service = |key: &&Key| matches!(key, Key::Step(step) if step.service == *service);
        let left: Vec<Key> = self.lock().keys().filter(of_service).cloned().collect();
        left.iter().for_each(|key| self.end(key));
    }

    fn with(&self, key: &Key, change: impl FnOnce(&Line)) {
        if let Some(line) = self.lock().get(key) {
            change(line);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what of a line may be shown within one of ours: nothing that moves the cursor.
fn printable(line: &str) -> String {
    let last = line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default();
    let mut text = String::new();
    let mut characters = last.chars();
    while let Some(character) = characters.next() {
        match character {
            // A control sequence ends with a letter.
            '\x1b' => {
                characters.find(|next| next.is_ascii_alphabetic());
            }
            '\t' => text.push(' '),
            character if character.is_control() => {}
            character => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_others_do_not_move_our_cursor() {
        assert_eq!(printable("\x1b[1;32mok\x1b[0m\tfine\x07"), "ok fine");
        assert_eq!(printable("10%\r50%\r"), "50%");
        assert_eq!(printable("\x1b"), "");
    }
}
