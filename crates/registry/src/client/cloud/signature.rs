//! Requests signed as AWS wants them. Source: AWS IAM User Guide, "Create a signed AWS API request"
//! (Signature Version 4).

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ring::{digest, hmac};

/// Who signs.
#[derive(Clone)]
pub(super) struct Keys {
    pub id: String,
    pub secret: String,
    /// Of keys that live for a while.
    pub session: Option<String>,
}

/// What is signed: a POST to `/` without a query.
pub(super) struct Signed<'a> {
    pub host: &'a str,
    pub region: &'a str,
    pub service: &'a str,
    pub target: &'a str,
    pub content_type: &'a str,
    pub body: &'a str,
}

/// Returns the headers that sign a request, besides those in it.
pub(super) fn headers(keys: &Keys, signed: &Signed<'_>, now: Timestamp) -> Vec<(&'static str, String)> {
    let time = now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
    let date = &time[..8];
    let mut lines = vec![
        ("content-type", signed.content_type.to_owned()),
        ("host", signed.host.to_owned()),
        ("x-amz-date", time.clone()),
    ];
    lines.extend(keys.session.clone().map(|session| ("x-amz-security-token", session)));
    lines.push(("x-amz-target", signed.target.to_owned()));
    lines.retain(|(_, value)| !value.is_empty());
    let names = lines.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let canonical_lines: String =
        lines.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical = format!("POST\n/\n\n{canonical_lines}\n{names}\n{}", hash(signed.body.as_bytes()));
    let scope = format!("{date}/{}/{}/aws4_request", signed.region, signed.service);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(canonical.as_bytes()));
    let key = [date, signed.region, signed.service, "aws4_request"]
        .iter()
        .fold(format!("AWS4{}", keys.secret).into_bytes(), |key, part| mac(&key, part));
    let signature = hex(&mac(&key, &text));
    let credential = format!("{}/{scope}", keys.id);
    lines.retain(|(name, _)| *name != "host");
    lines.push((
        "authorization",
        format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"),
    ));
    lines
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Keys {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned();
        Keys { id: "AKIDEXAMPLE".to_owned(), secret, session: None }
    }

    fn signed<'a>(content_type: &'a str, body: &'a str) -> Signed<'a> {
        Signed {
            host: "example.amazonaws.com",
            region: "us-east-1",
            service: "service",
            target: "",
            content_type,
            body,
        }
    }

    /// Source: aws-sig-v4-test-suite, `post-vanilla` and `post-x-www-form-urlencoded`.
    #[test]
    fn vectors_of_aws() {
        let now: Timestamp = "2015-08-30T12:36:00Z".parse().unwrap();
        let check = |signed: Signed<'_>, names: &str, signature: &str| {
            let headers = headers(&example(), &signed, now);
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={names}, Signature={signature}"
            );
            assert_eq!(headers.last().unwrap().1, expected);
        };
        check(
            signed("", ""),
            "host;x-amz-date",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        );
        check(
            signed("application/x-www-form-urlencoded", "Param1=value1"),
            "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        );
    }

    #[test]
    fn the_session_is_signed_too() {
        let keys = Keys { session: Some("token".to_owned()), ..example() };
        let headers = headers(&keys, &signed("", ""), Timestamp::UNIX_EPOCH);
        assert!(headers.iter().any(|(name, value)| *name == "x-amz-security-token" && value == "token"));
        assert!(headers.last().unwrap().1.contains("SignedHeaders=host;x-amz-date;x-amz-security-token,"));
    }
}
