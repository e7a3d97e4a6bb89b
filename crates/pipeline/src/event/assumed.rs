//! The event somebody asks to see or run instead of the one that happened: `--as pr:42`.

use std::str::FromStr;

use super::GitRef;

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

const FORMS: &str = "expected pr:NUMBER, branch:NAME, tag:NAME, schedule or dispatch";

impl FromStr for Assumed {
    type Err = InvalidAssumed;

    fn from_str(text: &str) -> Result<Self, InvalidAssumed> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        match (kind, name) {
            ("pr", number) => match number.parse() {
                Ok(number) if number > 0 => Ok(Self::PullRequest(number)),
                _ => Err(invalid(text, "pr: takes the number of a pull request, such as pr:42".to_owned())),
            },
            ("branch", "") => Err(invalid(text, "branch: takes a name, such as branch:main".to_owned())),
            ("branch", name) => Ok(Self::Branch(name.to_owned())),
            ("tag", "") => Err(invalid(text, "tag: takes a name, such as tag:v1.2.3".to_owned())),
            ("tag", name) => Ok(Self::Tag(name.to_owned())),
            ("schedule", "") => Ok(Self::Schedule),
            ("dispatch", "") => Ok(Self::Dispatch),
            _ => Err(invalid(text, guess(text, kind, name))),
        }
    }
}

fn invalid(text: &str, hint: String) -> InvalidAssumed {
    InvalidAssumed { text: text.chars().take(100).collect(), hint }
}

/// Says what was probably meant: another tool's word, a full reference, a bare number, a typing slip.
fn guess(text: &str, kind: &str, name: &str) -> String {
    if let Some(full) = GitRef::from_full_name(text) {
        return match full {
            GitRef::Branch(branch) => format!("did you mean branch:{branch}?"),
            GitRef::Tag(tag) => format!("did you mean tag:{tag}?"),
        };
    }
    let word = match kind {
        "pull_request" | "pull-request" | "mr" | "pull" => Some("pr"),
        "push" | "head" => Some("branch"),
        "release" => Some("tag"),
        "cron" | "nightly" => Some("schedule"),
        "workflow_dispatch" | "manual" => Some("dispatch"),
        number if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            return format!("did you mean pr:{number}?");
        }
        other => crate::suggest::closest(other, ["pr", "branch", "tag", "schedule", "dispatch"]),
    };
    match word {
        Some(word @ ("schedule" | "dispatch")) => format!("did you mean {word}? It takes no name"),
        Some(word) if !name.is_empty() => format!("did you mean {word}:{name}?"),
        Some(word) => format!("did you mean {word}:...? {FORMS}"),
        None => FORMS.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Assumed) {
        assert_eq!(text.parse(), Ok(expected));
    }

    #[track_caller]
    fn check_refused(text: &str, hint: &str) {
        let error = text.parse::<Assumed>().unwrap_err();
        assert!(error.hint.contains(hint), "{text}: {}", error.hint);
    }

    #[test]
    fn the_five_forms() {
        check("pr:42", Assumed::PullRequest(42));
        check("branch:feature/x:y", Assumed::Branch("feature/x:y".to_owned()));
        check("tag:v1.2.3", Assumed::Tag("v1.2.3".to_owned()));
        check("schedule", Assumed::Schedule);
        check("dispatch", Assumed::Dispatch);
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
        check_refused("pull_request:7", "pr:7");
        check_refused("brnach:main", "branch:main");
        check_refused("shedule", "schedule");
        check_refused("schedule:daily", "no name");
        check_refused("", "expected pr:NUMBER");
        check_refused("xyzzy:1", "expected pr:NUMBER");
    }
}
