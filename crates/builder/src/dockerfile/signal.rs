//! Signals of STOPSIGNAL: by number, or by name with or without `SIG`.
//!
//! Source: Docker's signal names on Linux; signal(7).

use std::fmt;

/// A signal, as written; images keep that spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Signal {
    text: String,
    number: i32,
}

const NAMES: [(&str, i32); 35] = [
    ("ABRT", 6),
    ("ALRM", 14),
    ("BUS", 7),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("FPE", 8),
    ("HUP", 1),
    ("ILL", 4),
    ("INT", 2),
    ("IO", 29),
    ("IOT", 6),
    ("KILL", 9),
    ("PIPE", 13),
    ("POLL", 29),
    ("PROF", 27),
    ("PWR", 30),
    ("QUIT", 3),
    ("SEGV", 11),
    ("STKFLT", 16),
    ("STOP", 19),
    ("SYS", 31),
    ("TERM", 15),
    ("TRAP", 5),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("USR1", 10),
    ("USR2", 12),
    ("VTALRM", 26),
    ("WINCH", 28),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("UNUSED", 31),
];
const FIRST_REAL_TIME: i32 = 34;
const LAST_REAL_TIME: i32 = 64;

impl Signal {
    /// Reads a signal.
    ///
    /// # Errors
    /// Says that it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("{text:?} is not a signal; write it as SIGTERM or 15");
        // BuildKit takes any number but 0; whether the system has such a signal shows when it is sent.
        let number = match text.parse::<i32>() {
            Ok(number) => Some(number).filter(|number| *number != 0),
            Err(_) => named(&text.to_ascii_uppercase()),
        };
        Ok(Self { text: text.to_owned(), number: number.ok_or_else(invalid)? })
    }

    /// Returns the signal as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the number it has on Linux.
    pub fn number(&self) -> i32 {
        self.number
    }
}

fn named(name: &str) -> Option<i32> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    let offset = |text: &str| text.parse::<i32>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let above = if rest.is_empty() { Some(0) } else { rest.strip_prefix('+').and_then(offset) };
        return above.filter(|above| *above <= 15).map(|above| FIRST_REAL_TIME + above);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let below = if rest.is_empty() { Some(0) } else { rest.strip_prefix('-').and_then(offset) };
        return below.filter(|below| *below <= 14).map(|below| LAST_REAL_TIME - below);
    }
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let cases = [
            ("SIGTERM", 15),
            ("TERM", 15),
            ("sigterm", 15),
            ("9", 9),
            ("KILL", 9),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SIGRTMAX", 64),
            ("64", 64),
            ("99", 99),
        ];
        for (text, number) in cases {
            let signal = Signal::parse(text).unwrap();
            assert_eq!((signal.as_str(), signal.number()), (text, number));
        }
    }

    #[test]
    fn what_is_refused() {
        for text in ["", "0", "SIG", "SIGFOO", "RTMIN+16", "RTMIN-1", "RTMAX-15", "TERM ", "99999999999"] {
            assert!(Signal::parse(text).is_err(), "{text}");
        }
    }
}
