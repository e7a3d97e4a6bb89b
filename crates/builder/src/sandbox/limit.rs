//! Limits of processes by their names, as `ulimit` and docker write them.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A limit of the kernel's on a process, as `ulimit` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedLimit {
    /// What is limited.
    pub what: LimitName,
    /// What a process starts with; `None` for no limit.
    pub soft: Option<u64>,
    /// How far it may raise that; `None` for no limit.
    pub hard: Option<u64>,
}

/// What a [`NamedLimit`] is about. Source: setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names of setrlimit(2)")]
pub enum LimitName {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

const NAMES: [(&str, LimitName); 16] = [
    ("as", LimitName::As),
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

impl FromStr for NamedLimit {
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
        Ok(Self { what: *what, soft, hard })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_soft_and_hard() {
        let limit = |text: &str| text.parse::<NamedLimit>().map(|limit| (limit.what, limit.soft, limit.hard));
        assert_eq!(limit("nofile=1024:2048"), Ok((LimitName::Nofile, Some(1024), Some(2048))));
        assert_eq!(limit("core=-1"), Ok((LimitName::Core, None, None)));
        assert_eq!(limit("stack=5"), Ok((LimitName::Stack, Some(5), Some(5))));
        for wrong in ["nofile", "files=3", "nofile=x", "nofile=5:3", "nofile=-1:3"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }
}
