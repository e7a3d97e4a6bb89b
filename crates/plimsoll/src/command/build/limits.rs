//! `--shm-size`, as docker writes it.

use std::str::FromStr;

/// A size in bytes: a number with b, k, m or g behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShmSize(pub u64);

impl FromStr for ShmSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let digits = lower.trim_end_matches(|character: char| character.is_ascii_alphabetic());
        let factor: u64 = match &lower[digits.len()..] {
            "" | "b" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            unit => return Err(format!("{unit:?} is no unit; it is b, k, m or g")),
        };
        let size = digits.trim().parse::<u64>().ok().and_then(|count| count.checked_mul(factor));
        size.filter(|size| *size > 0).map(Self).ok_or_else(|| format!("{text:?} is no size such as 128m"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let size = |text: &str| text.parse::<ShmSize>().ok().map(|size| size.0);
        assert_eq!((size("64"), size("128m"), size("1G")), (Some(64), Some(128 << 20), Some(1 << 30)));
        assert_eq!((size("1kib"), size("0"), size("m"), size("1t")), (Some(1024), None, None, None));
        assert_eq!(size("99999999999g"), None);
    }
}
