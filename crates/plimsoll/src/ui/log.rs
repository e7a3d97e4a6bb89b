//! Events that the rooms emit through `tracing`, as lines on standard error: warnings always (a retry
//! is one), information with `-v`, everything with `-vv`. Spans are not shown.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::{Ui, Verbosity};

/// Sends events of the whole process to `ui`.
pub fn install(ui: &Ui) {
    let level = match ui.verbosity() {
        Verbosity::Quiet => Level::ERROR,
        Verbosity::Normal => Level::WARN,
        Verbosity::Verbose => Level::INFO,
        Verbosity::Debug => Level::DEBUG,
    };
    let printer = Printer { ui: ui.clone(), level, next_span: AtomicU64::new(1) };
    tracing::subscriber::set_global_default(printer).expect("installed once, at the start of the process");
}

struct Printer {
    ui: Ui,
    level: Level,
    next_span: AtomicU64,
}

impl Subscriber for Printer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.level.into())
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.next_span.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{}", line.message, line.fields);
        match *event.metadata().level() {
            Level::ERROR | Level::WARN => self.ui.warn(text),
            _ => self.ui.note(self.ui.messages.dim(&text)),
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
        written.expect("writing to a String cannot fail");
    }
}
