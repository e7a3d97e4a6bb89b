//! Where a registry is reached, and which addresses of others are followed from there.
//!
//! | target | credentials | followed |
//! |---|---|---|
//! | same host and port | yes | yes; plain HTTP becomes HTTPS where the registry speaks that |
//! | another host, HTTPS | never | yes |
//! | another host, plain HTTP | never | only from a registry that is plain itself |
//! | loopback or link-local address | never | only from a loopback registry |

use std::net::IpAddr;

use hyper::Uri;
use hyper::http::uri::{Authority, Scheme};
use oci::Registry;

use super::Failure;

/// The host that answers for Docker Hub's API.
pub(crate) const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// The scheme and host of a registry.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    scheme: Scheme,
    authority: Authority,
}

impl Origin {
    /// Returns where `registry` is reached; `plain` allows HTTP where it is not loopback.
    ///
    /// # Errors
    /// The local store has no address.
    pub fn of(registry: &Registry, plain: bool) -> Result<Self, Failure> {
        let address =
            |reason: &str| Failure::Address { address: registry.to_string(), reason: reason.to_owned() };
        if registry.is_local() {
            return Err(address("it is the local store, not a registry"));
        }
        let host = if registry.is_docker_hub() { DOCKER_HUB_API } else { registry.as_str() };
        let scheme = if plain || registry.is_loopback() { Scheme::HTTP } else { Scheme::HTTPS };
        Ok(Self { scheme, authority: host.parse().map_err(|_| address("it is not a host"))? })
    }

    /// Returns this origin over TLS, or without it, whatever host it is.
    pub fn over(self, encrypted: bool) -> Self {
        let scheme = if encrypted { Scheme::HTTPS } else { Scheme::HTTP };
        Self { scheme, ..self }
    }

    /// Returns the address of `path`, which may have a query.
    pub fn at(&self, path: &str) -> Result<Uri, Failure> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|_| Failure::Address {
                address: without_query(path),
                reason: "it is not a path".to_owned(),
            })
    }

    /// Whether `address` is at this host and port, over the same scheme: only there credentials go.
    pub fn holds(&self, address: &Uri) -> bool {
        let Some(authority) = address.authority() else { return false };
        address.scheme() == Some(&self.scheme)
            && authority.host().eq_ignore_ascii_case(self.authority.host())
            && port(address) == self.port()
    }

    /// Returns the address that `location`, which came in the answer for `base`, points to.
    ///
    /// # Errors
    /// Where it is not one or must not be followed; see the table above.
    pub fn follow(&self, base: &Uri, location: &str) -> Result<Uri, Failure> {
        let refused =
            |reason: &str| Failure::Address { address: without_query(location), reason: reason.to_owned() };
        let mut target = resolve(base, location).ok_or_else(|| refused("it is not an address"))?;
        let host = target.host().ok_or_else(|| refused("it has no host"))?.to_ascii_lowercase();
        if target.scheme() == Some(&Scheme::HTTP) && self.scheme == Scheme::HTTPS {
            if !host.eq_ignore_ascii_case(self.authority.host()) || target.port().is_some() {
                return Err(refused("it would go on without encryption"));
            }
            target = secured(target).ok_or_else(|| refused("it is not an address"))?;
        }
        if target.scheme() != Some(&Scheme::HTTP) && target.scheme() != Some(&Scheme::HTTPS) {
            return Err(refused("only http and https are spoken"));
        }
        if !self.holds(&target) && is_inner(&host) && !is_inner(self.authority.host()) {
            return Err(refused("it is an address of this machine"));
        }
        Ok(target)
    }

    /// Whether credentials may be sent to the token service at `realm`: over HTTPS, or to the
    /// registry's own host.
    pub fn trusts_realm(&self, realm: &Uri) -> bool {
        let Some(host) = realm.host() else { return false };
        match realm.scheme_str() {
            Some("https") => !is_inner(host) || is_inner(self.authority.host()),
            Some("http") => {
                self.scheme == Scheme::HTTP
                    && (host.eq_ignore_ascii_case(self.authority.host())
                        || is_inner(host) && is_inner(self.authority.host()))
            }
            _ => false,
        }
    }

    fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(default_port(&self.scheme))
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.authority.as_str())
    }
}

/// Returns an address without its query, which may hold a signature.
pub(crate) fn without_query(address: &str) -> String {
    address.split(['?', '#']).next().unwrap_or_default().chars().take(300).collect()
}

fn port(address: &Uri) -> u16 {
    address.port_u16().unwrap_or(address.scheme().map_or(0, default_port))
}

fn default_port(scheme: &Scheme) -> u16 {
    if *scheme == Scheme::HTTP { 80 } else { 443 }
}

fn secured(address: Uri) -> Option<Uri> {
    let mut parts = address.into_parts();
    parts.scheme = Some(Scheme::HTTPS);
    Uri::from_parts(parts).ok()
}

/// Source: RFC 3986, "Reference Resolution", without the removal of dot segments, which no
/// registry sends.
fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next()?;
    if location.contains("://") {
        return location.parse().ok();
    }
    let path = match location.chars().next()? {
        '/' if location.starts_with("//") => {
            return format!("{}:{location}", base.scheme_str()?).parse().ok();
        }
        '/' => location.to_owned(),
        '?' => format!("{}{location}", base.path()),
        _ => {
            let (folder, _) = base.path().rsplit_once('/')?;
            format!("{folder}/{location}")
        }
    };
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Addresses that mean something else to us than to the server that names them.
pub(crate) fn is_inner(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            address.is_loopback() || address.is_link_local() || address.is_unspecified()
        }
        Ok(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(mapped) => mapped.is_loopback() || mapped.is_link_local() || mapped.is_unspecified(),
            None => {
                address.is_loopback() || address.is_unspecified() || address.segments()[0] & 0xffc0 == 0xfe80
            }
        },
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(registry: &str) -> Origin {
        Origin::of(&registry.parse().unwrap(), false).unwrap()
    }

    #[track_caller]
    fn check(registry: &str, location: &str, expected: &str) {
        let origin = origin(registry);
        let base = origin.at("/v2/a/blobs/uploads/?x=1").unwrap();
        let found = match origin.follow(&base, location) {
            Ok(address) => format!("{address}{}", if origin.holds(&address) { " trusted" } else { "" }),
            Err(failure) => failure.to_string(),
        };
        assert!(found.contains(expected), "{location}: {found}");
    }

    #[test]
    fn where_registries_are() {
        assert_eq!(origin("docker.io").at("/v2/").unwrap(), "https://registry-1.docker.io/v2/");
        assert_eq!(origin("127.0.0.1:5000").at("/v2/").unwrap(), "http://127.0.0.1:5000/v2/");
        assert_eq!(origin("[::1]:5000").at("/v2/").unwrap(), "http://[::1]:5000/v2/");
        assert!(Origin::of(&Registry::local(), true).is_err());
    }

    #[test]
    fn locations_in_every_spelling() {
        check("a.b", "/v2/x?s=1", "https://a.b/v2/x?s=1 trusted");
        check("a.b", "https://a.b:443/v2/x", "trusted");
        check("a.b", "?s=1", "https://a.b/v2/a/blobs/uploads/?s=1 trusted");
        check("a.b", "abc", "https://a.b/v2/a/blobs/uploads/abc trusted");
        check("a.b", "//c.d/x", "https://c.d/x");
        check("a.b", "", "not an address");
        check("a.b", "http://a b", "not an address");
    }

    #[test]
    fn other_hosts_are_followed_without_trust() {
        check("a.b", "http://a.b/v2/x", "https://a.b/v2/x trusted");
        check("a.b", "http://c.d/x?secret=1", "http://c.d/x is not followed");
        check("a.b", "https://127.0.0.1/x", "address of this machine");
        check("a.b", "https://[::ffff:169.254.169.254]/x", "address of this machine");
        check("a.b", "ftp://c.d/x", "only http and https");
        check("127.0.0.1:5000", "http://127.0.0.1:5001/x", "http://127.0.0.1:5001/x");
        let other = origin("127.0.0.1:5000");
        assert!(!other.holds(&"http://127.0.0.1:5001/".parse().unwrap()));
        assert!(!other.holds(&"https://127.0.0.1:5000/".parse().unwrap()));
    }

    #[test]
    fn realms() {
        let trusts = |registry: &str, realm: &str| origin(registry).trusts_realm(&realm.parse().unwrap());
        assert!(trusts("docker.io", "https://auth.docker.io/token"));
        assert!(!trusts("a.b", "http://a.b/token"));
        assert!(!trusts("a.b", "http://c.d/token"));
        assert!(!trusts("a.b", "https://127.0.0.1/token"));
        assert!(trusts("127.0.0.1:1", "http://127.0.0.1:2/token"));
        assert!(!trusts("127.0.0.1:1", "http://c.d/token"));
    }

    proptest! {
        #[test]
        fn never_panics(location in "\\PC{0,40}") {
            let origin = origin("a.b");
            let _ = origin.follow(&origin.at("/v2/").unwrap(), &location);
        }
    }
}
