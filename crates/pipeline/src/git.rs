//! What a clone says: head, branch, tags, times, what changed; without the git program.
//!
//! A clone is read with its own configuration only: neither the machine's nor the user's changes
//! what an image is called. Nothing is ever written. Names that are no text keep their form as far
//! as possible, with U+FFFD for the rest.

use std::path::{Path, PathBuf};

use gix::bstr::{BStr, ByteSlice};
use jiff::Timestamp;

use crate::event::{CommitId, Event, GitRef, Kind, Source};

mod address;
mod names;

/// A clone.
pub struct Checkout {
    repository: gix::Repository,
    folder: PathBuf,
}

/// What is checked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The commit.
    pub revision: CommitId,
    /// When it was made.
    pub committed: Timestamp,
    /// The branch; where none is checked out, the tag that is exactly at the commit, if any.
    pub at: Option<GitRef>,
}

/// A clone cannot say what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no clone.
    #[error(
        "{} is not in a git repository; images are named after commits: run `git init` and commit, or use -C to name the clone",
        folder.display()
    )]
    NotARepository {
        /// The folder it was looked for in, and above.
        folder: PathBuf,
    },
    /// There is no commit.
    #[error("the git repository of {} has no commit yet; images are named after commits: make the first one", folder.display())]
    NoCommit {
        /// The folder.
        folder: PathBuf,
    },
    /// Nothing says what its commit is called.
    #[error(transparent)]
    NoReference(crate::identity::docker::NoReference),
    /// It is damaged, or lacks something.
    #[error("cannot {action} in the git repository of {}", folder.display())]
    Unreadable {
        /// `read the head`, `read commit ...`.
        action: String,
        /// The folder.
        folder: PathBuf,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Checkout {
    /// Opens the clone that `folder` is in: a work tree, a linked one, or a bare repository.
    ///
    /// # Errors
    /// `NotARepository`; `Unreadable` where there is one that cannot be opened.
    pub fn open(folder: &Path) -> Result<Self, GitError> {
        let options = || gix::open::Options::isolated();
        let trust = gix::sec::trust::Mapping { full: options(), reduced: options() };
        match gix::ThreadSafeRepository::discover_opts(folder, Default::default(), trust) {
            Ok(repository) => {
                Ok(Self { repository: repository.to_thread_local(), folder: folder.to_owned() })
            }
            Err(_) if !has_git_above(folder) => Err(GitError::NotARepository { folder: folder.to_owned() }),
            Err(error) => Err(unreadable(folder, "open it".to_owned(), error)),
        }
    }

    /// Returns what is checked out.
    ///
    /// # Errors
    /// `NoCommit`, `Unreadable`.
    pub fn head(&self) -> Result<Head, GitError> {
        let mut head = self.repository.head().map_err(|e| self.unreadable("read the head", e))?;
        if head.is_unborn() {
            return Err(GitError::NoCommit { folder: self.folder.clone() });
        }
        let branch = head.referent_name().map(|name| text(name.as_bstr()));
        let id = head.peel_to_commit().map_err(|e| self.unreadable("read the commit of the head", e))?.id;
        let revision = commit_id(id);
        let at = match branch.as_deref().and_then(GitRef::from_full_name) {
            Some(branch) => Some(branch),
            None => self.tag_at(id)?.map(GitRef::Tag),
        };
        Ok(Head { committed: self.commit_time(&revision)?, revision, at })
    }

    /// Returns the event that the clone is at: its branch, the tag at its head, or neither.
    ///
    /// # Errors
    /// As for [`Checkout::head`].
    pub fn event(&self) -> Result<Event, GitError> {
        let head = self.head()?;
        let kind = match head.at {
            Some(GitRef::Branch(branch)) => Kind::Branch { branch },
            Some(GitRef::Tag(tag)) => Kind::Tag { tag },
            None => Kind::Detached,
        };
        Ok(Event {
            kind,
            revision: head.revision,
            committed: head.committed,
            default_branch: self.default_branch(),
            source: Source { url: self.origin(), ..Source::default() },
            run: None,
            actor: None,
            trigger: None,
            fields: Default::default(),
        })
    }

    /// Returns when a commit was made, by its committer's clock.
    ///
    /// # Errors
    /// `Unreadable`, also where the clone is shallow and the commit is not in it.
    pub fn commit_time(&self, commit: &CommitId) -> Result<Timestamp, GitError> {
        let action = || format!("read the time of commit {commit}");
        let time = self.commit(commit)?.time().map_err(|e| self.unreadable(&action(), e))?;
        Timestamp::from_second(time.seconds).map_err(|e| self.unreadable(&action(), e))
    }

    /// Returns the first line of a commit's message; `None` where a shallow clone lacks the commit.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn commit_subject(&self, commit: &CommitId) -> Result<Option<String>, GitError> {
        if !self.has(commit) {
            return Ok(None);
        }
        let commit = self.commit(commit)?;
        let message = commit.message_raw_sloppy();
        let line = message.lines().map(|line| text(line.as_bstr())).find(|line| !line.trim().is_empty());
        Ok(Some(line.unwrap_or_default().trim().to_owned()))
    }

    /// Returns the paths that differ between two commits, in order, with both names of what was
    /// renamed; `None` where a shallow clone lacks one of them.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn changed_paths(&self, from: &CommitId, to: &CommitId) -> Result<Option<Vec<String>>, GitError> {
        if !self.has(from) || !self.has(to) {
            return Ok(None);
        }
        let action = || format!("compare {from} and {to}");
        let tree = |commit| self.commit(commit)?.tree().map_err(|e| self.unreadable(&action(), e));
        let (from_tree, to_tree) = (tree(from)?, tree(to)?);
        let mut options = gix::diff::Options::default();
        options.track_path();
        let changes = self.repository.diff_tree_to_tree(&from_tree, &to_tree, options);
        let changes = changes.map_err(|e| self.unreadable(&action(), e))?;
        let files = changes.iter().filter(|change| !change.entry_mode().is_tree());
        let mut paths: Vec<String> = files.map(|change| text(change.location())).collect();
        paths.sort();
        paths.dedup();
        Ok(Some(paths))
    }

    /// Returns the names of all tags, in order.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn tags(&self) -> Result<Vec<String>, GitError> {
        let references = self.repository.references().map_err(|e| self.unreadable("list the tags", e))?;
        let tags = references.tags().map_err(|e| self.unreadable("list the tags", e))?;
        // A tag that cannot be read is no reason to do without the others.
        let mut names: Vec<String> =
            tags.filter_map(Result::ok).map(|tag| text(tag.name().shorten())).collect();
        names.sort();
        Ok(names)
    }

    /// Returns the remote's default branch; without a remote that says one, `main` or `master`
    /// where just one of them is there.
    pub fn default_branch(&self) -> Option<String> {
        if let Ok(Some(head)) = self.repository.try_find_reference("refs/remotes/origin/HEAD") {
            let target = head.target().try_name().map(|name| text(name.as_bstr()));
            return target.and_then(|name| name.strip_prefix("refs/remotes/origin/").map(str::to_owned));
        }
        let is_there = |branch: &&str| {
            let places = [format!("refs/heads/{branch}"), format!("refs/remotes/origin/{branch}")];
            places.iter().any(|name| matches!(self.repository.try_find_reference(name), Ok(Some(_))))
        };
        let mut candidates = ["main", "master"].into_iter().filter(is_there);
        match (candidates.next(), candidates.next()) {
            (Some(only), None) => Some(only.to_owned()),
            _ => None,
        }
    }

    /// Returns the web address of the remote `origin`, without credentials.
    pub fn origin(&self) -> Option<String> {
        let remote = self.repository.find_remote("origin").ok()?;
        address::web_address(&remote.url(gix::remote::Direction::Fetch)?.to_bstring().to_str_lossy())
    }

    /// Whether history and tags of the clone are cut off.
    pub fn is_shallow(&self) -> bool {
        self.repository.is_shallow().unwrap_or(false)
    }

    /// Whether the clone knows another repository, which may have tags that it has not.
    pub fn has_remote(&self) -> bool {
        !self.repository.remote_names().is_empty()
    }

    /// Returns `path` as it is named inside the repository; `None` where it lies outside.
    pub fn path_in_repository(&self, path: &Path) -> Option<String> {
        let root = self.repository.workdir()?.canonicalize().ok()?;
        let inside = path.canonicalize().ok()?.strip_prefix(root).ok()?.to_owned();
        Some(inside.to_string_lossy().into_owned())
    }

    fn has(&self, commit: &CommitId) -> bool {
        object_id(commit).is_some_and(|id| self.repository.has_object(id))
    }

    fn commit(&self, commit: &CommitId) -> Result<gix::Commit<'_>, GitError> {
        let action = format!("read commit {commit}");
        let id =
            object_id(commit).ok_or_else(|| self.unreadable(&action, "its kind of hash is not supported"))?;
        self.repository.find_commit(id).map_err(|e| self.unreadable(&action, e))
    }

    /// Returns the tag that points to `id`: the highest version, else the last by name.
    fn tag_at(&self, id: gix::ObjectId) -> Result<Option<String>, GitError> {
        let references = self.repository.references().map_err(|e| self.unreadable("list the tags", e))?;
        let tags = references.tags().map_err(|e| self.unreadable("list the tags", e))?;
        let mut names = Vec::new();
        for mut tag in tags.filter_map(Result::ok) {
            if tag.peel_to_id().is_ok_and(|peeled| peeled == id) {
                names.push(text(tag.name().shorten()));
            }
        }
        let version = |name: &String| semver::Version::parse(name.strip_prefix('v').unwrap_or(name)).ok();
        Ok(names.into_iter().max_by_key(|name| (version(name), name.clone())))
    }

    fn unreadable(
        &self,
        action: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> GitError {
        unreadable(&self.folder, action.to_owned(), source)
    }
}

impl std::fmt::Debug for Checkout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Checkout({})", self.folder.display())
    }
}

fn unreadable(
    folder: &Path,
    action: String,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> GitError {
    GitError::Unreadable { action, folder: folder.to_owned(), source: source.into() }
}

/// Whether something that calls itself a repository lies in `folder` or above.
fn has_git_above(folder: &Path) -> bool {
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    full.ancestors().any(|folder| folder.join(".git").exists() || folder.join("HEAD").is_file())
}

fn object_id(commit: &CommitId) -> Option<gix::ObjectId> {
    gix::ObjectId::from_hex(commit.as_str().as_bytes()).ok()
}

fn commit_id(id: gix::ObjectId) -> CommitId {
    id.to_string().parse().expect("git prints object ids as full hexadecimal ids")
}

fn text(bytes: &BStr) -> String {
    bytes.to_str_lossy().into_owned()
}

#[cfg(test)]
mod tests;
