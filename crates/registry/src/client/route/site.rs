//! One host that is asked in a certain way.

use std::path::PathBuf;
use std::sync::OnceLock;

use oci::Registry;

/// A host, and how it wants to be asked.
#[derive(Debug)]
pub(crate) struct Site {
    /// Host and port: whose credentials are used.
    pub registry: Registry,
    pub security: Security,
    /// What stands for `/v2` in its paths.
    pub root: String,
    /// Sent with every request to it.
    pub headers: Vec<(String, String)>,
    /// The registry it stands for, which it is told as `ns`.
    pub namespace: Option<String>,
    pub certificates: SiteCertificates,
    /// Of `Security::Either`: whether it turned out to be plain.
    pub plain: OnceLock<bool>,
}

/// How connections to a host are secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    /// As for every registry: plain on loopback, else TLS with a certificate that is checked.
    Usual,
    /// TLS with a certificate that is checked.
    Verified,
    /// TLS with whatever certificate.
    Unverified,
    /// No TLS.
    Plain,
    /// TLS with whatever certificate, and none where it does not speak that.
    Either,
}

/// Files with certificates for a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SiteCertificates {
    pub authorities: Vec<PathBuf>,
    /// Certificate and key; the key is in the same file where there is one file.
    pub identity: Option<(PathBuf, PathBuf)>,
    pub unverified: bool,
}

impl Site {
    /// Returns a host that is asked as any registry, with this security.
    pub fn new(registry: Registry, security: Security) -> Self {
        let unverified = matches!(security, Security::Unverified | Security::Either);
        Self {
            registry,
            security,
            root: "/v2".to_owned(),
            headers: Vec::new(),
            namespace: None,
            certificates: SiteCertificates { unverified, ..SiteCertificates::default() },
            plain: OnceLock::new(),
        }
    }

    /// Returns a path of the protocol as this host has it.
    pub fn path(&self, path: &str) -> String {
        let rest = path.strip_prefix("/v2").unwrap_or(path);
        let path = format!("{}{rest}", self.root);
        match &self.namespace {
            Some(namespace) => crate::protocol::query::with_pair(&path, "ns", namespace),
            None => path,
        }
    }
}
