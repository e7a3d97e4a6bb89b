//! The server's side of TLS.

use std::fmt::Write as _;
use std::sync::Arc;

use oci::Digest;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::rules::Current;

/// A certificate with its key, ready to be shown to clients. Clones show the same one.
#[derive(Clone)]
pub struct Tls {
    shown: Arc<Current<Shown>>,
}

/// What clients are shown.
struct Shown {
    acceptor: TlsAcceptor,
    fingerprint: String,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTls {
    /// Not PEM with certificates.
    #[error("the certificate file has no certificate in PEM form")]
    Certificate,
    /// Not PEM with a key.
    #[error("the key file has no private key in PEM form")]
    Key,
    /// They do not belong together, or are of a kind that is not supported.
    #[error("certificate and key cannot be used")]
    Unusable(#[source] rustls::Error),
}

impl Tls {
    /// Reads a chain of certificates, the server's own first, and its key, both as PEM.
    ///
    /// # Errors
    /// Which of the two cannot be used.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, InvalidTls> {
        let chain: Result<Vec<CertificateDer<'static>>, _> =
            CertificateDer::pem_slice_iter(certificates).collect();
        let chain = chain.map_err(|_| InvalidTls::Certificate)?;
        let first = chain.first().ok_or(InvalidTls::Certificate)?;
        let fingerprint = fingerprint(first);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| InvalidTls::Key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(InvalidTls::Unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let shown = Shown { acceptor: TlsAcceptor::from(Arc::new(config)), fingerprint };
        Ok(Self { shown: Arc::new(Current::new(shown)) })
    }

    /// Returns the SHA-256 of the certificate as pairs of hexadecimal digits with colons, as
    /// `openssl x509 -fingerprint -sha256` prints it.
    pub fn fingerprint(&self) -> String {
        self.shown.get().fingerprint.clone()
    }

    /// Shows the certificate of `renewed` from now on, by all clones. Connections that are open stay.
    pub fn renew(&self, renewed: &Self) {
        let Shown { acceptor, fingerprint } = &*renewed.shown.get();
        self.shown.set(Shown { acceptor: acceptor.clone(), fingerprint: fingerprint.clone() });
    }

    /// Returns what agrees with a client on encryption.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.shown.get().acceptor.clone()
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tls({})", self.fingerprint())
    }
}

fn fingerprint(certificate: &[u8]) -> String {
    let mut text = String::new();
    for byte in Digest::of(certificate).as_bytes() {
        let colon = if text.is_empty() { "" } else { ":" };
        write!(text, "{colon}{byte:02X}").expect("writing to a String cannot fail");
    }
    text
}
