//! What went wrong in a stage, in full: the Dockerfile's line with its caret, the last lines of a
//! step, the causes; for people, and as JSON.

use std::error::Error;
use std::fmt::Write as _;

use builder::BuildError;

use super::style::Style;
use crate::error::{Code, hint_of};

/// Returns the text for `error`, headed by what failed.
pub fn text(what: &str, error: &(dyn Error + 'static), style: Style) -> String {
    let mut text = format!("{} {what}: {}", style.error("error:"), message(error));
    for cause in causes(error) {
        write!(text, "\n  {} {cause}", style.dim("cause:")).expect("writing to a String cannot fail");
    }
    for line in last_lines(error) {
        write!(text, "\n  {} {line}", style.dim("|")).expect("writing to a String cannot fail");
    }
    if let Some(hint) = build_error(error).and_then(hint).or_else(|| hint_of(error)) {
        write!(text, "\n{} {hint}", style.note("hint:")).expect("writing to a String cannot fail");
    }
    text
}

/// Returns the line for `error`, headed by what failed, as JSON.
pub fn json(what: &str, error: &(dyn Error + 'static), code: Code) -> String {
    serde_json::json!({
        "schema": "plimsoll.error/1",
        "code": code as u8,
        "message": format!("{what}: {}", message(error)),
        "causes": causes(error),
        "last_lines": last_lines(error),
        "hint": build_error(error).and_then(hint).or_else(|| hint_of(error)),
    })
    .to_string()
}

fn message(error: &(dyn Error + 'static)) -> String {
    match build_error(error) {
        Some(BuildError::Dockerfile(error)) => {
            let rendered = error.render();
            rendered.strip_prefix("error: ").unwrap_or(&rendered).to_owned()
        }
        _ => error.to_string(),
    }
}

fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        texts.push(cause.to_string());
        next = cause.source();
    }
    texts.dedup();
    texts.split_off(1)
}

fn last_lines<'a>(error: &'a (dyn Error + 'static)) -> &'a [String] {
    match build_error(error) {
        Some(BuildError::Step { last_lines, .. }) => last_lines,
        _ => &[],
    }
}

fn build_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a BuildError> {
    match error.downcast_ref::<pipeline::build::ServiceError>() {
        Some(pipeline::build::ServiceError::Build(error)) => Some(error),
        _ => error.downcast_ref::<BuildError>(),
    }
}

fn hint(error: &BuildError) -> Option<String> {
    match error {
        BuildError::NoDockerfile { .. } => Some("set `dockerfile` of the service, or use -f FILE".to_owned()),
        _ => None,
    }
}
