//! What a clone's references say of its head, in the words of the git program: what
//! [`crate::identity::docker::git_reference`] asks.
//!
//! Source: git's documentation of `log --pretty=%D`, `for-each-ref --contains` and `--sort`.

use gix::ObjectId;
use gix::bstr::ByteSlice as _;

use super::{Checkout, GitError, text};
use crate::identity::docker::{NoReference, Question, git_reference};

/// A reference, and the commit it leads to.
struct Named {
    name: String,
    commit: ObjectId,
    seconds: i64,
}

impl Checkout {
    /// Returns the full reference that the clone is at, inferred where a commit is checked out alone.
    ///
    /// # Errors
    /// `NoReference` where nothing leads to the commit; `NoCommit`, `Unreadable`.
    pub fn full_reference(&self) -> Result<String, GitError> {
        git_reference(|question| self.answer(question))
    }

    /// Answers a question about the head as the git program would.
    fn answer(&self, question: Question) -> Result<String, GitError> {
        let head = self.repository.head().map_err(|e| self.unreadable("read the head", e))?;
        let branch = head.referent_name().map(|name| text(name.as_bstr()));
        let id = || head.id().map(gix::Id::detach).ok_or_else(|| self.no_commit());
        Ok(match question {
            Question::CurrentBranch => {
                let short = |name: &String| name.strip_prefix("refs/heads/").map(str::to_owned);
                branch.as_ref().and_then(short).unwrap_or_default()
            }
            Question::SymbolicHead => branch.unwrap_or_default(),
            Question::Decoration => self.decoration(id()?)?,
            Question::TagsAtHead => {
                let id = id()?;
                lines(self.named("refs/tags/")?.into_iter().filter(|named| named.commit == id))
            }
            Question::BranchesWithHead => lines(self.newest_with("refs/heads/", id()?)?.into_iter()),
            Question::RemotesWithHead => lines(self.newest_with("refs/remotes/", id()?)?.into_iter()),
            Question::TagsWithHead => {
                let with = self.with("refs/tags/", id()?)?;
                let short = |named: &Named| named.name.trim_start_matches("refs/tags/").to_owned();
                with.iter().map(short).collect::<Vec<_>>().join("\n")
            }
        })
    }

    fn no_commit(&self) -> GitError {
        GitError::NoCommit { folder: self.folder.clone() }
    }

    /// Returns what points to `id`, the head first, then tags, remotes and branches.
    fn decoration(&self, id: ObjectId) -> Result<String, GitError> {
        let mut names = vec!["HEAD".to_owned()];
        let mut at: Vec<Named> =
            self.named("refs/")?.into_iter().filter(|named| named.commit == id).collect();
        at.reverse();
        names.extend(at.iter().map(|named| match named.name.strip_prefix("refs/tags/") {
            Some(tag) => format!("tag: {tag}"),
            None => {
                let short = ["refs/heads/", "refs/remotes/"].iter().find_map(|p| named.name.strip_prefix(p));
                short.unwrap_or(&named.name).to_owned()
            }
        }));
        Ok(names.join(", "))
    }

    /// Returns the references under `prefix` that lead to a commit, in order of name.
    fn named(&self, prefix: &str) -> Result<Vec<Named>, GitError> {
        let references =
            self.repository.references().map_err(|e| self.unreadable("list the references", e))?;
        let found = references.prefixed(prefix).map_err(|e| self.unreadable("list the references", e))?;
        let mut named: Vec<Named> = Vec::new();
        // A reference that cannot be read is no reason to do without the others.
        for mut reference in found.filter_map(Result::ok) {
            let name = text(reference.name().as_bstr());
            let Ok(id) = reference.peel_to_id() else { continue };
            let Ok(commit) = self.repository.find_commit(id.detach()) else { continue };
            let seconds = commit.time().map_or(0, |time| time.seconds);
            named.push(Named { name, commit: id.detach(), seconds });
        }
        named.sort_by(|one, other| one.name.as_bytes().as_bstr().cmp(other.name.as_bytes().as_bstr()));
        Ok(named)
    }

    /// Returns the references under `prefix` whose history has `id` in it.
    fn with(&self, prefix: &str, id: ObjectId) -> Result<Vec<Named>, GitError> {
        let mut named = self.named(prefix)?;
        named.retain(|named| self.has_in_history(named.commit, id));
        Ok(named)
    }

    fn newest_with(&self, prefix: &str, id: ObjectId) -> Result<Vec<Named>, GitError> {
        let mut named = self.with(prefix, id)?;
        named.sort_by_key(|named| std::cmp::Reverse(named.seconds));
        Ok(named)
    }

    fn has_in_history(&self, tip: ObjectId, id: ObjectId) -> bool {
        if tip == id {
            return true;
        }
        // The history of a shallow clone ends somewhere; what is before that is not known.
        let Ok(walk) = self.repository.rev_walk([tip]).all() else { return false };
        walk.map_while(Result::ok).any(|commit| commit.id == id)
    }
}

impl From<NoReference> for GitError {
    fn from(source: NoReference) -> Self {
        Self::NoReference(source)
    }
}

fn lines(named: impl Iterator<Item = Named>) -> String {
    named.map(|named| named.name).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use testkit::git::GitRepository;

    use crate::git::Checkout;

    #[track_caller]
    fn check(repository: &GitRepository, expected: &str) {
        let found = Checkout::open(repository.path()).unwrap().full_reference();
        assert_eq!(found.map_err(|error| error.to_string()).as_deref(), Ok(expected));
    }

    #[test]
    fn a_branch_that_is_checked_out_is_the_reference() {
        let repository = GitRepository::with_files(&[("a", "1")]);
        repository.tag("v1.0.0");
        check(&repository, "refs/heads/main");
    }

    #[test]
    fn a_commit_alone_is_named_by_its_tag_then_by_branches_that_have_it() {
        let repository = GitRepository::with_files(&[("a", "1")]);
        let first = repository.head();
        repository.branch("release/1");
        repository.commit("second");
        repository.checkout(&first);
        // The branch `main` is at the commit too.
        check(&repository, "refs/heads/main");
        repository.git(&["branch", "-f", "main", "release/1"]);
        check(&repository, "refs/heads/main");
        repository.lightweight_tag("release,with-comma");
        check(&repository, "refs/tags/release,with-comma");
    }

    #[test]
    fn a_commit_of_a_pull_request_is_named_by_its_merge() {
        let repository = GitRepository::with_files(&[("a", "1")]);
        let head = repository.head();
        repository.git(&["update-ref", "refs/remotes/pull/7/merge", &head]);
        repository.checkout(&head);
        repository.git(&["branch", "-D", "main"]);
        check(&repository, "refs/pull/7/merge");
    }

    #[test]
    fn a_commit_that_nothing_leads_to_has_no_reference() {
        let repository = GitRepository::with_files(&[("a", "1")]);
        repository.git(&["checkout", "-q", "--detach"]);
        repository.git(&["branch", "-D", "main"]);
        let error = Checkout::open(repository.path()).unwrap().full_reference().unwrap_err();
        assert!(error.to_string().contains("no reference follows from \"HEAD\""), "{error}");
    }
}
