//! Our client's uploads to registries that break off in the middle.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::{Seek as _, SeekFrom, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oci::Digest;
use store::{Blob, BlobStore, Put, StoreError};
use support::scripted::{Act, Answer, Asked, Scripted};
use support::{TestClient, descriptor, noise};

/// Where the content comes from: files go over a connection of their own.
#[derive(Clone, Copy)]
enum From {
    Memory,
    File,
}

/// Content in the middle of a file.
fn in_file(content: &[u8]) -> Blob {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"before").unwrap();
    file.write_all(content).unwrap();
    file.seek(SeekFrom::Start(6)).unwrap();
    Blob::unverified(Digest::of(content), content.len() as u64, file)
}

/// A registry that takes one blob and breaks off where its script says.
struct Sink {
    from: From,
    server: Scripted,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Sink {
    /// `breaks` gives, for each request with content in turn, after how many bytes it breaks.
    fn start(breaks: Vec<usize>, knows_sessions: bool) -> Self {
        let kept = Arc::new(Mutex::new(0_usize));
        let mut breaks = breaks.into_iter();
        let mut sessions = 0;
        let server = Scripted::start(move |asked: &Asked| {
            let length: usize = asked.header("content-length").unwrap_or("0").parse().unwrap();
            let mut kept = kept.lock().unwrap();
            let range = format!("0-{}", kept.saturating_sub(1));
            match asked.method.as_str() {
                "HEAD" => Answer::status(404).into(),
                "POST" => {
                    sessions += 1;
                    *kept = 0;
                    Answer::status(202).header("Location", format!("/upload/{sessions}?state=x")).into()
                }
                "GET" if knows_sessions => Answer::status(204)
                    .header("Range", range)
                    .header("Location", "/upload/again?state=y")
                    .into(),
                "GET" => Answer::status(404).into(),
                _ => match breaks.next().filter(|_| length > 0) {
                    Some(after) => {
                        *kept += after;
                        Act::BreakAfter(after)
                    }
                    None if asked.method == "PATCH" => {
                        *kept += length;
                        Answer::status(202).header("Location", "/upload/last?state=z").into()
                    }
                    None => Answer::status(201).into(),
                },
            }
        });
        Self { from: From::File, server, received: Arc::default() }
    }

    fn push(&self, test: &TestClient, content: &[u8]) -> Result<Put, StoreError> {
        let remote = test.client.repository(&self.server.repository("a"));
        let blob = match self.from {
            From::Memory => Blob::from_bytes(content.to_vec()),
            From::File => in_file(content),
        };
        let put = remote.put_blob(&descriptor(content), blob);
        let mut received = self.received.lock().unwrap();
        for asked in self.server.asked() {
            match asked.method.as_str() {
                "POST" => received.clear(),
                "PUT" | "PATCH" => received.extend_from_slice(&asked.body),
                _ => {}
            }
        }
        put
    }

    fn lines(&self) -> Vec<String> {
        self.server.lines().into_iter().filter(|line| !line.starts_with("HEAD")).collect()
    }
}

#[test]
fn an_upload_goes_on_where_it_broke() {
    check_resumed(From::File);
    check_resumed(From::Memory);
}

#[track_caller]
fn check_resumed(from: From) {
    let content = noise(1, 8_000_000);
    let sink = Sink { from, ..Sink::start(vec![3_000_000, 2_000_000], true) };
    let test = TestClient::new(|_| {});
    assert_eq!(sink.push(&test, &content).unwrap(), Put::Written);
    assert!(*sink.received.lock().unwrap() == content, "every byte once");
    assert_eq!(
        sink.lines(),
        [
            "POST /v2/a/blobs/uploads/",
            "PUT /upload/1",
            "GET /upload/1",
            "PATCH /upload/again",
            "GET /upload/again",
            "PATCH /upload/again",
            "PUT /upload/last",
        ]
    );
    let asked = sink.server.asked();
    let ranges: Vec<&str> = asked.iter().filter_map(|asked| asked.header("content-range")).collect();
    assert_eq!(ranges, ["3000000-7999999", "5000000-7999999"]);
    let digest = format!("/upload/last?state=z&digest={}", Digest::of(&content));
    assert_eq!(asked.last().unwrap().path, digest);
    assert_eq!(test.slept(), [Duration::from_secs(10); 2]);
    assert!(test.notices()[0].what.contains("push of blob"), "{:?}", test.notices());
}

#[test]
fn a_session_that_is_gone_is_begun_again() {
    let content = noise(1, 3_000_000);
    let sink = Sink::start(vec![1_000_000], false);
    assert_eq!(sink.push(&TestClient::new(|_| {}), &content).unwrap(), Put::Written);
    assert!(*sink.received.lock().unwrap() == content);
    let expected =
        ["POST /v2/a/blobs/uploads/", "PUT /upload/1", "GET /upload/1", "POST /v2/a/blobs/uploads/"];
    assert_eq!(sink.lines()[..4], expected);
}

#[test]
fn an_upload_that_always_breaks_is_given_up() {
    let content = noise(1, 3_000_000);
    let sink = Sink::start(vec![0, 0, 0, 0, 0], true);
    let test = TestClient::new(|_| {});
    let error = sink.push(&test, &content).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(test.slept().len(), 2);
}

#[test]
fn a_lost_answer_does_not_send_the_blob_again() {
    let content = noise(1, 2_000_000);
    let length = content.len();
    let mut put = false;
    let server = Scripted::start(move |asked: &Asked| match asked.method.as_str() {
        "HEAD" if put => Answer::status(200).header("Content-Length", length).into(),
        "POST" => Answer::status(202).header("Location", "/upload/1").into(),
        "PUT" => {
            put = true;
            Act::BreakAfter(length)
        }
        _ => Act::Answer(Answer::status(404)),
    });
    let remote = TestClient::new(|_| {});
    let remote = remote.client.repository(&server.repository("a"));
    assert_eq!(remote.put_blob(&descriptor(&content), in_file(&content)).unwrap(), Put::Written);
    assert_eq!(server.lines().iter().filter(|line| line.starts_with("PUT")).count(), 1);
}

#[test]
fn a_refusal_in_the_middle_ends_the_upload_at_once() {
    let content = noise(1, 50_000_000);
    let body = r#"{"errors":[{"code":"DENIED","message":"quota"}]}"#;
    let server = Scripted::start(move |asked: &Asked| match asked.method.as_str() {
        "POST" => Act::Answer(Answer::status(202).header("Location", "/upload/1")),
        "PUT" => Act::AnswerEarly(Answer::status(403).body(body)),
        _ => Act::Answer(Answer::status(404)),
    });
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&server.repository("a"));
    for blob in [in_file(&content), Blob::from_bytes(content.clone())] {
        let error = remote.put_blob(&descriptor(&content), blob).unwrap_err();
        assert!(matches!(&error, StoreError::Denied { reason, .. } if reason.contains("quota")), "{error}");
    }
    assert_eq!(test.notices(), []);
}

#[test]
fn a_registry_that_takes_no_large_chunks_gets_all_in_one() {
    let content = noise(1, 3_000_000);
    let mut sessions = 0;
    let server = Scripted::start(move |asked: &Asked| match asked.method.as_str() {
        "POST" => {
            sessions += 1;
            Answer::status(202).header("Location", format!("/upload/{sessions}")).into()
        }
        "GET" => Answer::status(204).header("Range", "0-999999").into(),
        // Answered when it has read everything: an early answer may be lost with the connection.
        "PATCH" => Act::Answer(Answer::status(416)),
        "PUT" if sessions == 1 => Act::BreakAfter(1_000_000),
        "PUT" => Act::Answer(Answer::status(201)),
        "DELETE" => Act::Answer(Answer::status(204)),
        _ => Act::Answer(Answer::status(404)),
    });
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&server.repository("a"));
    let put = remote.put_blob(&descriptor(&content), in_file(&content)).unwrap();
    assert_eq!(put, Put::Written);
    assert!(server.asked().last().unwrap().body == content);
    let lines = server.lines();
    assert!(lines.contains(&"DELETE /upload/1".to_owned()), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "PUT /upload/2");
}

#[test]
fn a_count_that_lies_is_found_out_by_the_digest() {
    let content = noise(1, 3_000_000);
    let wrong = r#"{"errors":[{"code":"DIGEST_INVALID","message":"not what was sent"}]}"#;
    let mut sessions = 0;
    let server = Scripted::start(move |asked: &Asked| match asked.method.as_str() {
        "POST" => {
            sessions += 1;
            Answer::status(202).header("Location", format!("/upload/{sessions}")).into()
        }
        "GET" if sessions == 1 && asked.path == "/upload/1" => {
            Answer::status(204).header("Range", "0-1999999").into()
        }
        "PUT" if asked.header("content-length") == Some("0") => Act::Answer(Answer::status(400).body(wrong)),
        "PATCH" => Act::Answer(Answer::status(202).header("Location", "/upload/gone")),
        "PUT" if sessions == 1 => Act::BreakAfter(1_000_000),
        "PUT" => Act::Answer(Answer::status(201)),
        _ => Act::Answer(Answer::status(404)),
    });
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&server.repository("a"));
    remote.put_blob(&descriptor(&content), in_file(&content)).unwrap();
    assert!(server.asked().last().unwrap().body == content);
}

#[test]
fn a_file_that_is_not_what_it_should_be_is_refused_by_the_other_end() {
    let server = support::TestServer::start();
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&server.repository("a"));
    let (content, other) = (noise(1, 2_000_000), noise(2, 2_000_000));
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&other).unwrap();
    file.rewind().unwrap();
    let blob = Blob::unverified(Digest::of(&content), other.len() as u64, file);
    let error = remote.put_blob(&descriptor(&content), blob).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(remote.blob_size(&Digest::of(&content)).unwrap(), None);
    assert_eq!(test.notices(), []);
}
