//! What happened, from the variables and the payload of a step.
//!
//! | event | is |
//! |---|---|
//! | `push`, `create` | the branch or tag; a deletion where the payload says so; a branch of the merge queue is a merge group |
//! | `delete` | the deletion of the branch or tag |
//! | `pull_request`, `pull_request_target`, `pull_request_review`, `pull_request_review_comment` | the pull request, named after its head commit; a fork where head and base differ in repository |
//! | `merge_group` | the merge queue's try, with the pull request its branch names |
//! | `release` | the release of its tag, whatever was done to it |
//! | `schedule` | a schedule on the branch |
//! | `workflow_run` | the end of that workflow, at the commit it ran for; of a fork it has no branch |
//! | `workflow_dispatch`, `repository_dispatch` | a dispatch on the branch or tag |
//! | `workflow_call` | what called: the host hands the caller's event on |
//! | `issue_comment`, `issues`, `discussion`, `discussion_comment`, `check_run`, `check_suite`, `status`, `deployment`, `deployment_status`, `registry_package`, `page_build`, `gollum`, `fork`, `watch`, `label`, `milestone`, `public`, and any that nobody knows yet | a dispatch on the branch or tag whose commit the step has: the host's, mostly the default branch |
//!
//! `refs/pull/N/merge` or `/head` in another event than these is the pull request too. The payload
//! comes first, the clone second; the API is not asked. A payload may be missing or thin: Forgejo,
//! Gitea and local runners leave things out.
//!
//! Source: GitHub's documentation of events that trigger workflows, of webhook payloads and of
//! default environment variables.

mod kind;

use std::cell::{OnceCell, RefCell};
use std::path::Path;

use jiff::Timestamp;
use pipeline::event::{CommitId, Event, InvalidCommitId, Kind, PullRequest, Run, Source};
use pipeline::forge::ForgeError;
use pipeline::git::Checkout;
use serde_json::Value;

use super::Host;
use crate::{Environment, payload};

/// Reads the event of the step, with the clone in `folder` for what the payload does not say.
pub(super) fn read(host: Host, environment: &Environment, folder: &Path) -> Result<Event, ForgeError> {
    let payload = payload(host, environment)?;
    Ok(Step::new(host, environment, payload, folder)?.event()?.0)
}

/// Returns the payload of the step; `null` where there is none.
pub(super) fn payload(host: Host, environment: &Environment) -> Result<Value, ForgeError> {
    let variable = "GITHUB_EVENT_PATH";
    let Some(path) = environment.get(variable).filter(|path| !path.is_empty()).map(Path::new) else {
        return Ok(Value::Null);
    };
    let cannot = |source| ForgeError::File { action: "read", variable, path: path.to_owned(), source };
    let bytes = payload::read(path).map_err(cannot)?;
    payload::parse(&bytes).map_err(|reason| host.invalid(format!("of {}, {reason}", path.display())))
}

/// A step, with what it is described by.
pub(super) struct Step<'a> {
    host: Host,
    environment: &'a Environment,
    payload: Value,
    folder: &'a Path,
    checkout: OnceCell<Option<Checkout>>,
    missing: RefCell<Vec<String>>,
}

impl<'a> Step<'a> {
    /// Puts the parts together.
    ///
    /// # Errors
    /// A payload that is something, and no object.
    pub(super) fn new(
        host: Host,
        environment: &'a Environment,
        payload: Value,
        folder: &'a Path,
    ) -> Result<Self, ForgeError> {
        if !payload.is_object() && !payload.is_null() {
            return Err(host.invalid("its payload is no JSON object".to_owned()));
        }
        let (checkout, missing) = (OnceCell::new(), RefCell::default());
        Ok(Self { host, environment, payload, folder, checkout, missing })
    }

    /// Returns the event, and what was taken from the clone for want of something better.
    pub(super) fn event(self) -> Result<(Event, Vec<String>), ForgeError> {
        let kind = self.kind()?;
        let revision = self.revision(&kind)?;
        let event = Event {
            committed: self.committed(&revision)?,
            revision,
            default_branch: self.default_branch(),
            source: self.source(),
            run: self.run(),
            actor: self.variable("GITHUB_ACTOR").map(str::to_owned),
            trigger: self.variable("GITHUB_EVENT_NAME").map(str::to_owned),
            fields: Default::default(),
            kind,
        };
        let fields = match self.payload {
            Value::Object(fields) => fields.into_iter().collect(),
            _ => Default::default(),
        };
        Ok((Event { fields, ..event }, self.missing.into_inner()))
    }

    /// Returns the commit the event is about; the step's own is that of the default branch where the
    /// event is about something else.
    fn revision(&self, kind: &Kind) -> Result<CommitId, ForgeError> {
        if let Kind::PullRequest(PullRequest { head_sha: Some(head), .. }) = kind {
            return Ok(head.clone());
        }
        let told = match kind {
            Kind::MergeGroup { .. } => self.at("/merge_group/head_sha"),
            Kind::WorkflowRun { .. } => self.at("/workflow_run/head_sha"),
            Kind::Delete { .. } => self.at("/before"),
            _ => None,
        };
        let told = told.map(payload::commit).transpose().map_err(|error| self.not_a_commit(error))?.flatten();
        match told.or(self.sha()?) {
            Some(commit) => Ok(commit),
            None => self.head_of_clone(),
        }
    }

    fn head_of_clone(&self) -> Result<CommitId, ForgeError> {
        let head = match self.checkout() {
            Some(checkout) => checkout.head()?,
            None => {
                let reason =
                    "neither GITHUB_SHA nor the payload says which commit it is, and there is no clone";
                return Err(self.host.invalid(reason.to_owned()));
            }
        };
        self.lacks("the commit: the head of the clone is taken");
        Ok(head.revision)
    }

    fn sha(&self) -> Result<Option<CommitId>, ForgeError> {
        let sha = self.variable("GITHUB_SHA").map(payload::commit).transpose();
        Ok(sha.map_err(|error| self.not_a_commit(error))?.flatten())
    }

    /// Returns the commit's time from the payload or the clone. A clone of the tried merge alone
    /// lacks the pull request's head: the merge's time is the nearest that is known.
    fn committed(&self, revision: &CommitId) -> Result<Timestamp, ForgeError> {
        if let Some(time) = self.time_in_payload(revision) {
            return Ok(time);
        }
        let checkout = self.checkout().ok_or_else(|| {
            let way_out = "run actions/checkout before, or name the clone with -C";
            self.host.invalid(format!(
                "the payload does not say when {revision} was made, and there is no clone; {way_out}"
            ))
        })?;
        match checkout.commit_time(revision) {
            Ok(time) => Ok(time),
            Err(_) => {
                self.lacks("the time of the commit: that of the clone's head is taken");
                Ok(checkout.head()?.committed)
            }
        }
    }

    fn time_in_payload(&self, revision: &CommitId) -> Option<Timestamp> {
        let listed = self.payload.get("commits").and_then(Value::as_array).into_iter().flatten();
        let heads = ["", "/merge_group", "/workflow_run", "/check_suite"];
        let heads = heads.iter().filter_map(|place| self.payload.pointer(&format!("{place}/head_commit")));
        let mut commits = listed.chain(heads);
        let told = commits.find(|commit| commit["id"] == revision.as_str());
        if let Some(time) = told.and_then(|commit| commit["timestamp"].as_str()?.parse().ok()) {
            return Some(time);
        }
        let is_status = self.at("/commit/sha") == Some(revision.as_str());
        self.at("/commit/commit/committer/date").filter(|_| is_status)?.parse().ok()
    }

    fn default_branch(&self) -> Option<String> {
        let told = self.at("/repository/default_branch").map(str::to_owned);
        let known = told.or_else(|| self.checkout()?.default_branch());
        if known.is_none() {
            self.lacks("the default branch: main and master are taken for it");
        }
        known
    }

    fn source(&self) -> Source {
        let of_variables = || Some(format!("{}/{}", self.server(), self.variable("GITHUB_REPOSITORY")?));
        let licence = self.at("/repository/license/spdx_id").filter(|licence| *licence != "NOASSERTION");
        let repository = self.variable("GITHUB_REPOSITORY").and_then(|name| name.rsplit('/').next());
        Source {
            name: self.at("/repository/name").or(repository).map(str::to_owned),
            url: self.at("/repository/html_url").map(str::to_owned).or_else(of_variables),
            description: self.at("/repository/description").map(str::to_owned),
            licenses: licence.map(str::to_owned),
        }
    }

    fn run(&self) -> Option<Run> {
        let id = self.variable("GITHUB_RUN_ID")?;
        let attempt = self.variable("GITHUB_RUN_ATTEMPT").and_then(|text| text.parse().ok()).unwrap_or(1);
        let in_address = match self.host {
            Host::GitHub => id,
            Host::Forgejo => self.variable("GITHUB_RUN_NUMBER").unwrap_or(id),
        };
        let repository = self.variable("GITHUB_REPOSITORY");
        let url = repository.map(|name| format!("{}/{name}/actions/runs/{in_address}", self.server()));
        Some(Run { id: id.to_owned(), attempt, url })
    }

    fn server(&self) -> &str {
        let server = self.variable("GITHUB_SERVER_URL").unwrap_or("https://github.com");
        server.trim_end_matches('/')
    }

    fn checkout(&self) -> Option<&Checkout> {
        self.checkout.get_or_init(|| Checkout::open(self.folder).ok()).as_ref()
    }

    fn lacks(&self, what: &str) {
        self.missing.borrow_mut().push(what.to_owned());
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn at(&self, pointer: &str) -> Option<&str> {
        payload::text_at(&self.payload, pointer)
    }

    fn not_a_commit(&self, error: InvalidCommitId) -> ForgeError {
        self.host.invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests;
