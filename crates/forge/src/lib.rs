//! The only crate that knows a CI host: what it says of the event, what it reads from a log, and
//! the files it takes values from.
//!
//! Everything is read from an environment that the caller hands over. The seam,
//! [`pipeline::forge::Forge`], belongs to the pipeline.

pub mod forgejo;
pub mod github;
pub mod gitlab;
pub mod local;
mod logins;
mod payload;
mod replay;

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::Timestamp;
use pipeline::forge::Forge;

pub use forgejo::Forgejo;
pub use github::GitHub;
pub use gitlab::GitLab;
pub use local::Local;
pub use logins::{Login, logins};
pub use replay::{Replayed, replay};

/// Environment variables by name.
pub type Environment = BTreeMap<String, String>;

/// Which host to take, as it is written after `--ci`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The one that the environment is of.
    #[default]
    Auto,
    /// None, whatever the environment.
    None,
    /// GitHub Actions.
    GitHub,
    /// GitLab CI.
    GitLab,
    /// Forgejo Actions, and Gitea's.
    Forgejo,
}

/// A string names no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a CI host: expected auto, none, github, gitlab or forgejo")]
pub struct InvalidChoice {
    /// What was given.
    pub text: String,
}

impl FromStr for Choice {
    type Err = InvalidChoice;

    fn from_str(text: &str) -> Result<Self, InvalidChoice> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            "github" => Ok(Self::GitHub),
            "gitlab" => Ok(Self::GitLab),
            "forgejo" | "gitea" => Ok(Self::Forgejo),
            _ => Err(InvalidChoice { text: text.to_owned() }),
        }
    }
}

/// Returns the host of `environment`, or the chosen one; `clock` gives the times in its log.
pub fn detect(environment: &Environment, choice: Choice, clock: fn() -> Timestamp) -> Box<dyn Forge> {
    let is_true = |name: &str| environment.get(name).is_some_and(|value| value == "true");
    let is_forgejo = is_true("FORGEJO_ACTIONS") || is_true("GITEA_ACTIONS");
    match choice {
        Choice::GitHub => Box::new(GitHub::new(environment)),
        Choice::Forgejo => Box::new(Forgejo::new(environment)),
        Choice::GitLab => Box::new(GitLab::new(environment, clock)),
        Choice::Auto if is_true("GITHUB_ACTIONS") && forgejo::is_ours(environment) || is_forgejo => {
            Box::new(Forgejo::new(environment))
        }
        Choice::Auto if is_true("GITHUB_ACTIONS") => Box::new(GitHub::new(environment)),
        Choice::Auto if is_true("GITLAB_CI") => Box::new(GitLab::new(environment, clock)),
        Choice::Auto | Choice::None => Box::new(Local),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variables: &[&str], choice: &str, expected: &str) {
        let environment = variables.iter().map(|name| ((*name).to_owned(), "true".to_owned())).collect();
        let forge = detect(&environment, choice.parse().unwrap(), || Timestamp::UNIX_EPOCH);
        assert_eq!(forge.name(), expected);
    }

    #[test]
    fn the_environment_says_which_unless_somebody_chose() {
        check(&["GITHUB_ACTIONS"], "auto", "github");
        check(&["GITHUB_ACTIONS"], "none", "none");
        check(&["GITHUB_ACTIONS", "GITEA_ACTIONS"], "auto", "forgejo");
        check(&["FORGEJO_ACTIONS"], "auto", "forgejo");
        check(&["HOME"], "auto", "none");
        check(&["GITLAB_CI"], "auto", "gitlab");
        check(&["GITLAB_CI"], "none", "none");
        check(&["HOME"], "github", "github");
        check(&["HOME"], "forgejo", "forgejo");
        check(&["HOME"], "gitea", "forgejo");
        check(&["HOME"], "gitlab", "gitlab");
        assert!("githb".parse::<Choice>().is_err());
    }
}
