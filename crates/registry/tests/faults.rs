//! Our client against servers that fail, lie and break off.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::time::Duration;

use oci::{Digest, Document, ImageManifest, MediaType};
use registry::client::RetryPolicy;
use store::{BlobStore, ImageStore, StoreError};
use support::scripted::{Act, Answer, Asked, Scripted};
use support::{TestClient, descriptor, noise, read, tag};

/// Answers from a list, then 500 for ever.
fn in_turn(answers: Vec<Answer>) -> impl FnMut(&Asked) -> Answer + Send + 'static {
    let mut answers = answers.into_iter();
    move |_| answers.next().unwrap_or_else(|| Answer::status(500))
}

fn size_of(server: &Scripted, test: &TestClient) -> Result<Option<u64>, StoreError> {
    test.client.repository(&server.repository("a")).blob_size(&Digest::of(b"x"))
}

fn seconds(numbers: &[u64]) -> Vec<Duration> {
    numbers.iter().copied().map(Duration::from_secs).collect()
}

#[test]
fn a_server_that_fails_twice_is_asked_three_times() {
    let found = Answer::status(200).header("Content-Length", 7);
    let server = Scripted::start(in_turn(vec![Answer::status(500), Answer::status(503), found]));
    let test = TestClient::new(|_| {});
    assert_eq!(size_of(&server, &test).unwrap(), Some(7));
    assert_eq!(test.slept(), seconds(&[10, 10]));
    let notices = test.notices();
    assert_eq!((notices[0].attempt, notices[1].attempt, notices[0].attempts), (1, 2, 3));
    assert!(notices[0].reason.contains("500") && notices[1].reason.contains("503"), "{notices:?}");
    assert!(notices[0].what.contains(&Digest::of(b"x").to_string()), "{notices:?}");
}

#[test]
fn a_server_that_goes_on_failing_is_given_up() {
    let server = Scripted::start(|_: &Asked| Answer::status(502).body("bad\ngateway"));
    let test = TestClient::new(|_| {});
    // HEAD has no body; a manifest shows the words.
    let error = test.client.repository(&server.repository("a")).document(&Digest::of(b"x")).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.is_transient() && source.contains("502") && source.contains("bad gateway"), "{source}");
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn retry_after_is_obeyed_in_every_form() {
    let body =
        r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"retry-after: 1.5s, allowed: 2000/minute"}]}"#;
    let check = |limited: Answer, expected: Duration| {
        let found = Answer::status(200).header("Content-Length", 1);
        let test = TestClient::new(|_| {});
        let server = Scripted::start(in_turn(vec![limited.clone(), limited, found]));
        assert_eq!(size_of(&server, &test).unwrap(), Some(1));
        assert_eq!(test.slept()[0], expected);
        assert!(test.notices()[0].reason.contains("429"));
    };
    let limited = || Answer::status(429);
    check(limited().header("Retry-After", 7), Duration::from_secs(7));
    check(limited().header("Retry-After", "Fri, 20 Nov 2026 12:00:30 GMT"), Duration::from_secs(30));
    check(limited().header("Retry-After", "Fri, 20 Nov 2026 11:00:30 GMT"), Duration::ZERO);
    check(limited().header("Retry-After", "nonsense"), Duration::from_secs(10));
    let server = Scripted::start(in_turn(vec![
        Answer::status(429).body(body),
        Answer::status(200).body(r#"{"tags":["a"]}"#),
    ]));
    let test = TestClient::new(|_| {});
    assert_eq!(test.client.repository(&server.repository("a")).tags().unwrap(), [tag("a")]);
    assert_eq!(test.slept(), [Duration::from_millis(1500)]);
}

/// Source: Docker Docs, "Docker Hub usage and limits", headers of an answer.
#[test]
fn a_limit_that_was_reached_is_told() {
    let server = Scripted::start(|_: &Asked| {
        Answer::status(429)
            .header("ratelimit-limit", "100;w=21600")
            .header("ratelimit-remaining", "0;w=21600")
            .header("docker-ratelimit-source", "192.0.2.7")
            .header("Retry-After", 1)
            .body(r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#)
    });
    let test = TestClient::new(|_| {});
    test.client.repository(&server.repository("a")).document(&Digest::of(b"x")).unwrap_err();
    let reason = &test.notices()[0].reason;
    let expected = "slow down (the limit is 100 requests in 21600 s, 0 left, counted for 192.0.2.7)";
    assert!(reason.contains(expected), "{reason}");
}

#[test]
fn a_wait_that_is_too_long_is_not_begun() {
    let server = Scripted::start(|_: &Asked| Answer::status(429).header("Retry-After", 3600));
    let test = TestClient::new(|_| {});
    let error = size_of(&server, &test).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("3600 s"), "{source}");
    assert_eq!((server.asked().len(), test.slept().len()), (1, 0));
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for() {
    let server = Scripted::start(|_: &Asked| Act::Hang);
    let test = TestClient::new(|options| {
        options.retry =
            RetryPolicy { attempts: 2, timeout: Duration::from_millis(50), ..RetryPolicy::default() };
    });
    let error = size_of(&server, &test).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.is_transient() && source.contains("retry timeout"), "{source}");
    assert_eq!(test.slept().len(), 1);
}

#[test]
fn nobody_listens() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let test = TestClient::new(|_| {});
    let repository = format!("{free}/a").parse().unwrap();
    let error = test.client.repository(&repository).blob_size(&Digest::of(b"x")).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(test.slept(), seconds(&[10, 10]));
}

/// A server with one blob, for clients that ask for ranges or do not.
fn blob_server(
    content: Vec<u8>,
    mut act: impl FnMut(usize, Option<usize>) -> Answer + Send + 'static,
) -> Scripted {
    let mut count = 0;
    let length = content.len();
    Scripted::start(move |asked: &Asked| {
        if asked.method == "HEAD" {
            return Answer::status(200).header("Content-Length", length);
        }
        count += 1;
        let from = asked
            .header("range")
            .map(|range| range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap());
        act(count, from)
    })
}

fn pull(server: &Scripted, test: &TestClient, content: &[u8]) -> std::io::Result<Vec<u8>> {
    let remote = test.client.repository(&server.repository("a"));
    read(remote.open_blob(&Digest::of(content)).unwrap())
}

fn rest(content: &[u8], from: usize) -> Answer {
    let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
    Answer::status(206).header("Content-Range", range).body(&content[from..])
}

#[test]
fn a_download_goes_on_where_it_broke() {
    let content = noise(1, 5_000_000);
    let served = content.clone();
    let server = blob_server(content.clone(), move |count, from| match (count, from) {
        (1, None) => Answer::status(200).announcing(served.len()).body(&served[..2_000_000]),
        // Breaks again, further on; progress was made, so the tries count anew.
        (2 | 3, Some(from)) => {
            rest(&served, from).announcing(served.len() - from).body(&served[from..from + 1_100_000])
        }
        (_, Some(from)) => rest(&served, from),
        other => panic!("{other:?}"),
    });
    let test = TestClient::new(|_| {});
    assert!(pull(&server, &test, &content).unwrap() == content);
    let ranges: Vec<String> =
        server.asked().iter().filter_map(|asked| asked.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, ["bytes=2000000-", "bytes=3100000-", "bytes=4200000-"]);
    assert!(test.notices().iter().all(|notice| notice.attempt == 1), "{:?}", test.notices());
}

#[test]
fn a_server_without_ranges_is_read_again() {
    let content = noise(1, 3_000_000);
    let served = content.clone();
    let server = blob_server(content.clone(), move |count, _| match count {
        1 => Answer::status(200).announcing(served.len()).body(&served[..1_234_567]),
        _ => Answer::status(200).body(served.clone()),
    });
    assert!(pull(&server, &TestClient::new(|_| {}), &content).unwrap() == content);
}

#[test]
fn a_server_that_always_truncates_is_given_up() {
    let content = noise(1, 100_000);
    let served = content.clone();
    let server = blob_server(content.clone(), move |_, from| match from {
        None => Answer::status(200).announcing(served.len()).body(&served[..10]),
        Some(from) => rest(&served, from).announcing(served.len() - from).body(Vec::new()),
    });
    let test = TestClient::new(|_| {});
    let error = pull(&server, &test, &content).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
    assert!(error.to_string().contains(&Digest::of(&content).to_string()), "{error}");
    assert_eq!(test.slept().len(), 2);
}

#[test]
fn content_that_lies_is_found_out() {
    let content = noise(1, 100_000);
    let mut wrong = content.clone();
    wrong[50_000] ^= 1;
    let check = |served: Vec<u8>, expected: &str| {
        let server = blob_server(content.clone(), move |_, _| Answer::status(200).body(served.clone()));
        let test = TestClient::new(|_| {});
        let error = pull(&server, &test, &content).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(test.slept(), [], "what is corrupt is not asked for again");
    };
    check(wrong, "digest");
    check(noise(2, 90_000), "digest");
}

#[test]
fn a_wrong_range_is_refused() {
    let content = noise(1, 2_000_000);
    let served = content.clone();
    let server = blob_server(content.clone(), move |count, from| match (count, from) {
        (1, _) => Answer::status(200).announcing(served.len()).body(&served[..1000]),
        (_, from) => rest(&served, from.unwrap() + 1),
    });
    let error = pull(&server, &TestClient::new(|_| {}), &content).unwrap_err();
    let cause = std::error::Error::source(error.get_ref().unwrap()).unwrap().to_string();
    assert!(cause.contains("another range"), "{error}: {cause}");
}

#[test]
fn manifests_that_lie_are_corrupt() {
    let manifest = Document::from_manifest(ImageManifest::new(descriptor(b"x"), Vec::new()));
    let media_type = MediaType::OciManifest.to_string();
    let answer = move |body: Vec<u8>| Answer::status(200).header("Content-Type", &media_type).body(body);
    let check = |served: Answer, expected: &str| {
        let server = Scripted::start(move |_: &Asked| served.clone());
        let test = TestClient::new(|_| {});
        let error = test.client.repository(&server.repository("a")).document(&manifest.digest()).unwrap_err();
        let text = format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
        assert!(text.contains(expected), "{text}");
        assert_eq!(server.asked().len(), 1, "not tried again");
        error
    };
    let mut wrong = manifest.raw().to_vec();
    wrong.push(b'\n');
    assert!(matches!(check(answer(wrong), "have the digest"), StoreError::Corrupt { .. }));
    assert!(matches!(check(answer(b"<html>login</html>".to_vec()), "digest"), StoreError::Corrupt { .. }));
    let page = Answer::status(200).header("Content-Type", "text/html").body("<html>please log in</html>");
    check(page, "HTML page");
    check(answer(vec![b' '; 9 << 20]), "longer than");
}

#[test]
fn html_instead_of_a_list_is_named() {
    let page = "<!doctype html><title>Welcome</title>";
    let server =
        Scripted::start(move |_: &Asked| Answer::status(200).header("Content-Type", "text/html").body(page));
    let error = TestClient::new(|_| {}).client.repository(&server.repository("a")).tags().unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("HTML page"), "{source}");
}

#[test]
fn pages_are_followed_and_circles_noticed() {
    let server = Scripted::start(|asked: &Asked| match asked.path.as_str() {
        "/v2/a/tags/list?n=1000" => Answer::status(200)
            .header("Link", "</v2/a/tags/list?n=1000&last=b>; rel=\"next\"")
            .body(r#"{"name":"a","tags":["b","a","-not a tag-"]}"#),
        "/v2/a/tags/list?n=1000&last=b" => Answer::status(200).body(r#"{"name":"a","tags":["c","a"]}"#),
        "/v2/empty/tags/list?n=1000" => Answer::status(200).body(r#"{"name":"empty","tags":null}"#),
        path => Answer::status(200)
            .header("Link", format!("<{path}>; rel=\"next\""))
            .body(r#"{"name":"loop","tags":["x"]}"#),
    });
    let test = TestClient::new(|_| {});
    let tags = |name: &str| test.client.repository(&server.repository(name)).tags();
    assert_eq!(tags("a").unwrap(), [tag("a"), tag("b"), tag("c")]);
    assert_eq!(tags("empty").unwrap(), []);
    let error = tags("loop").unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("circle"));
}

#[test]
fn a_server_without_head_is_asked_with_get() {
    let manifest = Document::from_manifest(ImageManifest::new(descriptor(b"x"), Vec::new()));
    let raw = manifest.raw().clone();
    let server = Scripted::start(move |asked: &Asked| match asked.method.as_str() {
        "HEAD" => Answer::status(405),
        _ => Answer::status(200).header("Content-Type", MediaType::OciManifest).body(raw.to_vec()),
    });
    let test = TestClient::new(|_| {});
    let found = test.client.repository(&server.repository("a")).resolve(&tag("x")).unwrap();
    assert_eq!(found, *manifest.descriptor());
}

#[test]
fn a_manifest_stored_under_another_digest_is_corrupt() {
    let other = Digest::of(b"other");
    let server = Scripted::start(move |_: &Asked| Answer::status(201).header("Docker-Content-Digest", other));
    let test = TestClient::new(|_| {});
    let manifest = Document::from_manifest(ImageManifest::new(descriptor(b"x"), Vec::new()));
    let error = test.client.repository(&server.repository("a")).put_document(&manifest).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn the_local_store_is_no_registry() {
    let test = TestClient::new(|_| {});
    let error = test.client.repository(&"local/a".parse().unwrap()).tags().unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("the local store"), "{error}");
}
