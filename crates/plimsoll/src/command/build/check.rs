//! `build --check`: what the build checks find, without a build.

use std::fmt;

use builder::{BuildRequest, EmbeddedEngine};
use serde::Serialize;

use crate::error::{Code, Error};
use crate::session::Session;

#[derive(Serialize)]
struct Answer {
    dockerfile: String,
    warnings: Vec<Found>,
}

#[derive(Serialize)]
struct Found {
    rule: &'static str,
    message: String,
    line: usize,
    #[serde(skip)]
    snippet: String,
}

/// Prints what is found.
pub fn run(session: &Session, engine: &EmbeddedEngine, request: &BuildRequest) -> Result<(), Error> {
    let checked = engine.check(request);
    let (dockerfile, warnings) = checked
        .map_err(|error| Error::Reported(session.ui.failure("the Dockerfile cannot be checked", &error)))?;
    let found = |warning: builder::dockerfile::Warning| {
        let message = format!("{} ({})", warning.message, warning.rule);
        let rendered = dockerfile.error(warning.span, message).render();
        Found {
            rule: warning.rule,
            line: warning.span.line,
            message: warning.message,
            snippet: rendered.replacen("error:", "warning:", 1),
        }
    };
    let warnings: Vec<Found> = warnings.into_iter().map(found).collect();
    let clean = warnings.is_empty();
    session.ui.answer("check", &Answer { dockerfile: request.dockerfile_name.clone(), warnings })?;
    if clean { Ok(()) } else { Err(Error::Reported(Code::Found)) }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in &self.warnings {
            writeln!(f, "{}", found.snippet)?;
        }
        match self.warnings.len() {
            0 => writeln!(f, "{}: nothing found", self.dockerfile),
            1 => writeln!(f, "{}: 1 warning", self.dockerfile),
            count => writeln!(f, "{}: {count} warnings", self.dockerfile),
        }
    }
}
