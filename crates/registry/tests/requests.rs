//! How many requests a copy to a registry makes: none that tells nothing new.
#![allow(clippy::unwrap_used, reason = "only tests use it")]

mod support;

use std::sync::{Arc, Mutex};

use oci::Document;
use store::{BlobStore, CopyOptions, ImageStore, MemoryStore, Put, copy_image};
use support::scripted::{Answer, Asked, Scripted};
use support::{TestClient, TestServer, noise, put_image, tag};

/// An image of a configuration and three layers.
fn image(store: &dyn ImageStore) -> Document {
    put_image(store, &[noise(1, 100), noise(2, 200), noise(3, 300)])
}

/// A registry that links what it is asked to link, or nothing; it has only what was put.
fn registry(links: bool, missing: &'static str) -> Scripted {
    let blobs = Arc::new(Mutex::new(Vec::<String>::new()));
    Scripted::start_after(move |asked: &Asked| {
        let mut blobs = blobs.lock().unwrap();
        let query = asked.path.split_once('?').map_or("", |(_, query)| query).replace("%3A", ":");
        let digest =
            query.split('&').find_map(|pair| pair.split_once("digest=")).map(|(_, digest)| digest.to_owned());
        match (asked.method.as_str(), asked.path.contains("/manifests/")) {
            ("PUT", true) => Answer::status(201),
            (_, true) => Answer::status(404).body(format!(r#"{{"errors":[{{"code":"{missing}"}}]}}"#)),
            ("HEAD", _) if blobs.iter().any(|blob| asked.path.ends_with(blob.as_str())) => {
                Answer::status(200)
            }
            ("POST", _) if links && query.contains("from=") => Answer::status(201),
            ("POST", _) => Answer::status(202).header("Location", "/v2/b/blobs/uploads/1"),
            ("PUT", _) => {
                blobs.extend(digest);
                Answer::status(201)
            }
            ("DELETE", _) => Answer::status(204),
            _ => Answer::status(404),
        }
    })
}

/// Copies the image as from repository `a` of the registry to `b`, one blob at a time; returns what it was asked.
fn copied(server: &Scripted, looks_first: bool) -> Vec<String> {
    let source = MemoryStore::new();
    let image = image(&source);
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&server.repository("b"));
    let remote = if looks_first { remote } else { remote.copied_from(&server.repository("a")) };
    if looks_first {
        assert!(remote.resolve(&tag("1")).is_err());
    }
    let options = CopyOptions { concurrency: 1, ..CopyOptions::default() };
    copy_image(&source, &remote, image.descriptor(), &options, &|_| {}).unwrap();
    let words = |line: String| line.replace("/v2/b/", "").split("sha256:").next().unwrap().to_owned();
    server.lines().into_iter().map(words).collect()
}

#[test]
fn what_is_linked_is_asked_for_once() {
    let lines = copied(&registry(true, "MANIFEST_UNKNOWN"), false);
    assert_eq!(lines, [&["POST blobs/uploads/"; 4][..], &["PUT manifests/"]].concat());
}

#[test]
fn who_links_nothing_is_asked_to_only_once() {
    let lines = copied(&registry(false, "MANIFEST_UNKNOWN"), false);
    let upload = ["HEAD blobs/", "POST blobs/uploads/", "PUT blobs/uploads/1"];
    let first = ["POST blobs/uploads/", "HEAD blobs/", "PUT blobs/uploads/1"];
    assert_eq!(lines, [&first[..], &upload, &upload, &upload, &["PUT manifests/"]].concat());
}

#[test]
fn a_repository_that_is_not_known_is_not_asked_for_small_blobs() {
    let looked = ["HEAD manifests/1", "GET manifests/1"];
    let lines = copied(&registry(false, "NAME_UNKNOWN"), true);
    let unasked = ["POST blobs/uploads/", "PUT blobs/uploads/1"];
    let expected = [&looked[..], &unasked, &unasked, &unasked, &unasked, &["PUT manifests/"]].concat();
    assert_eq!(lines, expected);
    let lines = copied(&registry(false, "MANIFEST_UNKNOWN"), true);
    assert_eq!(lines.iter().filter(|line| line.starts_with("HEAD blobs")).count(), 4);
}

#[test]
fn what_was_put_meanwhile_is_asked_for() {
    let server = registry(false, "NAME_UNKNOWN");
    let source = MemoryStore::new();
    let image = image(&source);
    let remote = TestClient::new(|_| {}).client.repository(&server.repository("b"));
    assert!(remote.resolve(&tag("1")).is_err());
    copy_image(&source, &remote, image.descriptor(), &CopyOptions::default(), &|_| {}).unwrap();
    let asked = server.asked().len();
    let config = &image.as_image().unwrap().config;
    // The answer has no length, so it is no answer to how large the blob is; what counts is that it was asked.
    let _ = remote.have_blob(config);
    assert_eq!(server.asked()[asked].method, "HEAD");
}

/// A registry that links the first `count` of the blobs that one request names, and says so.
fn linking(count: usize) -> Scripted {
    Scripted::start_after(move |asked: &Asked| {
        let query = asked.path.split_once('?').map_or("", |(_, query)| query).replace("%3A", ":");
        let wanted: Vec<&str> = query.split('&').filter_map(|pair| pair.strip_prefix("mount=")).collect();
        match asked.method.as_str() {
            "POST" if wanted.len() > 1 => {
                let never = oci::Digest::of(b"nobody asked for this").to_string();
                let linked = [&wanted[..count], &[&never]].concat().join(", ");
                Answer::status(201).header("Plimsoll-Mounted", linked)
            }
            "POST" => Answer::status(202).header("Location", "/v2/b/blobs/uploads/1"),
            "PUT" => Answer::status(201),
            _ => Answer::status(404).body(r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
        }
    })
}

#[test]
fn a_registry_on_this_machine_links_all_blobs_in_one_request() {
    let before = ["HEAD manifests/1", "GET manifests/1", "POST blobs/uploads/"];
    let upload = ["HEAD blobs/", "POST blobs/uploads/", "PUT blobs/uploads/1"];
    let put = ["PUT manifests/"];
    assert_eq!(copied(&linking(4), true), [&before[..], &put].concat());
    // What it did not name is put as ever.
    assert_eq!(copied(&linking(3), true), [&before[..], &upload, &put].concat());
    assert_eq!(copied(&linking(0), true), [&before[..], &upload, &upload, &upload, &upload, &put].concat());
}

#[test]
fn what_the_registry_has_elsewhere_is_not_sent() {
    let server = TestServer::start();
    let test = TestClient::new(|_| {});
    image(&test.client.repository(&server.repository("a")));
    let source = MemoryStore::new();
    let image = image(&source);
    let remote = test.client.repository(&server.repository("b"));
    let copied = copy_image(&source, &remote, image.descriptor(), &CopyOptions::default(), &|_| {}).unwrap();
    assert_eq!((copied.blobs_mounted, copied.blobs_moved, copied.bytes_moved), (4, 0, 0));
    for blob in image.as_image().unwrap().blobs() {
        assert_eq!(remote.blob_size(&blob.digest).unwrap(), Some(blob.size));
    }
}

#[test]
fn a_copy_within_our_registry_moves_nothing() {
    let server = TestServer::start();
    let test = TestClient::new(|_| {});
    let (from, to) = (server.repository("a"), server.repository("b"));
    let source = test.client.repository(&from);
    let image = image(&source);
    let remote = test.client.repository(&to).copied_from(&from);
    let copied = copy_image(&source, &remote, image.descriptor(), &CopyOptions::default(), &|_| {}).unwrap();
    assert_eq!((copied.blobs_mounted, copied.blobs_moved, copied.bytes_moved), (4, 0, 0));
    for blob in image.as_image().unwrap().blobs() {
        assert_eq!(remote.blob_size(&blob.digest).unwrap(), Some(blob.size));
        assert_eq!(remote.have_blob(blob).unwrap(), Some(Put::Mounted));
    }
}
