//! JavaScript's numbers: what text counts as one, and how one is written.
//!
//! Source: ECMA-262, "StringToNumber" and "Number::toString".

/// Returns the number that `text` is; NaN where it is none. Blank text is zero.
pub(super) fn parse(text: &str) -> f64 {
    let text = trim(text);
    let radix = |digits: &str, radix: u32| {
        let is_valid = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
        if !is_valid {
            return f64::NAN;
        }
        let value = |digit: char| f64::from(digit.to_digit(radix).unwrap_or_default());
        digits.chars().fold(0.0, |number, digit| number * f64::from(radix) + value(digit))
    };
    match text.get(..2) {
        Some("0x" | "0X") => return radix(&text[2..], 16),
        Some("0o" | "0O") => return radix(&text[2..], 8),
        Some("0b" | "0B") => return radix(&text[2..], 2),
        _ if text.is_empty() => return 0.0,
        _ => {}
    }
    match text {
        "Infinity" | "+Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        // Rust also takes "inf" and "nan" in any case; JavaScript takes neither.
        text if text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) => {
            text.parse().unwrap_or(f64::NAN)
        }
        _ => f64::NAN,
    }
}

/// Returns a number as JavaScript writes it.
pub(super) fn format(number: f64) -> String {
    let size = number.abs();
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if number == 0.0 {
        return "0".to_owned();
    }
    if (1e-6..1e21).contains(&size) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    }
}

/// Returns `text` without what JavaScript's `trim` takes away.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Whether JavaScript counts `character` as blank.
pub(super) fn is_space(character: char) -> bool {
    (character.is_whitespace() && character != '\u{85}') || character == '\u{feff}'
}

#[cfg(test)]
mod tests {
    use super::{format, parse};

    #[test]
    fn numbers_are_read_as_javascript_reads_them() {
        for (text, expected) in [
            ("", 0.0),
            (" 12 ", 12.0),
            ("0x10", 16.0),
            ("1e1", 10.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("-1", -1.0),
            ("Infinity", f64::INFINITY),
            ("0b101", 5.0),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
        for text in ["a", "1 2", "inf", "nan", "infinity", "0x", "--1", "1e", "-0x10"] {
            assert!(parse(text).is_nan(), "{text:?}");
        }
    }

    #[test]
    fn numbers_are_written_as_javascript_writes_them() {
        for (number, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.5, "1.5"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1e-7, "1e-7"),
        ] {
            assert_eq!(format(number), expected);
        }
    }
}
