//! Signed tokens of others: their parts, and checking the signature with a key from a key set.
//! Source: RFC 7515, RFC 7517, RFC 7518 (RS256 and ES256).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ticket::MAX_TOKEN_BYTES;

/// A token whose signature was not looked at yet.
pub(super) struct Unchecked<'a> {
    header: Header,
    signed: &'a str,
    signature: Vec<u8>,
    claims: Map<String, Value>,
}

/// Key and algorithm, as the token says; keys that a header brings along (`jwk`, `jku`, `x5u`) are
/// not even read.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
}

/// The keys of an issuer.
#[derive(Debug, Deserialize)]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug, Deserialize)]
struct Key {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

impl<'a> Unchecked<'a> {
    /// Takes the token apart; `None` where it is not a signed token.
    pub fn parse(token: &'a str) -> Option<Self> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        Some(Self {
            header: serde_json::from_slice(&BASE64.decode(header).ok()?).ok()?,
            claims: serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()?,
            signature: BASE64.decode(signature).ok()?,
            signed,
        })
    }

    /// Returns who says to have signed it, to find the keys.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// Returns the claims where a key of the set signed them; `None` where none did.
    pub fn checked(self, keys: &KeySet) -> Option<Map<String, Value>> {
        let named = |key: &&Key| self.header.kid.is_none() || key.kid == self.header.kid;
        let signed = keys.keys.iter().filter(named).any(|key| self.is_signed_by(key));
        signed.then_some(self.claims)
    }

    fn is_signed_by(&self, key: &Key) -> bool {
        let message = self.signed.as_bytes();
        let part = |text: &Option<String>| BASE64.decode(text.as_ref()?).ok();
        match (self.header.alg.as_str(), key.kty.as_str()) {
            ("RS256", "RSA") => {
                let (Some(n), Some(e)) = (part(&key.n), part(&key.e)) else { return false };
                let key = RsaPublicKeyComponents { n: &n, e: &e };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, &self.signature).is_ok()
            }
            ("ES256", "EC") if key.crv.as_deref() == Some("P-256") => {
                let (Some(x), Some(y)) = (part(&key.x), part(&key.y)) else { return false };
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                    .verify(message, &self.signature)
                    .is_ok()
            }
            _ => false,
        }
    }
}
