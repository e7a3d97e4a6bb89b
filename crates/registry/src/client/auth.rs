//! Being let in: which `Authorization` a request carries, and what is done when it is refused.
//!
//! A host is asked without credentials once; its challenge is remembered and answered ahead of
//! every later request. Tokens are kept for each scope until shortly before they end; while one
//! thread fetches a token, the others wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use jiff::Timestamp;
use oci::{Registry, Repository};

use super::credentials::Credential;
use super::host::Host;
use super::scope::Scope;
use super::{Failure, Secret, token};
use crate::protocol::Challenge;

/// What is known about being let in, for all hosts.
#[derive(Debug, Default)]
pub(crate) struct Authenticator {
    challenges: Mutex<HashMap<Registry, Challenge>>,
    tokens: Mutex<HashMap<(Registry, Scope), Slot>>,
}

/// Where the token of a scope lies; locked while it is fetched.
type Slot = Arc<Mutex<Option<Token>>>;

/// A token and when it should no longer be used.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub secret: Secret,
    pub expires: Timestamp,
}

/// Whom a request is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Audience<'a> {
    pub host: &'a Host,
    pub repository: Option<&'a Repository>,
    pub scope: &'a Scope,
}

impl Authenticator {
    /// Returns the header for a request; `None` before the host has asked for anything.
    pub fn header(&self, audience: Audience<'_>) -> Result<Option<HeaderValue>, Failure> {
        let known = self.challenges.lock().expect(LOCK).get(&audience.host.registry).cloned();
        known.map(|challenge| self.answer(&challenge, audience, None)).transpose()
    }

    /// Returns the header for the same request once more, after the host refused `refused` with
    /// `challenge`.
    ///
    /// # Errors
    /// `Unauthorized` where there is nothing else to show.
    pub fn renew(
        &self,
        audience: Audience<'_>,
        challenge: Option<Challenge>,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue, Failure> {
        let challenge = challenge.ok_or_else(|| {
            let reason = "it asks for a kind of authentication that is neither Basic nor Bearer";
            unauthorized(audience, reason)
        })?;
        let registry = audience.host.registry.clone();
        self.challenges.lock().expect(LOCK).insert(registry, challenge.clone());
        self.answer(&challenge, audience, refused)
    }

    fn answer(
        &self,
        challenge: &Challenge,
        audience: Audience<'_>,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue, Failure> {
        let credential = credential(audience.host, audience.repository)?;
        let secret = match (challenge, credential) {
            (_, Some(Credential::RegistryToken(token))) => Secret::new(format!("Bearer {}", token.expose())),
            (Challenge::Basic, Some(Credential::Password { username, password })) => {
                basic(&username, &password)
            }
            (Challenge::Basic, Some(Credential::IdentityToken(_))) => {
                return Err(unauthorized(audience, "it takes no identity token, only a password"));
            }
            (Challenge::Basic, None) => {
                return Err(unauthorized(
                    audience,
                    "it wants credentials and none are configured; log in first",
                ));
            }
            (Challenge::Bearer { .. }, credential) => {
                self.bearer(challenge, audience, credential, refused)?
            }
        };
        let header =
            sensitive(&secret).ok_or_else(|| unauthorized(audience, "the credential is not printable"))?;
        if Some(&header) == refused {
            return Err(unauthorized(audience, "it refused the credentials that are configured for it"));
        }
        Ok(header)
    }

    /// Returns a token from before unless it ended or was refused. The slot stays locked while a
    /// new one is fetched.
    fn bearer(
        &self,
        challenge: &Challenge,
        audience: Audience<'_>,
        credential: Option<Credential>,
        refused: Option<&HeaderValue>,
    ) -> Result<Secret, Failure> {
        let key = (audience.host.registry.clone(), audience.scope.clone());
        let slot = self.tokens.lock().expect(LOCK).entry(key).or_default().clone();
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let now = audience.host.clock().now();
        if let Some(token) = slot.as_ref().filter(|token| token.expires > now) {
            let secret = Secret::new(format!("Bearer {}", token.secret.expose()));
            if refused.is_none() || sensitive(&secret).as_ref() != refused {
                return Ok(secret);
            }
        }
        let token = slot.insert(token::fetch(audience, challenge, credential)?);
        Ok(Secret::new(format!("Bearer {}", token.secret.expose())))
    }
}

/// Returns who we are to a host: as the files say, else as a cloud does.
pub(crate) fn credential(
    host: &Host,
    repository: Option<&Repository>,
) -> Result<Option<Credential>, Failure> {
    match host.credentials().find(&host.registry, repository)? {
        Some(credential) => Ok(Some(credential)),
        None => host.shared.clouds.find(host),
    }
}

const LOCK: &str = "nothing panics while it holds the lock";

/// Returns when a token that lives for `lifetime` from now on is replaced: a little before its
/// end, so that no request sets out with a token that ends on the way.
pub(crate) fn expiry(now: Timestamp, lifetime: Duration) -> Timestamp {
    let margin = (lifetime / 4).min(Duration::from_secs(10));
    now.checked_add(lifetime - margin).unwrap_or(Timestamp::MAX)
}

/// Returns the header value of a user name and password.
pub(crate) fn basic(username: &str, password: &Secret) -> Secret {
    Secret::new(format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.expose()))))
}

/// Returns a header value that hyper does not print.
pub(crate) fn sensitive(secret: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(secret.expose()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

pub(crate) fn unauthorized(audience: Audience<'_>, reason: &str) -> Failure {
    Failure::Unauthorized { host: audience.host.registry.to_string(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_replaced_before_they_end() {
        let seconds = |lifetime| expiry(Timestamp::UNIX_EPOCH, Duration::from_secs(lifetime)).as_second();
        assert_eq!(seconds(300), 290);
        assert_eq!(seconds(60), 50);
        assert_eq!(seconds(8), 6);
        assert_eq!(seconds(0), 0);
        assert_eq!(expiry(Timestamp::UNIX_EPOCH, Duration::MAX), Timestamp::MAX);
    }
}
