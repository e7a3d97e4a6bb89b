//! Copies from one registry to another that break off: the next process fetches and sends only the rest.
#![allow(clippy::unwrap_used, reason = "only tests use it")]

mod support;

use std::path::Path;

use store::{BlobStore, PartFolder, Put, StoreError};
use support::scripted::{Act, Answer, Asked, Scripted};
use support::{TestClient, TestServer, descriptor, noise, read};

const LENGTH: usize = 3_000_000;

/// A registry with one blob that breaks off after `first` bytes, once.
fn source(first: usize) -> Scripted {
    let mut broken = false;
    Scripted::start(move |asked: &Asked| -> Act {
        let content = noise(1, LENGTH);
        let range = asked
            .header("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let from: usize = range.unwrap_or(0);
        if !broken {
            broken = true;
            return Answer::status(200).body(&content[..first]).announcing(LENGTH).into();
        }
        match from {
            0 => Answer::status(200).body(content).into(),
            from => Answer::status(206)
                .header("Content-Range", format!("bytes {from}-{}/{LENGTH}", LENGTH - 1))
                .body(&content[from..])
                .into(),
        }
    })
}

/// A process of its own, as far as anything is kept: another client over the same folders.
fn process(folder: &Path) -> TestClient {
    let (sessions, parts) = (folder.join("uploads"), folder.join("partial"));
    std::fs::create_dir_all(&parts).unwrap();
    TestClient::new(|options| {
        options.retry.attempts = 1;
        options.sessions = Some(sessions);
        options.parts = Some(PartFolder::new(parts));
    })
}

fn kept(folder: &Path) -> Vec<u64> {
    let files = std::fs::read_dir(folder.join("partial")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).collect()
}

#[test]
fn the_next_process_fetches_only_what_is_missing() {
    let (source, server, folder) = (source(2_000_000), TestServer::start(), tempfile::tempdir().unwrap());
    let blob = descriptor(&noise(1, LENGTH));
    let copy = || -> Result<Put, StoreError> {
        let process = process(folder.path());
        let from = process.client.repository(&source.repository("a"));
        let to = process.client.repository(&server.repository("b"));
        to.put_blob(&blob, from.open_blob(&blob.digest)?)
    };
    copy().unwrap_err();
    assert_eq!(kept(folder.path()), [2_000_000]);
    assert_eq!(copy().unwrap(), Put::Written);
    let asked = source.asked();
    assert_eq!(asked.last().unwrap().header("range"), Some("bytes=2000000-"));
    assert_eq!(kept(folder.path()), [0; 0]);
    let there = process(folder.path()).client.repository(&server.repository("b"));
    assert_eq!(read(there.open_blob(&blob.digest).unwrap()).unwrap(), noise(1, LENGTH));
}

#[test]
fn what_is_whole_and_was_not_sent_is_not_fetched_again() {
    let (source, folder) = (source(LENGTH), tempfile::tempdir().unwrap());
    let blob = descriptor(&noise(1, LENGTH));
    let refuses = Scripted::start(|asked: &Asked| match asked.method.as_str() {
        "POST" => Answer::status(202).header("Location", "/v2/b/blobs/uploads/1"),
        "HEAD" => Answer::status(404),
        _ => Answer::status(503),
    });
    let server = TestServer::start();
    for (to, expected) in [(refuses.repository("b"), None), (server.repository("b"), Some(Put::Written))] {
        let process = process(folder.path());
        let from = process.client.repository(&source.repository("a"));
        let to = process.client.repository(&to);
        assert_eq!(to.put_blob(&blob, from.open_blob(&blob.digest).unwrap()).ok(), expected);
        let left: &[u64] = if expected.is_none() { &[LENGTH as u64] } else { &[] };
        assert_eq!(kept(folder.path()), left);
    }
    assert!(source.asked().iter().all(|asked| asked.header("range").is_none()));
}

#[test]
fn a_part_with_other_content_is_not_believed() {
    let (source, server, folder) = (source(LENGTH), TestServer::start(), tempfile::tempdir().unwrap());
    let blob = descriptor(&noise(1, LENGTH));
    let process = process(folder.path());
    let part = folder.path().join("partial").join(format!("sha256-{}", blob.digest.hex()));
    std::fs::write(part, vec![0; 1_000_000]).unwrap();
    let from = process.client.repository(&source.repository("a"));
    let to = process.client.repository(&server.repository("b"));
    assert_eq!(to.put_blob(&blob, from.open_blob(&blob.digest).unwrap()).unwrap(), Put::Written);
    assert_eq!(read(to.open_blob(&blob.digest).unwrap()).unwrap(), noise(1, LENGTH));
    assert_eq!(kept(folder.path()), [0; 0]);
}
