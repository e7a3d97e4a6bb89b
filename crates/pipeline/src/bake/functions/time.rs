//! Time. The present is handed in.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::{Function, Want, Wrong, function, wrong};
use crate::bake::number::Number;
use crate::bake::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    function("timestamp", &[], |call| {
        Ok(Value::string(call.world.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
    }),
    function("timeadd", &[("timestamp", Want::Text), ("duration", Want::Text)], |call| {
        let time = read(call.text(0)).ok_or_else(|| wrong(0, not_a_time(call.text(0))))?;
        let duration =
            duration(call.text(1)).ok_or_else(|| wrong(1, "not a duration such as 1h30m or -10s"))?;
        let sum = time.checked_add(duration).map_err(|_| "the sum lies outside of the calendar")?;
        Ok(Value::string(rfc3339(&sum)))
    }),
    function("formatdate", &[("format", Want::Text), ("time", Want::Text)], |call| {
        let time = read(call.text(1)).ok_or_else(|| wrong(1, not_a_time(call.text(1))))?;
        format(call.text(0), &time).map(Value::string)
    }),
    function("rfc3339parse", &[("timestamp", Want::Text)], |call| {
        let time = read(call.text(0)).ok_or_else(|| wrong(0, not_a_time(call.text(0))))?;
        Ok(parts(&time))
    }),
    function("unixtimestampparse", &[("unix_timestamp", Want::Number)], |call| {
        let time = Timestamp::from_second(call.whole(0)?).map_err(|_| wrong(0, "outside of the calendar"))?;
        Ok(parts(&time.to_zoned(TimeZone::UTC)))
    }),
];

fn not_a_time(text: &str) -> String {
    format!("not a valid RFC3339 timestamp: {text:?}")
}

/// Reads RFC 3339 and keeps the offset.
fn read(text: &str) -> Option<Zoned> {
    let bytes = text.as_bytes();
    if bytes.get(10) != Some(&b'T') || !text.is_ascii() {
        return None;
    }
    let time: Timestamp = text.parse().ok()?;
    let offset = match text.ends_with('Z') {
        true => Offset::UTC,
        false => {
            let (sign, offset) = text.split_at(text.len().checked_sub(6)?);
            let _ = sign;
            let (hours, minutes) = offset.get(1..)?.split_once(':')?;
            let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
            Offset::from_seconds(if offset.starts_with('-') { -seconds } else { seconds }).ok()?
        }
    };
    Some(time.to_zoned(offset.to_time_zone()))
}

fn rfc3339(time: &Zoned) -> String {
    let zone = if time.offset() == Offset::UTC { "Z".to_owned() } else { offset(time, true) };
    let places = match time.subsec_nanosecond() {
        0 => String::new(),
        nanoseconds => format!(".{nanoseconds:09}").trim_end_matches('0').to_owned(),
    };
    format!("{}{places}{zone}", time.strftime("%Y-%m-%dT%H:%M:%S"))
}

fn offset(time: &Zoned, colon: bool) -> String {
    let seconds = time.offset().seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    format!("{sign}{:02}{}{:02}", minutes / 60, if colon { ":" } else { "" }, minutes % 60)
}

/// Reads a duration as Go writes it: `1h30m`, `-1.5h`, `300ms`.
fn duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut nanoseconds: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).filter(|end| *end > 0)?;
        let amount = Number::parse(&rest[..digits])?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |end| digits + end);
        let unit: i128 = match &rest[digits..unit_end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let product = amount.multiply(Number::from(unit))?.truncate();
        nanoseconds = nanoseconds.checked_add(i128::from(product.as_i64()?))?;
        rest = &rest[unit_end..];
    }
    let nanoseconds = i64::try_from(nanoseconds).ok().filter(|_| !text.is_empty())?;
    Some(SignedDuration::from_nanos(if negative { -nanoseconds } else { nanoseconds }))
}

fn parts(time: &Zoned) -> Value {
    let number = |value: i64| Value::Number(Number::from(i128::from(value)));
    let week = time.date().iso_week_date();
    let text = |pattern: &str| Value::string(time.strftime(pattern).to_string());
    let entries = [
        ("year", number(time.year().into())),
        ("year_day", number(time.day_of_year().into())),
        ("day", number(time.day().into())),
        ("month", number(time.month().into())),
        ("month_name", text("%B")),
        ("weekday", number(time.weekday().to_sunday_zero_offset().into())),
        ("weekday_name", text("%A")),
        ("hour", number(time.hour().into())),
        ("minute", number(time.minute().into())),
        ("second", number(time.second().into())),
        ("unix", number(time.timestamp().as_second())),
        ("rfc3339", Value::string(rfc3339(time))),
        ("iso_year", number(week.year().into())),
        ("iso_week", number(week.week().into())),
    ];
    Value::object(
        entries.map(|(name, value)| (name.to_owned(), value)).into_iter().collect::<BTreeMap<_, _>>(),
    )
}

/// Source: cty, "formatdate": runs of one letter are fields, text in single quotes stands for itself.
fn format(pattern: &str, time: &Zoned) -> Result<String, Wrong> {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let (literal, after) = quoted(&rest[1..]).ok_or_else(|| wrong(0, "unterminated literal '"))?;
            text += &literal;
            rest = after;
            continue;
        }
        let end = rest.find(|character| character != first).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        match first.is_ascii_alphabetic() {
            true => text += &field(run, time)?,
            false => text += run,
        }
        rest = after;
    }
    Ok(text)
}

fn quoted(rest: &str) -> Option<(String, &str)> {
    let mut literal = String::new();
    let mut at = rest;
    loop {
        let end = at.find('\'')?;
        literal += &at[..end];
        at = &at[end + 1..];
        match at.strip_prefix('\'') {
            Some(after) => {
                literal.push('\'');
                at = after;
            }
            None => return Some((literal, at)),
        }
    }
}

fn field(run: &str, time: &Zoned) -> Result<String, Wrong> {
    let date: Date = time.date();
    let zone =
        |utc: &str, colon| if time.offset() == Offset::UTC { utc.to_owned() } else { offset(time, colon) };
    let shown = match run {
        "YYYY" => format!("{:04}", date.year()),
        "YY" => format!("{:02}", date.year().rem_euclid(100)),
        "MMMM" => time.strftime("%B").to_string(),
        "MMM" => time.strftime("%b").to_string(),
        "MM" => format!("{:02}", date.month()),
        "M" => date.month().to_string(),
        "DD" => format!("{:02}", date.day()),
        "D" => date.day().to_string(),
        "EEEE" => time.strftime("%A").to_string(),
        "EEE" => time.strftime("%a").to_string(),
        "hh" => format!("{:02}", time.hour()),
        "h" => time.hour().to_string(),
        "HH" => format!("{:02}", (time.hour() + 11).rem_euclid(12) + 1),
        "H" => ((time.hour() + 11).rem_euclid(12) + 1).to_string(),
        "AA" => if time.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        "aa" => if time.hour() < 12 { "am" } else { "pm" }.to_owned(),
        "mm" => format!("{:02}", time.minute()),
        "m" => time.minute().to_string(),
        "ss" => format!("{:02}", time.second()),
        "s" => time.second().to_string(),
        "ZZZZZ" => offset(time, true),
        "ZZZZ" => offset(time, false),
        "ZZZ" => zone("UTC", false),
        "Z" => zone("Z", true),
        _ => return Err(wrong(0, format!("invalid date format verb {run:?}"))),
    };
    Ok(shown)
}
