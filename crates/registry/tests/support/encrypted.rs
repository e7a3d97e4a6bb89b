//! A server with a certificate of its own, and connections to it.

use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use registry::server::{SelfSigned, ServerOptions, Tls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::spec::Spec;
use super::wire::{self, Response};
use super::{NOW, TestServer};

/// The server, and what its clients know.
pub struct Encrypted {
    pub spec: Spec,
    config: Arc<rustls::ClientConfig>,
}

/// A connection to it.
pub type Stream = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

impl Encrypted {
    pub fn start(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let made = SelfSigned::new(&["127.0.0.1".to_owned()], NOW.parse().unwrap()).unwrap();
        let tls = Tls::from_pem(made.certificate.as_bytes(), made.key.as_bytes()).unwrap();
        let spec = Spec(TestServer::with(|options| {
            options.tls = Some(tls);
            change(options);
        }));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { spec, config: Arc::new(config) }
    }

    pub fn connect(&self) -> Stream {
        let name = "127.0.0.1".try_into().unwrap();
        let connection = rustls::ClientConnection::new(self.config.clone(), name).unwrap();
        rustls::StreamOwned::new(connection, TcpStream::connect(self.spec.address()).unwrap())
    }

    /// Sends a request over a connection of its own, all of it, and reads the answer.
    pub fn ask(&self, head: &str, body: &[u8]) -> Response {
        let mut stream = self.connect();
        let head = format!(
            "{head} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        wire::read(&mut BufReader::new(stream), false)
    }
}
