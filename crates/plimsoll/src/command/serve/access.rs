//! The access file of `serve registry`: who may do what. docs/registry.md describes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::Digest;
use pipeline::configuration::{ByteSize, ServeRegistry};
use registry::client::Client;
use registry::server::access::{
    ANONYMOUS, Accounts, Actions, FixedToken, Grant, Issuer, IssuerRule, Policy, Rule,
};
use registry::server::{Immutable, Pattern, Quota, RuleBook, Rules};
use serde::Deserialize;

use super::watch::{Files, Watched};
use super::webhook::WebhookTable;
use crate::error::Error;
use crate::session::Session;

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

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct IssuerTable {
    url: String,
    audience: String,
    keys: String,
    #[serde(rename = "rule")]
    rules: Vec<IssuerRuleTable>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
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

/// What access and accounts files say, and what was learnt on the way.
pub struct Read {
    /// What is in force.
    pub rules: Rules,
    /// Whom the access file has told of events.
    pub webhooks: Vec<WebhookTable>,
    /// The files.
    pub files: Files,
    issuers: Vec<(IssuerTable, Arc<Issuer>)>,
}

/// Reads who may do what, which tags stay, and how much repositories may hold. Issuers that `before` has as they are
/// now keep the keys that they know.
///
/// # Errors
/// A file cannot be read; a key or value in it is wrong.
pub fn read(session: &Session, settings: &ServeRegistry, before: Option<&Read>) -> Result<Read, Error> {
    let folder = &session.environment.folder;
    let mut read = Read {
        rules: Rules::default(),
        webhooks: Vec::new(),
        files: Files::default(),
        // At the start there are none that know keys already.
        issuers: before.map(|read| read.issuers.clone()).unwrap_or_default(),
    };
    read.rules.immutable = settings.immutable_tag.iter().map(|text| Immutable::new(text)).collect();
    if let Some(path) = &settings.access {
        read.access_file(session, &folder.join(path))?;
    }
    if let Some(path) = &settings.htpasswd {
        read.accounts_alone(session, &folder.join(path), settings.anonymous_pull)?;
    }
    Ok(read)
}

/// Puts in force what is written into the files while the server runs.
pub fn watched<'a>(
    session: &'a Session,
    settings: &'a ServeRegistry,
    mut before: Read,
    book: RuleBook,
) -> Watched<'a> {
    let files = std::mem::take(&mut before.files);
    Watched::new(files, move || {
        let mut read = read(session, settings, Some(&before))?;
        if read.webhooks != before.webhooks {
            session.ui.warn("receivers of events have changed: they count when the server is started again");
        }
        book.change(read.rules.clone());
        let files = std::mem::take(&mut read.files);
        before = read;
        Ok(files)
    })
}

impl Read {
    fn access_file(&mut self, session: &Session, path: &Path) -> Result<(), Error> {
        let text = self.files.read_text(path)?;
        let wrong = |reason: String| Error::usage(format!("{}: {reason}", path.display()));
        let file: AccessFile = toml_edit::de::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if file.schema != 1 {
            return Err(wrong(format!("schema = {} is not known here; 1 is", file.schema)));
        }
        let beside = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut policy = Policy::new(session.environment.now());
        if let Some(name) = &file.htpasswd {
            policy.accounts = Some(accounts(&mut self.files, &beside.join(name))?);
        }
        for rule in file.rules {
            let who = rule.who.iter().map(Pattern::new).collect();
            let grant = grant(rule.repositories, &rule.allow).map_err(wrong)?;
            policy.rules.push(Rule { who, grant });
        }
        for token in file.tokens {
            policy.tokens.push(fixed_token(token).map_err(wrong)?);
        }
        policy.issuers = self.issuers(session, &beside, file.issuers).map_err(wrong)?;
        for quota in file.quotas {
            let limit = |pattern: &String| Quota { repositories: Pattern::new(pattern), bytes: quota.size.0 };
            self.rules.quotas.extend(quota.repositories.iter().map(limit));
        }
        self.rules.immutable.extend(file.immutable.iter().map(|text| Immutable::new(text)));
        self.rules.policy = Some(policy);
        self.webhooks = file.webhooks;
        Ok(())
    }

    /// Lets every account of the file do everything.
    fn accounts_alone(&mut self, session: &Session, path: &Path, anonymous_pull: bool) -> Result<(), Error> {
        let mut policy = Policy::new(session.environment.now());
        policy.accounts = Some(accounts(&mut self.files, path)?);
        policy.rules.push(Rule { who: vec![Pattern::new("*")], grant: Grant::everything() });
        if anonymous_pull {
            let everywhere = vec!["*".to_owned()];
            let grant = grant(everywhere, &["pull".to_owned()]).expect("pull is an action");
            policy.rules.push(Rule { who: vec![Pattern::new(ANONYMOUS)], grant });
        }
        self.rules.policy = Some(policy);
        Ok(())
    }

    fn issuers(
        &mut self,
        session: &Session,
        beside: &Path,
        tables: Vec<IssuerTable>,
    ) -> Result<Vec<Arc<Issuer>>, String> {
        let before = std::mem::take(&mut self.issuers);
        for table in tables {
            let known = before.iter().find(|(known, _)| *known == table).map(|(_, issuer)| issuer.clone());
            let issuer = match known {
                Some(issuer) => issuer,
                None => issuer(session, beside, table.clone())?,
            };
            self.issuers.push((table, issuer));
        }
        Ok(self.issuers.iter().map(|(_, issuer)| issuer.clone()).collect())
    }
}

fn accounts(files: &mut Files, path: &Path) -> Result<Arc<Accounts>, Error> {
    let accounts = Accounts::parse(&files.read_text(path)?);
    let accounts = accounts.map_err(|error| Error::usage(format!("{}: {error}", path.display())))?;
    Ok(Arc::new(accounts))
}

fn fixed_token(token: TokenTable) -> Result<FixedToken, String> {
    let digest: Digest = format!("sha256:{}", token.sha256)
        .parse()
        .map_err(|_| format!("token {}: sha256 is not 64 hexadecimal digits", token.name))?;
    let grants = vec![grant(token.repositories, &token.allow)?];
    Ok(FixedToken { name: token.name, digest, grants })
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
