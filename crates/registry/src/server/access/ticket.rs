//! Tokens that this server signs, for a few minutes and for what was asked and granted.
//! Source: RFC 7519 with HS256; distribution project, token authentication.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::grant::{Actions, Grant, Principal};

/// How long a ticket is good for, in seconds. Whoever loses an account loses it within this time.
pub(super) const LIFETIME_SECONDS: i64 = 300;
/// Longer tokens are nobody's.
pub(super) const MAX_TOKEN_BYTES: usize = 16 << 10;
/// How many scopes one ticket may be for.
const MAX_SCOPES: usize = 100;
/// Tells our tickets from others' tokens, and their form from a later one's.
const HEADER: &str = r#"{"typ":"JWT","alg":"HS256","kid":"plimsoll-1"}"#;

/// Signs and checks tickets. The key lives as long as the server.
pub(super) struct Booth(hmac::Key);

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    iat: i64,
    exp: i64,
    grants: Vec<Grant>,
    access: Vec<(String, Actions)>,
}

impl Booth {
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    /// Returns a token for those of `scopes` that `who` was granted.
    pub fn issue<'a>(&self, who: &Principal, scopes: impl Iterator<Item = &'a str>, now: i64) -> String {
        let claims = Claims {
            sub: who.name.clone(),
            iat: now,
            exp: now + LIFETIME_SECONDS,
            grants: who.grants.clone(),
            access: scopes
                .flat_map(str::split_whitespace)
                .take(MAX_SCOPES)
                .filter_map(|text| scope(who, text))
                .collect(),
        };
        let claims = serde_json::to_vec(&claims).expect("claims have only strings and numbers");
        let signed = format!("{}.{}", BASE64.encode(HEADER), BASE64.encode(claims));
        let tag = hmac::sign(&self.0, signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(tag))
    }

    /// Returns whose token it is and what for; `None` where we did not sign it or it is too old.
    pub fn read(&self, token: &str, now: i64) -> Option<Principal> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (signed, tag) = token.rsplit_once('.')?;
        hmac::verify(&self.0, signed.as_bytes(), &BASE64.decode(tag).ok()?).ok()?;
        let (header, claims) = signed.split_once('.')?;
        let claims: Claims = serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()?;
        let is_ours = BASE64.decode(header).ok()? == HEADER.as_bytes() && now < claims.exp;
        is_ours.then_some(Principal { name: claims.sub, grants: claims.grants, scope: Some(claims.access) })
    }
}

/// Reads `repository:NAME:ACTIONS` and returns what of it is granted; a name can hold colons where a
/// client puts the port of the registry before it, which no repository here has.
fn scope(who: &Principal, text: &str) -> Option<(String, Actions)> {
    let (name, actions) = text.strip_prefix("repository:")?.rsplit_once(':')?;
    let granted = who.granted(name).both(Actions::known(actions));
    (!granted.is_empty()).then(|| (name.to_owned(), granted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::server::pattern::Pattern;

    fn who() -> Principal {
        let grant = Grant { repositories: vec![Pattern::new("acme/*")], allow: Actions::known("pull,push") };
        Principal { name: "ann".to_owned(), grants: vec![grant], scope: None }
    }

    #[test]
    fn a_ticket_holds_what_was_asked_and_granted() {
        let booth = Booth::new().unwrap();
        let scopes = ["repository:acme/api:pull,delete repository:other:pull", "registry:catalog:*", "x"];
        let token = booth.issue(&who(), scopes.into_iter(), 1000);
        let read = booth.read(&token, 1299).unwrap();
        assert_eq!(read.scope, Some(vec![("acme/api".to_owned(), Actions::known("pull"))]));
        assert_eq!((read.name, read.grants), ("ann".to_owned(), who().grants));
        assert_eq!(booth.read(&token, 1300), None, "it ends");
        assert_eq!(Booth::new().unwrap().read(&token, 1000), None, "signed by another");
        let (signed, tag) = token.rsplit_once('.').unwrap();
        assert_eq!(booth.read(&format!("{signed}x.{tag}"), 1000), None);
        let none = BASE64.encode(r#"{"typ":"JWT","alg":"none"}"#);
        assert_eq!(booth.read(&format!("{none}.{}.", signed.split_once('.').unwrap().1), 1000), None);
    }

    proptest! {
        #[test]
        fn never_panics(token in "[a-zA-Z0-9._-]{0,80}") {
            prop_assert_eq!(Booth::new().unwrap().read(&token, 0), None);
        }
    }
}
