//! The host's many events as our few kinds; the table is at the top of the room.

use pipeline::event::{CommitId, GitRef, Kind, PullRequest};
use pipeline::forge::ForgeError;
use serde_json::Value;

use super::Step;
use crate::payload;

/// What a queue's branches begin with: `gh-readonly-queue/BASE/pr-NUMBER-SHA`.
const QUEUE: &str = "gh-readonly-queue/";

impl Step<'_> {
    pub(super) fn kind(&self) -> Result<Kind, ForgeError> {
        let name = self.variable("GITHUB_EVENT_NAME").unwrap_or_default();
        Ok(match name {
            "pull_request"
            | "pull_request_target"
            | "pull_request_review"
            | "pull_request_review_comment" => Kind::PullRequest(self.pull_request(name)?),
            "merge_group" => self.merge_group(),
            "push" if self.payload["deleted"] == true => Kind::Delete { on: self.changed(name)? },
            "delete" => Kind::Delete { on: self.changed(name)? },
            "push" | "create" => self.pushed(name)?,
            "release" => self.release()?,
            "schedule" => Kind::Schedule { branch: self.branch() },
            "workflow_run" => self.workflow_run(),
            _ => self.other(name)?,
        })
    }

    /// Returns the full name of the reference the step runs for.
    fn reference(&self) -> Option<&str> {
        let full = |name: &&str| name.starts_with("refs/");
        self.variable("GITHUB_REF").or_else(|| self.at("/ref").filter(full))
    }

    fn on(&self) -> Option<GitRef> {
        self.reference().and_then(GitRef::from_full_name)
    }

    fn branch(&self) -> Option<String> {
        match self.on()? {
            GitRef::Branch(branch) => Some(branch),
            GitRef::Tag(_) => None,
        }
    }

    /// Returns the branch or tag that a payload says was pushed, created or deleted. That of a
    /// `delete` is not the step's own: the step runs for the default branch.
    fn changed(&self, name: &str) -> Result<GitRef, ForgeError> {
        let told = self.at("/ref");
        let by_type = match (told, self.at("/ref_type")) {
            (Some(told), Some("branch")) => Some(GitRef::Branch(told.to_owned())),
            (Some(told), Some("tag")) => Some(GitRef::Tag(told.to_owned())),
            _ => None,
        };
        by_type.or_else(|| told.and_then(GitRef::from_full_name)).ok_or_else(|| {
            self.host.invalid(format!("the payload of {name} has no /ref that is a branch or a tag"))
        })
    }

    fn pushed(&self, name: &str) -> Result<Kind, ForgeError> {
        let Some(reference) = self.reference() else {
            return self.changed(name).map(of_ref).map_err(|_| {
                let reason =
                    format!("neither GITHUB_REF nor the payload says which branch or tag {name} is of");
                self.host.invalid(reason)
            });
        };
        if let Some(queued) = reference.strip_prefix("refs/heads/").and_then(queued) {
            return Ok(queued);
        }
        match GitRef::from_full_name(reference) {
            Some(on) => Ok(of_ref(on)),
            None => self.other(name),
        }
    }

    /// Returns what a step with an event of no kind of ours runs for.
    fn other(&self, name: &str) -> Result<Kind, ForgeError> {
        if pull_request_number(self.reference()).is_some() {
            return Ok(Kind::PullRequest(self.pull_request(name)?));
        }
        match (name, self.reference()) {
            ("", None) => {
                Err(self.host.invalid("neither GITHUB_EVENT_NAME nor GITHUB_REF is set".to_owned()))
            }
            // A push of something else, such as refs/notes/commits.
            ("push" | "create", Some(_)) => Ok(Kind::Detached),
            ("", Some(_)) => Ok(self.on().map_or(Kind::Detached, of_ref)),
            _ => Ok(Kind::Dispatch { on: self.on() }),
        }
    }

    fn pull_request(&self, event: &str) -> Result<PullRequest, ForgeError> {
        let number = self.payload.pointer("/pull_request/number").or(self.payload.get("number"));
        let number = number.and_then(Value::as_u64).or_else(|| pull_request_number(self.reference()));
        let number = number.filter(|number| *number > 0).ok_or_else(|| {
            self.host.invalid(format!("the payload of {event:?} has no /pull_request/number"))
        })?;
        let head_ref = self.at("/pull_request/head/ref").or(self.variable("GITHUB_HEAD_REF"));
        let base_ref = self.at("/pull_request/base/ref").or(self.variable("GITHUB_BASE_REF"));
        let head_sha = match self.at("/pull_request/head/sha") {
            Some(head) => payload::commit(head).map_err(|error| self.not_a_commit(error))?,
            None => None,
        };
        Ok(PullRequest {
            number,
            merge_sha: self.merge_sha(event, head_sha.as_ref())?,
            head_sha,
            head_ref: head_ref.map(str::to_owned),
            base_ref: base_ref.map(str::to_owned),
            fork: self.is_fork(),
        })
    }

    /// Returns the tried merge. Events other than these run on the base branch, and Forgejo tries no
    /// merge: its steps have the head.
    fn merge_sha(&self, event: &str, head: Option<&CommitId>) -> Result<Option<CommitId>, ForgeError> {
        let is_tried =
            matches!(event, "pull_request" | "pull_request_review" | "pull_request_review_comment");
        let is_head = self.reference().is_some_and(|name| name.ends_with("/head"));
        Ok(self.sha()?.filter(|sha| is_tried && !is_head && Some(sha) != head))
    }

    /// A head repository that is gone, or that nobody names, is not ours.
    fn is_fork(&self) -> bool {
        let base = self.at("/pull_request/base/repo/full_name").or(self.variable("GITHUB_REPOSITORY"));
        let head = self.at("/pull_request/head/repo/full_name");
        !matches!((base, head), (Some(base), Some(head)) if base.eq_ignore_ascii_case(head))
    }

    fn merge_group(&self) -> Kind {
        let head = self.at("/merge_group/head_ref").or(self.variable("GITHUB_REF")).unwrap_or_default();
        let read = queued(head.strip_prefix("refs/heads/").unwrap_or(head));
        let (number, base) = match read {
            Some(Kind::MergeGroup { number, base_ref }) => (number, Some(base_ref)),
            _ => (None, None),
        };
        let told = self.at("/merge_group/base_ref").or(self.variable("GITHUB_BASE_REF"));
        let told = told.map(|base| base.strip_prefix("refs/heads/").unwrap_or(base).to_owned());
        let base_ref = told.or(base).or_else(|| self.default_branch()).unwrap_or_default();
        Kind::MergeGroup { number, base_ref }
    }

    fn release(&self) -> Result<Kind, ForgeError> {
        let tag = match (self.at("/release/tag_name"), self.on()) {
            (Some(tag), _) => tag.to_owned(),
            (None, Some(GitRef::Tag(tag))) => tag,
            _ => {
                let reason =
                    "neither /release/tag_name of the payload nor GITHUB_REF names the release's tag";
                return Err(self.host.invalid(reason.to_owned()));
            }
        };
        let prerelease = self.payload.pointer("/release/prerelease") == Some(&Value::Bool(true));
        Ok(Kind::Release { tag, prerelease })
    }

    fn workflow_run(&self) -> Kind {
        let workflow = self.at("/workflow_run/name").or(self.at("/workflow/name"));
        let ours = self.at("/repository/full_name").or(self.variable("GITHUB_REPOSITORY"));
        let head = self.at("/workflow_run/head_repository/full_name");
        let is_ours = matches!((ours, head), (Some(ours), Some(head)) if ours.eq_ignore_ascii_case(head));
        let on =
            self.at("/workflow_run/head_branch").filter(|_| is_ours).map(|name| self.branch_or_tag(name));
        let pull_requests = self.payload.pointer("/workflow_run/pull_requests").and_then(Value::as_array);
        let number = match pull_requests.map(Vec::as_slice) {
            Some([only]) if is_ours => only["number"].as_u64(),
            _ => None,
        };
        Kind::WorkflowRun {
            workflow: workflow.unwrap_or("unnamed").to_owned(),
            conclusion: self.at("/workflow_run/conclusion").map(str::to_owned),
            on,
            number,
            proposed: self.at("/workflow_run/event").is_some_and(is_of_proposal),
            fork: !is_ours,
        }
    }

    /// Returns what `name` is of: the host calls the tag that a workflow ran for its branch too, and
    /// only the clone knows better.
    fn branch_or_tag(&self, name: &str) -> GitRef {
        let is_push = self.at("/workflow_run/event").is_none_or(|event| matches!(event, "push" | "release"));
        let is_default = self.at("/repository/default_branch") == Some(name);
        let tags = || self.checkout().and_then(|checkout| checkout.tags().ok()).unwrap_or_default();
        if is_push && !is_default && tags().iter().any(|tag| tag == name) {
            GitRef::Tag(name.to_owned())
        } else {
            GitRef::Branch(name.to_owned())
        }
    }
}

/// Whether workflows of this event run for code that is not merged.
fn is_of_proposal(event: &str) -> bool {
    event.starts_with("pull_request") || event == "merge_group"
}

fn of_ref(on: GitRef) -> Kind {
    match on {
        GitRef::Branch(branch) => queued(&branch).unwrap_or(Kind::Branch { branch }),
        GitRef::Tag(tag) => Kind::Tag { tag },
    }
}

/// Returns the merge group that a branch of the merge queue is for.
fn queued(branch: &str) -> Option<Kind> {
    let (base, last) = branch.strip_prefix(QUEUE)?.rsplit_once('/')?;
    let number = last.strip_prefix("pr-").and_then(|rest| rest.split('-').next()?.parse().ok());
    Some(Kind::MergeGroup { number, base_ref: base.to_owned() })
}

fn pull_request_number(reference: Option<&str>) -> Option<u64> {
    reference?.strip_prefix("refs/pull/")?.split('/').next()?.parse().ok()
}
