//! The client through a proxy, to a registry with a certificate of its own authority. The
//! certificates are made by openssl; the tests skip where that is not installed.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use oci::Repository;
use registry::client::ProxySettings;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use store::{ImageStore as _, StoreError};
use support::peer::is_installed;
use support::{TestClient, tag};

const HOST: &str = "registry.test";

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes an authority in `ca.pem`, and a certificate of it for [`HOST`].
fn make_certificates(folder: &Path) -> ServerConfig {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(folder, &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"));
    openssl(folder, &format!("req {key} -keyout server.key -out server.csr -subj /CN=server"));
    std::fs::write(folder.join("names"), format!("subjectAltName=DNS:{HOST}")).unwrap();
    openssl(
        folder,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    );
    let chain =
        CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    config.with_no_client_auth().with_single_cert(chain, key).unwrap()
}

/// A proxy whose tunnels all lead to one registry that speaks TLS and knows one tag.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (config, log) = (Arc::new(config), heads.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that refuses the certificate ends the tunnel.
                let _ = tunnel(stream, config.clone(), &log);
            }
        });
        Self { address, heads }
    }
}

fn tunnel(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    heads: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    heads.lock().unwrap().push(String::from_utf8(head).unwrap());
    stream.write_all(b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")?;
    let mut secure = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let mut lines = Vec::new();
    for line in BufReader::new(&mut secure).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    heads.lock().unwrap().push(lines.join("\n"));
    let body = r#"{"name":"a","tags":["x"]}"#;
    let answer =
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    secure.write_all(answer.as_bytes())?;
    secure.conn.send_close_notify();
    secure.flush()
}

#[test]
fn a_registry_of_ones_own_authority_through_a_proxy() {
    if !is_installed("openssl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(make_certificates(folder.path()));
    let repository: Repository = format!("{HOST}/a").parse().unwrap();
    let settings = ProxySettings {
        https: Some(format!("http://user:hunter2@{}", proxy.address)),
        ..ProxySettings::default()
    };

    let trusting = TestClient::new(|options| {
        options.authorities = Some(folder.path().join("ca.pem"));
        options.proxy = settings.clone();
    });
    assert_eq!(trusting.client.repository(&repository).tags().unwrap(), [tag("x")]);
    let heads = std::mem::take(&mut *proxy.heads.lock().unwrap());
    assert!(heads[0].starts_with("CONNECT registry.test:443 HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].contains("Proxy-Authorization: Basic dXNlcjpodW50ZXIy\r\n"), "{heads:?}");
    assert!(heads[1].starts_with("GET /v2/a/tags/list?n=1000 HTTP/1.1\n"), "{heads:?}");
    assert!(!heads[1].contains("dXNlcjpodW50ZXIy"), "the registry does not see the proxy's password");

    let host = folder.path().join("certs.d").join(HOST);
    std::fs::create_dir_all(&host).unwrap();
    std::fs::copy(folder.path().join("ca.pem"), host.join("ca.crt")).unwrap();
    let of_host = TestClient::new(|options| {
        options.certificate_folders = vec![folder.path().join("certs.d")];
        options.proxy = settings.clone();
    });
    assert_eq!(of_host.client.repository(&repository).tags().unwrap(), [tag("x")]);

    // What a hosts.toml says of certificates: an authority in a file of its own, or none.
    for text in ["server = \"https://registry.test\"\nca = \"../../ca.pem\"\n", "skip_verify = true\n"] {
        let hosts = folder.path().join("hosts.d").join(HOST);
        std::fs::create_dir_all(&hosts).unwrap();
        std::fs::write(hosts.join("hosts.toml"), text).unwrap();
        let told = TestClient::new(|options| {
            options.routes.hosts_folders = vec![folder.path().join("hosts.d")];
            options.proxy = settings.clone();
        });
        assert_eq!(told.client.repository(&repository).tags().unwrap(), [tag("x")], "{text}");
    }

    let doubting = TestClient::new(|options| options.proxy = settings);
    let error = doubting.client.repository(&repository).tags().unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { transient: false, .. }), "{error}");
    assert_eq!(doubting.notices(), [], "a certificate does not get better by waiting");
}

#[test]
fn a_registry_that_wants_to_know_who_we_are() {
    if !is_installed("openssl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    make_certificates(folder.path());
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(folder.path(), &format!("req {key} -keyout client.key -out client.csr -subj /CN=client"));
    openssl(
        folder.path(),
        "x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out client.pem",
    );
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(path("ca.pem")).unwrap()).unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = CertificateDer::pem_file_iter(path("server.pem")).unwrap().map(Result::unwrap).collect();
    let config = config
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(path("server.key")).unwrap())
        .unwrap();
    let proxy = Proxy::start(config);
    let repository: Repository = format!("{HOST}/a").parse().unwrap();
    let host = path("certs.d").join(HOST);
    std::fs::create_dir_all(&host).unwrap();
    std::fs::copy(path("ca.pem"), host.join("ca.crt")).unwrap();
    let client = || {
        TestClient::new(|options| {
            options.certificate_folders = vec![path("certs.d")];
            options.proxy =
                ProxySettings { https: Some(format!("http://{}", proxy.address)), ..Default::default() };
            options.retry.attempts = 1;
        })
    };
    assert!(client().client.repository(&repository).tags().is_err());
    std::fs::copy(path("client.pem"), host.join("client.cert")).unwrap();
    std::fs::copy(path("client.key"), host.join("client.key")).unwrap();
    assert_eq!(client().client.repository(&repository).tags().unwrap(), [tag("x")]);
}
