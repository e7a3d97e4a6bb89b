//! Who we are to a registry: from Docker's and Podman's credential files and their helpers.
//!
//! Files are asked in the order they are given. Within one file the most specific answer wins:
//!
//! | order | from | key |
//! |---|---|---|
//! | 1 | `credHelpers` | the registry's host |
//! | 2 | `auths` with content | `host/name/space`, then shorter, then `host` |
//! | 3 | `credsStore` | the registry's host, for Docker Hub its old address |
//!
//! Source: Docker's config.json; containers-auth.json(5).

mod file;
mod helper;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use oci::{Registry, Repository};

use super::Secret;
use file::AuthFile;
pub use file::CredentialFile;
use helper::Helpers;

/// How somebody is known to a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// User name and password or access token.
    Password {
        /// The user name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token, to be exchanged at the registry's token service.
    IdentityToken(Secret),
    /// A token for the registry itself, sent as it is.
    RegistryToken(Secret),
}

/// Why credentials could not be had. None of the messages shows a secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file could not be read or written.
    #[error("cannot {action} the credential file {}", path.display())]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the credential file {} is not valid: {reason}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Which part, and what is wrong with it.
        reason: String,
    },
    /// A helper program failed.
    #[error("the credential helper docker-credential-{name} failed for {registry}: {reason}")]
    Helper {
        /// The helper's name without the prefix.
        name: String,
        /// The registry it was asked for.
        registry: String,
        /// What happened.
        reason: String,
    },
}

/// All credentials that were configured.
#[derive(Debug, Default)]
pub struct Credentials {
    given: Vec<(Registry, Credential)>,
    files: Vec<AuthFile>,
    helpers: Helpers,
    last: Vec<(Registry, Credential)>,
}

impl Credentials {
    /// Returns no credentials: everything is asked for anonymously.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// Reads credential files; those that do not exist are left out. Helper programs are looked
    /// for in the folders of `helper_path`, in the form of the `PATH` variable.
    ///
    /// # Errors
    /// A file that is there and cannot be read as a credential file.
    pub fn from_files(files: &[PathBuf], helper_path: Option<&OsStr>) -> Result<Self, CredentialError> {
        let files = files.iter().filter_map(|path| AuthFile::read(path).transpose());
        Ok(Self {
            given: Vec::new(),
            files: files.collect::<Result<_, _>>()?,
            helpers: Helpers::new(helper_path),
            last: Vec::new(),
        })
    }

    /// Returns these credentials with the content of a credential file that is asked before all files;
    /// `name` says in messages where it came from.
    ///
    /// # Errors
    /// Content that cannot be read as a credential file.
    pub fn with_text(mut self, name: &str, text: &str) -> Result<Self, CredentialError> {
        self.files.insert(0, AuthFile::parse(Path::new(name), text.as_bytes())?);
        Ok(self)
    }

    /// Returns these credentials with one that is asked before any file.
    pub fn with(mut self, registry: Registry, credential: Credential) -> Self {
        self.given.push((registry, credential));
        self
    }

    /// Returns these credentials with one that counts where no file knows the registry, as a CI host
    /// gives it to its jobs.
    pub fn with_last(mut self, registry: Registry, credential: Credential) -> Self {
        self.last.push((registry, credential));
        self
    }

    /// Returns who we are to `registry`, or to one repository of it; `None` means anonymous.
    ///
    /// # Errors
    /// A helper that fails in another way than by not knowing the registry.
    pub fn find(
        &self,
        registry: &Registry,
        repository: Option<&Repository>,
    ) -> Result<Option<Credential>, CredentialError> {
        if let Some((_, credential)) = self.given.iter().rev().find(|(known, _)| known == registry) {
            return Ok(Some(credential.clone()));
        }
        for file in &self.files {
            if let Some(credential) = self.find_in(file, registry, repository)? {
                return Ok(Some(credential));
            }
        }
        Ok(self.last.iter().find(|(known, _)| known == registry).map(|(_, credential)| credential.clone()))
    }

    fn find_in(
        &self,
        file: &AuthFile,
        registry: &Registry,
        repository: Option<&Repository>,
    ) -> Result<Option<Credential>, CredentialError> {
        let ask = |helper: &str| self.helpers.get(helper, registry);
        if let Some(helper) = file.helper_for(registry)
            && let Some(credential) = ask(helper)?
        {
            return Ok(Some(credential));
        }
        for key in keys(registry, repository) {
            if let Some(entry) = file.entry(&key).filter(|entry| !entry.is_empty()) {
                let credential =
                    entry.credential().map_err(|reason| file.invalid(format!("{key}: {reason}")));
                return credential.map(Some);
            }
        }
        file.store().map_or(Ok(None), ask)
    }
}

/// The keys that may hold the credential, the most specific one first.
fn keys(registry: &Registry, repository: Option<&Repository>) -> Vec<String> {
    let mut keys = Vec::new();
    let mut path = repository.map_or("", Repository::path);
    while !path.is_empty() {
        keys.push(format!("{registry}/{path}"));
        path = path.rsplit_once('/').map_or("", |(shorter, _)| shorter);
    }
    keys.push(registry.to_string());
    keys
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A folder with a credential file and helper programs that are shell scripts.
    struct Home {
        folder: tempfile::TempDir,
    }

    impl Home {
        fn new(config: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("config.json"), config).unwrap();
            Self { folder }
        }

        fn helper(self, name: &str, script: &str) -> Self {
            let path = self.folder.path().join(format!("docker-credential-{name}"));
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            self
        }

        fn find(&self, name: &str) -> Result<String, String> {
            let repository: Repository = name.parse().unwrap();
            let files = [self.folder.path().join("absent.json"), self.folder.path().join("config.json")];
            let credentials = Credentials::from_files(&files, Some(self.folder.path().as_os_str()))
                .map_err(|e| e.to_string())?;
            let found =
                credentials.find(repository.registry(), Some(&repository)).map_err(|e| e.to_string())?;
            Ok(match found {
                None => "anonymous".to_owned(),
                Some(Credential::Password { username, password }) => {
                    format!("{username}:{}", password.expose())
                }
                Some(Credential::IdentityToken(token)) => format!("identity {}", token.expose()),
                Some(Credential::RegistryToken(token)) => format!("registry {}", token.expose()),
            })
        }

        #[track_caller]
        fn check(&self, name: &str, expected: &str) {
            assert_eq!(self.find(name).as_deref(), Ok(expected), "{name}");
        }

        #[track_caller]
        fn check_error(&self, name: &str, expected: &str) {
            let error = self.find(name).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_longest_key_wins() {
        let home = Home::new(
            r#"{"auths": {
                "a.b": {"username": "host", "password": "p"},
                "a.b/team": {"username": "team", "password": "p"},
                "a.b/team/app": {"auth": "YXBwOnA6cQ=="},
                "https://index.docker.io/v1/": {"username": "hub", "password": "p"},
                "https://old.io/v2/": {"username": "old", "password": "p"},
                "token.io": {"auth": "dTo=", "identitytoken": "secret"},
                "raw.io": {"registrytoken": "secret"},
                "empty.io": {}
            }}"#,
        );
        home.check("a.b/other", "host:p");
        home.check("a.b/team/other", "team:p");
        home.check("a.b/team/app", "app:p:q");
        home.check("a.b/team/app/sub", "app:p:q");
        home.check("a.b/teamwork", "host:p");
        home.check("debian", "hub:p");
        home.check("old.io/x", "old:p");
        home.check("token.io/x", "identity secret");
        home.check("raw.io/x", "registry secret");
        home.check("empty.io/x", "anonymous");
        home.check("c.d/x", "anonymous");
    }

    #[test]
    fn helpers_are_asked() {
        let home = Home::new(r#"{"auths": {"a.b": {}}, "credHelpers": {"h.io": "one"}, "credsStore": "two"}"#)
            .helper("one", r#"read url; echo "{\"Username\":\"<token>\",\"Secret\":\"$1 $url\"}""#)
            .helper("two", r#"read url; test "$url" = https://index.docker.io/v1/ && echo '{"Username":"u","Secret":"s"}' && exit
                              echo "credentials not found in native keychain"; exit 1"#);
        home.check("h.io/x", "identity get h.io");
        home.check("debian", "u:s");
        home.check("a.b/x", "anonymous");
    }

    #[test]
    fn helpers_that_fail_say_so() {
        let home =
            Home::new(r#"{"credHelpers": {"a.io": "gone", "b.io": "bad", "c.io": "odd", "d.io": "../x"}}"#)
                .helper("bad", "echo 'no agent' >&2; exit 3")
                .helper("odd", "echo hello");
        home.check_error("a.io/x", "docker-credential-gone failed for a.io: it is not in the search path");
        home.check_error("b.io/x", "no agent");
        home.check_error("c.io/x", "not the JSON");
        home.check_error("d.io/x", "not a program name");
    }

    #[test]
    fn broken_files_name_the_key_and_never_the_secret() {
        Home::new("{").check_error("a.b/c", "is not valid");
        let home = Home::new(r#"{"auths": {"a.b": {"auth": "c2VjcmV0"}}}"#);
        home.check_error("a.b/c", "a.b");
        assert!(!home.find("a.b/c").unwrap_err().contains("secret"));
    }

    #[test]
    fn what_is_given_wins() {
        let registry: Registry = "a.b".parse().unwrap();
        let token = Credential::RegistryToken(Secret::new("t"));
        let credentials = Credentials::anonymous().with(registry.clone(), token.clone());
        assert_eq!(credentials.find(&registry, None).unwrap(), Some(token));
    }
}
