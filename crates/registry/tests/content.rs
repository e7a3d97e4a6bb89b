//! Content of every size on its way into the server, whichever way it takes there.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::{BufReader, Write as _};
use std::net::TcpStream;

use oci::Digest;
use support::spec::Spec;
use support::{TestServer, noise, wire};

/// Sizes on both sides of where the kernel begins to move content, and of what it moves at once.
const SIZES: [usize; 6] = [1, 262_143, 262_144, 1_048_579, 3_000_000, 40_000_000];

#[test]
fn one_connection_brings_content_and_what_follows() {
    let spec = Spec::start();
    for (seed, size) in SIZES.into_iter().enumerate() {
        let content = noise(seed as u64, size);
        // Much of the content, or none of it, comes along with the head.
        for with_head in [0, size / 3, size] {
            check_kept(&spec, &content, with_head);
        }
    }
    assert_eq!(spec.0.temporary_files(), 0);
}

#[track_caller]
fn check_kept(spec: &Spec, content: &[u8], with_head: usize) {
    let digest = Digest::of(content);
    let put = format!("PUT {}?digest={digest} HTTP/1.1\r\nHost: x\r\n", spec.session());
    let head = format!("{put}Content-Length: {}\r\n\r\n", content.len());
    let next =
        format!("HEAD /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut stream = TcpStream::connect(spec.address()).unwrap();
    stream.set_nodelay(true).unwrap();
    let (first, rest) = content.split_at(with_head);
    stream.write_all(&[head.as_bytes(), first].concat()).unwrap();
    // The next requests do not wait for the answer.
    stream.write_all(&[rest, next.as_bytes()].concat()).unwrap();
    let mut answers = BufReader::new(stream);
    assert_eq!(wire::read(&mut answers, false).status, 201);
    let found = wire::read(&mut answers, true);
    assert_eq!((found.status, found.header("content-length")), (200, content.len().to_string().as_str()));
    assert_eq!(wire::read(&mut answers, false).body, b"{}");
}

#[test]
fn chunked_content_is_not_taken_for_plain_bytes() {
    let spec = Spec::start();
    let content = noise(1, 900_000);
    let path = format!("{}?digest={}", spec.session(), Digest::of(&content));
    let head =
        format!("PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut stream = TcpStream::connect(spec.address()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    for piece in content.chunks(300_000) {
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
        stream.write_all(piece).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(wire::receive(stream, false).status, 201);
}

#[test]
fn breaks_anywhere_lose_nothing_that_was_counted() {
    let spec = Spec::start();
    let content = noise(2, 6_000_000);
    let digest = Digest::of(&content);
    for round in 1..8 {
        let session = spec.session();
        let mut have = 0;
        while have + 800_000 < content.len() {
            let left = content.len() - have;
            let mut stream = wire::open_taken(spec.address(), "PATCH", &session, left);
            stream.write_all(&content[have..have + 100_000 * round]).unwrap();
            if round % 2 == 0 {
                // A reset instead of an end: what the server has not read yet may be gone.
                let linger = std::time::Duration::ZERO;
                rustix::net::sockopt::set_socket_linger(&stream, Some(linger)).unwrap();
            }
            drop(stream);
            // Waits for the request that broke, which holds the session.
            let status = spec.check("GET", &session, b"", 204);
            let last: usize = status.header("range").strip_prefix("0-").unwrap().parse().unwrap();
            let now = if last == 0 { 0 } else { last + 1 };
            assert!(now >= have && now <= have + 100_000 * round, "{have} and then {now}");
            if now == have {
                break;
            }
            have = now;
        }
        let rest = &content[have..];
        spec.check("PUT", &format!("{session}?digest={digest}"), rest, 201);
        assert!(spec.get(&format!("/v2/a/blobs/{digest}")).body == content, "round {round}");
        spec.check("DELETE", &format!("/v2/a/blobs/{digest}"), b"", 202);
    }
}

#[test]
fn more_uploads_than_threads_for_them_take_turns() {
    let spec = Spec::start();
    std::thread::scope(|scope| {
        for seed in 0..40 {
            let spec = &spec;
            scope.spawn(move || {
                let content = noise(seed, 700_000);
                let digest = Digest::of(&content);
                let path = format!("/v2/a/blobs/uploads/?digest={digest}");
                let mut stream = wire::open(spec.address(), "POST", &path, &[], content.len());
                for piece in content.chunks(50_000) {
                    stream.write_all(piece).unwrap();
                    std::thread::yield_now();
                }
                assert_eq!(wire::receive(stream, false).status, 201);
            });
        }
    });
    assert_eq!(spec.0.temporary_files(), 0);
}

#[test]
fn too_much_is_refused_before_it_is_sent() {
    let server = TestServer::with(|options| options.max_blob_bytes = Some(1_000_000));
    let spec = Spec(server);
    let content = noise(1, 1_000_001);
    let session = spec.session();
    let path = format!("{session}?digest={}", Digest::of(&content));
    // The content never comes, so the answer cannot be one to it.
    let stream = wire::open(spec.address(), "PUT", &path, &[], content.len());
    let answer = wire::receive(stream, false);
    assert_eq!((answer.status, answer.code().as_str()), (413, "SIZE_INVALID"));
    spec.check("GET", &session, b"", 404);
    assert_eq!(spec.0.temporary_files(), 0);
    let digest = spec.blob(&content[..1_000_000]);
    assert_eq!(spec.0.store.blob_size(&digest).unwrap(), Some(1_000_000));
}

#[test]
fn another_algorithm_than_announced_is_hashed_again() {
    let spec = Spec::start();
    let content = noise(1, 2_500_000);
    let mut hasher = oci::Hasher::new(oci::Algorithm::Sha512);
    hasher.update(&content);
    let digest = hasher.finish();
    let session = spec.session();
    spec.check("PATCH", &session, &content[..1_500_000], 202);
    spec.check("PUT", &format!("{session}?digest={digest}"), &content[1_500_000..], 201);
    assert!(spec.get(&format!("/v2/a/blobs/{digest}")).body == content);
    let session = spec.session();
    let wrong = format!("{session}?digest={}", Digest::of(b"other"));
    assert_eq!(spec.check("PUT", &wrong, &content, 400).code(), "DIGEST_INVALID");
}
