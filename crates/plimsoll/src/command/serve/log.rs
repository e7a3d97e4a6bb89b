//! What is printed of each request.

use std::sync::Arc;

use pipeline::configuration::AccessLogForm;
use registry::server::{AccessLog, LogEntry};
use serde::Serialize;

use crate::session::Session;
use crate::ui::quantity;

/// The form of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Nothing.
    None,
    /// A line for people.
    Text,
    /// A JSON document on a line.
    Json,
}

impl From<Form> for AccessLogForm {
    fn from(form: Form) -> Self {
        match form {
            Form::None => Self::None,
            Form::Text => Self::Text,
            Form::Json => Self::Json,
        }
    }
}

/// One request, as `--access-log json` prints it.
#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    time: String,
    peer: String,
    who: &'a str,
    method: &'a str,
    path: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    milliseconds: u64,
}

/// Returns who prints the requests of a server.
pub fn sink(session: &Session, form: AccessLogForm) -> AccessLog {
    let (ui, now) = (session.ui.clone(), session.environment.now());
    match form {
        AccessLogForm::None => Arc::new(|_| {}),
        AccessLogForm::Text => Arc::new(move |entry| ui.note(text(entry))),
        AccessLogForm::Json => Arc::new(move |entry| ui.note(json(entry, now().to_string()))),
    }
}

fn text(entry: &LogEntry) -> String {
    let LogEntry { peer, who, method, path, status, bytes, elapsed } = entry;
    let size = bytes.map(quantity::size).unwrap_or_default();
    let who = if who.is_empty() { "-" } else { who };
    format!("{peer} {who} {method} {path} {status} {size} {}", quantity::duration(*elapsed))
}

fn json(entry: &LogEntry, time: String) -> String {
    let line = Line {
        schema: "plimsoll.registry-request/1",
        time,
        peer: entry.peer.to_string(),
        who: &entry.who,
        method: &entry.method,
        path: &entry.path,
        status: entry.status,
        bytes: entry.bytes,
        milliseconds: u64::try_from(entry.elapsed.as_millis()).unwrap_or(u64::MAX),
    };
    serde_json::to_string(&line).expect("a line has only strings and numbers")
}
