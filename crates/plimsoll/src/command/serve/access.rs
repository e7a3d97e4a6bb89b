//! The access file of `serve registry`: who may do what. docs/registry.md describes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oci::Digest;
use pipeline::configuration::ByteSize;
use registry::client::Client;
use registry::server::access::{
    ANONYMOUS, Accounts, Actions, FixedToken, Grant, Issuer, IssuerRule, Policy, Rule,
};
use registry::server::{Immutable, Pattern, Quota, ServerOptions};
use serde::Deserialize;

use super::webhook::WebhookTable;
use crate::error::Error;
use crate::session::Session;

/// How often files of accounts are looked at for changes.
const RELOAD_EVERY: Duration = Duration::from_secs(5);
/// Key sets larger than this are not read.
const MAX_KEYS_BYTES: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct AccessFile {
    schema: u32,
    htpasswd: Option<PathBuf>,
    #[serde(default)]
    immutable: Vec<String>,
    #[serde(default, rename = "rule")]
    rules: Vec<RuleTable>,
    #[serde(default, rename = "token")]
    tokens: Vec<TokenTable>,
    #[serde(default, rename = "issuer")]
    issuers: Vec<IssuerTable>,
    #[serde(default, rename = "quota")]
    quotas: Vec<QuotaTable>,
    #[serde(default, rename = "webhook")]
    webhooks: Vec<WebhookTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    who: Vec<String>,
    repositories: Vec<String>,
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenTable {
    name: String,
    sha256: String,
    repositories: Vec<String>,
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerTable {
    url: String,
    audience: String,
    keys: String,
    #[serde(rename = "rule")]
    rules: Vec<IssuerRuleTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerRuleTable {
    claims: std::collections::BTreeMap<String, String>,
    repositories: Vec<String>,
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaTable {
    repositories: Vec<String>,
    size: ByteSize,
}

/// Puts what the access file says into the options, and returns whom it has told of events.
///
/// # Errors
/// The file, or one it names, cannot be read; a key or value in it is wrong.
pub fn read(session: &Session, path: &Path, options: &mut ServerOptions) -> Result<Vec<WebhookTable>, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::file("read", path, source))?;
    let wrong = |reason: String| Error::usage(format!("{}: {reason}", path.display()));
    let file: AccessFile = toml_edit::de::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if file.schema != 1 {
        return Err(wrong(format!("schema = {} is not known here; 1 is", file.schema)));
    }
    let beside = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut policy = Policy::new(session.environment.now());
    if let Some(name) = &file.htpasswd {
        policy.accounts = Some(accounts(session, &beside.join(name))?);
    }
    for rule in file.rules {
        let who = rule.who.iter().map(Pattern::new).collect();
        let grant = grant(rule.repositories, &rule.allow).map_err(wrong)?;
        policy.rules.push(Rule { who, grant });
    }
    for token in file.tokens {
        let digest: Digest = format!("sha256:{}", token.sha256)
            .parse()
            .map_err(|_| wrong(format!("token {}: sha256 is not 64 hexadecimal digits", token.name)))?;
        let grants = vec![grant(token.repositories, &token.allow).map_err(wrong)?];
        policy.tokens.push(FixedToken { name: token.name, digest, grants });
    }
    for table in file.issuers {
        policy.issuers.push(issuer(session, &beside, table).map_err(wrong)?);
    }
    for quota in file.quotas {
        let limit = |pattern: &String| Quota { repositories: Pattern::new(pattern), bytes: quota.size.0 };
        options.quotas.extend(quota.repositories.iter().map(limit));
    }
    options.immutable.extend(file.immutable.iter().map(|text| Immutable::new(text)));
    options.policy = Some(policy);
    Ok(file.webhooks)
}

/// Returns the policy under which every account of the file may do everything.
///
/// # Errors
/// The file cannot be read.
pub fn of_accounts(session: &Session, path: &Path, anonymous_pull: bool) -> Result<Policy, Error> {
    let mut policy = Policy::new(session.environment.now());
    policy.accounts = Some(accounts(session, path)?);
    policy.rules.push(Rule { who: vec![Pattern::new("*")], grant: Grant::everything() });
    if anonymous_pull {
        let everywhere = vec!["*".to_owned()];
        let grant = grant(everywhere, &["pull".to_owned()]).expect("pull is an action");
        policy.rules.push(Rule { who: vec![Pattern::new(ANONYMOUS)], grant });
    }
    Ok(policy)
}

/// Reads the accounts, and again whenever the file has changed.
fn accounts(session: &Session, path: &Path) -> Result<Arc<Accounts>, Error> {
    let read = |path: &Path| std::fs::read_to_string(path);
    let text = read(path).map_err(|source| Error::file("read", path, source))?;
    let accounts = Accounts::parse(&text);
    let accounts = accounts.map_err(|error| Error::usage(format!("{}: {error}", path.display())))?;
    let accounts = Arc::new(accounts);
    let (shared, path, ui) = (accounts.clone(), path.to_owned(), session.ui.clone());
    let watch = move || {
        let mut known = text;
        loop {
            std::thread::sleep(RELOAD_EVERY);
            match read(&path) {
                Ok(text) if text != known => {
                    if let Err(error) = shared.reload(&text) {
                        ui.warn(format!("{}: {error}; the accounts stay as they were", path.display()));
                    }
                    known = text;
                }
                // A file that is being replaced is not there for a moment.
                Ok(_) | Err(_) => {}
            }
        }
    };
    std::thread::Builder::new()
        .name("accounts".to_owned())
        .spawn(watch)
        .map_err(|source| Error::file("watch", Path::new("accounts"), source))?;
    Ok(accounts)
}

fn grant(repositories: Vec<String>, allow: &[String]) -> Result<Grant, String> {
    let allow: Result<Vec<Actions>, _> = allow.iter().map(|word| word.parse::<Actions>()).collect();
    let allow = allow.map_err(|error| error.to_string())?.into_iter().collect();
    Ok(Grant { repositories: repositories.into_iter().map(Pattern::new).collect(), allow })
}

fn issuer(session: &Session, beside: &Path, table: IssuerTable) -> Result<Arc<Issuer>, String> {
    let mut rules = Vec::new();
    for rule in table.rules {
        let Grant { allow, .. } = grant(Vec::new(), &rule.allow)?;
        let claims = rule.claims.into_iter().map(|(name, text)| (name, Pattern::new(text))).collect();
        rules.push(IssuerRule { claims, repositories: rule.repositories, allow });
    }
    let keys = match table.keys.contains("://") {
        true => from_address(session, table.keys)?,
        false => from_file(beside.join(table.keys)),
    };
    let issuer = Issuer::new(table.url, table.audience, rules, keys).map_err(|error| error.to_string())?;
    Ok(Arc::new(issuer))
}

fn from_file(path: PathBuf) -> registry::server::access::KeySource {
    Arc::new(move || std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display())))
}

fn from_address(session: &Session, address: String) -> Result<registry::server::access::KeySource, String> {
    let options = session.client_options().map_err(|error| error.to_string())?;
    let client = Client::new(options).map_err(|error| error.to_string())?;
    Ok(Arc::new(move || client.fetch(&address, MAX_KEYS_BYTES).map_err(|error| error.to_string())))
}
