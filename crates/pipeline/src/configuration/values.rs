//! Small values of the configuration: lengths of time, sizes, shares, names, one-or-many.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A value of the configuration is not what its key takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct InvalidValue {
    /// What was given, cut at 100 characters.
    pub text: String,
    /// What the key takes, with an example.
    pub expected: &'static str,
}

fn invalid(text: &str, expected: &'static str) -> InvalidValue {
    InvalidValue { text: text.chars().take(100).collect(), expected }
}

/// A length of time: `500ms`, `10s`, `25m`, `24h`, `7d`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timespan(pub Duration);

impl FromStr for Timespan {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || invalid(text, "a length of time, such as 10s, 25m, 1h30m or 7d");
        let (mut total, mut rest) = (0_u64, text);
        while !rest.is_empty() || text.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
            let number: u64 = rest[..digits].parse().map_err(|_| invalid())?;
            let milliseconds = match &rest[digits..digits + letters] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "w" => 604_800_000,
                _ => return Err(invalid()),
            };
            let part = number.checked_mul(milliseconds).ok_or_else(invalid)?;
            total = total.checked_add(part).ok_or_else(invalid)?;
            rest = &rest[digits + letters..];
        }
        Ok(Self(Duration::from_millis(total)))
    }
}

impl fmt::Display for Timespan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
        let mut rest = milliseconds;
        for (size, unit) in units {
            if rest / size > 0 || (milliseconds == 0 && unit == "s") {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

crate::text::written_as_text!(Timespan, "Length of time: 500ms, 10s, 25m, 24h, 7d, 1h30m");

/// A size in bytes: `4096B`, `500kB`, `20MB`, `64MiB`, `2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const BYTE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || invalid(text, "a size, such as 500kB, 20MB or 2GiB");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().map_err(|_| invalid())?;
        let unit = text[digits..].trim_start();
        let same = |name: &str| name.eq_ignore_ascii_case(unit);
        let (_, size) = BYTE_UNITS.iter().find(|(name, _)| same(name)).ok_or_else(invalid)?;
        number.checked_mul(*size).map(Self).ok_or_else(invalid)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |size: u64| self.0 >= size && self.0.is_multiple_of(size);
        let (name, size) = BYTE_UNITS.iter().find(|(_, size)| fits(*size)).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / size)
    }
}

crate::text::written_as_text!(ByteSize, "Size: 500kB, 20MB, 64MiB, 2GiB");

/// A share of a whole: `5%`, `0.5%`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Percent(f64);

impl Percent {
    /// Returns the share as a factor: 0.05 for `5%`.
    pub fn factor(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percent {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || invalid(text, "a share in per cent, such as 5% or 0.5%");
        let number = text.strip_suffix('%').ok_or_else(invalid)?;
        if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(invalid());
        }
        number.parse().map(Self).map_err(|_| invalid())
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

crate::text::written_as_text!(Percent, "Share in per cent: 5%, 0.5%");

/// The name of a service or a suite: letters, digits, `.`, `_`, `-`, from a letter or digit on.
///
/// It stands in repository names, names of environment variables, job outputs and files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name as it stands in the name of an environment variable: `WEB_UI` for `web-ui`.
    pub fn for_environment(&self) -> String {
        let word = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        self.0.chars().map(word).collect()
    }
}

impl FromStr for Name {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let word = |byte: u8| byte.is_ascii_alphanumeric();
        let bytes = text.as_bytes();
        let ends_well = matches!(bytes, [first, .., last] | [first @ last] if word(*first) && word(*last));
        let allowed = |&byte: &u8| word(byte) || matches!(byte, b'.' | b'_' | b'-');
        if !ends_well || bytes.len() > 63 || !bytes.iter().all(allowed) {
            let rule = "a name: at most 63 letters, digits, and . _ - between them";
            return Err(invalid(text, rule));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

crate::text::written_as_text!(Name, "Name of a service or suite");

/// One value, or a list of them: `on = "schedule"` and `on = ["schedule", "dispatch"]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> std::ops::Deref for OneOrMany<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrManyVisitor(std::marker::PhantomData))
    }
}

struct OneOrManyVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<OneOrMany<T>, E> {
        T::deserialize(text.into_deserializer()).map(|value| OneOrMany(vec![value]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<OneOrMany<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element()? {
            values.push(value);
        }
        Ok(OneOrMany(values))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one.clone(), { "type": "array", "items": one }] })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check<T: FromStr<Err = InvalidValue> + fmt::Display>(text: &str, printed: &str) {
        assert_eq!(text.parse::<T>().map(|value| value.to_string()), Ok(printed.to_owned()));
    }

    #[track_caller]
    fn check_refused<T: FromStr<Err = InvalidValue>>(texts: &[&str]) {
        for text in texts {
            assert!(text.parse::<T>().is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_of_time() {
        check::<Timespan>("10s", "10s");
        check::<Timespan>("90m", "1h30m");
        check::<Timespan>("1h30m", "1h30m");
        check::<Timespan>("24h", "1d");
        check::<Timespan>("500ms", "500ms");
        check::<Timespan>("0s", "0s");
        check::<Timespan>("1w", "7d");
        check_refused::<Timespan>(&[
            "",
            "10",
            "s",
            "10 s",
            "-1s",
            "1.5h",
            "10x",
            "10sx",
            "99999999999999999999s",
            "1é",
        ]);
    }

    #[test]
    fn sizes() {
        check::<ByteSize>("64MiB", "64MiB");
        check::<ByteSize>("20 mb", "20MB");
        check::<ByteSize>("1024B", "1KiB");
        check::<ByteSize>("7B", "7B");
        check::<ByteSize>("0B", "0B");
        check_refused::<ByteSize>(&["", "10", "MB", "1.5GB", "99999999TiB", "1xB", "é"]);
    }

    #[test]
    fn shares() {
        check::<Percent>("5%", "5%");
        check::<Percent>("0.5%", "0.5%");
        assert_eq!("5%".parse::<Percent>().unwrap().factor(), 0.05);
        check_refused::<Percent>(&["", "5", "%", "-1%", "inf%", "1.2.3%"]);
    }

    #[test]
    fn names() {
        check::<Name>("api", "api");
        check::<Name>("Web-ui_2.x", "Web-ui_2.x");
        assert_eq!("web-ui.x".parse::<Name>().unwrap().for_environment(), "WEB_UI_X");
        check_refused::<Name>(&["", "-a", "a-", "a b", "a/b", "..", "é", &"a".repeat(64)]);
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(milliseconds in 0_u64..10_000_000_000, bytes in any::<u64>()) {
            let timespan = Timespan(Duration::from_millis(milliseconds));
            prop_assert_eq!(timespan.to_string().parse(), Ok(timespan));
            prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }

        #[test]
        fn readers_never_panic(text in any::<String>()) {
            let _ = (text.parse::<Timespan>(), text.parse::<ByteSize>(), text.parse::<Percent>(), text.parse::<Name>());
        }
    }
}
