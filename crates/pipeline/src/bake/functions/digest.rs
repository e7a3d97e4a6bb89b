//! Hashes and unique identifiers. They name nothing of ours: content is named by SHA-256 elsewhere.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256, Sha512};

use super::{Call, Function, Want, Wrong, function, variadic, wrong};
use crate::bake::value::Value;

const STR: &[super::Parameter] = &[("str", Want::Text)];

pub(super) const FUNCTIONS: &[Function] = &[
    function("md5", STR, |call| Ok(Value::string(hex(&md5(call.text(0).as_bytes()))))),
    function("sha1", STR, |call| Ok(Value::string(hex(&sha1(call.text(0).as_bytes()))))),
    function("sha256", STR, |call| Ok(Value::string(hex(&Sha256::digest(call.text(0)))))),
    function("sha512", STR, |call| Ok(Value::string(hex(&Sha512::digest(call.text(0)))))),
    function("uuidv4", &[], |call| Ok(Value::string(uuid(call.world.random(), 4)))),
    function("uuidv5", &[("namespace", Want::Text), ("name", Want::Text)], uuid_of_name),
    variadic("bcrypt", STR, ("cost", Want::Number), |_| {
        Err("bcrypt gives another hash each time, so that no build would be reproducible; pass the hash in as a variable".into())
    }),
    function("rsadecrypt", &[("ciphertext", Want::Text), ("privatekey", Want::Text)], |_| {
        Err("a private key does not belong into a build definition; decrypt before and pass the text in as a variable".into())
    }),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn uuid(mut bytes: [u8; 16], version: u8) -> String {
    bytes[6] = bytes[6] & 0x0f | version << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex(&bytes);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

/// Source: RFC 4122, 4.3 and appendix C.
fn uuid_of_name(call: &Call<'_>) -> Result<Value, Wrong> {
    let namespace = match call.text(0) {
        "dns" | "DNS" => "6ba7b8109dad11d180b400c04fd430c8".to_owned(),
        "url" | "URL" => "6ba7b8119dad11d180b400c04fd430c8".to_owned(),
        "oid" | "OID" => "6ba7b8129dad11d180b400c04fd430c8".to_owned(),
        "x500" | "X500" => "6ba7b8149dad11d180b400c04fd430c8".to_owned(),
        other => other.replace('-', ""),
    };
    let byte = |at: usize| namespace.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..32).step_by(2).map(byte).collect();
    let bytes = bytes.filter(|_| namespace.len() == 32);
    let mut named = bytes
        .ok_or_else(|| wrong(0, "uuidv5() doesn't support this namespace: dns, url, oid, x500 or a UUID"))?;
    named.extend_from_slice(call.text(1).as_bytes());
    let hash: [u8; 16] = sha1(&named)[..16].try_into().expect("a SHA-1 has 20 bytes");
    Ok(Value::string(uuid(hash, 5)))
}

/// Returns the message with the padding of MD5 and SHA-1: a bit, zeros, the length.
fn padded(message: &[u8], length: [u8; 8]) -> Vec<u8> {
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).next_multiple_of(64) - 8, 0);
    padded.extend_from_slice(&length);
    padded
}

/// Source: RFC 3174.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut state = [0x6745_2301u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded(message, (message.len() as u64 * 8).to_be_bytes()).chunks_exact(64) {
        let mut words = [0u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        }
        for at in 16..80 {
            words[at] = (words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (at, word) in words.into_iter().enumerate() {
            let (mixed, constant) = match at / 20 {
                0 => (b & c | !b & d, 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => (b & c | b & d | c & d, 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6u32),
            };
            let next = a
                .rotate_left(5)
                .wrapping_add(mixed)
                .wrapping_add(e)
                .wrapping_add(constant)
                .wrapping_add(word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (part, add) in state.iter_mut().zip([a, b, c, d, e]) {
            *part = part.wrapping_add(add);
        }
    }
    let mut hash = [0; 20];
    for (bytes, part) in hash.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&part.to_be_bytes());
    }
    hash
}

/// How far MD5 rotates in each quarter.
const ROTATIONS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// Source: RFC 1321.
fn md5(message: &[u8]) -> [u8; 16] {
    let mut state = [0x6745_2301u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded(message, (message.len() as u64 * 8).to_le_bytes()).chunks_exact(64) {
        let word = |at: usize| u32::from_le_bytes(block[at * 4..at * 4 + 4].try_into().expect("four bytes"));
        let [mut a, mut b, mut c, mut d] = state;
        for at in 0..64usize {
            let (mixed, from) = match at / 16 {
                0 => (b & c | !b & d, at),
                1 => (d & b | !d & c, (5 * at + 1) % 16),
                2 => (b ^ c ^ d, (3 * at + 5) % 16),
                _ => (c ^ (b | !d), 7 * at % 16),
            };
            let constant = (((at + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
            let sum = a.wrapping_add(mixed).wrapping_add(constant).wrapping_add(word(from));
            let next = b.wrapping_add(sum.rotate_left(ROTATIONS[at / 16][at % 4]));
            (a, d, c, b) = (d, c, b, next);
        }
        for (part, add) in state.iter_mut().zip([a, b, c, d]) {
            *part = part.wrapping_add(add);
        }
    }
    let mut hash = [0; 16];
    for (bytes, part) in hash.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&part.to_le_bytes());
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_the_rfcs() {
        assert_eq!(hex(&md5(b"")), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(hex(&md5(b"message digest")), "f96b697d7cb7938d525a2f31aaf161d0");
        assert_eq!(hex(&sha1(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(&sha1(&[b'a'; 119])), "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56");
    }
}
