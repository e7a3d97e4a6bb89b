//! The world outside: environment variables, clock, working folder, home, terminals. This is the
//! only module that asks for them; everything else is handed an [`Environment`].

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use builder::HostAccess;
use jiff::Timestamp;
use registry::client::{Clock, CloudSettings, ProxySettings, RouteSettings};

use crate::error::Error;

/// Where distributions keep all certificate authorities in one file: Debian and Alpine; Fedora; openSUSE; Fedora's
/// older ones; Alpine's older ones. Source: Go, crypto/x509/root_linux.go.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What the process was started with, read once.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Variables whose name and value are UTF-8.
    pub variables: BTreeMap<String, String>,
    /// When the process was started.
    pub now: Timestamp,
    /// The folder relative paths start from.
    pub folder: PathBuf,
    /// Whether standard output is a terminal.
    pub stdout_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub stderr_is_terminal: bool,
    /// Whether standard input is a terminal.
    pub stdin_is_terminal: bool,
}

impl Environment {
    /// Reads the world.
    #[allow(clippy::disallowed_methods, reason = "the one place that may")]
    pub fn read() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            variables,
            now: Timestamp::now(),
            folder: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            stdout_is_terminal: std::io::stdout().is_terminal(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
            stdin_is_terminal: std::io::stdin().is_terminal(),
        }
    }

    /// Returns a variable that is set and not empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Makes `folder` the working folder, as if the process had been started there.
    pub fn enter(&mut self, folder: &Path) -> Result<(), Error> {
        let cannot = |source| Error::file("enter", folder, source);
        std::env::set_current_dir(folder).map_err(cannot)?;
        self.folder = std::env::current_dir().map_err(cannot)?;
        Ok(())
    }

    /// Returns the home folder, where there is one.
    pub fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").map(PathBuf::from)
    }

    /// Returns the folder for state: `$PLIMSOLL_ROOT`, else `plimsoll` in the XDG data folder.
    ///
    /// Source: XDG Base Directory Specification 0.8, "Environment variables": relative values are ignored.
    pub fn state_folder(&self) -> Option<PathBuf> {
        if let Some(root) = self.variable("PLIMSOLL_ROOT") {
            return Some(self.folder.join(root));
        }
        let data = self.variable("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let data = data.or_else(|| self.home().map(|home| home.join(".local/share")))?;
        Some(data.join("plimsoll"))
    }

    /// Returns the clock as a plain function.
    pub fn instant(&self) -> fn() -> Timestamp {
        Timestamp::now
    }

    /// Returns the clock, for what takes long enough that `now` grows old.
    pub fn clock(&self) -> Clock {
        Clock::new(Timestamp::now)
    }

    /// Returns what tells the time.
    pub fn now(&self) -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
        Arc::new(Timestamp::now)
    }

    /// Returns random bytes, others each time.
    pub fn seed(&self) -> [u8; 16] {
        use std::hash::{BuildHasher as _, RandomState};
        let half = || RandomState::new().hash_one(self.now).to_ne_bytes();
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&half());
        seed[8..].copy_from_slice(&half());
        seed
    }

    /// Returns the proxies of the usual variables. `HTTP_PROXY` in capitals is not read where the
    /// process answers a web request: there anybody sets it, with a header.
    pub fn proxies(&self) -> ProxySettings {
        let either =
            |name: &str| self.variable(&name.to_lowercase()).or(self.variable(name)).map(str::to_owned);
        let in_web_server = self.variable("REQUEST_METHOD").is_some();
        let http =
            if in_web_server { self.variable("http_proxy").map(str::to_owned) } else { either("HTTP_PROXY") };
        ProxySettings {
            http: http.or_else(|| either("ALL_PROXY")),
            https: either("HTTPS_PROXY").or_else(|| either("ALL_PROXY")),
            no_proxy: either("NO_PROXY").unwrap_or_default(),
        }
    }

    /// Returns what RUN steps are lent of this machine's ways to the network.
    ///
    /// # Errors
    /// There is no bundle of certificate authorities, or it cannot be read.
    pub fn host_access(&self) -> Result<HostAccess, Error> {
        let named = self.variable("SSL_CERT_FILE").map(|file| self.folder.join(file));
        let usual = || BUNDLES.iter().map(PathBuf::from).find(|file| file.is_file());
        let bundle = named.or_else(usual).ok_or_else(|| {
            Error::usage(format!(
                "host-ca is asked for, and this machine has no bundle of certificate authorities: install \
                 ca-certificates or name one with SSL_CERT_FILE (looked for {})",
                BUNDLES.join(", ")
            ))
        })?;
        let pem = std::fs::read(&bundle).map_err(|source| Error::file("read", &bundle, source))?;
        let names = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"];
        let names = names.iter().flat_map(|name| [(*name).to_owned(), name.to_lowercase()]);
        let proxies = names.filter_map(|name| Some((name.clone(), self.variable(&name)?.to_owned())));
        Ok(HostAccess { certificates: Some(pem.into()), proxies: proxies.collect() })
    }

    /// Returns the folders with certificates for single registries, the user's own first.
    ///
    /// Source: containers-certs.d(5); Docker's manual, "Use custom certificates".
    pub fn certificate_folders(&self) -> Vec<PathBuf> {
        let own = self
            .config_folder()
            .into_iter()
            .flat_map(|folder| [folder.join("containers/certs.d"), folder.join("docker/certs.d")]);
        own.chain(["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from)).collect()
    }

    /// Returns what clouds give their jobs and machines, as their own tools read it.
    pub fn clouds(&self) -> CloudSettings {
        let prefixes = ["AWS_", "GOOGLE_", "GCE_", "CLOUDSDK_", "AZURE_", "IDENTITY_"];
        let is_theirs = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
        let variables = self.variables.iter().filter(|(name, _)| is_theirs(name));
        CloudSettings {
            variables: variables.map(|(name, value)| (name.clone(), value.clone())).collect(),
            home: self.home(),
            // Machines that have no such file are nobody's.
            machine: std::fs::read_to_string("/sys/class/dmi/id/sys_vendor").unwrap_or_default(),
        }
    }

    /// Returns the files that name mirrors: containerd's, the user's own first, and Podman's, of which
    /// the user's own takes the place of the machine's.
    ///
    /// Source: containerd, docs/hosts.md; containers-registries.conf(5), "FILES".
    pub fn routes(&self) -> RouteSettings {
        let config = self.config_folder();
        let own = |name: &str| config.iter().map(|folder| folder.join(name)).collect::<Vec<_>>();
        let mut hosts_folders = own("containerd/certs.d");
        hosts_folders.extend(self.certificate_folders());
        hosts_folders.push("/etc/containerd/certs.d".into());
        let named = self.variable("CONTAINERS_REGISTRIES_CONF").map(|file| self.folder.join(file));
        let users = own("containers/registries.conf").into_iter().find(|file| file.is_file());
        let registries = named.clone().or(users).or(Some("/etc/containers/registries.conf".into()));
        let mut registries_folders = vec![PathBuf::from("/etc/containers/registries.conf.d")];
        registries_folders.extend(own("containers/registries.conf.d"));
        if named.is_some() {
            registries_folders.clear();
        }
        RouteSettings { hosts_folders, registries, registries_folders }
    }

    fn config_folder(&self) -> Option<PathBuf> {
        let config = self.variable("XDG_CONFIG_HOME").map(PathBuf::from);
        config.or_else(|| self.home().map(|home| home.join(".config")))
    }

    /// Returns the file that `login` writes: Docker's, which every other tool reads too.
    pub fn login_file(&self) -> Option<PathBuf> {
        let folder = self.variable("DOCKER_CONFIG").map(|folder| self.folder.join(folder));
        let folder = folder.or_else(|| self.home().map(|home| home.join(".docker")))?;
        Some(folder.join("config.json"))
    }

    /// Returns the credential files of Docker and Podman, those that were named by variables first.
    ///
    /// Source: Docker's CLI reference, "Configuration files"; containers-auth.json(5).
    pub fn credential_files(&self) -> Vec<PathBuf> {
        let named = self.variable("REGISTRY_AUTH_FILE").map(|file| self.folder.join(file));
        let runtime = self.variable("XDG_RUNTIME_DIR").map(PathBuf::from);
        let podman = [runtime, self.config_folder()]
            .into_iter()
            .flatten()
            .map(|folder| folder.join("containers/auth.json"));
        named.into_iter().chain(self.login_file()).chain(podman).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], expected: Option<&str>) {
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment = Environment {
            variables,
            now: Timestamp::UNIX_EPOCH,
            folder: "/project".into(),
            stdout_is_terminal: false,
            stderr_is_terminal: false,
            stdin_is_terminal: false,
        };
        assert_eq!(environment.state_folder().as_deref(), expected.map(Path::new));
    }

    #[test]
    fn state_folder_by_order_of_precedence() {
        check(&[("PLIMSOLL_ROOT", "/p"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")], Some("/p"));
        check(&[("PLIMSOLL_ROOT", "state")], Some("/project/state"));
        check(&[("PLIMSOLL_ROOT", ""), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")], Some("/x/plimsoll"));
        check(&[("XDG_DATA_HOME", "relative"), ("HOME", "/h")], Some("/h/.local/share/plimsoll"));
        check(&[], None);
    }
}
