//! What docker/metadata-action sees of a step: GitHub's variables and payload as a
//! [`docker::Context`].
//!
//! | about | rule |
//! |---|---|
//! | `pull_request_target` | runs on the base branch, and is named after `refs/pull/N/merge` |
//! | `DOCKER_METADATA_PR_HEAD_SHA` | `true` in any case: a pull request's commit is its head |
//! | `DOCKER_METADATA_SHORT_SHA_LENGTH` | a number as JavaScript reads it |
//! | `DOCKER_METADATA_ANNOTATIONS_LEVELS` | between commas, `manifest` where there is nothing |
//! | time of the commit | of the payload's commits, its head commit; else the caller's; else now |
//! | the repository | the caller's facts; else the payload's. The API is not asked |
//!
//! Values of an unexpected kind are taken for none: a payload is somebody else's file.

use std::path::Path;

use jiff::Timestamp;
use pipeline::forge::ForgeError;
use pipeline::git::Checkout;
use pipeline::identity::docker::{Context, RepositoryFacts, ShortSha};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::event;
use crate::Environment;

/// The variables of a step that count.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Variables {
    #[serde(rename = "GITHUB_EVENT_NAME", deserialize_with = "text")]
    event_name: Option<String>,
    #[serde(rename = "GITHUB_REF", deserialize_with = "text")]
    reference: Option<String>,
    #[serde(rename = "GITHUB_SHA", deserialize_with = "text")]
    sha: Option<String>,
    #[serde(rename = "DOCKER_METADATA_PR_HEAD_SHA", deserialize_with = "text")]
    head_sha: Option<String>,
    #[serde(rename = "DOCKER_METADATA_SHORT_SHA_LENGTH", deserialize_with = "text")]
    short_sha: Option<String>,
    #[serde(rename = "DOCKER_METADATA_ANNOTATIONS_LEVELS", deserialize_with = "text")]
    levels: Option<String>,
}

impl Variables {
    /// Returns the variables of a process.
    pub fn of(environment: &Environment) -> Self {
        let variable = |name: &str| environment.get(name).cloned();
        Self {
            event_name: variable("GITHUB_EVENT_NAME"),
            reference: variable("GITHUB_REF"),
            sha: variable("GITHUB_SHA"),
            head_sha: variable("DOCKER_METADATA_PR_HEAD_SHA"),
            short_sha: variable("DOCKER_METADATA_SHORT_SHA_LENGTH"),
            levels: variable("DOCKER_METADATA_ANNOTATIONS_LEVELS"),
        }
    }

    /// Returns where annotations go.
    pub fn annotation_levels(&self) -> Vec<String> {
        let levels = self.levels.as_deref().filter(|levels| !levels.is_empty()).unwrap_or("manifest");
        levels.split(',').map(str::to_owned).collect()
    }

    /// Returns how long a short commit id is.
    pub fn short_sha(&self) -> ShortSha {
        ShortSha::from_text(self.short_sha.as_deref().unwrap_or_default())
    }

    /// Whether a pull request's commit is its head.
    pub fn wants_head_sha(&self) -> bool {
        self.head_sha.as_deref().is_some_and(|value| value.to_ascii_lowercase().contains("true"))
    }
}

/// The parts of a payload that count.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Payload {
    #[serde(deserialize_with = "lenient")]
    number: Option<Value>,
    #[serde(deserialize_with = "text")]
    base_ref: Option<String>,
    #[serde(deserialize_with = "lenient")]
    repository: Option<Repository>,
    #[serde(deserialize_with = "lenient")]
    pull_request: Option<PullRequest>,
    #[serde(deserialize_with = "lenient")]
    commits: Option<Vec<Commit>>,
    #[serde(deserialize_with = "lenient")]
    head_commit: Option<Commit>,
}

/// A repository as payloads and the API describe it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Repository {
    #[serde(deserialize_with = "text")]
    name: Option<String>,
    #[serde(deserialize_with = "text")]
    description: Option<String>,
    #[serde(deserialize_with = "text")]
    html_url: Option<String>,
    #[serde(deserialize_with = "text")]
    default_branch: Option<String>,
    #[serde(deserialize_with = "lenient")]
    license: Option<License>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct License {
    #[serde(deserialize_with = "text")]
    spdx_id: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PullRequest {
    head: Side,
    base: Side,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Side {
    #[serde(rename = "ref", deserialize_with = "text")]
    reference: Option<String>,
    #[serde(deserialize_with = "text")]
    sha: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Commit {
    #[serde(deserialize_with = "text")]
    id: Option<String>,
    #[serde(deserialize_with = "text")]
    timestamp: Option<String>,
}

impl Repository {
    /// Returns what is known of the repository.
    pub fn facts(self) -> RepositoryFacts {
        RepositoryFacts {
            name: self.name,
            description: self.description,
            html_url: self.html_url,
            default_branch: self.default_branch,
            license: self.license.and_then(|license| license.spdx_id),
        }
    }
}

/// Times that a step does not know itself.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Now.
    pub now: Timestamp,
    /// When the commit was made, where the caller knows better than the payload.
    pub commit_date: Option<Timestamp>,
}

/// Where the reference and the commit come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The variables of the step.
    Workflow,
    /// What is checked out.
    Git,
}

/// Returns what the neighbour sees of the step that `environment` is of. The clone in `folder` stands
/// in for a time of the commit that the payload does not say.
///
/// # Errors
/// A payload that cannot be read; for [`Place::Git`], a clone that cannot, or says nothing.
pub fn of_step(
    environment: &Environment,
    folder: &Path,
    place: Place,
    now: Timestamp,
) -> Result<Context, ForgeError> {
    let payload = event::payload(super::Host::GitHub, environment)?;
    let payload = lenient::<_, Payload>(payload).unwrap_or_default().unwrap_or_default();
    let mut context = context(&Variables::of(environment), payload, None, Times { now, commit_date: None });
    let facts = &mut context.repository;
    let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    if let Some(repository) = variable("GITHUB_REPOSITORY") {
        let name = repository.rsplit('/').next().unwrap_or(repository);
        facts.name.get_or_insert_with(|| name.to_owned());
        let server = variable("GITHUB_SERVER_URL").map_or("https://github.com", String::as_str);
        facts.html_url.get_or_insert_with(|| format!("{server}/{repository}"));
    }
    let checkout = Checkout::open(folder);
    if place == Place::Git {
        let checkout = checkout?;
        let head = checkout.head()?;
        context.reference = checkout.full_reference()?;
        context.sha = head.revision.to_string();
        context.commit_date = Some(head.committed);
    } else if context.commit_date.is_none()
        && let (Ok(checkout), Ok(commit)) = (checkout, context.sha.parse())
    {
        context.commit_date = checkout.commit_time(&commit).ok();
    }
    Ok(context)
}

/// Returns what the neighbour sees of a step. Without `repository` the payload's is taken.
pub fn context(
    variables: &Variables,
    payload: Payload,
    repository: Option<Repository>,
    times: Times,
) -> Context {
    let event_name = variables.event_name.clone().unwrap_or_default();
    let mut reference = variables.reference.clone().unwrap_or_default();
    if event_name.contains("pull_request_target") {
        let number = match &payload.number {
            Some(Value::String(number)) => number.clone(),
            Some(number) => number.to_string(),
            None => "undefined".to_owned(),
        };
        reference = format!("refs/pull/{number}/merge");
    }
    let mut sha = variables.sha.clone().unwrap_or_default();
    let pull_request = payload.pull_request.unwrap_or_default();
    if variables.wants_head_sha()
        && event_name.contains("pull_request")
        && let Some(head) = pull_request.head.sha
    {
        sha = head;
    }
    let told = commit_date(&sha, payload.commits.as_deref(), payload.head_commit.as_ref());
    let default_branch = payload.repository.as_ref().and_then(|known| known.default_branch.clone());
    Context {
        event_name,
        reference,
        base_ref: payload.base_ref,
        pull_request_base: pull_request.base.reference,
        default_branch,
        repository: repository.or(payload.repository).unwrap_or_default().facts(),
        commit_date: times.commit_date.or(told),
        now: times.now,
        created: None,
        short_sha: variables.short_sha(),
        annotation_levels: variables.annotation_levels(),
        sha,
    }
}

fn commit_date(sha: &str, commits: Option<&[Commit]>, head: Option<&Commit>) -> Option<Timestamp> {
    let of = |commit: &Commit| commit.timestamp.as_deref()?.parse().ok();
    let is_it = |commit: &&Commit| commit.id.as_deref() == Some(sha);
    let listed = commits.into_iter().flatten().find(is_it);
    listed.and_then(of).or_else(|| head.filter(is_it).and_then(of))
}

/// Reads text; anything else is nothing.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    lenient(deserializer)
}

/// Reads a value that may be of any kind; of another kind than expected it is nothing.
fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: for<'a> Deserialize<'a>,
{
    let value = Value::deserialize(deserializer)?;
    Ok(T::deserialize(value).ok())
}

#[cfg(test)]
mod tests {
    use pipeline::identity::docker::ShortSha;
    use serde_json::json;

    use super::{Payload, Times, Variables, context};
    use crate::Environment;

    #[track_caller]
    fn check(variables: &[(&str, &str)], payload: serde_json::Value, reference: &str, sha: &str) {
        let environment: Environment =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let payload: Payload = serde_json::from_value(payload).unwrap();
        let times = Times { now: "2024-06-28T14:30:22Z".parse().unwrap(), commit_date: None };
        let context = context(&Variables::of(&environment), payload, None, times);
        assert_eq!((context.reference.as_str(), context.sha.as_str()), (reference, sha));
    }

    #[test]
    fn pull_requests_from_the_base_branch_are_named_after_their_merge() {
        let target = [("GITHUB_EVENT_NAME", "pull_request_target"), ("GITHUB_REF", "refs/heads/main")];
        check(&target, json!({ "number": 42 }), "refs/pull/42/merge", "");
        check(&target, json!({}), "refs/pull/undefined/merge", "");
    }

    #[test]
    fn the_head_commit_is_taken_where_it_is_asked_for() {
        let payload = json!({ "pull_request": { "head": { "sha": "b" } } });
        let variables = |event, wish| {
            [
                ("GITHUB_EVENT_NAME", event),
                ("GITHUB_REF", "r"),
                ("GITHUB_SHA", "a"),
                ("DOCKER_METADATA_PR_HEAD_SHA", wish),
            ]
        };
        check(&variables("pull_request", "TRUE"), payload.clone(), "r", "b");
        check(&variables("pull_request", "false"), payload.clone(), "r", "a");
        check(&variables("push", "true"), payload, "r", "a");
        check(&variables("pull_request", "true"), json!({ "pull_request": "none" }), "r", "a");
    }

    #[test]
    fn lengths_are_read_as_javascript_reads_numbers() {
        let length = |text: &str| {
            let name = "DOCKER_METADATA_SHORT_SHA_LENGTH".to_owned();
            Variables::of(&Environment::from([(name, text.to_owned())])).short_sha()
        };
        for (text, digits) in [("", 7), ("0", 0), ("-1", 0), ("3.7", 3), ("0x10", 16), ("1e1", 10)] {
            assert_eq!(length(text), ShortSha::Digits(digits), "{text:?}");
        }
        assert_eq!(length("x"), ShortSha::Invalid);
    }
}
