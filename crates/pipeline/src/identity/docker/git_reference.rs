//! Which reference a checkout is at, where nobody says: `context: git`.
//!
//! A branch that is checked out is the answer. A commit that is checked out by itself is named by
//! what points to it: a tag, a pull request's merge, a branch; and else by what contains it: the
//! branch with the newest commit, a branch of a remote, a tag.
//!
//! Source: docker/actions-toolkit, `Git.ref`, as its tests have it.

use super::number::trim;
use super::pattern::Pattern;

/// What is asked of git. Answers are what the command of the same meaning prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The branch that is checked out, empty where none is.
    CurrentBranch,
    /// The full name of the branch that is checked out.
    SymbolicHead,
    /// What points to the commit: `HEAD, tag: v1.2.3, origin/main`, `grafted, ` in front of a shallow one.
    Decoration,
    /// Full names of the tags that point to the commit, one a line.
    TagsAtHead,
    /// Full names of the branches that contain the commit, the newest first.
    BranchesWithHead,
    /// Full names of the remotes' branches that contain the commit, the newest first.
    RemotesWithHead,
    /// Names of the tags that contain the commit.
    TagsWithHead,
}

impl Question {
    /// Returns the command that answers the question.
    pub fn command(self) -> &'static str {
        match self {
            Self::CurrentBranch => "git branch --show-current",
            Self::SymbolicHead => "git symbolic-ref HEAD",
            Self::Decoration => "git show -s --pretty=%D",
            Self::TagsAtHead => "git for-each-ref --format=%(refname) --points-at HEAD refs/tags/",
            Self::BranchesWithHead => {
                "git for-each-ref --format=%(refname) --contains HEAD --sort=-committerdate refs/heads/"
            }
            Self::RemotesWithHead => {
                "git for-each-ref --format=%(refname) --contains HEAD --sort=-committerdate refs/remotes/"
            }
            Self::TagsWithHead => "git tag --contains HEAD",
        }
    }
}

/// Returns the full reference that a checkout is at; `answer` is asked as far as needed.
///
/// # Errors
/// Nothing points to the commit, or nothing that a reference follows from; and what `answer` fails with.
pub fn git_reference<E: From<NoReference>>(
    mut answer: impl FnMut(Question) -> Result<String, E>,
) -> Result<String, E> {
    let mut ask = |question| Ok::<_, E>(trim(&answer(question)?).to_owned());
    if !ask(Question::CurrentBranch)?.is_empty() {
        return ask(Question::SymbolicHead);
    }
    let decoration = ask(Question::Decoration)?;
    let bare = trim(decoration.strip_prefix("grafted, ").unwrap_or(&decoration)).to_owned();
    let none = || E::from(NoReference { decoration: decoration.clone() });
    if bare == "HEAD" {
        return containing(&mut ask)?.ok_or_else(none);
    }
    let at = bare.strip_prefix("HEAD, ").map(trim).filter(|at| !at.is_empty()).ok_or_else(none)?;
    if at.starts_with("tag: ") {
        return tag(at, &ask(Question::TagsAtHead)?).ok_or_else(none);
    }
    pointing(at).ok_or_else(none)
}

/// Nothing that points to a commit gives it a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no reference follows from {decoration:?}, which is what git says of the commit; check a branch or a tag out"
)]
pub struct NoReference {
    /// What points to the commit.
    pub decoration: String,
}

/// Finds the tag that comes first in a decoration; tags may have commas in their names.
fn tag(at: &str, tags: &str) -> Option<String> {
    let mut tags: Vec<&str> = lines(tags).collect();
    tags.sort_by_key(|tag| std::cmp::Reverse(tag.len()));
    let is_first = |tag: &&&str| {
        let decoration = format!("tag: {}", tag.strip_prefix("refs/tags/").unwrap_or(tag));
        at.strip_prefix(&decoration).is_some_and(|rest| rest.is_empty() || rest.starts_with(", "))
    };
    let only = || if let [only] = tags.as_slice() { Some(only) } else { None };
    tags.iter().find(is_first).or_else(only).map(|tag| (*tag).to_owned())
}

/// Reads what points to the commit where that is no tag.
fn pointing(at: &str) -> Option<String> {
    let pull = at.strip_prefix("pull/").and_then(|rest| rest.split_once('/'));
    if let Some((number, "head" | "merge")) = pull
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Some(format!("refs/{at}"));
    }
    let branch = |pattern: &str| {
        let groups = Pattern::parse(pattern, "").ok()?.find(at).ok()??;
        groups.into_iter().nth(1).flatten()
    };
    let of_remote = branch("^[^/]+\\/[^/]+, (.+)$").or_else(|| branch("^[^/]+\\/(.+)$"));
    // A branch that only this clone has; the neighbour knows no way from there.
    let local = || at.split(", ").next().map(str::to_owned);
    Some(format!("refs/heads/{}", trim(&of_remote.or_else(local)?)))
}

fn containing<E>(ask: &mut impl FnMut(Question) -> Result<String, E>) -> Result<Option<String>, E> {
    if let Some(branch) = lines(&ask(Question::BranchesWithHead)?).next() {
        return Ok(Some(branch.to_owned()));
    }
    if let Some(remote) = lines(&ask(Question::RemotesWithHead)?).next() {
        let name = remote.strip_prefix("refs/remotes/").and_then(|rest| rest.split_once('/'));
        return Ok(Some(match name {
            Some((origin, branch)) if !origin.is_empty() && !branch.is_empty() => {
                format!("refs/heads/{branch}")
            }
            _ => remote.to_owned(),
        }));
    }
    Ok(lines(&ask(Question::TagsWithHead)?).next().map(|tag| format!("refs/tags/{tag}")))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').map(trim).filter(|line| !line.is_empty())
}
