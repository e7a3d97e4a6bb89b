//! Durations as Go writes them. Source: the Go standard library, time.ParseDuration.

/// Reads a duration such as `1m30s`, `1.5h` or `-300ms`. Returns nanoseconds; `None` where it is none.
pub fn parse_duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: Option<i64> = None;
    while !rest.is_empty() {
        let (number, after) = split_where(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, after) = split_where(after, |c| c.is_ascii_digit() || c == '.');
        let part = nanoseconds(number, unit_of(unit)?)?;
        total = Some(total.unwrap_or(0).checked_add(part)?);
        rest = after;
    }
    total.map(|total| sign * total)
}

fn split_where(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}

fn unit_of(name: &str) -> Option<i64> {
    Some(match name {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

fn nanoseconds(number: &str, unit: i64) -> Option<i64> {
    /// More digits than these change nothing: the largest unit has 13 places.
    const PLACES: usize = 18;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i64>().ok() };
    let fraction = &fraction[..fraction.len().min(PLACES)];
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let part = i128::from(digits(fraction)?) * i128::from(unit) / scale;
    digits(whole)?.checked_mul(unit)?.checked_add(i64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(parse_duration(text), expected, "{text}");
    }

    #[test]
    fn durations() {
        check("0", Some(0));
        check("-0", Some(0));
        check("30s", Some(30_000_000_000));
        check("1m30s", Some(90_000_000_000));
        check("1.5h", Some(5_400_000_000_000));
        check(".5s", Some(500_000_000));
        check("5.s", Some(5_000_000_000));
        check("500ms", Some(500_000_000));
        check("1us", Some(1_000));
        check("1\u{b5}s", Some(1_000));
        check("-1ms", Some(-1_000_000));
        check("+1ns", Some(1));
        check("0.100000000000000000000000001h", Some(360_000_000_000));
        check("2562047h47m16.854775807s", Some(i64::MAX));
    }

    #[test]
    fn what_is_none() {
        for text in
            ["", "-", "+", "5", "s", ".", ".s", "1x", "1..5s", "1.2.3s", "5 s", "9999999h", "1s ", "é"]
        {
            check(text, None);
        }
    }
}
