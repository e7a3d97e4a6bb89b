//! `login` and `logout`: credentials in the file that Docker, Podman and skopeo read too.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use oci::Registry;
use registry::client::{Client, ClientOptions, Credential, CredentialFile, Secret};
use serde::Serialize;

use crate::error::Error;
use crate::session::{self, Session};
use crate::ui::prompt;

/// Checks credentials for a registry and keeps them
#[derive(Debug, clap::Args)]
#[command(after_help = "They are kept in Docker's config.json, where Docker, Podman and skopeo look too.

Examples:
  $ plimsoll login ghcr.io --username acme
  $ printenv TOKEN | plimsoll login ghcr.io --username acme --password-stdin")]
pub struct Login {
    /// The registry
    registry: Registry,
    /// Who you are there; asked for on a terminal
    #[arg(short, long)]
    username: Option<String>,
    /// Takes the password or token from standard input
    #[arg(long)]
    password_stdin: bool,
    /// As other tools have it; refused
    #[arg(short, long, hide = true)]
    password: Option<Unread>,
}

/// Forgets the credentials for a registry
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll logout ghcr.io")]
pub struct Logout {
    /// The registry
    registry: Registry,
}

/// A secret that was given where it should not be; nothing of it is kept.
#[derive(Clone, Debug)]
struct Unread;

impl std::str::FromStr for Unread {
    type Err = std::convert::Infallible;

    fn from_str(_: &str) -> Result<Self, Self::Err> {
        Ok(Self)
    }
}

#[derive(Debug, Serialize)]
struct Answer {
    registry: Registry,
    file: PathBuf,
    logged_in: bool,
    #[serde(skip)]
    text: String,
}

impl Login {
    /// Asks the registry whether the credentials are right, then keeps them.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        if self.password.is_some() {
            return Err(Error::Usage {
                message: "a password in the arguments is seen by everybody on this machine".to_owned(),
                hint: Some(format!(
                    "printenv PASSWORD | plimsoll login {} --username NAME --password-stdin",
                    self.registry
                )),
            });
        }
        let username = match &self.username {
            Some(username) => username.clone(),
            None => prompt::line(&session.environment, "user name")?,
        };
        let password = if self.password_stdin {
            prompt::piped_secret()?
        } else {
            prompt::secret(&session.environment, "password")?
        };
        if username.is_empty() || password.is_empty() {
            return Err(Error::usage("neither user name nor password may be empty"));
        }
        let credential = Credential::Password { username: username.clone(), password: Secret::new(password) };
        self.check(session, &credential)?;
        let (registry, file) = (self.registry.clone(), file(session)?);
        if session.global.dry_run {
            let text = format!("{registry} lets {username} in; would keep that in {}", file.display());
            return session.ui.answer("login", &Answer { registry, file, logged_in: false, text });
        }
        CredentialFile::new(&file).store(&registry, &credential)?;
        let text = format!("logged in to {registry} as {username}; kept in {}", file.display());
        session.ui.answer("login", &Answer { registry, file, logged_in: true, text })
    }

    fn check(&self, session: &Session, credential: &Credential) -> Result<(), Error> {
        let credentials =
            session::credentials(&session.environment)?.with(self.registry.clone(), credential.clone());
        let options = ClientOptions { credentials: Arc::new(credentials), ..session.client_options()? };
        Ok(Client::new(options)?.ping(&self.registry)?)
    }
}

impl Logout {
    /// Forgets the credentials.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let file = file(session)?;
        let text = if session.global.dry_run {
            format!("would take {} out of {}", self.registry, file.display())
        } else if CredentialFile::new(&file).erase(&self.registry)? {
            format!("logged out of {}", self.registry)
        } else {
            format!("there are no credentials for {} in {}", self.registry, file.display())
        };
        session.ui.answer("login", &Answer { registry: self.registry.clone(), file, logged_in: false, text })
    }
}

fn file(session: &Session) -> Result<PathBuf, Error> {
    session.environment.login_file().ok_or_else(|| Error::Usage {
        message: "there is no file for credentials: HOME is not set".to_owned(),
        hint: Some("name its folder with DOCKER_CONFIG".to_owned()),
    })
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
