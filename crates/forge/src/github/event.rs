//! What happened, from the variables and the payload of a step.
//!
//! | event | is |
//! |---|---|
//! | `pull_request*` | the pull request, named after its head commit; a fork where head and base differ in repository |
//! | `push`, `create`, `release` | the branch or tag of `GITHUB_REF` |
//! | `schedule` | a schedule on that branch |
//! | `merge_group` | the merge queue's try, with the pull request its branch names |
//! | any other | a dispatch on that branch or tag |
//!
//! The payload comes first, the clone second; the API is not asked. Source: GitHub's documentation
//! of webhook payloads and of default environment variables.

use std::path::Path;

use jiff::Timestamp;
use pipeline::event::{CommitId, Event, GitRef, Kind, PullRequest, Run, Source};
use pipeline::forge::ForgeError;
use pipeline::git::Checkout;
use serde_json::Value;

use crate::Environment;

/// Reads the event of the step, with the clone in `folder` for what the payload does not say.
pub(super) fn read(environment: &Environment, folder: &Path) -> Result<Event, ForgeError> {
    let step = Step { environment, payload: payload(environment)?, checkout: Checkout::open(folder).ok() };
    step.event()
}

fn payload(environment: &Environment) -> Result<Value, ForgeError> {
    let variable = "GITHUB_EVENT_PATH";
    let Some(path) = environment.get(variable).filter(|path| !path.is_empty()).map(Path::new) else {
        return Ok(Value::Null);
    };
    let cannot = |source| ForgeError::File { action: "read", variable, path: path.to_owned(), source };
    let json = std::fs::read(path).map_err(cannot)?;
    serde_json::from_slice(&json).map_err(|error| invalid(format!("{} is not JSON: {error}", path.display())))
}

fn invalid(reason: String) -> ForgeError {
    ForgeError::Event { host: "GitHub", reason }
}

struct Step<'a> {
    environment: &'a Environment,
    payload: Value,
    checkout: Option<Checkout>,
}

impl Step<'_> {
    fn event(&self) -> Result<Event, ForgeError> {
        let kind = self.kind()?;
        let revision = match &kind {
            Kind::PullRequest(PullRequest { head_sha: Some(head), .. }) => head.clone(),
            Kind::MergeGroup { .. } => match self.at("/merge_group/head_sha") {
                Some(head) => commit(head)?,
                None => self.sha()?,
            },
            _ => self.sha()?,
        };
        Ok(Event {
            committed: self.committed(&revision)?,
            revision,
            default_branch: self.default_branch(),
            source: self.source(),
            run: self.run(),
            actor: self.variable("GITHUB_ACTOR").map(str::to_owned),
            trigger: self.variable("GITHUB_EVENT_NAME").map(str::to_owned),
            fields: self
                .payload
                .as_object()
                .map(|fields| fields.clone().into_iter().collect())
                .unwrap_or_default(),
            kind,
        })
    }

    fn kind(&self) -> Result<Kind, ForgeError> {
        let name = self.variable("GITHUB_EVENT_NAME").unwrap_or_default();
        if self.payload["deleted"] == true {
            let reference = self.at("/ref").unwrap_or_default();
            return Err(invalid(format!("{reference:?} was deleted, there is nothing to build")));
        }
        let on = self.variable("GITHUB_REF").and_then(GitRef::from_full_name);
        Ok(match (name, on) {
            (name, _) if name.starts_with("pull_request") => Kind::PullRequest(self.pull_request(name)?),
            ("merge_group", _) => self.merge_group(),
            ("push" | "create" | "release", Some(GitRef::Branch(branch))) => Kind::Branch { branch },
            ("push" | "create" | "release", Some(GitRef::Tag(tag))) => Kind::Tag { tag },
            ("schedule", Some(GitRef::Branch(branch))) => Kind::Schedule { branch: Some(branch) },
            ("schedule", _) => Kind::Schedule { branch: None },
            ("", None) => return Err(invalid("neither GITHUB_EVENT_NAME nor GITHUB_REF is set".to_owned())),
            (_, on) => Kind::Dispatch { on },
        })
    }

    fn pull_request(&self, event: &str) -> Result<PullRequest, ForgeError> {
        let number = self.payload.pointer("/pull_request/number").or(self.payload.get("number"));
        let from_ref =
            || self.variable("GITHUB_REF")?.strip_prefix("refs/pull/")?.split('/').next()?.parse().ok();
        let number = number.and_then(Value::as_u64).or_else(from_ref);
        let head_ref = self.at("/pull_request/head/ref").or(self.variable("GITHUB_HEAD_REF"));
        let base_ref = self.at("/pull_request/base/ref").or(self.variable("GITHUB_BASE_REF"));
        // Only `pull_request` checks out the tried merge; the others run on the base branch.
        let merge_sha = if event == "pull_request" { Some(self.sha()?) } else { None };
        Ok(PullRequest {
            number: number
                .ok_or_else(|| invalid(format!("the payload of {event} has no /pull_request/number")))?,
            head_sha: self.at("/pull_request/head/sha").map(commit).transpose()?,
            merge_sha,
            head_ref: head_ref.map(str::to_owned),
            base_ref: base_ref.map(str::to_owned),
            fork: self.is_fork(),
        })
    }

    /// A head repository that is gone, or that nobody names, is not ours.
    fn is_fork(&self) -> bool {
        let base = self.at("/pull_request/base/repo/full_name").or(self.variable("GITHUB_REPOSITORY"));
        let head = self.at("/pull_request/head/repo/full_name");
        !matches!((base, head), (Some(base), Some(head)) if base.eq_ignore_ascii_case(head))
    }

    fn merge_group(&self) -> Kind {
        let head = self.at("/merge_group/head_ref").or(self.variable("GITHUB_REF")).unwrap_or_default();
        let base = self.at("/merge_group/base_ref").unwrap_or_default();
        // The queue's branches are gh-readonly-queue/BASE/pr-NUMBER-SHA.
        let last = head.rsplit('/').next().unwrap_or_default();
        let number = last.strip_prefix("pr-").and_then(|rest| rest.split('-').next()?.parse().ok());
        Kind::MergeGroup { number, base_ref: base.strip_prefix("refs/heads/").unwrap_or(base).to_owned() }
    }

    fn sha(&self) -> Result<CommitId, ForgeError> {
        match self.variable("GITHUB_SHA") {
            Some(sha) => commit(sha),
            None => Err(invalid("GITHUB_SHA is not set".to_owned())),
        }
    }

    /// Returns the commit's time from the payload or the clone. A clone of the tried merge alone
    /// lacks the pull request's head: the merge's time is the nearest that is known.
    fn committed(&self, revision: &CommitId) -> Result<Timestamp, ForgeError> {
        let listed = self.payload["commits"].as_array().into_iter().flatten();
        let heads = [self.payload.get("head_commit"), self.payload.pointer("/merge_group/head_commit")];
        let mut commits = listed.chain(heads.into_iter().flatten());
        let told = commits.find(|commit| commit["id"] == revision.as_str());
        if let Some(time) = told.and_then(|commit| commit["timestamp"].as_str()?.parse().ok()) {
            return Ok(time);
        }
        let checkout = self.checkout.as_ref().ok_or_else(|| {
            let way_out = "run actions/checkout before, or name the clone with -C";
            invalid(format!(
                "the payload does not say when {revision} was made, and there is no clone; {way_out}"
            ))
        })?;
        match checkout.commit_time(revision) {
            Ok(time) => Ok(time),
            Err(_) => Ok(checkout.head()?.committed),
        }
    }

    fn default_branch(&self) -> Option<String> {
        let told = self.at("/repository/default_branch").map(str::to_owned);
        told.or_else(|| self.checkout.as_ref()?.default_branch())
    }

    fn source(&self) -> Source {
        let of_variables = || {
            let server = self.variable("GITHUB_SERVER_URL").unwrap_or("https://github.com");
            Some(format!("{server}/{}", self.variable("GITHUB_REPOSITORY")?))
        };
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
        let server = self.variable("GITHUB_SERVER_URL").unwrap_or("https://github.com");
        let repository = self.variable("GITHUB_REPOSITORY");
        let url = repository.map(|repository| format!("{server}/{repository}/actions/runs/{id}"));
        Some(Run { id: id.to_owned(), attempt, url })
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn at(&self, pointer: &str) -> Option<&str> {
        self.payload.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
    }
}

fn commit(text: &str) -> Result<CommitId, ForgeError> {
    text.parse().map_err(|error: pipeline::event::InvalidCommitId| invalid(error.to_string()))
}

#[cfg(test)]
mod tests;
