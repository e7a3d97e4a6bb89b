//! Envelopes: a payload, what it is, and signatures over both.
//!
//! Source: DSSE v1.0.2, `protocol.md` (what is signed) and `envelope.md` (how it is written).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

/// The type of a payload that is an in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Envelopes larger than this are refused.
pub const MAX_ENVELOPE_BYTES: usize = 32 << 20;

/// A payload and its signatures. None of the signatures has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is, as a media type or URI.
    pub payload_type: String,
    /// The payload's bytes, as they were signed.
    pub payload: Vec<u8>,
    /// The signatures, in order; may be empty.
    pub signatures: Vec<Signature>,
}

/// A signature and a hint at its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Names the key, unauthenticated: it may choose which key to try and never whether to trust it.
    pub key_id: Option<String>,
    /// The signature's bytes.
    pub bytes: Vec<u8>,
}

/// Bytes are not an envelope.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEnvelope {
    /// Larger than [`MAX_ENVELOPE_BYTES`].
    #[error("the envelope has {size} bytes, more than the {MAX_ENVELOPE_BYTES} allowed")]
    TooLarge {
        /// Size in bytes.
        size: usize,
    },
    /// Not JSON of an envelope's shape.
    #[error("the envelope is not valid JSON of its type")]
    Json(#[source] serde_json::Error),
    /// A field is not base64.
    #[error("the envelope's {field} is not base64")]
    Base64 {
        /// `payload` or `sig`.
        field: &'static str,
        /// Where it broke.
        #[source]
        source: base64::DecodeError,
    },
}

impl Envelope {
    /// Returns an envelope around `payload` that nobody has signed.
    pub fn unsigned(payload_type: &str, payload: Vec<u8>) -> Self {
        Self { payload_type: payload_type.to_owned(), payload, signatures: Vec::new() }
    }

    /// Returns the bytes that a signature of this envelope is over.
    pub fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication_encoding(&self.payload_type, &self.payload)
    }

    /// Reads an envelope. Both alphabets of base64 are read, with padding or without.
    ///
    /// # Errors
    /// Too large, not JSON of an envelope, or not base64 where it must be.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidEnvelope> {
        if bytes.len() > MAX_ENVELOPE_BYTES {
            return Err(InvalidEnvelope::TooLarge { size: bytes.len() });
        }
        let wire: WireEnvelope = serde_json::from_slice(bytes).map_err(InvalidEnvelope::Json)?;
        let signature = |wire: WireSignature| {
            Ok(Signature {
                key_id: wire.key_id.filter(|name| !name.is_empty()),
                bytes: decode("sig", &wire.signature)?,
            })
        };
        Ok(Self {
            payload: decode("payload", &wire.payload)?,
            payload_type: wire.payload_type,
            signatures: wire.signatures.into_iter().map(signature).collect::<Result<_, _>>()?,
        })
    }

    /// Returns the envelope as JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let signature = |signature: &Signature| WireSignature {
            key_id: signature.key_id.clone(),
            signature: STANDARD.encode(&signature.bytes),
        };
        let wire = WireEnvelope {
            payload_type: self.payload_type.clone(),
            payload: STANDARD.encode(&self.payload),
            signatures: self.signatures.iter().map(signature).collect(),
        };
        serde_json::to_vec(&wire).expect("an envelope has only string keys")
    }
}

/// Returns the bytes that a signature over `payload` of `payload_type` is over. Lengths stand before
/// the parts, so that no two pairs of type and payload give the same bytes.
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEnvelope {
    payload_type: String,
    payload: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
struct WireSignature {
    #[serde(default, rename = "keyid", skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(rename = "sig")]
    signature: String,
}

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, InvalidEnvelope> {
    let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    engine.decode(text).map_err(|source| InvalidEnvelope::Base64 { field, source })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The specification's own example.
    #[test]
    fn encodes_as_the_specification_does() {
        let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn reads_both_alphabets() {
        for payload in ["-_8=", "+/8=", "-_8", "+/8"] {
            let text = format!(
                r#"{{"payloadType":"t","payload":"{payload}","signatures":[{{"sig":"","keyid":""}}]}}"#
            );
            let envelope = Envelope::parse(text.as_bytes()).unwrap();
            assert_eq!(envelope.payload, [0xfb, 0xff]);
            assert_eq!(envelope.signatures, [Signature { key_id: None, bytes: Vec::new() }]);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |text: &str| Envelope::parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error("{"), "the envelope is not valid JSON of its type");
        assert_eq!(
            error(r#"{"payloadType":"t","payload":"!","signatures":[]}"#),
            "the envelope's payload is not base64"
        );
        assert_eq!(
            error(r#"{"payloadType":"t","payload":"","signatures":[{"sig":"?"}]}"#),
            "the envelope's sig is not base64"
        );
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(payload_type in ".*", payload: Vec<u8>, key_id in proptest::option::of(".+"), bytes: Vec<u8>) {
            let envelope = Envelope { payload_type, payload, signatures: vec![Signature { key_id, bytes }] };
            prop_assert_eq!(Envelope::parse(&envelope.to_bytes()).unwrap(), envelope);
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = Envelope::parse(&bytes);
        }

        #[test]
        fn different_contents_are_signed_differently(one in "[a ]{0,6}", two in "[a ]{0,6}", three in "[a ]{0,6}", four in "[a ]{0,6}") {
            let same = (&one, &two) == (&three, &four);
            let encode = |kind: &str, payload: &str| pre_authentication_encoding(kind, payload.as_bytes());
            prop_assert_eq!(encode(&one, &two) == encode(&three, &four), same);
        }
    }
}
