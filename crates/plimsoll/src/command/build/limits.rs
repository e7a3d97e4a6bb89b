//! `--ulimit` and `--shm-size`, as docker writes them.

use std::str::FromStr;

use builder::sandbox::{LimitName, NamedLimit};

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

/// `NAME=SOFT[:HARD]`; without the second they are the same, and -1 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ulimit(pub NamedLimit);

const NAMES: [(&str, LimitName); 15] = [
    ("core", LimitName::Core),
    ("cpu", LimitName::Cpu),
    ("data", LimitName::Data),
    ("fsize", LimitName::Fsize),
    ("locks", LimitName::Locks),
    ("memlock", LimitName::Memlock),
    ("msgqueue", LimitName::Msgqueue),
    ("nice", LimitName::Nice),
    ("nofile", LimitName::Nofile),
    ("nproc", LimitName::Nproc),
    ("rss", LimitName::Rss),
    ("rtprio", LimitName::Rtprio),
    ("rttime", LimitName::Rttime),
    ("sigpending", LimitName::Sigpending),
    ("stack", LimitName::Stack),
];

impl FromStr for Ulimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, values) = text.split_once('=').ok_or("it is NAME=SOFT[:HARD]")?;
        let known = NAMES.iter().find(|(known, _)| *known == name);
        let (_, what) = known.ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("{name:?} is no limit; there are {}", names.join(", "))
        })?;
        let number = |text: &str| match text {
            "-1" => Ok(None),
            text => text.parse::<u64>().map(Some).map_err(|_| format!("{text:?} is no number")),
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
            return Err("the soft limit is above the hard one".to_owned());
        }
        Ok(Self(NamedLimit { what: *what, soft, hard }))
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

    #[test]
    fn limits_are_soft_and_hard() {
        let limit =
            |text: &str| text.parse::<Ulimit>().map(|limit| (limit.0.what, limit.0.soft, limit.0.hard));
        assert_eq!(limit("nofile=1024:2048"), Ok((LimitName::Nofile, Some(1024), Some(2048))));
        assert_eq!(limit("core=-1"), Ok((LimitName::Core, None, None)));
        assert_eq!(limit("stack=5"), Ok((LimitName::Stack, Some(5), Some(5))));
        for wrong in ["nofile", "files=3", "nofile=x", "nofile=5:3", "nofile=-1:3"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }
}
