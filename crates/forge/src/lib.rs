//! The only crate that knows a CI host: what it says of the event, what it reads from a log, and
//! the files it takes values from.
//!
//! Everything is read from an environment that the caller hands over. The seam,
//! [`pipeline::forge::Forge`], belongs to the pipeline.

pub mod github;
pub mod local;

use std::collections::BTreeMap;
use std::str::FromStr;

use pipeline::forge::{Forge, ForgeError};

pub use github::GitHub;
pub use local::Local;

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

/// Returns the host of `environment`, or the chosen one.
///
/// Forgejo and Gitea speak GitHub's protocol, files and names of variables, and are taken for it.
/// A GitLab job without a choice is read from its clone, like any other machine.
///
/// # Errors
/// `Unsupported` for a choice that this version does not know.
pub fn detect(environment: &Environment, choice: Choice) -> Result<Box<dyn Forge>, ForgeError> {
    let is_actions = environment.get("GITHUB_ACTIONS").is_some_and(|value| value == "true");
    match choice {
        Choice::GitHub | Choice::Forgejo => Ok(Box::new(GitHub::new(environment))),
        Choice::Auto if is_actions => Ok(Box::new(GitHub::new(environment))),
        Choice::Auto | Choice::None => Ok(Box::new(Local)),
        Choice::GitLab => Err(ForgeError::Unsupported { host: "GitLab CI" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variable: &str, choice: &str, expected: &str) {
        let environment = Environment::from([(variable.to_owned(), "true".to_owned())]);
        let name = detect(&environment, choice.parse().unwrap()).map(|forge| forge.name().to_owned());
        assert_eq!(name.unwrap_or_else(|error| error.to_string()), expected);
    }

    #[test]
    fn the_environment_says_which_unless_somebody_chose() {
        check("GITHUB_ACTIONS", "auto", "github");
        check("GITHUB_ACTIONS", "none", "none");
        check("HOME", "auto", "none");
        check("GITLAB_CI", "auto", "none");
        check("HOME", "github", "github");
        check("HOME", "forgejo", "github");
        check("HOME", "gitlab", "GitLab CI is not supported by this version: use --ci none");
        assert!("githb".parse::<Choice>().is_err());
    }
}
