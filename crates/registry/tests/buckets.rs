//! Images in buckets: over a server that fails and lies, and over a real one where `peers/s3` gives
//! its address in `PLIMSOLL_S3`.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::Read as _;
use std::time::Duration;

use oci::{Digest, Registry};
use store::object::S3Credentials;
use store::{
    Blob, BlobStore as _, CollectOptions, ImageStore as _, ObjectStore, S3Place, S3Settings, StoreError,
    TagRule,
};
use support::scripted::{Act, Answer, Asked, Scripted};
use support::{TestClient, descriptor, noise, put_image, read, tag};

fn settings(endpoint: &str) -> S3Settings {
    let credentials = S3Credentials { key: "key".into(), secret: "hush".into(), session: None };
    S3Settings { credentials: Some(credentials), region: None, endpoint: Some(endpoint.to_owned()) }
}

fn open(test: &TestClient, endpoint: &str, place: &str) -> Result<ObjectStore, StoreError> {
    let place: S3Place = place.parse().unwrap();
    ObjectStore::open(place.open(&settings(endpoint), test.client.object_transport())?)
}

/// Opens a store over a script that answers 404 to the question for its format.
fn scripted<A: Into<Act>>(
    mut script: impl FnMut(&Asked) -> A + Send + 'static,
) -> (Scripted, TestClient, ObjectStore) {
    let server = Scripted::start(move |asked: &Asked| match asked.path.ends_with("/plimsoll.json") {
        true => Answer::status(if asked.method == "PUT" { 200 } else { 404 }).into(),
        false => script(asked).into(),
    });
    let test = TestClient::new(|_| {});
    let store = open(&test, &server.url(""), "s3:acme/cache").unwrap();
    (server, test, store)
}

fn xml(status: u16, code: &str) -> Answer {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>words</Message></Error>");
    Answer::status(status).header("Content-Type", "application/xml").body(body)
}

fn words(error: &StoreError) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", source.unwrap_or_default())
}

#[test]
fn a_bucket_that_fails_twice_is_asked_again_and_obeyed() {
    let mut answers = vec![
        xml(500, "InternalError"),
        xml(429, "SlowDown").header("Retry-After", 7),
        Answer::status(200).body("12"),
    ]
    .into_iter();
    let (server, test, store) = scripted(move |_| answers.next().unwrap());
    let repository = store.repository(&"local/a".parse().unwrap());
    assert!(repository.has_blob(&Digest::of(b"x")).unwrap());
    assert_eq!(test.slept(), [Duration::from_secs(10), Duration::from_secs(7)]);
    assert!(test.notices()[0].reason.contains("InternalError: words"), "{:?}", test.notices());
    let asked = server.asked();
    let signature = asked.last().unwrap().header("authorization").unwrap().to_owned();
    assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=key/"), "{signature}");
    assert!(asked.iter().all(|one| one.path.starts_with("/acme/cache/")), "{:?}", server.lines());
}

#[test]
fn refusals_have_their_names() {
    let check = |answer: Answer, expected: &dyn Fn(&StoreError) -> bool| {
        let server = Scripted::start(move |_: &Asked| answer.clone());
        let test = TestClient::new(|_| {});
        let error = open(&test, &server.url(""), "s3:acme/cache").unwrap_err();
        assert!(expected(&error), "{error:?}");
        assert!(!words(&error).contains("hush"));
    };
    check(
        xml(403, "AccessDenied"),
        &|error| matches!(error, StoreError::Denied { reason, .. } if reason.contains("AccessDenied")),
    );
    check(
        xml(404, "NoSuchBucket"),
        &|error| matches!(error, StoreError::NotFound { what } if what == "the bucket s3://acme/cache"),
    );
    check(xml(503, "ServiceUnavailable"), &|error| {
        error.is_transient() && words(error).contains("ServiceUnavailable")
    });
    check(xml(301, "PermanentRedirect").header("Location", "http://elsewhere/"), &|error| {
        matches!(error, StoreError::Unreachable { .. }) && words(error).contains("PermanentRedirect")
    });
    check(Answer::status(200).body("<html>log in</html>"), &|error| {
        matches!(error, StoreError::Corrupt { .. })
    });
}

#[test]
fn an_object_that_breaks_off_is_read_on_from_there() {
    let content = noise(1, 300_000);
    let sent = content.clone();
    let (server, _test, store) = scripted(move |asked: &Asked| match asked.method.as_str() {
        "HEAD" => Answer::status(200).header("Content-Length", sent.len()),
        _ => {
            let range = asked.header("range").unwrap_or("bytes=0-").to_owned();
            let first: usize = range["bytes=".len()..].split('-').next().unwrap().parse().unwrap();
            let last = (first + 100_000).min(sent.len());
            let whole = sent.len() - first;
            let range = format!("bytes {first}-{}/{}", sent.len() - 1, sent.len());
            Answer::status(206).header("Content-Range", range).body(&sent[first..last]).announcing(whole)
        }
    });
    let digest = Digest::of(&content);
    assert!(read(store.open_blob(&digest).unwrap()).unwrap() == content);
    let gets = server.asked().iter().filter(|asked| asked.method == "GET").count();
    assert_eq!(gets, 4, "the format, and three pieces: {:?}", server.lines());
}

#[test]
fn a_bucket_that_lies_is_caught_while_reading() {
    let content = noise(2, 5000);
    for wrong in [noise(3, 5000), content[..4000].to_vec()] {
        let body = wrong.clone();
        let (_server, _test, store) = scripted(move |asked: &Asked| match asked.method.as_str() {
            "HEAD" => Answer::status(200).header("Content-Length", 5000),
            _ => Answer::status(206).header("Content-Range", "bytes 0-4999/5000").body(body.clone()),
        });
        let error = read(store.open_blob(&Digest::of(&content)).unwrap()).unwrap_err();
        // What is shorter than it says it is, is asked for again some times first.
        let is_short = wrong.len() < 5000;
        assert!(is_short || error.kind() == std::io::ErrorKind::InvalidData, "{error}");
    }
}

#[test]
fn an_upload_that_is_refused_leaves_nothing() {
    let (server, _test, store) = scripted(|asked: &Asked| {
        match (asked.method.as_str(), asked.path.as_str()) {
        ("POST", path) if path.contains("uploads") => Answer::status(200).body(
            "<InitiateMultipartUploadResult><Bucket>acme</Bucket><Key>k</Key><UploadId>u1</UploadId></InitiateMultipartUploadResult>",
        ),
        ("PUT", path) if path.contains("partNumber=1") => Answer::status(200).header("ETag", "\"1\""),
        ("PUT", _) => xml(403, "QuotaExceeded"),
        ("DELETE", _) => Answer::status(204),
        _ => Answer::status(404),
    }
    });
    let content = noise(4, (9 << 20) + 1);
    let blob = Blob::from_bytes(content.clone());
    let error = store.put_blob(&descriptor(&content), blob).unwrap_err();
    assert!(
        matches!(&error, StoreError::Denied { reason, .. } if reason.contains("QuotaExceeded")),
        "{error:?}"
    );
    let last = server.asked().pop().unwrap();
    assert!(last.method == "DELETE" && last.path.contains("uploadId=u1"), "{last:?}");
    assert!(server.asked().iter().all(|asked| asked.body.len() <= 8 << 20), "memory is bounded by a part");
}

/// Returns where a real server is; says so where there is none.
#[allow(clippy::disallowed_methods, reason = "only peers/s3 knows where it started one")]
fn real(name: &str) -> Option<(TestClient, String, String)> {
    let Ok(endpoint) = std::env::var("PLIMSOLL_S3") else {
        eprintln!("skipped: PLIMSOLL_S3 names no S3 server; peers/s3 starts one");
        return None;
    };
    Some((TestClient::new(|_| {}), endpoint, format!("s3:plimsoll-test/{name}-{}", std::process::id())))
}

#[test]
fn a_real_server_keeps_images() {
    let Some((test, endpoint, place)) = real("images") else { return };
    let store = open(&test, &endpoint, &place).unwrap();
    let repository = store.repository(&"local/acme/api".parse().unwrap());
    let layers = [noise(1, 20 << 20), noise(2, 8 << 20), noise(3, 10), Vec::new()];
    let document = put_image(&repository, &layers);
    for number in 0..1001 {
        repository.tag(&tag(&format!("v{number:04}")), &document).unwrap();
    }
    let again = open(&test, &endpoint, &place).unwrap().repository(repository.name());
    let tags = again.tags().unwrap();
    assert_eq!((tags.len(), tags[1000].as_str()), (1001, "v1000"));
    assert_eq!(again.document(&again.resolve(&tags[0]).unwrap().digest).unwrap(), document);
    for layer in &layers {
        let digest = Digest::of(layer);
        assert!(read(again.open_blob(&digest).unwrap()).unwrap() == *layer, "{} bytes", layer.len());
    }
    let mut range = Vec::new();
    store.open_range(&Digest::of(&layers[0]), (8 << 20) - 5, 10).read_to_end(&mut range).unwrap();
    assert_eq!(range, layers[0][(8 << 20) - 5..][..10]);
    let other = put_image(&repository, &[noise(9, 10)]);
    let stays = |document| repository.set_tags(&[(tag("stays"), TagRule::Stays)], document);
    stays(&document).unwrap();
    assert!(matches!(stays(&other), Err(StoreError::Denied { .. })));
    assert_eq!(store.repositories(&Registry::local()).unwrap(), [repository.name().clone()]);
    repository.delete_document(&document.digest()).unwrap();
    assert!(repository.tags().unwrap().is_empty());
}

#[test]
fn a_real_server_is_cleared_of_what_nothing_needs() {
    let Some((test, endpoint, place)) = real("collect") else { return };
    let store = open(&test, &endpoint, &place).unwrap();
    let repository = store.repository(&"local/a".parse().unwrap());
    let kept = put_image(&repository, &[noise(1, 10)]);
    let gone = put_image(&repository, &[noise(2, 10), noise(3, 10)]);
    repository.delete_document(&gone.digest()).unwrap();
    let patient = CollectOptions { grace: Duration::from_secs(3600), patience: Duration::ZERO };
    assert!(store.plan_collection(&patient, &|_| false).unwrap().blobs.is_empty());
    let at_once = CollectOptions { grace: Duration::ZERO, ..patient };
    let plan = store.plan_collection(&at_once, &|_| false).unwrap();
    assert_eq!(plan.blobs.len(), 4);
    assert_eq!(store.apply_collection(plan, &at_once).unwrap().blobs, 4);
    assert_eq!(repository.document(&kept.digest()).unwrap(), kept);
    assert_eq!(store.blob_size(&Digest::of(&noise(1, 10))).unwrap(), Some(10));
    assert_eq!(store.blob_size(&Digest::of(&noise(2, 10))).unwrap(), None);
}

#[test]
fn a_real_server_hands_out_addresses() {
    let Some((test, endpoint, place)) = real("addresses") else { return };
    let store = open(&test, &endpoint, &place).unwrap();
    let content = noise(1, 1000);
    store.put_blob(&descriptor(&content), Blob::from_bytes(content.clone())).unwrap();
    let address = store.presign_blob(&Digest::of(&content), Duration::from_secs(60)).unwrap().unwrap();
    assert_eq!(test.client.fetch(&address, 2000).unwrap(), content);
    let missing = open(&test, &endpoint, "s3:no-such-bucket-here").unwrap_err();
    assert!(
        matches!(&missing, StoreError::NotFound { what } if what.contains("no-such-bucket-here")),
        "{missing}"
    );
}
