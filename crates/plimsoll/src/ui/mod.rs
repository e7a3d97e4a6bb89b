//! The only room that prints. Results go to standard output; progress, warnings and errors go to
//! standard error. Colour never carries meaning alone.

pub mod failure;
pub mod log;
pub mod progress;
pub mod prompt;
pub mod quantity;
pub mod style;
pub mod table;
pub mod timings;
pub mod transfer;
pub mod usage;

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::Arc;

use indicatif::MultiProgress;
use pipeline::forge::Forge;
use serde::Serialize;

use crate::cli::{Format, Global, ProgressStyle, When};
use crate::env::Environment;
use crate::error::{Code, Error, code_of};
use style::Style;

/// The printer.
#[derive(Clone, Debug)]
pub struct Ui {
    format: Format,
    verbosity: Verbosity,
    messages: Style,
    progress: ProgressStyle,
    live: MultiProgress,
    host: Arc<dyn Forge>,
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Results and errors.
    Quiet,
    /// Also notes and warnings.
    Normal,
    /// Also what is done and why.
    Verbose,
    /// Also every request.
    Debug,
}

impl Ui {
    /// Returns the printer that the flags and the environment ask for.
    pub fn new(environment: &Environment, global: &Global) -> Self {
        let colour = |terminal| match global.color {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal && environment.variable("NO_COLOR").is_none(),
        };
        Self {
            format: global.format,
            verbosity: verbosity(global),
            messages: Style::new(colour(environment.stderr_is_terminal)),
            progress: progress_style(environment, global),
            live: MultiProgress::new(),
            host: forge::detect(&environment.variables, global.ci.into(), environment.instant()).into(),
        }
    }

    /// Prints a result: JSON with `"schema": "plimsoll.<name>/1"` or what it displays.
    pub fn answer<T: Serialize + fmt::Display>(&self, name: &str, value: &T) -> Result<(), Error> {
        match self.format {
            Format::Text | Format::Env => self.text(value),
            Format::Json => self.json(name, value),
        }
    }

    /// Prints a result that has a schema of its own: as JSON, or what it displays.
    pub fn document<T: Serialize + fmt::Display>(&self, value: &T) -> Result<(), Error> {
        match self.format {
            Format::Text | Format::Env => self.text(value),
            Format::Json => self.bytes(&pretty(value)),
        }
    }

    /// Prints text to standard output, ending the last line where it does not end by itself.
    pub fn text(&self, value: impl fmt::Display) -> Result<(), Error> {
        let mut text = value.to_string();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        self.bytes(text.as_bytes())
    }

    /// Prints bytes to standard output as they are.
    pub fn bytes(&self, content: &[u8]) -> Result<(), Error> {
        self.live.suspend(|| {
            let mut out = io::stdout().lock();
            out.write_all(content).and_then(|()| out.flush()).map_err(|source| match source.kind() {
                io::ErrorKind::BrokenPipe => Error::OutputClosed,
                _ => Error::file("write", std::path::Path::new("standard output"), source),
            })
        })
    }

    /// Returns standard output for content that is no text.
    pub fn output(&self) -> impl io::Write + use<> {
        io::BufWriter::with_capacity(256 << 10, io::stdout().lock())
    }

    /// Prints bytes to standard error as they are.
    pub fn messages(&self, content: &[u8]) -> Result<(), Error> {
        self.live.suspend(|| {
            io::stderr()
                .lock()
                .write_all(content)
                .map_err(|source| Error::file("write", std::path::Path::new("standard error"), source))
        })
    }

    /// Prints what is worth knowing and is no result; silent with `-q`.
    pub fn note(&self, message: impl fmt::Display) {
        if self.verbosity >= Verbosity::Normal {
            self.line(&message.to_string());
        }
    }

    /// Prints a warning; silent with `-q`.
    pub fn warn(&self, message: impl fmt::Display) {
        if self.verbosity >= Verbosity::Normal {
            self.line(&format!("{} {message}", self.messages.warning("warning:")));
        }
    }

    /// Prints an event of the stream that `--progress json` asks for.
    pub fn event<T: Serialize>(&self, event: &T) {
        let document = Schema { schema: "plimsoll.progress/1".to_owned(), value: event };
        self.line(&serde_json::to_string(&document).expect("events have only string keys"));
    }

    /// Prints an error, its causes and what to try; as JSON where results are JSON.
    pub fn error(&self, error: &Error) {
        if error.is_silent() {
            return;
        }
        let text = match self.format {
            Format::Text | Format::Env => error_text(error, self.messages),
            Format::Json => error_json(error),
        };
        self.line(&text);
    }

    /// Prints what went wrong in a stage, with its causes and what to try, and returns its exit code.
    pub fn failure(&self, what: &str, error: &(dyn std::error::Error + 'static)) -> Code {
        let code = code_of(error);
        self.line(&match self.format {
            Format::Text | Format::Env => failure::text(what, error, self.messages),
            Format::Json => failure::json(what, error, code),
        });
        code
    }

    /// Prints that something did not go well.
    pub fn problem(&self, message: &str) {
        self.line(&format!("{} {message}", self.messages.error("error:")));
    }

    /// Prints a line that the CI host obeys.
    pub fn command(&self, line: &str) {
        self.raw_line(line);
    }

    /// Returns the CI host whose log this prints to, or none.
    pub fn host(&self) -> &Arc<dyn Forge> {
        &self.host
    }

    /// Returns how much is said.
    pub fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Prints a result as JSON with `"schema": "plimsoll.<name>/1"`.
    pub fn json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Error> {
        let document = Schema { schema: format!("plimsoll.{name}/1"), value };
        self.bytes(&pretty(&document))
    }

    /// Prints lines that the CI host obeys in no case: programs that are not ours wrote part of them.
    fn line(&self, line: &str) {
        self.raw_line(&self.host.harmless(line));
    }

    /// Prints one line to standard error, above live lines. Nobody to tell where that fails.
    fn raw_line(&self, line: &str) {
        self.live.suspend(|| {
            let _ = writeln!(io::stderr().lock(), "{line}");
        });
    }
}

#[derive(Serialize)]
struct Schema<'a, T> {
    schema: String,
    #[serde(flatten)]
    value: &'a T,
}

fn pretty<T: Serialize>(value: &T) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("results have only string keys");
    text.push(b'\n');
    text
}

fn verbosity(global: &Global) -> Verbosity {
    match (global.quiet, global.verbose) {
        (true, _) => Verbosity::Quiet,
        (false, 0) => Verbosity::Normal,
        (false, 1) => Verbosity::Verbose,
        (false, _) => Verbosity::Debug,
    }
}

fn progress_style(environment: &Environment, global: &Global) -> ProgressStyle {
    match global.progress {
        ProgressStyle::Auto if global.quiet => ProgressStyle::None,
        ProgressStyle::Auto if environment.stderr_is_terminal && environment.variable("CI").is_none() => {
            ProgressStyle::Tty
        }
        ProgressStyle::Auto => ProgressStyle::Plain,
        asked => asked,
    }
}

/// Whether messages about the command line itself are coloured, before it could be parsed.
pub fn wants_colour(environment: &Environment, arguments: &[OsString]) -> bool {
    let mut words =
        arguments.iter().filter_map(|word| word.to_str()).skip_while(|word| !word.starts_with("--color"));
    let asked = match words.next() {
        Some("--color") => words.next(),
        Some(word) => word.strip_prefix("--color="),
        None => None,
    };
    match asked {
        Some("always") => true,
        Some("never") => false,
        _ => environment.stderr_is_terminal && environment.variable("NO_COLOR").is_none(),
    }
}

fn causes(error: &Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes.dedup();
    causes
}

fn error_text(error: &Error, style: Style) -> String {
    let mut text = format!("{} {error}", style.error("error:"));
    for cause in causes(error) {
        write!(text, "\n  {} {cause}", style.dim("cause:")).expect("writing to a String cannot fail");
    }
    if let Some(hint) = error.hint() {
        write!(text, "\n{} {hint}", style.note("hint:")).expect("writing to a String cannot fail");
    }
    text
}

fn error_json(error: &Error) -> String {
    serde_json::json!({
        "schema": "plimsoll.error/1",
        "code": error.code() as u8,
        "message": error.to_string(),
        "causes": causes(error),
        "hint": error.hint(),
    })
    .to_string()
}

/// Reports a panic: it is always a defect of ours.
pub fn report_defect(panic: &std::panic::PanicHookInfo<'_>) {
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "error: this is a defect of plimsoll {}: {panic}", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(err, "hint: please report it with the command line that led here");
}

/// Reports a panic that ends a request and not the process.
pub fn report_survived_defect(panic: &std::panic::PanicHookInfo<'_>) {
    // One line, as every other one of a log.
    let told = panic.to_string().replace('\n', " ");
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(
        io::stderr().lock(),
        "error: this is a defect of plimsoll {version}; please report it: {told}"
    );
}
