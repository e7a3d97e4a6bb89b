//! Signatures of messages. Source: Standard Webhooks 1.0, "Signature scheme", "Symmetric".

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// How many bytes a secret may have.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What messages to one receiver are signed with. It cannot be printed.
#[derive(Clone)]
pub struct WebhookSecret(hmac::Key);

/// Why a text is no secret. It does not name the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret of a webhook is whsec_ and 24 to 64 bytes in base64")]
pub struct InvalidSecret;

impl WebhookSecret {
    /// Returns the signature of a message, as it stands in `webhook-signature`.
    pub fn sign(&self, id: &str, seconds: i64, body: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{id}.{seconds}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }
}

impl FromStr for WebhookSecret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let text = text.trim();
        let key = STANDARD.decode(text.strip_prefix("whsec_").ok_or(InvalidSecret)?);
        let key = key.ok().filter(|key| BYTES.contains(&key.len())).ok_or(InvalidSecret)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }
}

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_the_specification() {
        // Source: standard-webhooks, libraries/*/test, "sign function works".
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_is_no_secret_is_not_shown() {
        for text in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_!", "whsec_"] {
            let error = text.parse::<WebhookSecret>().unwrap_err().to_string();
            assert!(text.is_empty() || text == "whsec_" || !error.contains(text), "{error}");
        }
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        assert!(long.parse::<WebhookSecret>().is_err());
        assert!(format!("whsec_{}\n", STANDARD.encode([7; 64])).parse::<WebhookSecret>().is_ok());
    }
}
