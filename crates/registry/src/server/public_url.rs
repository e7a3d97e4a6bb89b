//! The address by which clients reach the server, where it is not the one that it listens on.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;

/// `https://HOST[:PORT]` or `http://HOST[:PORT]`: a registry has no path before its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

/// Why a text is no such address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not https://HOST[:PORT] or http://HOST[:PORT]")]
pub struct InvalidPublicUrl(String);

impl FromStr for PublicUrl {
    type Err = InvalidPublicUrl;

    fn from_str(text: &str) -> Result<Self, InvalidPublicUrl> {
        let invalid = || InvalidPublicUrl(text.chars().take(200).collect());
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        let host = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let is_plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte));
        match uri.scheme_str() {
            Some(scheme @ ("https" | "http"))
                if !host.is_empty() && is_plain && uri.path() == "/" && uri.query().is_none() =>
            {
                Ok(Self(format!("{scheme}://{host}")))
            }
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_registries() {
        for (text, expected) in [
            ("https://registry.example", "https://registry.example"),
            ("https://registry.example:8443/", "https://registry.example:8443"),
            ("http://[::1]:5000", "http://[::1]:5000"),
        ] {
            assert_eq!(text.parse::<PublicUrl>().unwrap().to_string(), expected);
        }
        for text in
            ["", "registry.example", "https://", "ftp://a", "https://a/path", "https://a/?x", "https://u:p@a"]
        {
            assert!(text.parse::<PublicUrl>().is_err(), "{text}");
        }
    }
}
