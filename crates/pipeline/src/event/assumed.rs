//! The event somebody asks to see or run instead of the one that happened: `--as pr:42`.
//!
//! | form | is |
//! |---|---|
//! | `pr:NUMBER` | that pull request, from the branch that is checked out |
//! | `branch:NAME` `tag:NAME` | a push of it |
//! | `schedule` `dispatch` | on the branch that is checked out |
//! | `merge` `merge:NUMBER` `merge:NUMBER:BRANCH` | the merge queue of a branch, or of the default branch |
//! | `release:TAG` | a release; a pre-release where the tag is such a version |
//! | `delete:branch:NAME` `delete:tag:NAME` | its deletion |
//! | `workflow:NAME` | the end of that workflow, in success |
//! | `detached` | no branch and no tag |

use std::fmt;
use std::str::FromStr;

use super::{Event, GitRef, Kind, PullRequest};

/// A kind of event, as it is written after `--as`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assumed {
    /// `pr:NUMBER`.
    PullRequest(u64),
    /// `branch:NAME`.
    Branch(String),
    /// `tag:NAME`.
    Tag(String),
    /// `schedule`.
    Schedule,
    /// `dispatch`.
    Dispatch,
    /// `merge`, `merge:NUMBER`, `merge:NUMBER:BRANCH`.
    MergeGroup {
        /// The pull request.
        number: Option<u64>,
        /// The branch that the queue merges into; the default branch where `None`.
        base_ref: Option<String>,
    },
    /// `release:TAG`.
    Release(String),
    /// `delete:branch:NAME`, `delete:tag:NAME`.
    Delete(GitRef),
    /// `workflow:NAME`.
    WorkflowRun(String),
    /// `detached`.
    Detached,
}

/// A string names no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an event: {hint}")]
pub struct InvalidAssumed {
    /// What was given, cut at 100 characters.
    pub text: String,
    /// What was probably meant.
    pub hint: String,
}

const FORMS: &str = "expected pr:NUMBER, branch:NAME, tag:NAME, schedule, dispatch, merge:NUMBER, release:TAG, \
     delete:branch:NAME, delete:tag:NAME, workflow:NAME or detached";

const WORDS: [&str; 10] =
    ["pr", "branch", "tag", "schedule", "dispatch", "merge", "release", "delete", "workflow", "detached"];

impl FromStr for Assumed {
    type Err = InvalidAssumed;

    fn from_str(text: &str) -> Result<Self, InvalidAssumed> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        let named = |example: &str| match name {
            "" => Err(invalid(text, format!("{kind}: takes a name, such as {kind}:{example}"))),
            name => Ok(name.to_owned()),
        };
        match (kind, name) {
            ("pr", number) => Ok(Self::PullRequest(pull_request(text, number)?)),
            ("branch", _) => Ok(Self::Branch(named("main")?)),
            ("tag", _) => Ok(Self::Tag(named("v1.2.3")?)),
            ("release", _) => Ok(Self::Release(named("v1.2.3")?)),
            ("workflow", _) => Ok(Self::WorkflowRun(named("CI")?)),
            ("schedule", "") => Ok(Self::Schedule),
            ("dispatch", "") => Ok(Self::Dispatch),
            ("detached", "") => Ok(Self::Detached),
            ("merge", name) => merge_group(text, name),
            ("delete", name) => deleted(text, name),
            _ => Err(invalid(text, guess(text, kind, name))),
        }
    }
}

fn pull_request(text: &str, number: &str) -> Result<u64, InvalidAssumed> {
    let parsed = number.parse().ok().filter(|number| *number > 0);
    let (kind, _) = text.split_once(':').unwrap_or((text, ""));
    let hint = || format!("{kind}: takes the number of a pull request, such as {kind}:42");
    parsed.ok_or_else(|| invalid(text, hint()))
}

fn merge_group(text: &str, name: &str) -> Result<Assumed, InvalidAssumed> {
    let (number, base) = name.split_once(':').unwrap_or((name, ""));
    let number = if name.is_empty() { None } else { Some(pull_request(text, number)?) };
    Ok(Assumed::MergeGroup { number, base_ref: Some(base.to_owned()).filter(|base| !base.is_empty()) })
}

fn deleted(text: &str, name: &str) -> Result<Assumed, InvalidAssumed> {
    match name.split_once(':') {
        Some(("branch", name)) if !name.is_empty() => Ok(Assumed::Delete(GitRef::Branch(name.to_owned()))),
        Some(("tag", name)) if !name.is_empty() => Ok(Assumed::Delete(GitRef::Tag(name.to_owned()))),
        _ if name.is_empty() || name.contains(':') => {
            Err(invalid(text, "delete: takes delete:branch:NAME or delete:tag:NAME".to_owned()))
        }
        _ => Err(invalid(text, format!("did you mean delete:branch:{name} or delete:tag:{name}?"))),
    }
}

fn invalid(text: &str, hint: String) -> InvalidAssumed {
    let cut = |text: &str| text.chars().take(100).collect();
    InvalidAssumed { text: cut(text), hint: hint.chars().take(300).collect() }
}

/// Says what was probably meant: another tool's word, a full reference, a bare number, a typing slip.
fn guess(text: &str, kind: &str, name: &str) -> String {
    if let Some(full) = GitRef::from_full_name(text) {
        return match full {
            GitRef::Branch(branch) => format!("did you mean branch:{branch}?"),
            GitRef::Tag(tag) => format!("did you mean tag:{tag}?"),
        };
    }
    if let Some(number) = text.strip_prefix("refs/pull/").and_then(|rest| rest.split('/').next()) {
        return format!("did you mean pr:{number}?");
    }
    let word = match kind {
        "pull_request" | "pull-request" | "pull_request_target" | "mr" | "pull" => Some("pr"),
        "push" | "head" => Some("branch"),
        "cron" | "nightly" => Some("schedule"),
        "workflow_dispatch" | "repository_dispatch" | "manual" => Some("dispatch"),
        "merge_group" | "merge-group" | "queue" | "merge_train" => Some("merge"),
        "prerelease" | "published" => Some("release"),
        "workflow_run" => Some("workflow"),
        number if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            return format!("did you mean pr:{number}?");
        }
        other => crate::suggest::closest(other, WORDS),
    };
    match word {
        Some(word @ ("schedule" | "dispatch" | "detached")) => {
            format!("did you mean {word}? It takes no name")
        }
        Some(word) if !name.is_empty() => format!("did you mean {word}:{name}?"),
        Some(word) => format!("did you mean {word}:...? {FORMS}"),
        None => FORMS.to_owned(),
    }
}

impl fmt::Display for Assumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PullRequest(number) => write!(f, "pr:{number}"),
            Self::Branch(branch) => write!(f, "branch:{branch}"),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::Schedule => f.write_str("schedule"),
            Self::Dispatch => f.write_str("dispatch"),
            Self::MergeGroup { number: Some(number), base_ref: Some(base) } => {
                write!(f, "merge:{number}:{base}")
            }
            Self::MergeGroup { number: Some(number), base_ref: None } => write!(f, "merge:{number}"),
            Self::MergeGroup { number: None, .. } => f.write_str("merge"),
            Self::Release(tag) => write!(f, "release:{tag}"),
            Self::Delete(GitRef::Branch(branch)) => write!(f, "delete:branch:{branch}"),
            Self::Delete(GitRef::Tag(tag)) => write!(f, "delete:tag:{tag}"),
            Self::WorkflowRun(workflow) => write!(f, "workflow:{workflow}"),
            Self::Detached => f.write_str("detached"),
        }
    }
}

/// Returns what to assume to see an event of this kind again; what `--as` has no word for is left out.
impl From<&Kind> for Assumed {
    fn from(kind: &Kind) -> Self {
        match kind {
            Kind::PullRequest(pull_request) => Self::PullRequest(pull_request.number),
            Kind::Branch { branch } => Self::Branch(branch.clone()),
            Kind::Tag { tag } => Self::Tag(tag.clone()),
            Kind::Schedule { .. } => Self::Schedule,
            Kind::Dispatch { .. } => Self::Dispatch,
            Kind::MergeGroup { number, base_ref } => {
                Self::MergeGroup { number: *number, base_ref: Some(base_ref.clone()) }
            }
            Kind::Release { tag, .. } => Self::Release(tag.clone()),
            Kind::Delete { on } => Self::Delete(on.clone()),
            Kind::WorkflowRun { workflow, .. } => Self::WorkflowRun(workflow.clone()),
            Kind::Detached => Self::Detached,
        }
    }
}

impl Event {
    /// Returns the same commit as another event would see it. What the host told of its own event
    /// goes: it would be of another one.
    pub fn assume(mut self, assumed: &Assumed) -> Self {
        self.kind = self.assumed_kind(assumed);
        self.trigger = None;
        self.fields.clear();
        self
    }

    fn assumed_kind(&self, assumed: &Assumed) -> Kind {
        let branch = self.branch().map(str::to_owned);
        match assumed {
            Assumed::PullRequest(number) => Kind::PullRequest(PullRequest {
                number: *number,
                head_sha: Some(self.revision.clone()),
                merge_sha: None,
                head_ref: branch,
                base_ref: self.default_branch.clone(),
                fork: false,
            }),
            Assumed::Branch(branch) => Kind::Branch { branch: branch.clone() },
            Assumed::Tag(tag) => Kind::Tag { tag: tag.clone() },
            Assumed::Schedule => Kind::Schedule { branch },
            Assumed::Dispatch => Kind::Dispatch { on: branch.map(GitRef::Branch) },
            Assumed::MergeGroup { number, base_ref } => {
                let base = base_ref.clone().or_else(|| self.default_branch.clone()).or(branch);
                Kind::MergeGroup { number: *number, base_ref: base.unwrap_or_else(|| "main".to_owned()) }
            }
            Assumed::Release(tag) => {
                let version = semver::Version::parse(tag.strip_prefix('v').unwrap_or(tag));
                let prerelease = version.is_ok_and(|version| !version.pre.is_empty());
                Kind::Release { tag: tag.clone(), prerelease }
            }
            Assumed::Delete(on) => Kind::Delete { on: on.clone() },
            Assumed::WorkflowRun(workflow) => Kind::WorkflowRun {
                workflow: workflow.clone(),
                conclusion: Some("success".to_owned()),
                on: branch.map(GitRef::Branch),
                number: None,
                proposed: false,
                fork: false,
            },
            Assumed::Detached => Kind::Detached,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::tests::assumed;

    #[track_caller]
    fn check(text: &str, expected: Assumed) {
        assert_eq!(text.parse(), Ok(expected));
        assert_eq!(text.parse::<Assumed>().unwrap().to_string(), text);
    }

    #[track_caller]
    fn check_kind(text: &str, kind: &str) {
        assert_eq!(assumed(text).kind.to_string(), kind);
    }

    #[track_caller]
    fn check_refused(text: &str, hint: &str) {
        let error = text.parse::<Assumed>().unwrap_err();
        assert!(error.hint.contains(hint), "{text}: {}", error.hint);
    }

    #[test]
    fn an_event_is_written_as_it_is_assumed() {
        for text in
            ["pr:42", "branch:a/b", "tag:v1", "merge:42:release/1", "release:v1", "delete:tag:v1", "detached"]
        {
            let event = assumed(text);
            assert_eq!(Assumed::from(&event.kind).to_string(), text);
        }
    }

    #[test]
    fn every_form() {
        check("pr:42", Assumed::PullRequest(42));
        check("branch:feature/x:y", Assumed::Branch("feature/x:y".to_owned()));
        check("tag:v1.2.3", Assumed::Tag("v1.2.3".to_owned()));
        check("schedule", Assumed::Schedule);
        check("dispatch", Assumed::Dispatch);
        check("merge", Assumed::MergeGroup { number: None, base_ref: None });
        check("merge:42", Assumed::MergeGroup { number: Some(42), base_ref: None });
        check(
            "merge:42:release/1",
            Assumed::MergeGroup { number: Some(42), base_ref: Some("release/1".into()) },
        );
        check("release:v1", Assumed::Release("v1".to_owned()));
        check("delete:branch:feature/x", Assumed::Delete(GitRef::Branch("feature/x".to_owned())));
        check("delete:tag:v1", Assumed::Delete(GitRef::Tag("v1".to_owned())));
        check("workflow:Build: all", Assumed::WorkflowRun("Build: all".to_owned()));
        check("detached", Assumed::Detached);
    }

    #[test]
    fn every_form_is_an_event() {
        check_kind("merge:7", "merge queue of \"main\", pull request 7");
        check_kind("merge:7:next", "merge queue of \"next\", pull request 7");
        check_kind("release:v1.0.0", "release of tag \"v1.0.0\"");
        check_kind("release:v1.0.0-rc.1", "pre-release of tag \"v1.0.0-rc.1\"");
        check_kind("delete:tag:v1", "deletion of tag \"v1\"");
        check_kind("workflow:CI", "end of workflow \"CI\"");
        check_kind("detached", "detached head");
    }

    #[test]
    fn what_the_host_told_of_another_event_goes() {
        let mut event = assumed("branch:main");
        event.trigger = Some("push".to_owned());
        event.fields.insert("ref".to_owned(), "refs/heads/main".into());
        let event = event.assume(&Assumed::Schedule);
        assert_eq!((event.trigger, event.fields.len()), (None, 0));
        assert_eq!(event.kind, Kind::Schedule { branch: Some("main".to_owned()) });
    }

    #[test]
    fn other_forms_are_led_to_the_right_one() {
        check_refused("42", "pr:42");
        check_refused("pr:x", "number");
        check_refused("pr:0", "number");
        check_refused("branch:", "branch:main");
        check_refused("tag", "tag:v1.2.3");
        check_refused("refs/tags/v1", "tag:v1");
        check_refused("refs/heads/a/b", "branch:a/b");
        check_refused("refs/pull/7/merge", "pr:7");
        check_refused("pull_request:7", "pr:7");
        check_refused("merge_group:7", "merge:7");
        check_refused("merge:main", "merge:42");
        check_refused("brnach:main", "branch:main");
        check_refused("relaese:v1", "release:v1");
        check_refused("release", "release:v1.2.3");
        check_refused("delete:x", "delete:branch:x or delete:tag:x");
        check_refused("delete:", "delete:branch:NAME");
        check_refused("delete:branch:", "delete:branch:NAME");
        check_refused("shedule", "schedule");
        check_refused("schedule:daily", "no name");
        check_refused("detatched", "no name");
        check_refused("", "expected pr:NUMBER");
        check_refused("xyzzy:1", "expected pr:NUMBER");
    }

    proptest! {
        #[test]
        fn what_is_read_is_printed_as_it_was(text in "(pr|branch|tag|merge|release|delete|workflow)(:[a-z0-9/]{0,5}){0,2}") {
            if let Ok(read) = text.parse::<Assumed>() {
                prop_assert_eq!(read.to_string().parse(), Ok(read));
            }
        }

        #[test]
        fn reading_never_panics(text in any::<String>()) {
            if let Err(error) = text.parse::<Assumed>() {
                prop_assert!(error.to_string().chars().count() < 700);
            }
        }
    }
}
