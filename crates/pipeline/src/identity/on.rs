//! Which events a tag rule is for: `on = "branch:feature/**"`.
//!
//! | `on` | is for |
//! |---|---|
//! | `pull_request` | pull and merge requests, `pull_request_target` among them |
//! | `pull_request_target` | those whose workflow is the target branch's |
//! | `branch:GLOB`, `default-branch` | pushes to a branch, and dispatches on it |
//! | `tag:GLOB` | every event about such a git tag: a push, a release, a dispatch on it |
//! | `release`, `release:GLOB` | releases on the forge, by their git tag |
//! | `create`, `create:GLOB` | a branch or tag that was made, where the host says so |
//! | `delete`, `delete:GLOB` | a branch or tag that was deleted: nothing is built, the tags are those to clean up |
//! | `workflow_run`, `workflow_run:GLOB` | the end of another workflow, by its name, unless it failed |
//! | `schedule` `dispatch` `merge_group` `detached` | these |
//! | `event:NAME` | events the host calls so, whatever they are to us |

use std::fmt;
use std::str::FromStr;

use super::glob::Glob;
use crate::event::{Event, GitRef, Kind};

/// A kind of event, with a pattern where there is a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum On {
    /// `pull_request`.
    PullRequest,
    /// `pull_request_target`.
    PullRequestTarget,
    /// `branch:PATTERN`; a dispatch on such a branch too.
    Branch(Glob),
    /// `default-branch`: whichever branch the repository calls its default.
    DefaultBranch,
    /// `tag:PATTERN`; a release of such a tag or a dispatch on it too.
    Tag(Glob),
    /// `release`, with a pattern for its tag or without.
    Release(Option<Glob>),
    /// `create`, with a pattern for the branch or tag or without.
    Create(Option<Glob>),
    /// `delete`, with a pattern for the branch or tag or without.
    Delete(Option<Glob>),
    /// `workflow_run`, with a pattern for the workflow's name or without.
    WorkflowRun(Option<Glob>),
    /// `schedule`.
    Schedule,
    /// `dispatch`.
    Dispatch,
    /// `merge_group`.
    MergeGroup,
    /// `detached`: a commit without branch or tag.
    Detached,
    /// `event:NAME`: the host's own name of the event.
    Trigger(String),
}

const WORDS: [&str; 14] = [
    "pull_request",
    "pull_request_target",
    "branch:",
    "default-branch",
    "tag:",
    "release",
    "create",
    "delete",
    "workflow_run",
    "schedule",
    "dispatch",
    "merge_group",
    "detached",
    "event:",
];

impl On {
    /// Whether a rule for this is a rule for `event`. `tag` is the git tag as the service's rules
    /// see it: in a release of one service without the service's name.
    pub fn matches(&self, event: &Event, tag: Option<&str>) -> bool {
        let is_called = |name: &str| event.trigger.as_deref() == Some(name);
        let of_tag = |glob: &Glob| [event.tag(), tag].into_iter().flatten().any(|tag| glob.matches(tag));
        match (self, &event.kind) {
            (Self::PullRequest, Kind::PullRequest(_))
            | (Self::Schedule, Kind::Schedule { .. })
            | (Self::Dispatch, Kind::Dispatch { .. })
            | (Self::MergeGroup, Kind::MergeGroup { .. })
            | (Self::Detached, Kind::Detached) => true,
            (Self::PullRequestTarget, Kind::PullRequest(_)) => is_called("pull_request_target"),
            (Self::DefaultBranch, _) => event.is_default_branch(),
            (Self::Branch(glob), Kind::Branch { .. } | Kind::Dispatch { .. }) => {
                event.branch().is_some_and(|branch| glob.matches(branch))
            }
            (Self::Tag(glob), _) => of_tag(glob),
            (Self::Release(glob), Kind::Release { .. }) => glob.as_ref().is_none_or(of_tag),
            (Self::Create(glob), Kind::Branch { branch: name } | Kind::Tag { tag: name }) => {
                is_called("create") && glob.as_ref().is_none_or(|glob| glob.matches(name))
            }
            (Self::Delete(glob), Kind::Delete { on: GitRef::Branch(name) | GitRef::Tag(name) }) => {
                glob.as_ref().is_none_or(|glob| glob.matches(name))
            }
            (Self::WorkflowRun(glob), Kind::WorkflowRun { workflow, conclusion, .. }) => {
                conclusion.as_deref().is_none_or(|conclusion| conclusion == "success")
                    && glob.as_ref().is_none_or(|glob| glob.matches(workflow))
            }
            (Self::Trigger(name), _) => is_called(name),
            _ => false,
        }
    }
}

/// A string is no kind of event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a kind of event: {hint}")]
pub struct InvalidOn {
    /// What was given, cut at 100 characters.
    pub text: String,
    /// What was probably meant.
    pub hint: String,
}

impl FromStr for On {
    type Err = InvalidOn;

    fn from_str(text: &str) -> Result<Self, InvalidOn> {
        let invalid = |hint: String| InvalidOn { text: text.chars().take(100).collect(), hint };
        let glob = |pattern: &str| -> Result<Glob, InvalidOn> {
            pattern.parse().map_err(|error: super::glob::InvalidGlob| invalid(error.to_string()))
        };
        let optional = |pattern: Option<&str>| pattern.map(glob).transpose();
        let (word, pattern) = match text.split_once(':') {
            Some((word, pattern)) => (word, Some(pattern)),
            None => (text, None),
        };
        Ok(match (word, pattern) {
            ("pull_request", None) => Self::PullRequest,
            ("pull_request_target", None) => Self::PullRequestTarget,
            ("default-branch", None) => Self::DefaultBranch,
            ("schedule", None) => Self::Schedule,
            ("dispatch", None) => Self::Dispatch,
            ("merge_group", None) => Self::MergeGroup,
            ("detached", None) => Self::Detached,
            ("release", pattern) => Self::Release(optional(pattern)?),
            ("create", pattern) => Self::Create(optional(pattern)?),
            ("delete", pattern) => Self::Delete(optional(pattern)?),
            ("workflow_run", pattern) => Self::WorkflowRun(optional(pattern)?),
            ("branch", None | Some("")) => {
                return Err(invalid("branch: takes a pattern, such as branch:**".to_owned()));
            }
            ("tag", None | Some("")) => {
                return Err(invalid("tag: takes a pattern, such as tag:v*".to_owned()));
            }
            ("event", None | Some("")) => {
                return Err(invalid(
                    "event: takes the host's own name, such as event:issue_comment".to_owned(),
                ));
            }
            ("branch", Some(pattern)) => Self::Branch(glob(pattern)?),
            ("tag", Some(pattern)) => Self::Tag(glob(pattern)?),
            ("event", Some(name)) => Self::Trigger(name.to_owned()),
            (word, pattern) => return Err(invalid(guess(word, pattern))),
        })
    }
}

/// Says what was probably meant: a word with a slip, a word that takes no name, another tool's word.
fn guess(word: &str, pattern: Option<&str>) -> String {
    if WORDS.contains(&word) && pattern.is_some() {
        return format!("{word} takes no name");
    }
    let meant = match word {
        "push" => Some("branch:"),
        "pr" | "mr" | "merge_request" | "merge_request_event" => Some("pull_request"),
        "workflow_dispatch" | "manual" | "web" | "api" => Some("dispatch"),
        "cron" | "nightly" => Some("schedule"),
        other => crate::suggest::closest(other, WORDS),
    };
    match meant {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("expected one of {}", WORDS.join(", ")),
    }
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, glob) = match self {
            Self::PullRequest => ("pull_request", None),
            Self::PullRequestTarget => ("pull_request_target", None),
            Self::Branch(glob) => ("branch", Some(glob)),
            Self::DefaultBranch => ("default-branch", None),
            Self::Tag(glob) => ("tag", Some(glob)),
            Self::Release(glob) => ("release", glob.as_ref()),
            Self::Create(glob) => ("create", glob.as_ref()),
            Self::Delete(glob) => ("delete", glob.as_ref()),
            Self::WorkflowRun(glob) => ("workflow_run", glob.as_ref()),
            Self::Schedule => ("schedule", None),
            Self::Dispatch => ("dispatch", None),
            Self::MergeGroup => ("merge_group", None),
            Self::Detached => ("detached", None),
            Self::Trigger(name) => return write!(f, "event:{name}"),
        };
        f.write_str(word)?;
        glob.map_or(Ok(()), |glob| write!(f, ":{glob}"))
    }
}

crate::text::written_as_text!(
    On,
    "Kind of event: pull_request, pull_request_target, branch:PATTERN, default-branch, tag:PATTERN, release[:PATTERN], create[:PATTERN], delete[:PATTERN], workflow_run[:PATTERN], schedule, dispatch, merge_group, detached, event:NAME"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::{assumed, event};

    #[track_caller]
    fn check(on: &str, event: &str, expected: bool) {
        check_event(on, &assumed(event), expected);
    }

    #[track_caller]
    fn check_event(on: &str, event: &Event, expected: bool) {
        let parsed: On = on.parse().unwrap();
        assert_eq!(parsed.matches(event, event.tag()), expected, "{on} for {}", event.kind);
        assert_eq!(parsed.to_string(), on);
    }

    #[test]
    fn goes_by_kind_and_name() {
        check("pull_request", "pr:4", true);
        check("branch:main", "pr:4", false);
        check("branch:**", "branch:a/b", true);
        check("branch:**", "tag:a", false);
        check("branch:**", "schedule", false);
        check("default-branch", "branch:main", true);
        check("default-branch", "branch:dev", false);
        check("tag:v*", "tag:v1", true);
        check("schedule", "schedule", true);
        check("dispatch", "dispatch", true);
        check("merge_group", "branch:main", false);
        check("detached", "branch:main", false);
        check("release", "tag:v1", false);
        check("pull_request_target", "pr:4", false);
    }

    #[test]
    fn goes_by_what_the_forge_says() {
        let release = event(Kind::Release { tag: "v1".to_owned(), prerelease: false });
        check_event("release", &release, true);
        check_event("release:v*", &release, true);
        check_event("release:api-*", &release, false);
        check_event("tag:v*", &release, true);
        let deleted = event(Kind::Delete { on: GitRef::Branch("feature/x".to_owned()) });
        check_event("delete", &deleted, true);
        check_event("delete:feature/**", &deleted, true);
        check_event("delete:main", &deleted, false);
        check_event("branch:**", &deleted, false);
        let called = |name: &str, event: Event| Event { trigger: Some(name.to_owned()), ..event };
        check_event("create", &called("create", assumed("tag:v1")), true);
        check_event("create:v*", &called("create", assumed("branch:main")), false);
        check_event("create", &called("push", assumed("tag:v1")), false);
        check_event("pull_request_target", &called("pull_request_target", assumed("pr:4")), true);
        check_event("pull_request", &called("pull_request_target", assumed("pr:4")), true);
        check_event("event:issue_comment", &called("issue_comment", assumed("branch:main")), true);
        check_event("event:issue_comment", &assumed("branch:main"), false);
    }

    #[test]
    fn a_failed_workflow_is_nobodys_reason() {
        let ended = |conclusion: Option<&str>| {
            let conclusion = conclusion.map(str::to_owned);
            event(Kind::WorkflowRun {
                workflow: "CI".to_owned(),
                conclusion,
                on: None,
                number: None,
                proposed: false,
                fork: false,
            })
        };
        check_event("workflow_run", &ended(Some("success")), true);
        check_event("workflow_run:CI", &ended(None), true);
        check_event("workflow_run:Nightly", &ended(None), false);
        check_event("workflow_run", &ended(Some("failure")), false);
    }

    #[test]
    fn a_slip_gets_a_suggestion() {
        for (text, hint) in [
            ("pull-request", "pull_request"),
            ("brnch:main", "branch:"),
            ("branch:", "branch:**"),
            ("tag:[", "no ]"),
            ("release:", "empty"),
            ("push", "did you mean branch:"),
            ("schedule:daily", "takes no name"),
            ("event:", "event:issue_comment"),
            ("realease", "did you mean release"),
            ("xyzzy", "expected one of"),
        ] {
            let error = text.parse::<On>().unwrap_err();
            assert!(error.hint.contains(hint), "{text}: {}", error.hint);
        }
    }
}
