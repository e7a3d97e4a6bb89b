//! Which events a tag rule is for: `on = "branch:feature/**"`.

use std::fmt;
use std::str::FromStr;

use super::glob::Glob;
use crate::event::{Event, Kind};

/// A kind of event, with a pattern where there is a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum On {
    /// `pull_request`.
    PullRequest,
    /// `branch:PATTERN`; a dispatch on such a branch too.
    Branch(Glob),
    /// `default-branch`: whichever branch the repository calls its default.
    DefaultBranch,
    /// `tag:PATTERN`; a dispatch on such a tag too.
    Tag(Glob),
    /// `schedule`.
    Schedule,
    /// `dispatch`.
    Dispatch,
    /// `merge_group`.
    MergeGroup,
    /// `detached`: a commit without branch or tag.
    Detached,
}

const WORDS: [&str; 8] =
    ["pull_request", "branch:", "default-branch", "tag:", "schedule", "dispatch", "merge_group", "detached"];

impl On {
    /// Whether a rule for this is a rule for `event`.
    pub fn matches(&self, event: &Event) -> bool {
        match (self, &event.kind) {
            (Self::PullRequest, Kind::PullRequest(_))
            | (Self::Schedule, Kind::Schedule { .. })
            | (Self::Dispatch, Kind::Dispatch { .. })
            | (Self::MergeGroup, Kind::MergeGroup { .. })
            | (Self::Detached, Kind::Detached) => true,
            (Self::DefaultBranch, _) => event.is_default_branch(),
            (Self::Branch(glob), Kind::Branch { .. } | Kind::Dispatch { .. }) => {
                event.branch().is_some_and(|branch| glob.matches(branch))
            }
            (Self::Tag(glob), _) => event.tag().is_some_and(|tag| glob.matches(tag)),
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
        let glob = |pattern: &str| {
            pattern.parse().map_err(|error: super::glob::InvalidGlob| invalid(error.to_string()))
        };
        Ok(match text.split_once(':').unwrap_or((text, "")) {
            ("pull_request", "") => Self::PullRequest,
            ("default-branch", "") => Self::DefaultBranch,
            ("schedule", "") => Self::Schedule,
            ("dispatch", "") => Self::Dispatch,
            ("merge_group", "") => Self::MergeGroup,
            ("detached", "") => Self::Detached,
            ("branch", "") => return Err(invalid("branch: takes a pattern, such as branch:**".to_owned())),
            ("tag", "") => return Err(invalid("tag: takes a pattern, such as tag:v*".to_owned())),
            ("branch", pattern) => Self::Branch(glob(pattern)?),
            ("tag", pattern) => Self::Tag(glob(pattern)?),
            (word, _) => {
                let hint = crate::suggest::closest(word, WORDS);
                let known = || format!("expected one of {}", WORDS.join(", "));
                return Err(invalid(hint.map_or_else(known, |hint| format!("did you mean {hint}?"))));
            }
        })
    }
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PullRequest => f.write_str("pull_request"),
            Self::Branch(glob) => write!(f, "branch:{glob}"),
            Self::DefaultBranch => f.write_str("default-branch"),
            Self::Tag(glob) => write!(f, "tag:{glob}"),
            Self::Schedule => f.write_str("schedule"),
            Self::Dispatch => f.write_str("dispatch"),
            Self::MergeGroup => f.write_str("merge_group"),
            Self::Detached => f.write_str("detached"),
        }
    }
}

crate::text::written_as_text!(
    On,
    "Kind of event: pull_request, branch:PATTERN, default-branch, tag:PATTERN, schedule, dispatch, merge_group, detached"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::assumed;

    #[track_caller]
    fn check(on: &str, event: &str, expected: bool) {
        assert_eq!(on.parse::<On>().unwrap().matches(&assumed(event)), expected, "{on} for {event}");
        assert_eq!(on.parse::<On>().unwrap().to_string(), on);
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
    }

    #[test]
    fn a_slip_gets_a_suggestion() {
        for (text, hint) in [
            ("pull-request", "pull_request"),
            ("brnch:main", "branch:"),
            ("branch:", "branch:**"),
            ("tag:[", "no ]"),
            ("push", "expected one of"),
        ] {
            let error = text.parse::<On>().unwrap_err();
            assert!(error.hint.contains(hint), "{text}: {}", error.hint);
        }
    }
}
