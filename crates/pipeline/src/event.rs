//! What the pipeline runs for: a pull request, a branch, a tag, a schedule, and the commit.
//!
//! An [`Event`] is plain data. Reading it from a clone is [`crate::git`]'s, from a CI host
//! `forge`'s; [`Assumed`] replaces its kind when someone asks to see or run another one. Names in
//! it are kept as they came, however ugly: making tags of them is [`crate::identity`]'s.

mod assumed;
mod commit;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use assumed::{Assumed, InvalidAssumed};
pub use commit::{CommitId, InvalidCommitId};

/// What happened, to which commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// What happened.
    #[serde(flatten)]
    pub kind: Kind,
    /// The commit: of a pull request its head, not the merge that the CI host tries.
    #[schemars(with = "String")]
    pub revision: CommitId,
    /// When that commit was made.
    #[schemars(with = "String")]
    pub committed: Timestamp,
    /// The repository's default branch, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<String>,
    /// What is known of the source repository.
    #[serde(default)]
    pub source: Source,
    /// The CI run, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// Who caused it, by the CI host's account name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The host's own name of the event, such as `pull_request_target` or `create`; its kinds are
    /// more than ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// What the host told besides, as it came, for templates (`{event:pull_request.user.login}`).
    ///
    /// Read from a file of `--event`, and never written into plans and ledgers: payloads carry
    /// addresses of people and are large.
    #[serde(default, skip_serializing)]
    pub fields: BTreeMap<String, serde_json::Value>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// A pull request was opened or got commits.
    PullRequest(PullRequest),
    /// A branch got commits, or is checked out.
    Branch {
        /// Name without `refs/heads/`.
        branch: String,
    },
    /// A tag was pushed, or exactly it is checked out.
    Tag {
        /// Name without `refs/tags/`.
        tag: String,
    },
    /// The clock said so.
    Schedule {
        /// The branch it ran on, where known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<String>,
    },
    /// Somebody or something asked for it by hand or by API.
    Dispatch {
        /// The branch or tag it was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on: Option<GitRef>,
    },
    /// A merge queue tries a merge.
    MergeGroup {
        /// The pull request, where the queue names it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u64>,
        /// The branch the queue merges into.
        base_ref: String,
    },
    /// A release of a tag was published or changed on the forge.
    Release {
        /// The tag of the release.
        tag: String,
        /// Whether the forge calls it a pre-release.
        #[serde(default)]
        prerelease: bool,
    },
    /// A branch or a tag was deleted: there is nothing to build, and something to clean up.
    Delete {
        /// What was deleted.
        on: GitRef,
    },
    /// Another workflow of the CI host ended.
    WorkflowRun {
        /// Its name.
        workflow: String,
        /// How it ended, in the host's words, such as `success`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        conclusion: Option<String>,
        /// The branch or tag it ran on, where it is one of this repository.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on: Option<GitRef>,
        /// The pull request it ran for, where the host names exactly one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u64>,
        /// Whether it ran for code that is not merged.
        #[serde(default)]
        proposed: bool,
        /// Whether that code comes from somebody else's repository, or from one that nobody names.
        #[serde(default)]
        fork: bool,
    },
    /// A commit is checked out that no branch and no tag is at.
    Detached,
}

/// The pull request of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PullRequest {
    /// Number on the forge.
    pub number: u64,
    /// The last commit of the branch that is to be merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub head_sha: Option<CommitId>,
    /// The commit of the tried merge, where the CI host made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub merge_sha: Option<CommitId>,
    /// The branch that is to be merged, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_ref: Option<String>,
    /// The branch it is to be merged into, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_ref: Option<String>,
    /// Whether the branch lies in somebody else's repository: its code and its names are not ours.
    #[serde(default)]
    pub fork: bool,
}

/// A branch or a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GitRef {
    /// A branch, without `refs/heads/`.
    Branch(String),
    /// A tag, without `refs/tags/`.
    Tag(String),
}

impl GitRef {
    /// Reads a full name, `refs/heads/...` or `refs/tags/...`; `None` for any other.
    pub fn from_full_name(name: &str) -> Option<Self> {
        let branch = name.strip_prefix("refs/heads/").map(|branch| Self::Branch(branch.to_owned()));
        branch.or_else(|| name.strip_prefix("refs/tags/").map(|tag| Self::Tag(tag.to_owned())))
    }
}

/// What is known of the source repository; the configuration's labels win over it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Name without the owner, such as `shop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Web address, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// One line about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// SPDX licence expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licenses: Option<String>,
}

/// A run of a CI host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// The host's identifier of the run.
    pub id: String,
    /// How often the run was started; 1 the first time.
    pub attempt: u32,
    /// Where people look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Event {
    /// Returns the branch whose content this is, where it is one of this repository.
    ///
    /// The branch of a fork's pull request is none: whoever made the fork chose its name, and
    /// tags and caches named after it would be theirs to overwrite.
    pub fn branch(&self) -> Option<&str> {
        match &self.kind {
            Kind::Branch { branch } => Some(branch),
            Kind::PullRequest(pull_request) if !pull_request.fork => pull_request.head_ref.as_deref(),
            Kind::Schedule { branch } => branch.as_deref(),
            Kind::Dispatch { on: Some(GitRef::Branch(branch)) }
            | Kind::WorkflowRun { on: Some(GitRef::Branch(branch)), .. } => Some(branch),
            _ => None,
        }
    }

    /// Returns the git tag this is about.
    pub fn tag(&self) -> Option<&str> {
        match &self.kind {
            Kind::Tag { tag }
            | Kind::Release { tag, .. }
            | Kind::Dispatch { on: Some(GitRef::Tag(tag)) }
            | Kind::WorkflowRun { on: Some(GitRef::Tag(tag)), .. } => Some(tag),
            _ => None,
        }
    }

    /// Returns the number of the pull request.
    pub fn pull_request(&self) -> Option<u64> {
        match &self.kind {
            Kind::PullRequest(pull_request) => Some(pull_request.number),
            Kind::MergeGroup { number, .. } | Kind::WorkflowRun { number, .. } => *number,
            _ => None,
        }
    }

    /// Whether the code comes from somebody else's repository.
    pub fn is_fork(&self) -> bool {
        matches!(
            &self.kind,
            Kind::PullRequest(PullRequest { fork: true, .. }) | Kind::WorkflowRun { fork: true, .. }
        )
    }

    /// Whether the code is not merged: what it makes is for itself only.
    pub fn is_proposal(&self) -> bool {
        matches!(
            &self.kind,
            Kind::PullRequest(_) | Kind::MergeGroup { .. } | Kind::WorkflowRun { proposed: true, .. }
        )
    }

    /// Whether this is about the default branch. Where nobody said which that is, `main` and
    /// `master` are taken for it.
    pub fn is_default_branch(&self) -> bool {
        let (Kind::Branch { branch } | Kind::Dispatch { on: Some(GitRef::Branch(branch)) }) = &self.kind
        else {
            return false;
        };
        match &self.default_branch {
            Some(default) => branch == default,
            None => branch == "main" || branch == "master",
        }
    }
}

impl Kind {
    /// Returns the kind as it is written in documents, such as `pull_request`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PullRequest(_) => "pull_request",
            Self::Branch { .. } => "branch",
            Self::Tag { .. } => "tag",
            Self::Schedule { .. } => "schedule",
            Self::Dispatch { .. } => "dispatch",
            Self::MergeGroup { .. } => "merge_group",
            Self::Release { .. } => "release",
            Self::Delete { .. } => "delete",
            Self::WorkflowRun { .. } => "workflow_run",
            Self::Detached => "detached",
        }
    }
}

/// Prints the event for people: `pull request 42`, `branch "main"`.
impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PullRequest(PullRequest { number, fork: true, .. }) => {
                write!(f, "pull request {number} of a fork")
            }
            Self::PullRequest(PullRequest { number, .. }) => write!(f, "pull request {number}"),
            Self::Branch { branch } => write!(f, "branch {branch:?}"),
            Self::Tag { tag } => write!(f, "tag {tag:?}"),
            Self::Schedule { branch: Some(branch) } => write!(f, "schedule on branch {branch:?}"),
            Self::Schedule { branch: None } => f.write_str("schedule"),
            Self::Dispatch { on: Some(GitRef::Branch(branch)) } => write!(f, "dispatch on branch {branch:?}"),
            Self::Dispatch { on: Some(GitRef::Tag(tag)) } => write!(f, "dispatch on tag {tag:?}"),
            Self::Dispatch { on: None } => f.write_str("dispatch"),
            Self::MergeGroup { number: Some(number), base_ref } => {
                write!(f, "merge queue of {base_ref:?}, pull request {number}")
            }
            Self::MergeGroup { number: None, base_ref } => write!(f, "merge queue of {base_ref:?}"),
            Self::Release { tag, prerelease: true } => write!(f, "pre-release of tag {tag:?}"),
            Self::Release { tag, prerelease: false } => write!(f, "release of tag {tag:?}"),
            Self::Delete { on: GitRef::Branch(branch) } => write!(f, "deletion of branch {branch:?}"),
            Self::Delete { on: GitRef::Tag(tag) } => write!(f, "deletion of tag {tag:?}"),
            Self::WorkflowRun { workflow, .. } => write!(f, "end of workflow {workflow:?}"),
            Self::Detached => f.write_str("detached head"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const COMMIT: &str = "abc1234def0987654321abc1234def0987654321";

    /// An event on commit [`COMMIT`], made on 6 November 2026, with `main` as the default branch.
    pub(crate) fn event(kind: Kind) -> Event {
        Event {
            kind,
            revision: COMMIT.parse().unwrap(),
            committed: "2026-11-06T15:04:05Z".parse().unwrap(),
            default_branch: Some("main".to_owned()),
            source: Source { url: Some("https://github.com/acme/shop".to_owned()), ..Source::default() },
            run: None,
            actor: None,
            trigger: None,
            fields: BTreeMap::new(),
        }
    }

    pub(crate) fn assumed(text: &str) -> Event {
        event(Kind::Detached).assume(&text.parse().unwrap())
    }

    #[test]
    fn is_one_flat_object_in_json() {
        let mut event = assumed("pr:42");
        event.run = Some(Run { id: "77".to_owned(), attempt: 1, url: None });
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!((&json["kind"], &json["number"]), (&"pull_request".into(), &42.into()));
        assert_eq!(json["committed"], "2026-11-06T15:04:05Z");
        assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
    }

    #[test]
    fn every_kind_comes_back_from_json() {
        let kinds = [
            Kind::Detached,
            Kind::Schedule { branch: None },
            Kind::Dispatch { on: Some(GitRef::Tag("v1".to_owned())) },
            Kind::MergeGroup { number: Some(3), base_ref: "main".to_owned() },
            Kind::Release { tag: "v1".to_owned(), prerelease: true },
            Kind::Delete { on: GitRef::Branch("feature/x".to_owned()) },
            Kind::WorkflowRun {
                workflow: "CI".to_owned(),
                conclusion: Some("success".to_owned()),
                on: Some(GitRef::Branch("main".to_owned())),
                number: None,
                proposed: true,
                fork: true,
            },
        ];
        for kind in kinds {
            let event = event(kind);
            let json = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
        }
    }

    #[test]
    fn the_branch_of_a_fork_is_nobodys() {
        let mut event = assumed("branch:feature/x").assume(&Assumed::PullRequest(7));
        assert_eq!(event.branch(), Some("feature/x"));
        if let Kind::PullRequest(pull_request) = &mut event.kind {
            pull_request.fork = true;
        }
        assert_eq!(event.branch(), None);
        assert!(event.is_fork());
    }

    #[test]
    fn default_branch_is_by_name_of_the_branch_only() {
        assert!(assumed("branch:main").is_default_branch());
        assert!(!assumed("branch:maine").is_default_branch());
        assert!(!assumed("tag:main").is_default_branch());
        assert!(!assumed("schedule").is_default_branch());
        let unknown = Event { default_branch: None, ..assumed("branch:master") };
        assert!(unknown.is_default_branch());
    }
}
