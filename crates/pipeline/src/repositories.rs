//! Files of git repositories on other machines, by the program `git`: it knows every transport, and the
//! credentials that its user has given it.
//!
//! A commit is found by asking the remote for its references; its files are fetched without history where the remote
//! allows that. Settings of the user count for the connection and not for the files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use builder::{GitFetcher, GitSource, Secret};

/// Why files of a repository cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// Other machines are not to be asked.
    #[error("{remote} is on another machine, and --offline was given")]
    Offline {
        /// The repository.
        remote: String,
    },
    /// There is no program `git`.
    #[error("the program git is not installed, which fetches repositories (apt-get install git)")]
    NoGit(#[source] io::Error),
    /// The remote does not have what was asked for.
    #[error("{remote} has no branch or tag {reference}")]
    NoReference {
        /// The repository.
        remote: String,
        /// The branch, tag or commit.
        reference: String,
    },
    /// The repository does not have the folder.
    #[error("{remote} has no folder {folder}")]
    NoFolder {
        /// The repository.
        remote: String,
        /// The folder.
        folder: String,
    },
    /// Git failed.
    #[error("git {action} failed for {remote}: {said}")]
    Git {
        /// Its command.
        action: String,
        /// The repository.
        remote: String,
        /// The last lines it printed.
        said: String,
    },
    /// A file cannot be changed.
    #[error("cannot prepare the files of {remote}")]
    Files {
        /// The repository.
        remote: String,
        /// Why.
        source: io::Error,
    },
}

/// What git is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The variables of this program; git gets those that it and its transports know.
    pub environment: BTreeMap<String, String>,
    /// Whether other machines must not be asked.
    pub offline: bool,
    /// Secrets of the build: `GIT_AUTH_TOKEN` and `GIT_AUTH_HEADER`, also with `.HOST` behind, are for HTTP remotes.
    pub secrets: BTreeMap<String, Secret>,
}

/// Returns what fetches repositories for builds.
pub fn fetcher(settings: Settings) -> GitFetcher {
    let checkout = settings.clone();
    GitFetcher::new(
        move |source| Ok(Git::new(&settings, &source.remote)?.resolve(source.reference.as_deref())?),
        move |source, commit, keeps, folder| {
            Ok(Git::new(&checkout, &source.remote)?.checkout(source, commit, keeps, folder)?)
        },
    )
}

/// Git with one remote.
struct Git<'a> {
    settings: &'a Settings,
    remote: &'a str,
}

impl<'a> Git<'a> {
    fn new(settings: &'a Settings, remote: &'a str) -> Result<Self, RepositoryError> {
        let (_, authority) = scheme_and_authority(remote);
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        if settings.offline && !matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
            return Err(RepositoryError::Offline { remote: remote.to_owned() });
        }
        Ok(Self { settings, remote })
    }

    /// Returns the commit that a reference is now.
    fn resolve(&self, reference: Option<&str>) -> Result<String, RepositoryError> {
        let reference = reference.unwrap_or("HEAD");
        if is_commit(reference) {
            return Ok(reference.to_owned());
        }
        let peeled = format!("{reference}^{{}}");
        let listed = self.run(None, &["ls-remote", "--", self.remote, reference, &peeled])?;
        best(&listed, reference).ok_or_else(|| RepositoryError::NoReference {
            remote: self.remote.to_owned(),
            reference: reference.to_owned(),
        })
    }

    fn checkout(
        &self,
        source: &GitSource,
        commit: &str,
        keeps_git_dir: bool,
        folder: &Path,
    ) -> Result<(), RepositoryError> {
        self.run(Some(folder), &["init", "--quiet"])?;
        self.run(Some(folder), &["remote", "add", "origin", self.remote])?;
        self.fetch(folder, source.reference.as_deref(), commit)?;
        self.run(Some(folder), &["checkout", "--quiet", "--force", "--detach", commit])?;
        if !source.without_submodules && folder.join(".gitmodules").exists() {
            self.run(
                Some(folder),
                &["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"],
            )?;
        }
        let failed = |source| RepositoryError::Files { remote: self.remote.to_owned(), source };
        if !keeps_git_dir {
            std::fs::remove_dir_all(folder.join(".git")).map_err(failed)?;
        }
        if !folder.join(&source.folder).is_dir() {
            let (remote, folder) = (self.remote.to_owned(), source.folder.clone());
            return Err(RepositoryError::NoFolder { remote, folder });
        }
        make_portable(folder).map_err(failed)
    }

    /// Fetches a commit: alone where the remote allows it, else by its reference, else with everything.
    fn fetch(&self, folder: &Path, reference: Option<&str>, commit: &str) -> Result<(), RepositoryError> {
        let shallow = ["fetch", "--quiet", "--no-tags", "--depth=1", "origin"];
        let with = |what| [&shallow[..], &[what]].concat();
        let reference = reference.filter(|reference| !is_commit(reference)).unwrap_or("HEAD");
        for what in [commit, reference] {
            if self.run(Some(folder), &with(what)).is_ok() && self.has(folder, commit) {
                return Ok(());
            }
        }
        let all = ["fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"];
        self.run(Some(folder), &all)?;
        match self.has(folder, commit) {
            true => Ok(()),
            false => Err(RepositoryError::NoReference {
                remote: self.remote.to_owned(),
                reference: commit.to_owned(),
            }),
        }
    }

    fn has(&self, folder: &Path, commit: &str) -> bool {
        self.run(Some(folder), &["cat-file", "-e", &format!("{commit}^{{commit}}")]).is_ok()
    }

    /// Runs git and returns what it prints.
    fn run(&self, folder: Option<&Path>, arguments: &[&str]) -> Result<String, RepositoryError> {
        // What a user's settings say about files must not reach an image.
        const FIXED: [&str; 6] = [
            "core.autocrlf=false",
            "core.symlinks=true",
            "core.fileMode=true",
            "core.hooksPath=/dev/null",
            "init.defaultBranch=main",
            "advice.detachedHead=false",
        ];
        let mut command = Command::new("git");
        command.env_clear().envs(self.environment()).stdin(Stdio::null());
        command.args(FIXED.iter().flat_map(|setting| ["-c", setting])).args(arguments);
        if let Some(folder) = folder {
            command.current_dir(folder);
        }
        let output = command.output().map_err(RepositoryError::NoGit)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        const LINES: usize = 5;
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        Err(RepositoryError::Git {
            action: arguments.first().copied().unwrap_or_default().to_owned(),
            remote: self.remote.to_owned(),
            said: lines[lines.len().saturating_sub(LINES)..].join("; "),
        })
    }

    fn environment(&self) -> Vec<(String, String)> {
        const KNOWN: [&str; 8] =
            ["PATH", "HOME", "USER", "TMPDIR", "SSH_AUTH_SOCK", "SSH_AGENT_PID", "XDG_CONFIG_HOME", "LANG"];
        let is_passed = |name: &str| {
            // A hook that starts a build has these two, and they name another repository.
            let is_gits =
                name.starts_with("GIT_") && !matches!(name, "GIT_DIR" | "GIT_WORK_TREE" | "GIT_INDEX_FILE");
            KNOWN.contains(&name)
                || is_gits
                || name.starts_with("SSL_CERT_")
                || name.to_ascii_lowercase().ends_with("_proxy")
        };
        let own = self.settings.environment.iter().filter(|(name, _)| is_passed(name));
        let mut variables: Vec<(String, String)> =
            own.map(|(name, value)| (name.clone(), value.clone())).collect();
        variables.push(("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned()));
        if !self.settings.environment.contains_key("GIT_SSH_COMMAND") {
            variables.push(("GIT_SSH_COMMAND".to_owned(), "ssh -o BatchMode=yes".to_owned()));
        }
        if let Some((address, header)) = self.header() {
            // By the environment, because everybody on a machine sees the arguments of its programs.
            let key = format!("http.{address}.extraheader");
            for (name, value) in
                [("COUNT", "1".to_owned()), ("KEY_0", key), ("VALUE_0", format!("Authorization: {header}"))]
            {
                variables.push((format!("GIT_CONFIG_{name}"), value));
            }
        }
        variables
    }

    /// Returns the address that credentials are for, and the header with them.
    fn header(&self) -> Option<(String, String)> {
        let (scheme, authority) = scheme_and_authority(self.remote);
        if !matches!(scheme, "http" | "https") {
            return None;
        }
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = authority.split(':').next().unwrap_or(authority);
        let secret = |name: &str| {
            let of_host = self.settings.secrets.get(&format!("{name}.{host}"));
            let found = of_host.or_else(|| self.settings.secrets.get(name))?;
            Some(String::from_utf8_lossy(found.bytes()).trim().to_owned())
        };
        let token = || {
            let pair = format!("x-access-token:{}", secret("GIT_AUTH_TOKEN")?);
            Some(format!("basic {}", STANDARD.encode(pair)))
        };
        let header = secret("GIT_AUTH_HEADER").or_else(token)?;
        Some((format!("{scheme}://{authority}/"), header))
    }
}

/// Splits an address; `NAME@HOST:PATH` has the scheme `ssh`, and a path none and no host.
fn scheme_and_authority(remote: &str) -> (&str, &str) {
    match remote.split_once("://") {
        Some((scheme, rest)) => (scheme, rest.split('/').next().unwrap_or(rest)),
        None => match remote.split_once(':').filter(|(host, _)| !host.contains('/')) {
            Some((host, _)) => ("ssh", host.rsplit_once('@').map_or(host, |(_, host)| host)),
            None => ("file", "localhost"),
        },
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the commit of the reference that git itself would take: a branch before a tag, and of a tag with a
/// message what it points to.
fn best(listed: &str, reference: &str) -> Option<String> {
    let lines: Vec<(&str, &str)> = listed.lines().filter_map(|line| line.split_once('\t')).collect();
    let short = reference.strip_prefix("refs/").unwrap_or(reference);
    let wanted = [
        format!("refs/heads/{reference}"),
        format!("refs/tags/{reference}^{{}}"),
        format!("refs/tags/{reference}"),
        format!("{reference}^{{}}"),
        reference.to_owned(),
        format!("refs/{short}^{{}}"),
        format!("refs/{short}"),
    ];
    let commit =
        |name: &String| lines.iter().find(|(_, own)| own == name).map(|(commit, _)| (*commit).to_owned());
    wanted.iter().find_map(commit)
}

/// Gives files the modes that git knows, whatever this process' umask made of them.
fn make_portable(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        if found.is_symlink() || entry.file_name() == OsStr::new(".git") {
            continue;
        }
        let is_program = found.is_dir() || found.permissions().mode() & 0o100 != 0;
        let mode = if is_program { 0o755 } else { 0o644 };
        std::fs::set_permissions(entry.path(), std::fs::Permissions::from_mode(mode))?;
        if found.is_dir() {
            make_portable(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use testkit::git::GitRepository;

    use super::*;

    fn settings(offline: bool, secrets: &[(&str, &str)]) -> Settings {
        let path = "/usr/local/bin:/usr/bin:/bin".to_owned();
        let secret = |(name, value): &(&str, &str)| ((*name).to_owned(), Secret::new(value.as_bytes()));
        Settings {
            environment: BTreeMap::from([("PATH".to_owned(), path)]),
            offline,
            secrets: secrets.iter().map(secret).collect(),
        }
    }

    #[test]
    fn a_branch_goes_before_a_tag_and_a_tag_is_what_it_points_to() {
        let listed = "1\trefs/heads/x\n2\trefs/tags/x\n3\trefs/tags/x^{}\n4\trefs/tags/y\n5\tHEAD\n6\trefs/pull/1/head\n";
        let best = |reference| best(listed, reference);
        assert_eq!(best("x").as_deref(), Some("1"));
        assert_eq!(best("refs/tags/x").as_deref(), Some("3"));
        assert_eq!(best("y").as_deref(), Some("4"));
        assert_eq!(best("HEAD").as_deref(), Some("5"));
        assert_eq!(best("refs/pull/1/head").as_deref(), Some("6"));
        assert_eq!(best("z"), None);
    }

    #[test]
    fn credentials_are_for_the_host_they_name() {
        let settings = settings(false, &[("GIT_AUTH_TOKEN", "all"), ("GIT_AUTH_HEADER.h", "bearer x")]);
        let header = |remote| Git::new(&settings, remote).unwrap().header();
        assert_eq!(header("https://h/r.git"), Some(("https://h/".to_owned(), "bearer x".to_owned())));
        let (address, text) = header("http://other:1/r.git").unwrap();
        assert_eq!((&*address, &*text), ("http://other:1/", "basic eC1hY2Nlc3MtdG9rZW46YWxs"));
        assert_eq!(header("ssh://h/r"), None);
    }

    #[test]
    fn other_machines_are_not_asked_offline() {
        let settings = settings(true, &[]);
        assert!(Git::new(&settings, "https://h/r.git").is_err());
        assert!(Git::new(&settings, "git@h:r").is_err());
        assert!(Git::new(&settings, "http://127.0.0.1:80/r.git").is_ok());
    }

    #[test]
    fn files_of_a_commit_are_fetched() {
        let repository = GitRepository::with_files(&[("a/one", "1"), ("two", "2")]);
        let remote = repository.path().display().to_string();
        let fetcher = fetcher(settings(false, &[]));
        let source = GitSource { remote, reference: Some("main".to_owned()), ..GitSource::default() };
        let commit = match fetcher.resolve(&source) {
            Err(error) if error.to_string().contains("not installed") => {
                eprintln!("skipped: {error}");
                return;
            }
            commit => commit.unwrap(),
        };
        let folder = tempfile::tempdir().unwrap();
        fetcher.checkout(&source, &commit, false, folder.path()).unwrap();
        assert_eq!(std::fs::read(folder.path().join("a/one")).unwrap(), b"1");
        assert!(!folder.path().join(".git").exists());
        let kept = tempfile::tempdir().unwrap();
        fetcher.checkout(&source, &commit, true, kept.path()).unwrap();
        assert!(kept.path().join(".git/HEAD").exists());
        let missing = GitSource { reference: Some("nowhere".to_owned()), ..source.clone() };
        assert!(fetcher.resolve(&missing).unwrap_err().to_string().contains("no branch or tag nowhere"));
        let missing = GitSource { folder: "b".to_owned(), ..source };
        let again = tempfile::tempdir().unwrap();
        let error = fetcher.checkout(&missing, &commit, false, again.path()).unwrap_err();
        assert!(error.to_string().contains("no folder b"), "{error}");
    }
}
