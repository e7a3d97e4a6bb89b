//! What happened, from the predefined variables of a job.
//!
//! | variables | is |
//! |---|---|
//! | `CI_MERGE_REQUEST_IID` | the pull request, named after the last commit of its branch; a fork where source and target project differ |
//! | the same with `CI_MERGE_REQUEST_EVENT_TYPE=merge_train` | the merge group of the target branch |
//! | `CI_EXTERNAL_PULL_REQUEST_IID` | the pull request of the other host |
//! | `CI_PIPELINE_SOURCE=schedule` | a schedule on the branch |
//! | `push`, `webide`, `parent_pipeline` with `CI_COMMIT_TAG` or `CI_COMMIT_BRANCH` | the tag or the branch |
//! | `web`, `api`, `trigger`, `pipeline`, `chat`, `external`, and any that nobody knows yet | a dispatch on the tag or the branch |
//! | none of them | the tag or branch, else a detached commit |
//!
//! A child pipeline hides what started its parent, so it counts as a push unless it is of a merge
//! request. `CI_COMMIT_SHORT_SHA` and `CI_COMMIT_REF_SLUG` have other lengths than ours and are not read.
//!
//! Source: GitLab's documentation of predefined CI/CD variables and of pipeline sources.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use pipeline::event::{CommitId, Event, GitRef, Kind, PullRequest, Run, Source};
use pipeline::forge::ForgeError;
use pipeline::git::Checkout;
use serde_json::Value;

use crate::{Environment, payload};

/// Reads the event of the job, with the clone in `folder` for what the variables do not say.
pub(super) fn read(environment: &Environment, folder: &Path) -> Result<Event, ForgeError> {
    Job { environment, checkout: Checkout::open(folder).ok() }.event()
}

fn invalid(reason: String) -> ForgeError {
    ForgeError::Event { host: "GitLab", reason }
}

struct Job<'a> {
    environment: &'a Environment,
    checkout: Option<Checkout>,
}

impl Job<'_> {
    fn event(&self) -> Result<Event, ForgeError> {
        let kind = self.kind()?;
        let revision = match &kind {
            Kind::PullRequest(PullRequest { head_sha: Some(head), .. }) => head.clone(),
            _ => self.sha()?,
        };
        Ok(Event {
            committed: self.committed(&revision)?,
            revision,
            default_branch: self.default_branch(),
            source: self.source(),
            run: self.run(),
            actor: self.text("GITLAB_USER_LOGIN"),
            trigger: self.text("CI_PIPELINE_SOURCE"),
            fields: self.fields(),
            kind,
        })
    }

    fn kind(&self) -> Result<Kind, ForgeError> {
        if self.variable("CI_MERGE_REQUEST_IID").is_some() {
            return self.merge_request();
        }
        if self.variable("CI_EXTERNAL_PULL_REQUEST_IID").is_some() {
            return self.external_pull_request();
        }
        let on = match (self.text("CI_COMMIT_TAG"), self.text("CI_COMMIT_BRANCH")) {
            (Some(tag), _) => Some(GitRef::Tag(tag)),
            (None, Some(branch)) => Some(GitRef::Branch(branch)),
            (None, None) => None,
        };
        Ok(match (self.variable("CI_PIPELINE_SOURCE").unwrap_or_default(), on) {
            ("schedule", on) => Kind::Schedule {
                branch: on.and_then(|on| if let GitRef::Branch(branch) = on { Some(branch) } else { None }),
            },
            ("push" | "webide" | "parent_pipeline" | "", Some(GitRef::Branch(branch))) => {
                Kind::Branch { branch }
            }
            ("push" | "webide" | "parent_pipeline" | "", Some(GitRef::Tag(tag))) => Kind::Tag { tag },
            ("push" | "webide" | "parent_pipeline" | "", None) => self.of_clone(),
            (_, on) => Kind::Dispatch { on },
        })
    }

    fn of_clone(&self) -> Kind {
        let at = self.checkout.as_ref().and_then(|checkout| checkout.head().ok()?.at);
        match at {
            Some(GitRef::Branch(branch)) => Kind::Branch { branch },
            Some(GitRef::Tag(tag)) => Kind::Tag { tag },
            None => Kind::Detached,
        }
    }

    fn merge_request(&self) -> Result<Kind, ForgeError> {
        let number = self.number("CI_MERGE_REQUEST_IID")?;
        let base_ref = self.text("CI_MERGE_REQUEST_TARGET_BRANCH_NAME");
        if self.variable("CI_MERGE_REQUEST_EVENT_TYPE") == Some("merge_train") {
            let base_ref = base_ref.or_else(|| self.default_branch()).unwrap_or_default();
            return Ok(Kind::MergeGroup { number: Some(number), base_ref });
        }
        // The variable is empty where no merge is tried: then the job has the head itself.
        let told = self.commit("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA")?;
        let sha = self.commit("CI_COMMIT_SHA")?;
        Ok(Kind::PullRequest(PullRequest {
            number,
            merge_sha: sha.clone().filter(|sha| told.as_ref().is_some_and(|head| head != sha)),
            head_sha: told.or(sha),
            head_ref: self.text("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME"),
            base_ref,
            fork: self.is_fork(),
        }))
    }

    /// A merge request whose source nobody names is not ours.
    fn is_fork(&self) -> bool {
        let same = |one: &str, other: &str| match (self.variable(one), self.variable(other)) {
            (Some(one), Some(other)) => Some(one.eq_ignore_ascii_case(other)),
            _ => None,
        };
        let by_id = same("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "CI_MERGE_REQUEST_PROJECT_ID");
        let by_path = || same("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", "CI_MERGE_REQUEST_PROJECT_PATH");
        !by_id.or_else(by_path).unwrap_or(false)
    }

    fn external_pull_request(&self) -> Result<Kind, ForgeError> {
        let source = self.variable("CI_EXTERNAL_PULL_REQUEST_SOURCE_REPOSITORY");
        let target = self.variable("CI_EXTERNAL_PULL_REQUEST_TARGET_REPOSITORY");
        let is_ours = matches!((source, target), (Some(one), Some(other)) if one.eq_ignore_ascii_case(other));
        let told = self.commit("CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_SHA")?;
        Ok(Kind::PullRequest(PullRequest {
            number: self.number("CI_EXTERNAL_PULL_REQUEST_IID")?,
            head_sha: told.or(self.commit("CI_COMMIT_SHA")?),
            merge_sha: None,
            head_ref: self.text("CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_NAME"),
            base_ref: self.text("CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME"),
            fork: !is_ours,
        }))
    }

    fn number(&self, name: &str) -> Result<u64, ForgeError> {
        let text = self.variable(name).unwrap_or_default();
        let number = text.parse().ok().filter(|number| *number > 0);
        number.ok_or_else(|| invalid(format!("{name} is {}, and no number", payload::quoted(text))))
    }

    fn commit(&self, name: &str) -> Result<Option<CommitId>, ForgeError> {
        let commit = self.variable(name).map(payload::commit).transpose();
        Ok(commit.map_err(|error| invalid(format!("{name}: {error}")))?.flatten())
    }

    fn sha(&self) -> Result<CommitId, ForgeError> {
        match (self.commit("CI_COMMIT_SHA")?, &self.checkout) {
            (Some(sha), _) => Ok(sha),
            (None, Some(checkout)) => Ok(checkout.head()?.revision),
            (None, None) => Err(invalid("CI_COMMIT_SHA is not set, and there is no clone".to_owned())),
        }
    }

    /// Returns the commit's time: told for the job's own commit, else from the clone, where a shallow
    /// one may lack it.
    fn committed(&self, revision: &CommitId) -> Result<Timestamp, ForgeError> {
        let told = self.variable("CI_COMMIT_TIMESTAMP").and_then(|time| time.parse().ok());
        let is_own = self.commit("CI_COMMIT_SHA")?.as_ref() == Some(revision);
        let in_clone = || self.checkout.as_ref()?.commit_time(revision).ok();
        if let Some(time) = told.filter(|_| is_own).or_else(in_clone).or(told) {
            return Ok(time);
        }
        match &self.checkout {
            Some(checkout) => Ok(checkout.head()?.committed),
            None => {
                let reason = "CI_COMMIT_TIMESTAMP is no time, and there is no clone: name it with -C";
                Err(invalid(reason.to_owned()))
            }
        }
    }

    fn default_branch(&self) -> Option<String> {
        self.text("CI_DEFAULT_BRANCH").or_else(|| self.checkout.as_ref()?.default_branch())
    }

    fn source(&self) -> Source {
        Source {
            name: self.text("CI_PROJECT_NAME"),
            url: self.text("CI_PROJECT_URL"),
            description: self.text("CI_PROJECT_DESCRIPTION"),
            licenses: None,
        }
    }

    fn run(&self) -> Option<Run> {
        let id = self.text("CI_PIPELINE_ID")?;
        Some(Run { id, attempt: 1, url: self.text("CI_PIPELINE_URL") })
    }

    /// Returns what the job was told, by the variables' own names, but nothing that may be secret.
    fn fields(&self) -> BTreeMap<String, Value> {
        let groups = ["CI_COMMIT_", "CI_MERGE_REQUEST_", "CI_EXTERNAL_PULL_REQUEST_", "CI_PIPELINE_"];
        let project = [
            "CI_PROJECT_ID",
            "CI_PROJECT_NAME",
            "CI_PROJECT_PATH",
            "CI_PROJECT_NAMESPACE",
            "CI_PROJECT_TITLE",
        ];
        let secret = ["TOKEN", "PASSWORD", "SECRET", "KEY"];
        let told = self.environment.iter().filter(|(name, _)| {
            let name = name.as_str();
            (groups.iter().any(|group| name.starts_with(group)) || project.contains(&name))
                && !secret.iter().any(|word| name.contains(word))
        });
        told.map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect()
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.variable(name).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests;
