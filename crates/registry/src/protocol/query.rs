//! Query strings: reading and writing `key=value` pairs, percent-encoded. Source: RFC 3986.

use std::fmt::Write as _;

/// Returns `text` with everything but unreserved characters, `:`, `,` and `/` percent-encoded.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b',' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => write!(encoded, "%{byte:02X}").expect("writing to a String cannot fail"),
        }
    }
    encoded
}

/// Returns `text` with percent-encoded bytes decoded; `None` where that is not UTF-8 or a `%` is
/// not followed by two hexadecimal digits.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(decoded).ok()
}

/// Returns the pairs of a query in order. A `+` is a space, as HTML forms write it; pairs that
/// cannot be decoded are left out.
pub fn pairs(query: &str) -> Vec<(String, String)> {
    let readable = |text: &str| decode(&text.replace('+', " "));
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((readable(key)?, readable(value)?))
        })
        .collect()
}

/// Returns `address` with one more pair in its query.
pub fn with_pair(address: &str, key: &str, value: &str) -> String {
    let joint = if address.contains('?') { '&' } else { '?' };
    format!("{address}{joint}{key}={}", encode(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn adds_to_a_query_that_is_there() {
        assert_eq!(with_pair("/a", "digest", "sha256:1"), "/a?digest=sha256:1");
        assert_eq!(with_pair("/a?_state=x%3D", "n", "a b"), "/a?_state=x%3D&n=a%20b");
    }

    #[test]
    fn broken_pairs_are_left_out() {
        let expected = [("a", "1"), ("b", ""), ("d", "x y")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(pairs("a=1&b&c=%zz&&d=x+y&e=%f"), expected);
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(text in "\\PC{0,40}") {
            prop_assert_eq!(decode(&encode(&text)), Some(text));
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = pairs(&text);
        }
    }
}
