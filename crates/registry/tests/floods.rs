//! Requests that are too much or contradict themselves, and a disk that takes no more: each is refused
//! in words, leaves nothing behind, and the server goes on.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::Write as _;
use std::net::TcpStream;

use oci::Digest;
use store::LayoutStore;
use support::small::Small;
use support::spec::Spec;
use support::{TestServer, noise, wire};

/// Sends a head as it stands and returns the status of the answer.
fn status(spec: &Spec, head: &str) -> u16 {
    let mut stream = TcpStream::connect(spec.address()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    wire::receive(stream, false).status
}

#[test]
fn heads_that_are_too_much() {
    let spec = Spec::start();
    let many: String = (0..200).map(|number| format!("x-{number}: 1\r\n")).collect();
    assert_eq!(status(&spec, &format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{many}\r\n")), 431);
    let long = "a".repeat(200_000);
    // It is cut off while it still sends, and may not see the answer.
    let mut stream = TcpStream::connect(spec.address()).unwrap();
    let _ = stream.write_all(format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nx: {long}\r\n\r\n").as_bytes());
    assert_eq!(status(&spec, "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), 200);
    spec.check("GET", &format!("/v2/{}/tags/list", "a/".repeat(2000) + "a"), b"", 400);
}

#[test]
fn lengths_that_contradict_themselves() {
    let spec = Spec::start();
    let digest = Digest::of(b"12345");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    for lengths in ["Content-Length: 5\r\nContent-Length: 6", "Content-Length: -1", "Content-Length: five"] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{lengths}\r\n\r\n12345");
        assert_eq!(status(&spec, &head), 400, "{lengths}");
    }
    // What follows the length that was said is no content, and no request either.
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345678\r\n\r\n");
    assert_eq!(status(&spec, &head), 201);
    assert_eq!(spec.0.store.blob_size(&digest).unwrap(), Some(5));
    // Less than was said, and then the end.
    let other = Digest::of(b"123");
    let path = format!("/v2/a/blobs/uploads/?digest={other}");
    let mut stream = wire::open(spec.address(), "POST", &path, &[], 10);
    stream.write_all(b"123").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    let _ = std::io::Read::read_to_string(&mut stream, &mut answer);
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    assert_eq!(spec.0.store.blob_size(&other).unwrap(), None);
    assert_eq!(spec.0.temporary_files(), 0);
}

#[test]
fn documents_without_a_bottom() {
    let spec = Spec::start();
    let media_type = [("Content-Type", "application/vnd.oci.image.index.v1+json")];
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        let known = format!(r#"{{"schemaVersion":2,"manifests":{deep}}}"#);
        let refused = spec.ask("PUT", "/v2/a/manifests/v1", &media_type, known.as_bytes());
        assert_eq!((refused.status, refused.code().as_str()), (400, "MANIFEST_INVALID"));
        // What nobody looks into may be carried or refused.
        let unknown = format!(r#"{{"schemaVersion":2,"manifests":[],"x":{deep}}}"#);
        let response = spec.ask("PUT", "/v2/a/manifests/v2", &media_type, unknown.as_bytes());
        assert!([201, 400].contains(&response.status), "{}", response.text());
    }
    spec.check("GET", "/v2/", b"", 200);
}

#[test]
fn a_disk_that_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_small) = Small::mount(folder.path()) else { return };
    let spec = Spec(TestServer::with(|options| options.store = LayoutStore::open(folder.path()).unwrap()));
    let first = spec.blob(&noise(1, 400_000));
    let session = spec.session();
    // Through the kernel and through memory, whole and as a chunk.
    for length in [3_000_000, 1_900_000] {
        let content = noise(2, length);
        let digest = Digest::of(&content);
        let refused = spec.ask("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], &content);
        assert_eq!(refused.status, 507, "{}", refused.text());
        spec.check("HEAD", &format!("/v2/a/blobs/{digest}"), b"", 404);
    }
    let refused = spec.ask("PATCH", &session, &[], &noise(3, 3_000_000));
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert!(!refused.text().contains(folder.path().to_str().unwrap()), "{}", refused.text());
    let left = std::fs::read_dir(folder.path().join("temporary")).unwrap().count();
    assert_eq!(left, 0, "what could not be written takes no room");
    // What is there is served, and what fits is taken.
    assert!(spec.get(&format!("/v2/a/blobs/{first}")).body == noise(1, 400_000));
    spec.blob(&noise(4, 300_000));
    let image = spec.image(5);
    assert_eq!(spec.manifest(&image, "v1").status, 201);
}
