//! Uploads to the server that break off, meet each other, or outlive it.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use oci::Digest;
use store::LayoutStore;
use support::spec::Spec;
use support::{TestServer, noise, wire};

#[test]
fn a_client_that_stops_in_the_middle_can_go_on() {
    let spec = Spec::start();
    let content = noise(1, 900_000);
    let session = spec.session();
    let path = format!("{session}?digest={}", Digest::of(&content));
    let mut stream = wire::open_taken(spec.address(), "PUT", &path, content.len());
    stream.write_all(&content[..700_000]).unwrap();
    drop(stream);
    // Waits for the request that broke, which holds the session.
    let status = spec.check("GET", &session, b"", 204);
    assert_eq!(status.header("range"), "0-699999");
    spec.check("PUT", &path, &content[700_000..], 201);
    assert!(spec.get(&format!("/v2/a/blobs/{}", Digest::of(&content))).body == content);
}

#[test]
fn two_uploads_of_one_blob_at_once() {
    let spec = Spec::start();
    let content = noise(1, 300_000);
    let digest = Digest::of(&content);
    let start = || {
        let path = format!("{}?digest={digest}", spec.session());
        let mut stream = wire::open(spec.address(), "PUT", &path, &[], content.len());
        stream.write_all(&content[..200_000]).unwrap();
        stream
    };
    let mut streams = [start(), start(), start()];
    for stream in &mut streams {
        stream.write_all(&content[200_000..]).unwrap();
    }
    for stream in streams {
        assert_eq!(wire::receive(stream, false).status, 201);
    }
    assert!(spec.get(&format!("/v2/a/blobs/{digest}")).body == content);
    assert_eq!(spec.0.temporary_files(), 0);
}

#[test]
fn patches_of_one_session_do_not_mix() {
    let spec = Spec::start();
    let (one, two) = (noise(1, 400_000), noise(2, 400_000));
    let session = spec.session();
    let range = [("Content-Range", "0-399999")];
    let mut first = wire::open(spec.address(), "PATCH", &session, &range, one.len());
    first.write_all(&one[..100_000]).unwrap();
    let mut second = wire::open(spec.address(), "PATCH", &session, &range, two.len());
    second.write_all(&two[..100_000]).unwrap();
    // Both say that they are the beginning; one of them was first. The other one is refused before all
    // of it was read: it may not get rid of its rest, and the answer may be lost with the connection.
    let _ = first.write_all(&one[100_000..]);
    let _ = second.write_all(&two[100_000..]);
    let statuses = [status(first), status(second)];
    let winner = match statuses {
        [Some(202), Some(416) | None] => one,
        [Some(416) | None, Some(202)] => two,
        other => panic!("{other:?}"),
    };
    let path = format!("{session}?digest={}", Digest::of(&winner));
    spec.check("PUT", &path, b"", 201);
    assert_eq!(spec.0.temporary_files(), 0);
}

/// Returns the status of an answer, where the connection lives to bring one.
fn status(stream: TcpStream) -> Option<u16> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_killed_server_leaves_nothing_half_done() {
    let spec = Spec::start();
    let content = noise(1, 500_000);
    let digest = Digest::of(&content);
    spec.blob(b"whole");
    let path = format!("{}?digest={digest}", spec.session());
    let mut stream = wire::open_taken(spec.address(), "PUT", &path, content.len());
    stream.write_all(&content[..250_000]).unwrap();
    // What a killed process leaves: the same file, which nobody holds a lock on any more.
    let temporary = spec.0.folder.path().join("temporary");
    let running = std::fs::read_dir(&temporary).unwrap().next().unwrap().unwrap().path();
    let mut left = running.clone().into_os_string();
    left.push("left");
    std::fs::copy(&running, &left).unwrap();
    let TestServer { handle, store, folder } = spec.0;
    drop(stream);
    drop(handle);
    drop(store);
    let store = LayoutStore::open(folder.path()).unwrap();
    assert_eq!(store.blob_size(&digest).unwrap(), None);
    assert_eq!(store.blob_size(&Digest::of(b"whole")).unwrap(), Some(5));
    assert_eq!(std::fs::read_dir(temporary).unwrap().count(), 0);
}

#[test]
fn stopping_lets_a_request_end() {
    let spec = Spec::start();
    let content = noise(1, 400_000);
    let digest = Digest::of(&content);
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let mut stream = wire::open_taken(spec.address(), "POST", &path, content.len());
    stream.write_all(&content[..200_000]).unwrap();
    let TestServer { handle, store, folder: _folder } = spec.0;
    handle.stop();
    stream.write_all(&content[200_000..]).unwrap();
    assert_eq!(wire::receive(stream, false).status, 201);
    handle.join();
    assert_eq!(store.blob_size(&digest).unwrap(), Some(400_000));
}

#[test]
fn many_slow_clients_do_not_stop_others() {
    let spec = Spec::start();
    let content = noise(1, 100);
    let digest = Digest::of(&content);
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let slow = || wire::open_taken(spec.address(), "POST", &path, content.len());
    let mut streams: Vec<_> = (0..300).map(|_| slow()).collect();
    spec.check("GET", "/v2/", b"", 200);
    for stream in &mut streams {
        stream.write_all(&content).unwrap();
    }
    for stream in streams {
        assert_eq!(wire::receive(stream, false).status, 201);
    }
    assert_eq!(spec.0.temporary_files(), 0);
}
