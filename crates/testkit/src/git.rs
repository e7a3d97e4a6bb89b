//! Git repositories for tests, made through the `git` program so that what the product reads was
//! written by somebody else. Author, dates and configuration are fixed: the same calls give the
//! same commit ids on every machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Seconds since 1970 of the first commit of every repository: 2026-01-02 03:04:05 UTC.
pub const FIRST_COMMIT_SECONDS: i64 = 1_767_323_045;

/// Every further commit is this much later, so that ages can be told apart.
pub const SECONDS_BETWEEN_COMMITS: i64 = 3_600;

/// A repository in a temporary folder that goes when the value goes.
pub struct GitRepository {
    folder: TempDir,
    path: PathBuf,
}

impl GitRepository {
    /// Returns an empty repository whose branch, not born yet, is `main`.
    #[track_caller]
    pub fn empty() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let path = folder.path().join("repository");
        std::fs::create_dir(&path).expect("the temporary folder is ours");
        let repository = Self { folder, path };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// Returns a repository with the given files committed on `main`.
    #[track_caller]
    pub fn with_files(files: &[(&str, &str)]) -> Self {
        let repository = Self::empty();
        for (path, content) in files {
            repository.write(path, content);
        }
        repository.commit("first");
        repository
    }

    /// Returns the work tree.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file of the work tree and makes the folders above it.
    #[track_caller]
    pub fn write(&self, path: &str, content: &str) {
        let file = self.path.join(path);
        let folder = file.parent().expect("a joined path has a parent");
        std::fs::create_dir_all(folder)
            .unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        std::fs::write(&file, content)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
    }

    /// Commits everything in the work tree, also where nothing changed, and returns the commit id.
    #[track_caller]
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.head()
    }

    /// Returns the id of the checked-out commit, 40 hexadecimal digits.
    #[track_caller]
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Makes a branch here and checks it out.
    #[track_caller]
    pub fn branch(&self, name: &str) {
        self.git(&["checkout", "--quiet", "-b", name]);
    }

    /// Checks out a branch, tag or commit; the latter two detach the head.
    #[track_caller]
    pub fn checkout(&self, name: &str) {
        self.git(&["checkout", "--quiet", name]);
    }

    /// Makes an annotated tag of the checked-out commit.
    #[track_caller]
    pub fn tag(&self, name: &str) {
        self.git(&["tag", "--annotate", "--message", name, name]);
    }

    /// Makes a lightweight tag of the checked-out commit.
    #[track_caller]
    pub fn lightweight_tag(&self, name: &str) {
        self.git(&["tag", name]);
    }

    /// Merges `branch` into what is checked out, always with a merge commit, and returns its id.
    #[track_caller]
    pub fn merge(&self, branch: &str) -> String {
        self.git(&["merge", "--quiet", "--no-ff", "--message", &format!("merge {branch}"), branch]);
        self.head()
    }

    /// Returns a clone with the history cut off after `depth` commits.
    #[track_caller]
    pub fn shallow_clone(&self, depth: u32) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let path = folder.path().join("repository");
        let origin = format!("file://{}", self.path.display());
        let target = path.to_str().expect("temporary folders have plain names");
        self.git(&["clone", "--quiet", "--depth", &depth.to_string(), &origin, target]);
        Self { folder, path }
    }

    /// Runs `git` in the work tree and returns its output without the final line break.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        let date = format!("{} +0000", self.next_commit_seconds());
        let output = Command::new("git")
            .args(arguments)
            .current_dir(&self.path)
            .envs([("GIT_AUTHOR_DATE", &date), ("GIT_COMMITTER_DATE", &date)])
            .envs(IDENTITY.iter().copied())
            .env("HOME", self.folder.path())
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .env_remove("GIT_INDEX_FILE")
            .output()
            .unwrap_or_else(|error| panic!("cannot run git: {error}"));
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {complaint}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    fn next_commit_seconds(&self) -> i64 {
        let output = Command::new("git")
            .args(["rev-list", "--count", "--all"])
            .current_dir(&self.path)
            .env_remove("GIT_DIR")
            .output()
            .unwrap_or_else(|error| panic!("cannot run git: {error}"));
        let commits: i64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0);
        FIRST_COMMIT_SECONDS + commits * SECONDS_BETWEEN_COMMITS
    }
}

const IDENTITY: &[(&str, &str)] = &[
    ("GIT_AUTHOR_NAME", "Test"),
    ("GIT_AUTHOR_EMAIL", "test@example.org"),
    ("GIT_COMMITTER_NAME", "Test"),
    ("GIT_COMMITTER_EMAIL", "test@example.org"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("LC_ALL", "C"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_calls_give_the_same_commit() {
        let make = || GitRepository::with_files(&[("a", "1"), ("b/c", "2")]).head();
        assert_eq!(make(), make());
    }

    #[test]
    fn commits_lie_an_hour_apart() {
        let repository = GitRepository::with_files(&[("a", "1")]);
        repository.commit("second");
        let dates = repository.git(&["log", "--format=%ct", "--reverse"]);
        let expected = [FIRST_COMMIT_SECONDS, FIRST_COMMIT_SECONDS + SECONDS_BETWEEN_COMMITS];
        assert_eq!(dates, expected.map(|seconds| seconds.to_string()).join("\n"));
    }

    #[test]
    fn branches_tags_merges_and_shallow_clones() {
        let repository = GitRepository::with_files(&[("a", "1")]);
        repository.tag("v1.0.0");
        repository.branch("feature/x");
        repository.write("b", "2");
        repository.commit("more");
        repository.checkout("main");
        let merge = repository.merge("feature/x");
        assert_eq!(repository.git(&["rev-list", "--count", "--merges", "HEAD"]), "1");
        let clone = repository.shallow_clone(1);
        assert_eq!(clone.head(), merge);
        assert_eq!(clone.git(&["rev-parse", "--is-shallow-repository"]), "true");
    }
}
