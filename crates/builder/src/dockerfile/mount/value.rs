//! The fields of a mount and their values: comma-separated values, booleans, numbers, sizes.
//!
//! Source: RFC 4180 for the list; Go for booleans and sizes.

use super::super::error::suggestion;

pub(super) fn one_of(key: &str, value: &str, known: &[&str]) -> Result<String, String> {
    let lower = value.to_ascii_lowercase();
    if known.contains(&&lower[..]) {
        return Ok(lower);
    }
    let hint = suggestion(&lower, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    Err(format!("{key}={value} is not one of {}{hint}", known.join(", ")))
}

/// Reads a boolean in any of Go's spellings.
pub(super) fn boolean(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{key}={value} is neither true nor false")),
    }
}

pub(super) fn number(key: &str, value: &str, radix: u32) -> Result<u32, String> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = u32::from_str_radix(value, radix).ok().filter(|_| digits);
    number.ok_or_else(|| format!("{key}={value} is not a number of base {radix}"))
}

/// Reads a size such as `64m`, `1.5GiB` or `1024`; units are powers of 1024.
pub(super) fn bytes(value: &str) -> Result<u64, String> {
    let invalid = || format!("size={value} is not a size; write it as 64m or 1g");
    let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let number: f64 = value[..digits].parse().map_err(|_| invalid())?;
    let unit = value[digits..].trim().to_ascii_lowercase();
    let prefix = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power =
        ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == prefix).ok_or_else(invalid)?;
    let size = number * 1024_f64.powi(i32::try_from(power).map_err(|_| invalid())?);
    if size.is_finite() && size <= 2_f64.powi(62) { Ok(size as u64) } else { Err(invalid()) }
}

/// Splits a line of comma-separated values; a field in double quotes may hold commas.
pub(super) fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => match rest.split_once(',') {
                Some((field, after)) => (field.to_owned(), Some(after)),
                None => (rest.to_owned(), None),
            },
        };
        if !field.is_empty() {
            fields.push(field);
        }
        match after {
            Some(after) => rest = after,
            None if fields.is_empty() => return Err("the mount is empty".to_owned()),
            None => return Ok(fields),
        }
    }
}

fn quoted_field(text: &str) -> Result<(String, Option<&str>), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"').ok_or("a closing double quote is missing")?;
        field.push_str(part);
        match after.chars().next() {
            Some('"') => field.push('"'),
            Some(',') => return Ok((field, Some(&after[1..]))),
            None => return Ok((field, None)),
            Some(_) => return Err("after a closing double quote only a comma may follow".to_owned()),
        }
        rest = &after[1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(fields(text).unwrap(), expected, "{text}");
    }

    #[test]
    fn lists() {
        check("a=b,c=d", &["a=b", "c=d"]);
        check("a", &["a"]);
        check("a,,b,", &["a", "b"]);
        check("\"a,b\",c", &["a,b", "c"]);
        check("\"a\"\"b\"", &["a\"b"]);
        for text in ["", ",", "\"a", "\"a\"b"] {
            assert!(fields(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        let size = bytes;
        assert_eq!(size("1024"), Ok(1024));
        assert_eq!(size("1.5k"), Ok(1536));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        assert_eq!(size("3 MB"), Ok(3 << 20));
        for text in ["", "m", "1x", "1..2", "-1", "99999999p"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
