//! Payloads as the host sends them to webhooks, replayed as the step they would start.
//!
//! A step has a payload and variables; a webhook's file has the payload alone. Which event it is
//! shows in its keys, and the variables follow from it, as the host's documentation of events has
//! it. A dump of the `github` context (`toJSON(github)`) has both.

use pipeline::event::Event;
use pipeline::forge::ForgeError;
use serde_json::Value;

use super::Host;
use super::event::Step;
use crate::payload::text_at;
use crate::{Environment, payload};

/// The keys that only one event's payload has, the more telling first.
const BY_KEY: [(&str, &str); 15] = [
    ("merge_group", "merge_group"),
    ("workflow_run", "workflow_run"),
    ("workflow_job", "workflow_job"),
    ("release", "release"),
    ("registry_package", "registry_package"),
    ("check_run", "check_run"),
    ("check_suite", "check_suite"),
    ("deployment_status", "deployment_status"),
    ("deployment", "deployment"),
    ("client_payload", "repository_dispatch"),
    ("discussion", "discussion"),
    ("issue", "issues"),
    ("schedule", "schedule"),
    ("forkee", "fork"),
    ("build", "page_build"),
];

/// Returns the event whose payload this is, by its keys.
pub(crate) fn guess(payload: &Value) -> Option<&'static str> {
    let has = |key: &str| payload.get(key).is_some_and(|value| !value.is_null());
    if has("pull_request") {
        return Some(match (has("review"), has("comment")) {
            (true, _) => "pull_request_review",
            (false, true) => "pull_request_review_comment",
            (false, false) => "pull_request",
        });
    }
    if has("comment") && has("issue") {
        return Some("issue_comment");
    }
    if let Some((_, event)) = BY_KEY.iter().find(|(key, _)| has(key)) {
        return Some(event);
    }
    match () {
        () if has("ref_type") && has("master_branch") => Some("create"),
        () if has("ref_type") => Some("delete"),
        () if has("ref") && (has("after") || has("before") || has("commits")) => Some("push"),
        () if has("ref") && has("workflow") => Some("workflow_dispatch"),
        () if has("sha") && has("state") => Some("status"),
        () => None,
    }
}

/// Returns the event that `payload` starts a step for, as `name` or as its keys show, and what had
/// to come from elsewhere. `None` where the keys show nothing.
///
/// # Errors
/// As for the event of a step.
pub(crate) fn replay(
    payload: Value,
    name: Option<&str>,
    folder: &std::path::Path,
) -> Option<Result<(Event, Vec<String>), ForgeError>> {
    if let (Some(told), true) = (text_at(&payload, "/event_name"), payload.get("event").is_some()) {
        let environment = of_context(&payload, name.unwrap_or(told));
        let payload = payload["event"].clone();
        return Some(Step::new(Host::GitHub, &environment, payload, folder).and_then(Step::event));
    }
    let name = name.or_else(|| guess(&payload))?;
    let environment = variables(&payload, name);
    Some(Step::new(Host::GitHub, &environment, payload, folder).and_then(Step::event))
}

/// Returns the variables of a step whose `github` context this is.
fn of_context(context: &Value, name: &str) -> Environment {
    let members = context.as_object().into_iter().flatten();
    let texts = members.filter_map(|(key, value)| {
        let value = value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|n| n.to_string()))?;
        Some((format!("GITHUB_{}", key.to_ascii_uppercase()), value))
    });
    let mut environment: Environment = texts.filter(|(key, _)| key != "GITHUB_TOKEN").collect();
    environment.insert("GITHUB_EVENT_NAME".to_owned(), name.to_owned());
    environment
}

/// Returns the variables that the host would set for a step with this payload.
fn variables(payload: &Value, name: &str) -> Environment {
    let at = |pointer: &str| text_at(payload, pointer).map(str::to_owned);
    let server = at("/repository/html_url").and_then(|url| {
        let (scheme, rest) = url.split_once("://")?;
        Some(format!("{scheme}://{}", rest.split('/').next()?))
    });
    let known = [
        ("GITHUB_EVENT_NAME", Some(name.to_owned())),
        ("GITHUB_REF", reference(payload, name)),
        ("GITHUB_SHA", sha(payload)),
        ("GITHUB_REPOSITORY", at("/repository/full_name")),
        ("GITHUB_SERVER_URL", server),
        ("GITHUB_ACTOR", at("/sender/login").or_else(|| at("/pusher/name"))),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn reference(payload: &Value, name: &str) -> Option<String> {
    let at = |pointer: &str| text_at(payload, pointer).map(str::to_owned);
    let branch = |branch: String| format!("refs/heads/{branch}");
    let full = |name: String| if name.starts_with("refs/") { name } else { format!("refs/heads/{name}") };
    match name {
        "push" | "workflow_dispatch" => at("/ref").map(full),
        "create" if at("/ref_type").as_deref() == Some("tag") => {
            at("/ref").map(|tag| format!("refs/tags/{tag}"))
        }
        "create" => at("/ref").map(branch),
        "pull_request_target" => at("/pull_request/base/ref").map(branch),
        name if name.starts_with("pull_request") => {
            let number = payload.pointer("/pull_request/number").or(payload.get("number"))?.as_u64()?;
            Some(format!("refs/pull/{number}/merge"))
        }
        "merge_group" => at("/merge_group/head_ref"),
        "release" => at("/release/tag_name").map(|tag| format!("refs/tags/{tag}")),
        "repository_dispatch" => at("/branch").or_else(|| at("/repository/default_branch")).map(branch),
        "deployment" | "deployment_status" => at("/deployment/ref").map(full),
        _ => at("/repository/default_branch").map(branch),
    }
}

/// Returns the commit that the payload names; that of a pull request's head and of a merge group
/// the step reads itself.
fn sha(payload: &Value) -> Option<String> {
    let places = [
        "/after",
        "/head_commit/id",
        "/pull_request/merge_commit_sha",
        "/merge_group/head_sha",
        "/check_run/head_sha",
        "/check_suite/head_sha",
        "/deployment/sha",
        "/sha",
    ];
    let mut told = places.iter().filter_map(|place| text_at(payload, place));
    told.find(|sha| matches!(payload::commit(sha), Ok(Some(_)))).map(str::to_owned)
}
