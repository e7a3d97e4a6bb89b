//! How a run goes, for people and programs: live lines on a terminal (`live`), a line for each
//! change elsewhere (`plain`), one JSON object for each change.

mod live;
mod plain;
mod words;

use std::sync::atomic::{AtomicBool, Ordering};

use pipeline::progress::Progress;

use super::Ui;
use crate::cli::ProgressStyle;

/// Shows what a run tells. Used as its observer: `&|progress| reporter.tell(progress)`.
pub struct Reporter {
    ui: Ui,
    shown: Shown,
    /// Whether a group of lines is open in the CI host's log.
    is_grouped: AtomicBool,
}

/// Where progress is shown.
enum Shown {
    Live(live::Lines),
    Plain,
    Json,
    Nowhere,
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
        Self { ui: ui.clone(), shown, is_grouped: AtomicBool::new(false) }
    }

    /// Ends what is folded in the CI host's log: what comes now is not progress.
    pub fn end(&self) {
        if self.is_grouped.swap(false, Ordering::Relaxed)
            && let Some(line) = self.ui.host().group_end()
        {
            self.ui.command(&line);
        }
    }

    /// Takes note of one thing that happened. May be called from several threads.
    pub fn tell(&self, progress: Progress) {
        match &self.shown {
            Shown::Json => self.ui.event(&progress),
            Shown::Live(lines) => {
                lines.tell(&progress);
                self.say(words::lasting(&progress, self.ui.messages, self.ui.verbosity));
            }
            Shown::Plain => {
                if !self.group(&progress) {
                    self.say(plain::line(&progress, self.ui.messages));
                }
            }
            Shown::Nowhere => {}
        }
        self.tell_always(&progress);
    }

    /// Warnings are shown in every style for people. How a step failed is told when its service's build
    /// has ended, with its last lines.
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
            _ => {}
        }
    }

    /// Begins a stage as a group of lines, where the CI host has such a thing; `false` where nothing was said.
    fn group(&self, progress: &Progress) -> bool {
        let Progress::StageStarted { stage } = progress else { return false };
        self.end();
        let Some(line) = self.ui.host().group_start(&plain::stage_name(*stage)) else { return false };
        self.is_grouped.store(true, Ordering::Relaxed);
        self.ui.command(&line);
        true
    }

    fn say(&self, line: Option<String>) {
        if let Some(line) = line {
            self.ui.note(line);
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.end();
    }
}
