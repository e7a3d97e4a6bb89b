//! What went wrong in a stage, in full: the Dockerfile's line with its caret, the last lines of a
//! step, the causes.

use std::error::Error;
use std::fmt::Write as _;

use builder::BuildError;

use super::style::Style;

/// Returns the text for `error`, headed by what failed.
pub fn text(what: &str, error: &(dyn Error + 'static), style: Style) -> String {
    let mut text = format!("{} {what}: ", style.error("error:"));
    match build_error(error) {
        Some(BuildError::Dockerfile(error)) => text += &error.render(),
        _ => text += &error.to_string(),
    }
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if words != said {
            write!(text, "\n  {} {words}", style.dim("cause:")).expect("writing to a String cannot fail");
        }
        said = words;
        next = cause.source();
    }
    if let Some(BuildError::Step { last_lines, .. }) = build_error(error) {
        for line in last_lines {
            write!(text, "\n  {} {line}", style.dim("|")).expect("writing to a String cannot fail");
        }
    }
    if let Some(hint) = build_error(error).and_then(hint) {
        write!(text, "\n{} {hint}", style.note("hint:")).expect("writing to a String cannot fail");
    }
    text
}

fn build_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a BuildError> {
    match error.downcast_ref::<pipeline::build::ServiceError>() {
        Some(pipeline::build::ServiceError::Build(error)) => Some(error),
        _ => error.downcast_ref::<BuildError>(),
    }
}

fn hint(error: &BuildError) -> Option<&'static str> {
    match error {
        BuildError::NoDockerfile { .. } => Some("set `dockerfile` of the service, or use -f FILE"),
        _ => None,
    }
}
