//! Clients that send or read too slowly, or not at all: they are given up, hear why where they listen, leave
//! nothing behind, and nobody waits for them. Which limit is hit is set by each test, so none of them
//! depends on who is faster.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use oci::Digest;
use registry::server::{Patience, ServerOptions};
use rustix::process::{Resource, getrlimit};
use store::LayoutStore;
use support::encrypted::Encrypted;
use support::small::Small;
use support::spec::Spec;
use support::{TestServer, noise, wire};

/// What takes so long does not come.
const LONG: Duration = Duration::from_secs(60);
/// A moment that each of these clients takes too long.
const SHORT: Duration = Duration::from_millis(100);
/// No client here is given up for its pace.
const FOR_EVER: Patience = Patience { head: LONG, handshake: LONG, window: LONG, least_bytes: 1 };
/// However fast somebody sends, it is too slow.
const NEVER_FAST_ENOUGH: Patience = Patience { window: SHORT, least_bytes: u64::MAX, ..FOR_EVER };

fn serve(patience: Patience) -> Spec {
    Spec(TestServer::with(|options| change(options, patience)))
}

fn change(options: &mut ServerOptions, patience: Patience) {
    options.patience = patience;
    options.metrics = true;
}

/// Waits until only the connection that asks is open.
fn all_ended(spec: &Spec) {
    let begun = Instant::now();
    while !spec.get("/metrics").text().contains("plimsoll_registry_connections 1\n") {
        assert!(begun.elapsed() < LONG, "connections stay open");
        std::thread::yield_now();
    }
}

#[test]
fn a_head_that_does_not_end() {
    let spec = serve(Patience { head: SHORT, ..FOR_EVER });
    for head in ["", "GET /v2/ HT", "GET /v2/ HTTP/1.1\r\nHost: x\r\nx-1: 1\r\n"] {
        let mut stream = TcpStream::connect(spec.address()).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{head}");
    }
    all_ended(&spec);
}

#[test]
fn a_client_that_agrees_on_nothing() {
    let server = Encrypted::start(|options| options.patience = Patience { handshake: SHORT, ..FOR_EVER });
    let mut stream = TcpStream::connect(server.spec.address()).unwrap();
    stream.write_all(&[22, 3]).unwrap();
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
}

/// Sends a byte now and then until there is an answer.
fn trickle(spec: &Spec, method: &str, path: &str, framing: &str) -> u16 {
    let mut stream = TcpStream::connect(spec.address()).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let byte: &[u8] = if framing.starts_with("Transfer") { b"1\r\nx\r\n" } else { b"x" };
    while stream.peek(&mut [0; 1]).is_err() {
        let _ = stream.write_all(byte);
    }
    stream.set_read_timeout(None).unwrap();
    wire::receive(stream, false).status
}

#[test]
fn content_that_trickles() {
    let spec = serve(NEVER_FAST_ENOUGH);
    let digest = Digest::of(b"never");
    for (method, path, framing) in [
        ("POST", format!("/v2/a/blobs/uploads/?digest={digest}"), "Content-Length: 1000"),
        ("POST", format!("/v2/a/blobs/uploads/?digest={digest}"), "Content-Length: 9000000"),
        ("PUT", "/v2/a/manifests/v1".to_owned(), "Content-Length: 5000"),
        ("PUT", "/v2/a/manifests/v1".to_owned(), "Transfer-Encoding: chunked"),
    ] {
        assert_eq!(trickle(&spec, method, &path, framing), 408, "{method} {path} {framing}");
    }
    // Of a session, what came stays, so that the client can go on.
    for framing in ["Content-Length: 9000000", "Transfer-Encoding: chunked"] {
        let session = spec.session();
        assert_eq!(trickle(&spec, "PATCH", &session, framing), 408, "{framing}");
        spec.check("GET", &session, b"", 204);
        spec.check("DELETE", &session, b"", 204);
    }
    all_ended(&spec);
    assert_eq!(spec.0.temporary_files(), 0);
}

#[test]
fn who_does_not_read_is_given_up() {
    // As much as no socket holds.
    let content = noise(1, 40 << 20);
    let patience = Patience { window: SHORT, least_bytes: 1 << 40, ..FOR_EVER };
    let plain = serve(patience);
    let encrypted = Encrypted::start(|options| change(options, patience));
    for spec in [&plain, &encrypted.spec] {
        let repository = spec.0.store.repository(&"local/a".parse().unwrap());
        let blob = store::Blob::from_bytes(content.clone());
        store::BlobStore::put_blob(&repository, &support::descriptor(&content), blob).unwrap();
    }
    let head = format!("GET /v2/a/blobs/{} HTTP/1.1\r\nHost: a\r\n\r\n", Digest::of(&content));
    let mut stream = TcpStream::connect(plain.address()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // A connection is not counted before somebody serves it.
    stream.peek(&mut [0; 1]).unwrap();
    all_ended(&plain);
    let come = stream.read_to_end(&mut Vec::new()).unwrap_or(0);
    assert!(come < content.len(), "{come}");
    let mut stream = encrypted.connect();
    stream.write_all(head.as_bytes()).unwrap();
    let begun = Instant::now();
    while !encrypted.ask("GET /metrics", b"").text().contains("plimsoll_registry_connections 1\n") {
        assert!(begun.elapsed() < LONG, "connections stay open");
    }
    let mut come = Vec::new();
    let _ = stream.read_to_end(&mut come);
    assert!(come.len() < content.len(), "{}", come.len());
}

#[test]
fn thousands_that_do_nothing_keep_nobody_waiting() {
    // Both ends of each are in this process.
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let count = usize::try_from(files.saturating_sub(200) / 3).unwrap_or(usize::MAX).min(2000);
    let spec = serve(FOR_EVER);
    let content = noise(2, 20 << 20);
    let digest = spec.blob(&content);
    let image = spec.image(3);
    let slow: Vec<TcpStream> = (0..count)
        .map(|number| {
            let mut stream = TcpStream::connect(spec.address()).unwrap();
            let head = match number % 4 {
                0 => "GET /v2/ HTTP/1.1\r\nHost: x\r\nx-1: 1".to_owned(),
                1 => format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n"),
                2 => format!(
                    "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\nx"
                ),
                _ => "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n{".to_owned(),
            };
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    // They are there until the end of the test, so whoever is answered was not kept waiting by them.
    spec.blob(&noise(4, 3_000_000));
    assert_eq!(spec.manifest(&image, "v2").status, 201);
    assert!(spec.get(&format!("/v2/a/blobs/{digest}")).body == content);
    assert!(spec.get("/metrics").text().contains(&format!("plimsoll_registry_connections {}\n", count + 1)));
    drop(slow);
    all_ended(&spec);
    assert_eq!(spec.0.temporary_files(), 0);
}

#[test]
fn a_refusal_in_the_middle_of_encrypted_content_arrives() {
    let server = Encrypted::start(|options| options.max_blob_bytes = Some(100_000));
    let content = noise(5, 4 << 20);
    let head = format!("POST /v2/a/blobs/uploads/?digest={}", Digest::of(&content));
    for _ in 0..5 {
        let answer = server.ask(&head, &content);
        assert_eq!((answer.status, answer.code().as_str()), (413, "SIZE_INVALID"));
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(_small) = Small::mount(folder.path()) else { return };
    let server = Encrypted::start(|options| options.store = LayoutStore::open(folder.path()).unwrap());
    for _ in 0..5 {
        assert_eq!(server.ask(&head, &content).status, 507);
    }
    assert_eq!(std::fs::read_dir(folder.path().join("temporary")).unwrap().count(), 0);
}

#[test]
fn the_next_request_of_an_encrypted_connection_is_answered() {
    let server = Encrypted::start(|_| {});
    let mut connection = BufReader::new(server.connect());
    for _ in 0..3 {
        connection.get_mut().write_all(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(wire::read(&mut connection, false).status, 200);
    }
    let begun = Instant::now();
    drop(server);
    assert!(begun.elapsed() < LONG);
    assert_eq!(connection.read(&mut [0; 1]).unwrap_or(0), 0);
}
