//! A server whose images are in a bucket: what clients get, what is removed, and what a bucket that
//! fails does to them. `conformance.rs` asks it everything the specification wants.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use oci::Digest;
use registry::server::{Collection, InBucket, Quota, ServerOptions};
use store::{BlobStore as _, Bucket, ImageStore as _, LayoutStore, ObjectStore, S3Place, S3Settings};
use support::scripted::{Answer, Asked, Scripted};
use support::spec::Spec;
use support::{TestClient, TestServer, noise, put_image, tag};

fn in_memory() -> ObjectStore {
    ObjectStore::open(Bucket::in_memory()).unwrap()
}

fn serve(store: &ObjectStore, change: impl FnOnce(&mut ServerOptions)) -> Spec {
    Spec(TestServer::with(|options| {
        options.bucket = Some(InBucket { store: store.clone(), redirect: None });
        change(options);
    }))
}

#[test]
fn images_come_back_from_another_server_of_the_same_bucket() {
    let store = in_memory();
    let test = TestClient::new(|_| {});
    let layers = [noise(1, 9 << 20), noise(2, 100)];
    let (one, two) = (serve(&store, |_| {}), serve(&store, |_| {}));
    let remote = test.client.repository(&one.0.repository("acme/api"));
    let document = put_image(&remote, &layers);
    remote.tag(&tag("v1"), &document).unwrap();
    assert_eq!(one.0.temporary_files(), 0, "what was spooled is gone");
    let remote = test.client.repository(&two.0.repository("acme/api"));
    assert_eq!(remote.document(&remote.resolve(&tag("v1")).unwrap().digest).unwrap(), document);
    assert!(support::read(remote.open_blob(&Digest::of(&layers[0])).unwrap()).unwrap() == layers[0]);
    let range = two.ask(
        "GET",
        &format!("/v2/acme/api/blobs/{}", Digest::of(&layers[0])),
        &[("Range", "bytes=8388600-8388619")],
        b"",
    );
    assert_eq!((range.status, range.header("content-range")), (206, "bytes 8388600-8388619/9437184"));
    assert!(range.body == layers[0][8_388_600..8_388_620]);
    let listed = two.check("GET", "/v2/_catalog", b"", 200);
    assert_eq!(listed.text().trim(), r#"{"repositories":["acme/api"]}"#);
    // Nothing of it is in the folder.
    let folder = LayoutStore::open(two.0.folder.path()).unwrap();
    assert!(folder.repositories().unwrap().is_empty());
}

#[test]
fn sessions_go_on_and_wrong_content_goes_nowhere() {
    let store = in_memory();
    let spec = serve(&store, |_| {});
    let content = noise(3, 1000);
    let session = spec.session();
    spec.check("PATCH", &session, &content[..400], 202);
    let digest = Digest::of(&content);
    spec.check("PUT", &format!("{session}?digest={digest}"), &content[400..], 201);
    assert_eq!(store.blob_size(&digest).unwrap(), Some(1000));
    let wrong = Digest::of(b"other");
    let response = spec.check("POST", &format!("/v2/a/blobs/uploads/?digest={wrong}"), &content, 400);
    assert_eq!(response.code(), "DIGEST_INVALID");
    assert_eq!(store.blob_size(&wrong).unwrap(), None);
    assert_eq!(spec.0.temporary_files(), 0);
}

#[test]
fn what_nothing_needs_is_collected_while_it_serves() {
    let store = in_memory();
    let (done, collections) = std::sync::mpsc::channel();
    let done = std::sync::Mutex::new(done);
    let collection = Collection {
        every: Duration::from_millis(10),
        grace: Duration::ZERO,
        keep: Arc::new(|| Box::new(|_| false)),
        report: Arc::new(move |result| {
            let _ = done.lock().unwrap().send(result.as_ref().map(|collected| collected.blobs).unwrap());
        }),
    };
    let view = store.repository(&"local/a".parse().unwrap());
    let kept = put_image(&view, &[noise(1, 10)]);
    let gone = put_image(&view, &[noise(2, 10), noise(3, 10)]);
    view.delete_document(&gone.digest()).unwrap();
    let spec = serve(&store, |options| options.collection = Some(collection));
    assert_eq!(collections.recv().unwrap(), 4);
    assert_eq!(store.blob_size(&Digest::of(&noise(2, 10))).unwrap(), None);
    let got = spec.check("GET", &format!("/v2/a/manifests/{}", kept.digest()), b"", 200);
    assert!(got.body == *kept.raw());
    spec.check("GET", &format!("/v2/a/blobs/{}", Digest::of(&noise(1, 10))), b"", 200);
}

#[test]
fn quotas_count_what_is_in_the_bucket() {
    let store = in_memory();
    let small = Quota { repositories: registry::server::Pattern::new("*"), bytes: 1000 };
    put_image(&store.repository(&"local/a".parse().unwrap()), &[noise(1, 500)]);
    let spec = serve(&store, |options| options.quotas = vec![small]);
    let content = noise(2, 600);
    let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::of(&content));
    assert_eq!(spec.check("POST", &path, &content, 413).code(), "DENIED");
}

/// Starts a server over a bucket that answers by a script.
fn over(
    script: impl FnMut(&Asked) -> Answer + Send + 'static,
    redirect: bool,
) -> (Spec, TestClient, Scripted) {
    let server = Scripted::start(script);
    let test = TestClient::new(|_| {});
    let place: S3Place = "s3:acme?region=r".parse().unwrap();
    let credentials = store::object::S3Credentials { key: "k".into(), secret: "hush".into(), session: None };
    let endpoint = Some(server.url(""));
    let settings = S3Settings { credentials: Some(credentials), region: None, endpoint };
    let store = ObjectStore::open(place.open(&settings, test.client.object_transport()).unwrap()).unwrap();
    let redirect = redirect.then_some(Duration::from_secs(60));
    let spec = Spec(TestServer::with(|options| options.bucket = Some(InBucket { store, redirect })));
    (spec, test, server)
}

#[test]
fn a_bucket_that_refuses_is_the_servers_fault_and_stays_unnamed() {
    let mut first = true;
    let (spec, _test, _bucket) = over(
        move |_| {
            let status = if std::mem::take(&mut first) { 404 } else { 403 };
            Answer::status(status).body("<Error><Code>AccessDenied</Code><Message>acme</Message></Error>")
        },
        false,
    );
    let response = spec.get("/v2/a/manifests/v1");
    assert_eq!(response.status, 500, "{}", response.text());
    assert!(!response.text().contains("acme"), "{}", response.text());
    assert_eq!(spec.get("/healthz").status, 503);
}

#[test]
fn clients_can_be_sent_to_the_bucket() {
    let (spec, _test, bucket) = over(
        |asked| match asked.path.contains("/_blobs/") {
            true => Answer::status(200).body("5"),
            false => Answer::status(404),
        },
        true,
    );
    let digest = Digest::of(b"hello");
    let response = spec.check("GET", &format!("/v2/a/blobs/{digest}"), b"", 307);
    let location = response.header("location");
    assert!(location.starts_with(&bucket.url(&format!("/acme/blobs/sha256/{}", digest.hex()))), "{location}");
    assert!(location.contains("X-Amz-Signature=") && location.contains("X-Amz-Expires=60"), "{location}");
    assert!(!location.contains("hush"), "{location}");
}
