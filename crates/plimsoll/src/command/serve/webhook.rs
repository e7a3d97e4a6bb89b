//! Whom `serve registry` tells of what happens.

use std::path::Path;
use std::sync::Arc;

use pipeline::configuration::{OneOrMany, SecretSource, ServeRegistry, ServeWebhook};
use registry::client::Client;
use registry::server::Pattern;
use registry::server::webhook::{WAITS, Webhook, WebhookOptions, WebhookSecret, WebhookTrouble};
use serde::Deserialize;

use crate::error::Error;
use crate::session::Session;

/// How many events wait for one receiver at most.
const MAX_WAITING: usize = 10_000;

/// Who is told of pushes, moved tags and deletions.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Events")]
pub struct Webhooks {
    /// Tells this address of pushes, moved tags and deletions (Standard Webhooks); may be repeated
    #[arg(long, value_name = "URL")]
    webhook: Vec<String>,
    /// What messages are signed with, whsec_...: in a file, or in a variable as env:NAME
    #[arg(long, value_name = "FILE|env:NAME")]
    webhook_secret: Option<String>,
    /// Tells of these repositories only; * stands for anything
    #[arg(long, value_name = "PATTERN")]
    webhook_only: Vec<String>,
}

/// The same in the access file, with choices of its own for each receiver.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct WebhookTable {
    url: String,
    secret: String,
    #[serde(default)]
    repositories: Vec<String>,
    #[serde(default)]
    events: Vec<String>,
}

impl Webhooks {
    /// Puts the flags into the settings.
    ///
    /// # Errors
    /// An address without a secret, or the other way round.
    pub fn put(&self, settings: &mut ServeRegistry) -> Result<(), Error> {
        let secret = match (&self.webhook_secret, self.webhook.is_empty()) {
            (None, true) if self.webhook_only.is_empty() => return Ok(()),
            (Some(secret), false) => secret,
            (None, false) => return Err(Error::usage("--webhook needs --webhook-secret")),
            (_, true) => return Err(Error::usage("--webhook-secret and --webhook-only need --webhook")),
        };
        let secret = match secret.strip_prefix("env:") {
            Some(name) => SecretSource::Env(name.to_owned()),
            None => SecretSource::File(secret.strip_prefix("file:").unwrap_or(secret).into()),
        };
        let told = |url: &String| ServeWebhook {
            url: url.clone(),
            secret: secret.clone(),
            repositories: OneOrMany(self.webhook_only.clone()),
            events: OneOrMany::default(),
        };
        settings.webhook = self.webhook.iter().map(told).collect();
        Ok(())
    }
}

/// Returns who is told: those of the settings and those of the access file, whose folder is `beside`.
///
/// # Errors
/// An address or a secret that cannot be used.
pub fn options(
    session: &Session,
    settings: &ServeRegistry,
    tables: Vec<WebhookTable>,
    beside: &Path,
) -> Result<Option<WebhookOptions>, Error> {
    let mut hooks = Vec::new();
    for told in &settings.webhook {
        let secret = match &told.secret {
            SecretSource::Env(name) => format!("env:{name}"),
            SecretSource::File(path) => path.display().to_string(),
        };
        let (repositories, events) = (told.repositories.to_vec(), told.events.to_vec());
        let table = WebhookTable { url: told.url.clone(), secret, repositories, events };
        hooks.push(hook(session, table, &session.environment.folder)?);
    }
    for table in tables {
        hooks.push(hook(session, table, beside)?);
    }
    if hooks.is_empty() {
        return Ok(None);
    }
    let client = Client::new(session.client_options()?).map_err(|error| Error::usage(error.to_string()))?;
    let ui = session.ui.clone();
    Ok(Some(WebhookOptions {
        hooks,
        folder: session.root()?.join("registry/webhooks"),
        client,
        now: session.environment.now(),
        waits: WAITS.to_vec(),
        max_waiting: MAX_WAITING,
        report: Arc::new(move |trouble| ui.warn(message(trouble))),
    }))
}

fn hook(session: &Session, table: WebhookTable, beside: &Path) -> Result<Webhook, Error> {
    let WebhookTable { url, secret, repositories, events } = table;
    Client::check_receiver(&url)
        .map_err(|reason| Error::usage(format!("webhook {}: {reason}", shown(&url))))?;
    Ok(Webhook {
        secrets: secrets(session, &secret, beside)?,
        url,
        repositories: repositories.into_iter().map(Pattern::new).collect(),
        types: events.into_iter().map(Pattern::new).collect(),
    })
}

/// Reads the secrets of a receiver, one a line: the first that the receiver knows counts for it.
fn secrets(session: &Session, source: &str, beside: &Path) -> Result<Vec<WebhookSecret>, Error> {
    let text = match source.strip_prefix("env:") {
        Some(name) => session
            .environment
            .variable(name)
            .ok_or_else(|| Error::usage(format!("the variable {name}, a secret of a webhook, is not set")))?
            .to_owned(),
        None => {
            let path = beside.join(source);
            std::fs::read_to_string(&path).map_err(|source| Error::file("read", &path, source))?
        }
    };
    let parsed: Result<Vec<WebhookSecret>, _> = text.split_whitespace().map(str::parse).collect();
    match parsed {
        Ok(secrets) if !secrets.is_empty() => Ok(secrets),
        Ok(_) => Err(Error::usage(format!("{source} has no secret for webhooks"))),
        Err(error) => Err(Error::usage(format!("{source}: {error}"))),
    }
}

/// Returns an address without its query, which may hold a secret.
fn shown(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

fn message(trouble: &WebhookTrouble) -> String {
    let WebhookTrouble { url, reason, is_lost } = trouble;
    match is_lost {
        true => format!("webhook {url}: an event was not told: {reason}"),
        false => format!("webhook {url}: {reason}; it is tried again"),
    }
}
