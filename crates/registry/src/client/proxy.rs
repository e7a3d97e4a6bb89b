//! Which proxy leads to a host, and the way through it. The settings are values; the variables
//! they usually come from are read by the binary. Source: RFC 9110, "CONNECT".
//!
//! Both plain and encrypted connections go through a tunnel, so that a proxy never sees
//! credentials of a registry.

use std::io;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Secret;

const MAX_ANSWER_BYTES: usize = 8 << 10;

/// The proxies to use, in the form of the usual variables.
#[derive(Clone, Debug, Default)]
pub struct ProxySettings {
    /// For plain HTTP, such as `http://user:password@proxy.example:3128`; a bare `host:port` is
    /// the same as with `http://` before it.
    pub http: Option<String>,
    /// For HTTPS.
    pub https: Option<String>,
    /// What is reached without a proxy: host names (with everything below them), addresses,
    /// networks such as `10.0.0.0/8`, or `*`; separated by commas.
    pub no_proxy: String,
}

/// The settings do not name a proxy that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proxy for {scheme} cannot be used: {reason}")]
pub struct InvalidProxy {
    scheme: &'static str,
    reason: &'static str,
}

/// The settings, read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<Exception>,
}

/// One proxy.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    pub address: Uri,
    authorization: Option<Secret>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    Everything,
    Domain(String),
    Network(IpAddr, u8),
}

impl Proxies {
    pub fn new(settings: &ProxySettings) -> Result<Self, InvalidProxy> {
        let read = |text: &Option<String>, scheme| {
            let text = text.as_deref().map(str::trim).filter(|text| !text.is_empty());
            text.map(Proxy::parse).transpose().map_err(|reason| InvalidProxy { scheme, reason })
        };
        Ok(Self {
            http: read(&settings.http, "http")?,
            https: read(&settings.https, "https")?,
            exceptions: settings.no_proxy.split(',').filter_map(Exception::parse).collect(),
        })
    }

    /// Returns the proxy that leads to `target`. Loopback addresses are always reached directly.
    pub fn find(&self, target: &Uri) -> Option<&Proxy> {
        let host = target.host()?.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok();
        let is_loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        if is_loopback || self.exceptions.iter().any(|exception| exception.covers(&host, address)) {
            return None;
        }
        if target.scheme_str() == Some("https") { self.https.as_ref() } else { self.http.as_ref() }
    }
}

impl Proxy {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        if !scheme.eq_ignore_ascii_case("http") {
            return Err("only proxies spoken to in plain HTTP (http://host:port) are supported");
        }
        let rest = rest.split('/').next().unwrap_or_default();
        let (user, host) = match rest.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, rest),
        };
        let address = Uri::builder().scheme("http").authority(host).path_and_query("/").build();
        let address = address.map_err(|_| "it is not a host with a port")?;
        let authorization = user.map(|user| {
            let plain = crate::protocol::query::decode(user).unwrap_or_else(|| user.to_owned());
            Secret::new(format!("Basic {}", STANDARD.encode(plain)))
        });
        Ok(Self { address, authorization })
    }

    /// Asks the proxy at the other end of `stream` to lead on to `target`.
    pub async fn tunnel(&self, stream: &mut TcpStream, target: &Uri) -> io::Result<()> {
        let host = target.host().ok_or_else(|| io::Error::other("the address has no host"))?;
        let port = target.port_u16().unwrap_or(if target.scheme_str() == Some("https") { 443 } else { 80 });
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        if let Some(authorization) = &self.authorization {
            request.push_str(&format!("Proxy-Authorization: {}\r\n", authorization.expose()));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        let answer = read_head(stream).await?;
        let status = answer.split_whitespace().nth(1).unwrap_or_default();
        match status {
            "200" => Ok(()),
            "407" => Err(io::Error::other(
                "the proxy wants credentials: give them as user:password@ in its address",
            )),
            _ => Err(io::Error::other(format!("the proxy refused the connection with status {status:?}"))),
        }
    }
}

/// Reads byte by byte up to the empty line: what follows belongs to the tunnel.
async fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_ANSWER_BYTES {
            return Err(io::Error::other("the proxy's answer is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() || text == "*" {
            return (text == "*").then_some(Self::Everything);
        }
        let (address, bits) = text.split_once('/').map_or((text.as_str(), None), |(a, bits)| (a, Some(bits)));
        if let Ok(address) = address.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            let whole = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(whole), |bits| bits.parse().ok().filter(|bits| *bits <= whole))?;
            return Some(Self::Network(address, bits));
        }
        let domain = text.rsplit_once(':').map_or(text.as_str(), |(domain, _)| domain);
        Some(Self::Domain(domain.trim_start_matches("*.").trim_start_matches('.').to_owned()))
    }

    fn covers(&self, host: &str, address: Option<IpAddr>) -> bool {
        match (self, address) {
            (Self::Everything, _) => true,
            (Self::Network(network, bits), Some(address)) => is_within(*network, *bits, address),
            (Self::Domain(domain), _) => {
                host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            (Self::Network(..), None) => false,
        }
    }
}

fn is_within(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    let prefix = |number: u128, width: u8| number.checked_shr(u32::from(width - bits)).unwrap_or(0);
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            prefix(u128::from(network.to_bits()), 32) == prefix(u128::from(address.to_bits()), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            prefix(network.to_bits(), 128) == prefix(address.to_bits(), 128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(no_proxy: &str) -> Proxies {
        Proxies::new(&ProxySettings {
            http: Some("http://plain:3128".to_owned()),
            https: Some("us%40er:pass@secure:3129/".to_owned()),
            no_proxy: no_proxy.to_owned(),
        })
        .unwrap()
    }

    #[track_caller]
    fn check(no_proxy: &str, target: &str, expected: &str) {
        let proxies = settings(no_proxy);
        let found = proxies.find(&target.parse().unwrap());
        assert_eq!(found.map_or("direct", |proxy| proxy.address.host().unwrap()), expected, "{target}");
    }

    #[test]
    fn the_scheme_of_the_target_decides() {
        check("", "http://a.b/", "plain");
        check("", "https://a.b/", "secure");
        check("", "http://127.0.0.1:5000/", "direct");
        check("", "http://[::1]:5000/", "direct");
        check("", "http://localhost/", "direct");
    }

    #[test]
    fn exceptions() {
        check("*", "https://a.b/", "direct");
        check("a.b", "https://x.a.b/", "direct");
        check(".a.b", "https://a.b/", "direct");
        check("*.a.b:443", "https://x.a.b/", "direct");
        check("a.b", "https://xa.b/", "secure");
        check("10.0.0.0/8, c.d", "https://10.1.2.3/", "direct");
        check("10.0.0.0/8", "https://11.1.2.3/", "secure");
        check("0.0.0.0/0", "https://11.1.2.3/", "direct");
        check("fd00::/8", "https://[fd12::1]/", "direct");
        check("10.0.0.0/99", "https://10.1.2.3/", "secure");
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let proxies = settings("");
        let proxy = proxies.https.clone().unwrap();
        assert_eq!(proxy.authorization.unwrap().expose(), format!("Basic {}", STANDARD.encode("us@er:pass")));
        assert!(!format!("{proxies:?}").contains("pass"));
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let socks = ProxySettings { http: Some("socks5://x:1".to_owned()), ..ProxySettings::default() };
        assert!(
            Proxies::new(&socks).unwrap_err().to_string().contains("only proxies spoken to in plain HTTP")
        );
    }
}
