//! How a connection comes about: directly or through a proxy, plain or encrypted.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tower_service::Service;

use super::certificates::{self, HostCertificates};
use super::proxy::Proxies;
use super::route::SiteCertificates;

const CONNECT_LIMIT: Duration = Duration::from_secs(15);

/// What every certificate in a file begins with.
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

type BoxError = Box<dyn Error + Send + Sync>;

/// Connects to the host of an address, through a tunnel where a proxy is set for it.
#[derive(Clone)]
pub(crate) struct Connector {
    direct: HttpConnector,
    proxies: Arc<Proxies>,
}

impl Connector {
    pub fn new(proxies: Proxies) -> Self {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_nodelay(true);
        direct.set_connect_timeout(Some(CONNECT_LIMIT));
        Self { direct, proxies: Arc::new(proxies) }
    }

    /// Whether an address is reached without encryption and without a proxy.
    pub fn is_direct(&self, target: &Uri) -> bool {
        target.scheme_str() == Some("http") && self.proxies.find(target).is_none()
    }

    /// Returns this connector with TLS for `https` addresses.
    pub fn secured(
        self,
        authorities: &Authorities,
        host: Option<HostCertificates>,
    ) -> Result<HttpsConnector<Self>, TlsError> {
        Ok(HttpsConnector::from((self, authorities.client_config(host.unwrap_or_default())?)))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.find(&target).cloned() else {
            let connecting = self.direct.call(target);
            return Box::pin(async move { Ok(connecting.await?) });
        };
        let connecting = self.direct.call(proxy.address.clone());
        Box::pin(async move {
            let mut stream = connecting.await?.into_inner();
            tokio::time::timeout(CONNECT_LIMIT, proxy.tunnel(&mut stream, &target)).await??;
            Ok(TokioIo::new(stream))
        })
    }
}

/// Why encrypted connections are not possible.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of authorities cannot be read.
    #[error("cannot read the certificate authorities in {}", path.display())]
    Bundle {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The file of authorities holds none.
    #[error("there is no certificate in {}", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// A certificate cannot stand as an authority.
    #[error("a certificate in {} cannot be an authority", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// A certificate of ours and its key do not fit.
    #[error("the certificate {} and its key cannot say who we are", path.display())]
    Identity {
        /// The certificate.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// This machine trusts nobody.
    #[error("this machine has no certificate authorities: install ca-certificates or name a bundle of them")]
    NoAuthorities,
    /// The cryptography refuses its own defaults.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// Who may vouch for a registry: the machine's authorities and those of one more file.
#[derive(Debug, Default)]
pub(crate) struct Authorities {
    own: Option<Bundle>,
    /// Where certificates for single registries lie.
    folders: Vec<PathBuf>,
    /// What files about hosts name besides.
    sites: Mutex<HashMap<String, SiteCertificates>>,
}

/// A file of authorities that was named.
#[derive(Debug)]
struct Bundle {
    path: PathBuf,
    content: Vec<u8>,
}

impl Bundle {
    fn read(path: &Path) -> Result<Self, TlsError> {
        let unreadable = |source| TlsError::Bundle { path: path.to_owned(), source: PemError::Io(source) };
        let content = std::fs::read(path).map_err(unreadable)?;
        if !content.windows(BEGIN.len()).any(|found| found == BEGIN) {
            return Err(TlsError::Empty { path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), content })
    }

    fn add_to(&self, roots: &mut RootCertStore) -> Result<(), TlsError> {
        for certificate in CertificateDer::pem_slice_iter(&self.content) {
            let certificate =
                certificate.map_err(|source| TlsError::Bundle { path: self.path.clone(), source })?;
            let added = roots.add(certificate);
            added.map_err(|source| TlsError::Certificate { path: self.path.clone(), source })?;
        }
        Ok(())
    }
}

impl Authorities {
    /// Reads the bundle, so that one that is not there is found before anything is sent. What is in it,
    /// and the machine's authorities, are taken apart for the first encrypted connection: many runs have
    /// none, and a hundred and fifty certificates take milliseconds.
    pub fn read(bundle: Option<&Path>) -> Result<Self, TlsError> {
        let own = bundle.map(Bundle::read).transpose()?;
        Ok(Self { own, ..Self::default() })
    }

    /// Returns these with folders of certificates for single registries.
    pub fn with_folders(self, folders: Vec<PathBuf>) -> Self {
        Self { folders, ..self }
    }

    /// Returns what is kept for a host and port; `None` where it is treated as all others.
    pub fn of_host(&self, host: &str) -> Result<Option<HostCertificates>, TlsError> {
        let found = certificates::for_host(&self.folders, host)?;
        let site = self.sites.lock().expect("nothing panics while it holds the lock").get(host).cloned();
        match site {
            Some(site) => certificates::with_site(found.unwrap_or_default(), &site).map(Some),
            None => Ok(found),
        }
    }

    /// Adds what a file about the host names.
    pub fn know(&self, host: &str, certificates: &SiteCertificates) {
        let mut sites = self.sites.lock().expect("nothing panics while it holds the lock");
        sites.insert(host.to_owned(), certificates.clone());
    }

    fn client_config(&self, host: HostCertificates) -> Result<ClientConfig, TlsError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(host.authorities);
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        self.own.iter().try_for_each(|bundle| bundle.add_to(&mut roots))?;
        if roots.is_empty() && !host.unverified {
            return Err(TlsError::NoAuthorities);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider.clone());
        let config = config.with_safe_default_protocol_versions().map_err(TlsError::Setup)?;
        let config = match host.unverified {
            true => config.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))),
            false => config.with_root_certificates(roots),
        };
        let Some(identity) = host.identity else { return Ok(config.with_no_client_auth()) };
        config
            .with_client_auth_cert(identity.chain, identity.key)
            .map_err(|source| TlsError::Identity { path: identity.path, source })
    }
}

/// Takes any certificate, for hosts that a file of the user's says this of. Whoever holds the
/// connection must still have the certificate's key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(matches!(Authorities::read(Some(&path)), Err(TlsError::Bundle { .. })));
        std::fs::write(&path, "hello").unwrap();
        assert!(matches!(Authorities::read(Some(&path)), Err(TlsError::Empty { .. })));
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let authorities = Authorities::read(Some(&path)).unwrap();
        let config = authorities.client_config(HostCertificates::default());
        assert!(matches!(config, Err(TlsError::Certificate { .. })));
    }
}
