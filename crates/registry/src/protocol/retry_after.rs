//! How long a server asks to be left alone. Source: RFC 9110, "Retry-After"; the body GHCR sends.

use std::time::Duration;

use jiff::Timestamp;

/// Reads a `Retry-After` header: seconds, or a date. A date that is past means "now".
pub fn parse(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    Some(Duration::try_from(parse_date(header)?.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// Reads a date as HTTP headers have it.
pub fn parse_date(header: &str) -> Option<Timestamp> {
    Some(jiff::fmt::rfc2822::parse(header.trim()).ok()?.timestamp())
}

/// Finds `retry-after: 10.3ms` in the text of an error, which is where GHCR puts it.
pub fn find_in(text: &str) -> Option<Duration> {
    let lower = text.to_ascii_lowercase();
    let (_, after) = lower.split_once("retry-after:")?;
    let after = after.trim_start();
    let end = after.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(after.len());
    let number: f64 = after[..end].parse().ok()?;
    let unit: String = after[end..].chars().take_while(char::is_ascii_alphabetic).collect();
    let seconds = match unit.as_str() {
        "ns" => number / 1e9,
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2015-10-21T07:27:00Z".parse().unwrap()
    }

    #[test]
    fn seconds_and_dates() {
        assert_eq!(parse("7", now()), Some(Duration::from_secs(7)));
        assert_eq!(parse("Wed, 21 Oct 2015 07:28:00 GMT", now()), Some(Duration::from_secs(60)));
        assert_eq!(parse("Wed, 21 Oct 2015 07:26:00 GMT", now()), Some(Duration::ZERO));
        assert_eq!(parse("soon", now()), None);
        assert_eq!(parse("-1", now()), None);
    }

    #[test]
    fn body_text() {
        let text = "TOOMANYREQUESTS: retry-after: 10.3ms, allowed: 2000/minute";
        assert_eq!(find_in(text), Some(Duration::from_micros(10_300)));
        assert_eq!(find_in("Retry-After: 2s"), Some(Duration::from_secs(2)));
        assert_eq!(find_in("retry-after: 5"), Some(Duration::from_secs(5)));
        assert_eq!(find_in("retry-after: x"), None);
        assert_eq!(find_in("slow down"), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}", number in "[0-9.]{0,30}(ms|h|)") {
            let _ = parse(&text, now());
            let _ = find_in(&text);
            let _ = find_in(&format!("retry-after:{number}"));
        }
    }
}
