//! One live line for each active step, push and suite, with the last line it printed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use console::{Term, measure_text_width, truncate_str};
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle as LineStyle};
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
    told: Arc<Told>,
}

/// What a line tells after its label and time; looked at whenever the line is drawn, so that it fits the terminal
/// as that is then.
struct Told {
    /// What is being done.
    text: String,
    /// What was printed last.
    output: Mutex<String>,
    /// Columns that stand before it.
    before: usize,
    style: Style,
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
        let told = Arc::new(Told {
            text: printable(&text.replace('\n', " ")),
            output: Mutex::default(),
            before: SPINNER_AND_TIME + measure_text_width(&label),
            style: self.style,
        });
        let style = LineStyle::with_template("{spinner} {prefix} {elapsed:>4} {told}");
        let shown = Arc::clone(&told);
        let told_now = move |_: &ProgressState, line: &mut dyn fmt::Write| {
            // A terminal that fails to draw a line has nobody to tell it to.
            let _ = line.write_str(&shown.in_columns(columns()));
        };
        let style = style.expect("the template is a literal").with_key("told", told_now);
        self.add(key, ProgressBar::no_length().with_style(style), label, told);
    }

    fn start_push(&self, service: &Name, target: &str, bytes: u64) {
        let style =
            LineStyle::with_template("{spinner} {prefix} {bar:24} {bytes} of {total_bytes} {wide_msg}");
        let style = style.expect("the template is a literal").progress_chars("=> ");
        let bar = ProgressBar::new(bytes).with_style(style);
        let bar = bar.with_message(format!("to {target}"));
        let told = Told { text: String::new(), output: Mutex::default(), before: 0, style: self.style };
        self.add(Key::Push(service.clone()), bar, format!("{service} push"), Arc::new(told));
    }

    fn add(&self, key: Key, bar: ProgressBar, label: String, told: Arc<Told>) {
        let bar = self.live.add(bar.with_prefix(label));
        bar.enable_steady_tick(TICK);
        let old = self.lock().insert(key, Line { bar, told });
        if let Some(old) = old {
            old.bar.finish_and_clear();
        }
    }

    fn output(&self, key: &Key, line: &str) {
        let line = printable(line);
        self.with(key, |shown| {
            *shown.told.output.lock().unwrap_or_else(PoisonError::into_inner) = line;
            shown.bar.tick();
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

/// The spinner, the time and the spaces beside them.
const SPINNER_AND_TIME: usize = 8;
const SEPARATOR: &str = " | ";
/// With fewer columns nothing is told.
const LEAST_ROOM: usize = 8;
const CUT: &str = "\u{2026}";

/// Returns the columns of the terminal as it is now.
fn columns() -> usize {
    Term::stderr().size_checked().map_or(80, |(_, columns)| usize::from(columns))
}

impl Told {
    /// Returns what fits into a terminal so wide. The last output is what moves, and is cut only where what is being
    /// done has no more than a third of the room.
    fn in_columns(&self, columns: usize) -> String {
        let room = columns.saturating_sub(self.before + 1);
        if room < LEAST_ROOM {
            return String::new();
        }
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if output.is_empty() {
            return truncate_str(&self.text, room, CUT).into_owned();
        }
        if self.text.is_empty() {
            return self.style.dim(&truncate_str(&output, room, CUT));
        }
        let room = room - SEPARATOR.len();
        let of_text = room.saturating_sub(measure_text_width(&output)).max(room / 3);
        let text = truncate_str(&self.text, of_text, CUT);
        let left = room.saturating_sub(measure_text_width(&text));
        let output = truncate_str(&output, left, CUT);
        format!("{text}{}", self.style.dim(&format!("{SEPARATOR}{output}")))
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

    #[track_caller]
    fn check(text: &str, output: &str, columns: usize, expected: &str) {
        let (text, output) = (text.to_owned(), Mutex::new(output.to_owned()));
        let told = Told { text, output, before: 9, style: Style::new(false) };
        let shown = told.in_columns(columns);
        assert_eq!(shown, expected);
        assert!(measure_text_width(&shown) + 10 <= columns.max(10), "{shown}");
    }

    #[test]
    fn the_last_output_is_seen_beside_a_long_instruction() {
        let long = "RUN apt-get install all of it";
        check(long, "", 80, long);
        check(long, "", 20, "RUN apt-g…");
        check(long, "Get:1 x", 80, "RUN apt-get install all of it | Get:1 x");
        check(long, "Get:1 x", 40, "RUN apt-get install… | Get:1 x");
        check(long, "Unpacking a long name", 40, "RUN apt-… | Unpacking a long …");
        check("RUN x", "Unpacking a long name", 30, "RUN x | Unpacking a…");
        check("", "Unpacking a long name", 20, "Unpacking…");
        check(long, "x", 0, "");
        check(long, "x", 17, "");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        check("RUN 世界世界世界", "", 20, "RUN 世界…");
        check("RUN x", "世界世界世界", 22, "RU… | 世界…");
    }

    #[test]
    fn lines_of_others_do_not_move_our_cursor() {
        assert_eq!(printable("\x1b[1;32mok\x1b[0m\tfine\x07"), "ok fine");
        assert_eq!(printable("10%\r50%\r"), "50%");
        assert_eq!(printable("\x1b"), "");
    }
}
