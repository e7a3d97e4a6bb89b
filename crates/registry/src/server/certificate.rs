//! A certificate that a server makes for itself, for where nobody gives it one. Clients have to be
//! told its fingerprint or to trust its file. Source: RFC 5280, RFC 5480, RFC 5758.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{Timestamp, ToSpan as _};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

/// How long a certificate is good for, in days.
const LIFETIME_DAYS: i64 = 825;

/// A certificate with its key, both as PEM.
#[derive(Clone)]
pub struct SelfSigned {
    /// The certificate.
    pub certificate: String,
    /// The key; to be kept where nobody else reads it.
    pub key: String,
}

/// No certificate could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot make a certificate: the machine gave no random numbers")]
pub struct NoCertificate;

impl SelfSigned {
    /// Makes a certificate for `names`, host names and addresses, that is good from the day before
    /// `now` on.
    ///
    /// # Errors
    /// The machine has no random numbers.
    pub fn new(names: &[String], now: Timestamp) -> Result<Self, NoCertificate> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| NoCertificate)?;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).map_err(|_| NoCertificate)?;
        let mut serial = [0; 16];
        getrandom::fill(&mut serial).map_err(|_| NoCertificate)?;
        // Positive, and of full length.
        serial[0] = serial[0] & 0x7f | 0x40;
        let body = body(names, now, &serial, key.public_key().as_ref());
        let signature = key.sign(&random, &body).map_err(|_| NoCertificate)?;
        let signature = bits(signature.as_ref());
        let certificate = sequence(&[body, sequence(&[object(ECDSA_WITH_SHA256)]), signature]);
        Ok(Self { certificate: pem("CERTIFICATE", &certificate), key: pem("PRIVATE KEY", pkcs8.as_ref()) })
    }
}

impl std::fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SelfSigned")
    }
}

const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// What is signed.
fn body(names: &[String], now: Timestamp, serial: &[u8], public_key: &[u8]) -> Vec<u8> {
    let version = tagged(0xa0, &tagged(0x02, &[2]));
    let name = tagged(0x0c, b"plimsoll registry");
    let name = sequence(&[tagged(0x31, &sequence(&[object(COMMON_NAME), name]))]);
    let day = |days: i64| {
        let at = now.saturating_add((24 * days).hours()).unwrap_or(now);
        tagged(0x18, at.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
    };
    let key = sequence(&[sequence(&[object(EC_PUBLIC_KEY), object(P256)]), bits(public_key)]);
    let constraints = sequence(&[object(BASIC_CONSTRAINTS), tagged(0x04, &sequence(&[]))]);
    let names: Vec<Vec<u8>> = names.iter().map(|name| alternative(name)).collect();
    let names = sequence(&[object(ALTERNATIVE_NAMES), tagged(0x04, &sequence(&names))]);
    let extensions = tagged(0xa3, &sequence(&[constraints, names]));
    sequence(&[
        version,
        tagged(0x02, serial),
        sequence(&[object(ECDSA_WITH_SHA256)]),
        name.clone(),
        sequence(&[day(-1), day(LIFETIME_DAYS)]),
        name,
        key,
        extensions,
    ])
}

fn alternative(name: &str) -> Vec<u8> {
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => tagged(0x87, &address.octets()),
        Ok(IpAddr::V6(address)) => tagged(0x87, &address.octets()),
        Err(_) => tagged(0x82, name.as_bytes()),
    }
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tagged(0x30, &parts.concat())
}

fn object(id: &[u8]) -> Vec<u8> {
    tagged(0x06, id)
}

fn bits(content: &[u8]) -> Vec<u8> {
    tagged(0x03, &[&[0], content].concat())
}

/// A value of DER: its tag, its length, its content.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut value = vec![tag];
    if content.len() >= 0x80 {
        value.push(0x80 | u8::try_from(length.len()).expect("a length has at most 8 bytes"));
    }
    value.extend_from_slice(length);
    value.extend_from_slice(content);
    value
}

fn pem(label: &str, content: &[u8]) -> String {
    let text = STANDARD.encode(content);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_in_both_forms() {
        assert_eq!(tagged(4, &[]), [4, 0]);
        assert_eq!(tagged(4, &[9; 0x7f])[..2], [4, 0x7f]);
        assert_eq!(tagged(4, &[9; 0x80])[..3], [4, 0x81, 0x80]);
        assert_eq!(tagged(4, &[9; 0x1234])[..4], [4, 0x82, 0x12, 0x34]);
    }

    #[test]
    fn a_certificate_for_names_and_addresses_can_be_used() {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let made = SelfSigned::new(&names, "2026-11-20T12:00:00Z".parse().unwrap()).unwrap();
        let tls = crate::server::Tls::from_pem(made.certificate.as_bytes(), made.key.as_bytes()).unwrap();
        assert_eq!(tls.fingerprint().len(), 95);
        assert_eq!(format!("{made:?}"), "SelfSigned");
    }
}
