//! Credential files: reading them, and the two changes `login` and `logout` make.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::Registry;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Credential, CredentialError};
use crate::client::Secret;

/// The key of Docker Hub, from the time of its first API.
pub(super) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// A file as it was read.
#[derive(Debug)]
pub(super) struct AuthFile {
    path: PathBuf,
    auths: BTreeMap<String, Entry>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default)]
    auths: BTreeMap<String, Option<Entry>>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

/// One registry's entry.
#[derive(Clone, Default, Deserialize)]
pub(super) struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
    #[serde(default, rename = "registrytoken")]
    registry_token: String,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entry(***)")
    }
}

impl AuthFile {
    /// Reads the file; `None` where there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, CredentialError> {
        read(path)?.map(|text| Self::parse(path, &text)).transpose()
    }

    /// Reads the content of such a file; `path` says where it came from.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, CredentialError> {
        // The position is enough; serde's own words may quote a value.
        let wire: Wire = serde_json::from_slice(text).map_err(|error| CredentialError::Invalid {
            path: path.to_owned(),
            reason: format!("line {} column {}: {:?} error", error.line(), error.column(), error.classify()),
        })?;
        let auths = wire.auths.into_iter().map(|(key, entry)| (normalize(&key), entry.unwrap_or_default()));
        Ok(Self {
            path: path.to_owned(),
            auths: auths.collect(),
            helpers: wire.cred_helpers.into_iter().map(|(key, name)| (normalize(&key), name)).collect(),
            store: wire.creds_store.filter(|name| !name.is_empty()),
        })
    }

    /// Returns the entry under exactly this key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.auths.get(key)
    }

    /// Returns the helper for one registry.
    pub fn helper_for(&self, registry: &Registry) -> Option<&str> {
        self.helpers.get(registry.as_str()).map(String::as_str)
    }

    /// Returns the helper for all registries.
    pub fn store(&self) -> Option<&str> {
        self.store.as_deref()
    }

    pub fn invalid(&self, reason: String) -> CredentialError {
        CredentialError::Invalid { path: self.path.clone(), reason }
    }
}

impl Entry {
    /// Whether it only says that the credential lies elsewhere.
    pub fn is_empty(&self) -> bool {
        [&self.auth, &self.username, &self.password, &self.identity_token, &self.registry_token]
            .iter()
            .all(|field| field.is_empty())
    }

    /// Returns what the entry holds; the error says which field is wrong.
    pub fn credential(&self) -> Result<Credential, String> {
        if !self.identity_token.is_empty() {
            return Ok(Credential::IdentityToken(Secret::new(&self.identity_token)));
        }
        if !self.registry_token.is_empty() {
            return Ok(Credential::RegistryToken(Secret::new(&self.registry_token)));
        }
        if self.auth.is_empty() {
            let password = Secret::new(&self.password);
            return Ok(Credential::Password { username: self.username.clone(), password });
        }
        let decoded = STANDARD.decode(self.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.ok_or("its auth is not base64 of text")?;
        let (username, password) = decoded
            .trim_end_matches('\0')
            .split_once(':')
            .ok_or("its auth is not base64 of user:password")?;
        Ok(Credential::Password { username: username.to_owned(), password: Secret::new(password) })
    }
}

/// Returns the key without scheme; with a scheme the path falls away too, because Docker's old
/// keys are addresses of an API, while Podman's keys without scheme name a namespace.
fn normalize(key: &str) -> String {
    let (key, is_address) = match key.split_once("://") {
        Some((_, rest)) => (rest, true),
        None => (key, false),
    };
    let key = key.trim_end_matches('/');
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let host = host.to_ascii_lowercase();
    let host = match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    let is_address = is_address || (host == "docker.io" && (path == "v1" || path == "v2"));
    if is_address || path.is_empty() { host.to_owned() } else { format!("{host}/{path}") }
}

/// A credential file that `login` and `logout` change. Everything in it that is not ours stays.
#[derive(Clone, Debug)]
pub struct CredentialFile {
    path: PathBuf,
}

impl CredentialFile {
    /// Returns the file at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Writes the credential for `registry`, readable by its owner only.
    ///
    /// # Errors
    /// The file cannot be read as a credential file, or not be written.
    pub fn store(&self, registry: &Registry, credential: &Credential) -> Result<(), CredentialError> {
        let mut content = self.content()?;
        let auths = self.auths(&mut content)?;
        auths.retain(|key, _| normalize(key) != registry.as_str());
        auths.insert(key_of(registry), entry_of(credential));
        self.write(&content)
    }

    /// Removes the credential for `registry`; returns whether there was one.
    ///
    /// # Errors
    /// The file cannot be read as a credential file, or not be written.
    pub fn erase(&self, registry: &Registry) -> Result<bool, CredentialError> {
        let mut content = self.content()?;
        let auths = self.auths(&mut content)?;
        let before = auths.len();
        auths.retain(|key, _| normalize(key) != registry.as_str());
        let erased = auths.len() < before;
        if erased {
            self.write(&content)?;
        }
        Ok(erased)
    }

    fn content(&self) -> Result<Map<String, Value>, CredentialError> {
        let Some(text) = read(&self.path)? else { return Ok(Map::new()) };
        match serde_json::from_slice(&text) {
            Ok(Value::Object(content)) => Ok(content),
            _ => Err(self.invalid("it is not a JSON object")),
        }
    }

    fn auths<'a>(
        &self,
        content: &'a mut Map<String, Value>,
    ) -> Result<&'a mut Map<String, Value>, CredentialError> {
        let auths = content.entry("auths").or_insert_with(|| json!({}));
        auths.as_object_mut().ok_or_else(|| self.invalid("auths is not an object"))
    }

    fn invalid(&self, reason: &str) -> CredentialError {
        CredentialError::Invalid { path: self.path.clone(), reason: reason.to_owned() }
    }

    fn write(&self, content: &Map<String, Value>) -> Result<(), CredentialError> {
        let written = || -> io::Result<()> {
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.as_file().set_permissions(std::fs::Permissions::from_mode(0o600))?;
            serde_json::to_writer_pretty(&mut file, content)?;
            file.write_all(b"\n")?;
            // A configuration that is a link into a folder of dotfiles stays one.
            let target = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
            file.as_file().sync_all()?;
            file.persist(target).map(drop).map_err(|error| error.error)
        };
        written().map_err(|source| CredentialError::File { action: "write", path: self.path.clone(), source })
    }
}

fn key_of(registry: &Registry) -> String {
    if registry.is_docker_hub() { DOCKER_HUB_KEY.to_owned() } else { registry.to_string() }
}

fn entry_of(credential: &Credential) -> Value {
    match credential {
        Credential::Password { username, password } => {
            json!({ "auth": STANDARD.encode(format!("{username}:{}", password.expose())) })
        }
        Credential::IdentityToken(token) => json!({ "identitytoken": token.expose() }),
        Credential::RegistryToken(token) => json!({ "registrytoken": token.expose() }),
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, CredentialError> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CredentialError::File { action: "read", path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(username: &str) -> Credential {
        Credential::Password { username: username.to_owned(), password: Secret::new("p:w") }
    }

    #[track_caller]
    fn find(path: &Path, key: &str) -> Option<Credential> {
        let file = AuthFile::read(path).unwrap().unwrap();
        file.entry(key).map(|entry| entry.credential().unwrap())
    }

    #[test]
    fn login_and_logout_leave_the_rest_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker/config.json");
        let file = CredentialFile::new(&path);
        let hub: Registry = "docker.io".parse().unwrap();
        file.store(&hub, &password("first")).unwrap();
        let mut content = file.content().unwrap();
        content.insert("psFormat".to_owned(), json!("x"));
        file.write(&content).unwrap();

        file.store(&hub, &password("second")).unwrap();
        let token = Credential::IdentityToken(Secret::new("t"));
        file.store(&"a.b:5000".parse().unwrap(), &token).unwrap();
        assert_eq!(find(&path, "docker.io"), Some(password("second")));
        assert_eq!(find(&path, "a.b:5000"), Some(token));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        assert!(file.erase(&hub).unwrap());
        assert!(!file.erase(&hub).unwrap());
        assert_eq!(find(&path, "docker.io"), None);
        assert_eq!(file.content().unwrap()["psFormat"], "x");
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("real.json"), folder.path().join("config.json"));
        std::fs::write(&target, "{}").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        CredentialFile::new(&link).store(&"a.b".parse().unwrap(), &password("u")).unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(find(&target, "a.b"), Some(password("u")));
    }

    #[test]
    fn what_is_no_credential_file_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for text in ["[]", "{\"auths\": 1}", "x"] {
            std::fs::write(&path, text).unwrap();
            assert!(CredentialFile::new(&path).store(&"a.b".parse().unwrap(), &password("u")).is_err());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn keys_in_every_spelling() {
        for (key, expected) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("index.docker.io/v1", "docker.io"),
            ("https://A.b/v1/", "a.b"),
            ("a.b/ns/repo/", "a.b/ns/repo"),
            ("localhost:5000", "localhost:5000"),
        ] {
            assert_eq!(normalize(key), expected);
        }
    }
}
