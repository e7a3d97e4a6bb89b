//! Events from files: `--event FILE`.
//!
//! | file | is |
//! |---|---|
//! | an event, or a document of ours with one (a plan, a ledger, what `meta --format json` prints) | that event |
//! | a payload as GitHub sends it to webhooks and to steps | the event that its keys show, or that `--event-name` says |
//! | a dump of GitHub's context, `toJSON(github)` | the event it names |
//! | an object of variables with `CI_COMMIT_SHA` or `GITHUB_EVENT_NAME` | what a job with them would see |
//!
//! What a file does not say comes from the clone, and is told.

use std::path::Path;

use pipeline::event::Event;
use pipeline::forge::ForgeError;
use serde_json::Value;

use crate::{Environment, Forgejo, GitHub, GitLab, forgejo, github, payload};

/// An event from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The event.
    pub event: Event,
    /// What the file does not say, and what was taken instead; one sentence each.
    pub missing: Vec<String>,
}

/// Reads the event of `file`; `name` is the host's name of it, where its keys do not show it.
/// The clone in `folder` says what the file does not.
///
/// # Errors
/// `Replay` where the file holds no event; as for the event of a step where what it holds is not
/// as the host describes it.
pub fn replay(file: &Path, name: Option<&str>, folder: &Path) -> Result<Replayed, ForgeError> {
    let refused = |reason: String| ForgeError::Replay { file: file.to_owned(), reason };
    let cannot =
        |source| ForgeError::File { action: "read", variable: "--event", path: file.to_owned(), source };
    let document = payload::parse(&payload::read(file).map_err(cannot)?).map_err(refused)?;
    if !document.is_object() {
        return Err(refused("it holds no JSON object".to_owned()));
    }
    if let Some(event) = own(&document) {
        let event =
            event.map_err(|error| refused(format!("it looks like an event of plimsoll, but {error}")))?;
        return Ok(Replayed { event, missing: Vec::new() });
    }
    if let Some(event) = of_variables(&document, folder) {
        return Ok(Replayed { event: event?, missing: Vec::new() });
    }
    if let Some(kind) = document.get("object_kind").and_then(Value::as_str) {
        let way_out = "give the CI_ variables of the job as a JSON object instead";
        return Err(refused(format!("it is GitLab's webhook {}; {way_out}", payload::quoted(kind))));
    }
    let (event, missing) =
        github::webhook::replay(document, name, folder).ok_or_else(|| refused(UNCLEAR.to_owned()))??;
    Ok(Replayed { event, missing })
}

const UNCLEAR: &str = "none of its keys shows which event it is: say it with --event-name, such as push, pull_request \
     or workflow_dispatch";

/// Reads an event of ours, alone or in a document.
fn own(document: &Value) -> Option<Result<Event, serde_json::Error>> {
    let is_ours = |schema: &Value| schema.as_str().is_some_and(|schema| schema.starts_with("plimsoll."));
    let inner = document.get("event").filter(|_| document.get("schema").is_some_and(is_ours));
    let event = inner.unwrap_or(document);
    let is_event = event.get("kind").is_some_and(Value::is_string) && event.get("revision").is_some();
    (is_event || inner.is_some()).then(|| serde_json::from_value(event.clone()))
}

/// Reads the variables of a job.
fn of_variables(document: &Value, folder: &Path) -> Option<Result<Event, ForgeError>> {
    let has = |name: &str| document.get(name).is_some_and(Value::is_string);
    if !has("CI_COMMIT_SHA") && !has("CI_PIPELINE_SOURCE") && !has("GITHUB_EVENT_NAME") {
        return None;
    }
    let texts = document.as_object()?.iter();
    let environment: Environment =
        texts.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    Some(if !has("GITHUB_EVENT_NAME") {
        GitLab::event_of(&environment, folder)
    } else if forgejo::is_ours(&environment) {
        Forgejo::event_of(&environment, folder)
    } else {
        GitHub::event_of(&environment, folder)
    })
}

#[cfg(test)]
mod tests;
