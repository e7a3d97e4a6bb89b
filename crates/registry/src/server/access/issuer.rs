//! CI hosts whose jobs are let in by the token the host signs for them, so that nobody keeps a
//! secret. Source: OpenID Connect Core 1.0, "ID Token Validation".

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::grant::{Actions, Grant, Principal};
use super::jwt::{KeySet, Unchecked};
use crate::server::pattern::Pattern;

/// How far the clocks may be apart, in seconds.
const SKEW_SECONDS: i64 = 60;
/// After how long keys are asked for again.
const KEYS_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// How long is waited before keys are asked for again because a token is signed by none of them.
const KEYS_PAUSE: Duration = Duration::from_secs(30);
/// How long keys count while new ones cannot be had.
const KEYS_PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
/// Key sets larger than this are not read.
const MAX_KEYS_BYTES: usize = 1 << 20;

/// Gets the issuer's key set (a JWKS document), from a file or its address.
pub type KeySource = Arc<dyn Fn() -> Result<Vec<u8>, String> + Send + Sync>;

/// A CI host.
pub struct Issuer {
    address: String,
    audience: String,
    rules: Vec<IssuerRule>,
    source: KeySource,
    keys: Mutex<Option<Known>>,
}

/// Keys that were read.
struct Known {
    keys: Arc<KeySet>,
    read: Instant,
    /// When they were asked for last, also in vain.
    asked: Instant,
}

/// What jobs may do whose token has these claims.
#[derive(Clone, Debug)]
pub struct IssuerRule {
    /// Claims that the token must have, with patterns for their text.
    pub claims: Vec<(String, Pattern)>,
    /// Repositories; `{claim}` is replaced by a claim's text, in lower case.
    pub repositories: Vec<String>,
    /// What may be done there.
    pub allow: Actions,
}

/// An issuer that would let in too many.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIssuer {
    /// Tokens for others would do.
    #[error("issuer {address}: an audience is needed, so that tokens for other services do not fit here")]
    Audience {
        /// The issuer.
        address: String,
    },
    /// Everybody with an account at the issuer would be let in.
    #[error(
        "issuer {address}: rule {number} names no claim that a stranger's job would not have; name at least one"
    )]
    Claims {
        /// The issuer.
        address: String,
        /// Which rule, from 1.
        number: usize,
    },
}

impl Issuer {
    /// Returns an issuer whose tokens carry `address` as `iss` and `audience` as `aud`.
    ///
    /// # Errors
    /// An empty audience, or a rule without a claim that tells whose job it is.
    pub fn new(
        address: impl Into<String>,
        audience: impl Into<String>,
        rules: Vec<IssuerRule>,
        source: KeySource,
    ) -> Result<Self, InvalidIssuer> {
        let (address, audience) = (address.into(), audience.into());
        if audience.is_empty() {
            return Err(InvalidIssuer::Audience { address });
        }
        let is_open =
            |rule: &IssuerRule| rule.claims.iter().all(|(_, pattern)| pattern.as_str().starts_with('*'));
        if let Some(number) = rules.iter().position(is_open) {
            return Err(InvalidIssuer::Claims { address, number: number + 1 });
        }
        Ok(Self { address, audience, rules, source, keys: Mutex::default() })
    }

    /// Whether the token says to be this issuer's.
    pub(super) fn is_of(&self, token: &Unchecked<'_>) -> bool {
        token.issuer() == Some(self.address.as_str())
    }

    /// Returns the job that the token was made for and what it may do; the reason where it does
    /// not count.
    pub(super) fn admit(&self, text: &str, now: i64) -> Result<Principal, String> {
        let unsigned = || "the token is signed by no key of its issuer".to_owned();
        let keys = self.keys(KEYS_LIFETIME)?;
        let parse = || Unchecked::parse(text).ok_or_else(|| "it is not a signed token".to_owned());
        let claims = match parse()?.checked(&keys) {
            Some(claims) => claims,
            // The issuer may have a new key.
            None => parse()?.checked(&*self.keys(KEYS_PAUSE)?).ok_or_else(unsigned)?,
        };
        self.check_times(&claims, now)?;
        if !is_for(&claims, &self.audience) {
            return Err(format!("the token is not for {}", self.audience));
        }
        let grants: Vec<Grant> = self.rules.iter().filter_map(|rule| rule.grant(&claims)).collect();
        let subject = text_of(&claims, "sub").unwrap_or_default();
        Ok(Principal { name: format!("{} at {}", subject, self.address), grants, scope: None })
    }

    fn check_times(&self, claims: &Map<String, Value>, now: i64) -> Result<(), String> {
        let number = |name: &str| claims.get(name).and_then(Value::as_i64);
        match number("exp") {
            Some(end) if now < end.saturating_add(SKEW_SECONDS) => {}
            Some(_) => return Err("the token has expired".to_owned()),
            None => return Err("the token says no end".to_owned()),
        }
        match number("nbf").or(number("iat")) {
            Some(start) if start.saturating_sub(SKEW_SECONDS) > now => {
                Err("the token is not good yet; are the clocks right?".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn keys(&self, lifetime: Duration) -> Result<Arc<KeySet>, String> {
        let mut known = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some(known) if known.asked.elapsed() < lifetime => return Ok(known.keys.clone()),
            _ => {}
        }
        let asked = Instant::now();
        match (self.read_keys(), &mut *known) {
            (Ok(keys), known) => {
                *known = Some(Known { keys: keys.clone(), read: asked, asked });
                Ok(keys)
            }
            (Err(reason), Some(known)) if known.read.elapsed() < KEYS_PATIENCE => {
                tracing::warn!(%reason, issuer = %self.address, "the keys of before count on");
                // Not for every token anew, but sooner than keys that are all right.
                known.asked = asked.checked_sub(KEYS_LIFETIME - KEYS_PAUSE).unwrap_or(asked);
                Ok(known.keys.clone())
            }
            (Err(reason), _) => Err(reason),
        }
    }

    fn read_keys(&self) -> Result<Arc<KeySet>, String> {
        let raw = (self.source)()?;
        if raw.len() > MAX_KEYS_BYTES {
            return Err(format!("the keys of {} are larger than {MAX_KEYS_BYTES} bytes", self.address));
        }
        let keys: KeySet = serde_json::from_slice(&raw)
            .map_err(|error| format!("the keys of {} cannot be read: {error}", self.address))?;
        Ok(Arc::new(keys))
    }
}

impl IssuerRule {
    fn grant(&self, claims: &Map<String, Value>) -> Option<Grant> {
        let fits = |(name, pattern): &(String, Pattern)| {
            text_of(claims, name).is_some_and(|text| pattern.matches(text))
        };
        if !self.claims.iter().all(fits) {
            return None;
        }
        let repositories: Vec<Pattern> = self
            .repositories
            .iter()
            .filter_map(|template| fill(template, claims))
            .map(Pattern::new)
            .collect();
        (!repositories.is_empty()).then_some(Grant { repositories, allow: self.allow })
    }
}

/// Puts claims into a template; `None` where the token lacks one or its text would be a pattern.
fn fill(template: &str, claims: &Map<String, Value>) -> Option<String> {
    let (mut filled, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        let text = text_of(claims, name).filter(|text| !text.is_empty() && !text.contains(['*', '?']))?;
        filled.push_str(before);
        filled.push_str(&text.to_lowercase());
        rest = after;
    }
    filled.push_str(rest);
    Some(filled)
}

fn text_of<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str()
}

fn is_for(claims: &Map<String, Value>, audience: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issuer({})", self.address)
    }
}

#[cfg(test)]
mod tests;
