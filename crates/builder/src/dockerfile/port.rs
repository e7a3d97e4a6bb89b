//! Ports of EXPOSE: `80`, `53/udp`, `8000-8010/tcp`.
//!
//! A host part (`8080:80`) is accepted and means nothing, as it always was.
//!
//! Source: the Dockerfile reference, "EXPOSE"; Docker's port specifications.

use std::fmt;

/// A port and its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The number.
    pub number: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// What is spoken below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, where nothing is said.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    fn parse(text: &str) -> Option<Self> {
        match &text.to_ascii_lowercase()[..] {
            "tcp" | "" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            "sctp" => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl Port {
    /// Reads one port or a range of ports, both ends included. Never empty.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse_range(text: &str) -> Result<Vec<Self>, String> {
        let (ports, protocol) = match text.split_once('/') {
            Some((ports, protocol)) => (ports, protocol),
            None => (text, ""),
        };
        let protocol = Protocol::parse(protocol)
            .ok_or_else(|| format!("{text:?}: the protocol is one of tcp, udp and sctp"))?;
        let ports = ports.rsplit(':').next().unwrap_or(ports);
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let number =
            |part: &str| part.parse::<u16>().ok().filter(|_| part.bytes().all(|b| b.is_ascii_digit()));
        let (Some(first), Some(last)) = (number(first), number(last)) else {
            return Err(format!("{text:?} is not a port: expected a number from 0 to 65535, or FIRST-LAST"));
        };
        if first > last {
            return Err(format!("{text:?}: the range ends before it starts"));
        }
        Ok((first..=last).map(|number| Self { number, protocol }).collect())
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        write!(f, "{}/{protocol}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let ports = Port::parse_range(text).unwrap();
        assert_eq!(ports.iter().map(Port::to_string).collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn ports() {
        check("80", &["80/tcp"]);
        check("53/udp", &["53/udp"]);
        check("53/UDP", &["53/udp"]);
        check("9/sctp", &["9/sctp"]);
        check("80/", &["80/tcp"]);
        check("8000-8002/tcp", &["8000/tcp", "8001/tcp", "8002/tcp"]);
        check("8080:80", &["80/tcp"]);
        check("127.0.0.1:8080:80/udp", &["80/udp"]);
        check("65535-65535", &["65535/tcp"]);
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "",
            "http",
            "80/quic",
            "65536",
            "-1",
            "+80",
            "90-80",
            "80-",
            "1-2-3",
            "/tcp",
            "80/tcp/udp",
            "8 0",
        ] {
            assert!(Port::parse_range(text).is_err(), "{text}");
        }
    }
}
