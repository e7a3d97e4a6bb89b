//! Uploads that another process goes on with, and uploads in chunks.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::collections::BTreeMap;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oci::Digest;
use registry::client::{ClientOptions, RetryPolicy};
use store::{Blob, BlobStore, Put, StoreError};
use support::scripted::{Act, Answer, Asked, Scripted};
use support::{TestClient, TestServer, descriptor, noise};

/// A registry that keeps one blob, and what it was sent.
#[derive(Clone, Copy, Default)]
struct Rules {
    /// Requests with more content are refused with 413.
    largest: Option<usize>,
    /// Announced with the session.
    least: Option<usize>,
    /// The connection breaks once after so many bytes, and the server is gone afterwards.
    dies_after: Option<usize>,
    /// Sessions are forgotten when it comes back.
    forgets: bool,
}

struct Sink {
    server: Scripted,
    kept: Arc<Mutex<Vec<u8>>>,
    is_back: Arc<Mutex<bool>>,
}

impl Sink {
    fn start(rules: Rules) -> Self {
        let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
        let is_back = Arc::new(Mutex::new(false));
        let (content, back) = (kept.clone(), is_back.clone());
        let (mut session, mut died) = (0, false);
        let server = Scripted::start_after(move |asked: &Asked| {
            let (back, mut content) = (*back.lock().unwrap(), content.lock().unwrap());
            if died && !back {
                return Act::BreakAfter(0);
            }
            let here = format!("/upload/{session}");
            let location = |answer: Answer| {
                answer.header("Location", &here).header("Range", format!("0-{}", content.len().max(1) - 1))
            };
            match asked.method.as_str() {
                "POST" => {
                    session += 1;
                    content.clear();
                    let answer = Answer::status(202).header("Location", format!("/upload/{session}"));
                    let least = rules.least.map(|least| answer.clone().header("OCI-Chunk-Min-Length", least));
                    least.unwrap_or(answer).into()
                }
                "HEAD" => Answer::status(404).into(),
                "GET" if rules.forgets || asked.path != here => Answer::status(404).into(),
                "GET" => location(Answer::status(204)).into(),
                "PUT" | "PATCH" if rules.largest.is_some_and(|largest| asked.body.len() > largest) => {
                    Answer::status(413).into()
                }
                "PUT" | "PATCH" => {
                    content.extend_from_slice(&asked.body);
                    if let Some(after) = rules.dies_after.filter(|after| !died && content.len() > *after) {
                        content.truncate(after);
                        died = true;
                        return Act::BreakAfter(0);
                    }
                    let answer = Answer::status(if asked.method == "PUT" { 201 } else { 202 });
                    answer.header("Location", &here).into()
                }
                method => panic!("{method}"),
            }
        });
        Self { server, kept, is_back }
    }

    fn push(&self, test: &TestClient, content: &[u8]) -> Result<Put, StoreError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file.rewind().unwrap();
        let blob = Blob::unverified(Digest::of(content), content.len() as u64, file);
        test.client.repository(&self.server.repository("a")).put_blob(&descriptor(content), blob)
    }

    fn holds(&self, content: &[u8]) -> bool {
        *self.kept.lock().unwrap() == content
    }

    /// The sizes of what was sent, in order.
    fn sizes(&self) -> Vec<usize> {
        let asked = self.server.asked();
        asked
            .iter()
            .filter(|asked| asked.method.starts_with('P') && asked.method != "POST")
            .map(|asked| asked.body.len())
            .collect()
    }

    fn begun(&self) -> usize {
        self.server.lines().iter().filter(|line| line.starts_with("POST")).count()
    }
}

/// A process whose state is in `folder`.
fn process(folder: &Path) -> TestClient {
    process_with(folder, |_| {})
}

fn process_with(folder: &Path, change: impl FnOnce(&mut ClientOptions)) -> TestClient {
    TestClient::new(|options| {
        options.sessions = Some(folder.join("uploads"));
        options.retry = RetryPolicy { attempts: 2, ..options.retry.clone() };
        change(options);
    })
}

fn notes(folder: &Path) -> Vec<String> {
    let Ok(files) = std::fs::read_dir(folder.join("uploads")) else { return Vec::new() };
    files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn another_process_sends_what_is_missing() {
    let content = noise(1, 8_000_000);
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(Rules { dies_after: Some(3_000_000), ..Rules::default() });
    assert!(sink.push(&process(folder.path()), &content).unwrap_err().is_transient());
    let noted = notes(folder.path());
    assert!(noted.len() == 1 && noted[0].contains("/upload/1"), "{noted:?}");
    *sink.is_back.lock().unwrap() = true;
    assert_eq!(sink.push(&process(folder.path()), &content).unwrap(), Put::Written);
    assert!(sink.holds(&content));
    assert_eq!(sink.sizes()[sink.sizes().len() - 2..], [5_000_000, 0]);
    assert_eq!((sink.begun(), notes(folder.path()).len()), (1, 0));
}

#[test]
fn a_session_that_is_forgotten_or_too_old_means_a_new_one() {
    let content = noise(1, 8_000_000);
    for (forgets, later) in [(true, 0), (false, 2 * 60 * 60)] {
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::start(Rules { dies_after: Some(3_000_000), forgets, ..Rules::default() });
        sink.push(&process(folder.path()), &content).unwrap_err();
        *sink.is_back.lock().unwrap() = true;
        let next = process(folder.path());
        next.slept.lock().unwrap().push(Duration::from_secs(later));
        let before = sink.begun();
        assert_eq!(sink.push(&next, &content).unwrap(), Put::Written);
        assert!(sink.holds(&content));
        assert_eq!((sink.begun() - before, notes(folder.path()).len()), (1, 0), "{forgets}");
    }
}

#[test]
fn notes_that_are_none_are_passed_over() {
    let content = noise(1, 2_000_000);
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(Rules { dies_after: Some(1_000_000), ..Rules::default() });
    sink.push(&process(folder.path()), &content).unwrap_err();
    *sink.is_back.lock().unwrap() = true;
    let note = std::fs::read_dir(folder.path().join("uploads")).unwrap().next().unwrap().unwrap().path();
    let elsewhere = std::fs::read_to_string(&note).unwrap().replace("127.0.0.1", "127.0.0.9");
    for text in ["", "{", "null", "[1]", "\u{0}", &elsewhere, &"x".repeat(100_000)] {
        std::fs::write(&note, text).unwrap();
        assert_eq!(sink.push(&process(folder.path()), &content).unwrap(), Put::Written, "{text}");
        assert!(sink.holds(&content));
    }
    // What another process left, and is not asked for again, goes with the next upload.
    std::fs::write(folder.path().join("uploads/left.json"), "{}").unwrap();
    sink.push(&process(folder.path()), &content).unwrap();
    assert_eq!(notes(folder.path()), [""; 0]);
}

#[test]
fn an_upload_to_another_host_is_not_noted() {
    let content = noise(1, 2_000_000);
    let folder = tempfile::tempdir().unwrap();
    let other = Scripted::start(|asked: &Asked| match asked.method.as_str() {
        "PUT" => Act::BreakAfter(1000),
        _ => Act::BreakAfter(0),
    });
    let there = format!("http://localhost:{}/upload?signature=secret", other.address().port());
    let server = Scripted::start(move |asked: &Asked| match asked.method.as_str() {
        "POST" => Answer::status(202).header("Location", &there),
        _ => Answer::status(404),
    });
    let test = process(folder.path());
    let remote = test.client.repository(&server.repository("a"));
    remote.put_blob(&descriptor(&content), Blob::from_bytes(content.clone())).unwrap_err();
    assert!(!other.asked().is_empty());
    assert!(notes(folder.path()).iter().all(|note| !note.contains("secret")), "{:?}", notes(folder.path()));
}

#[test]
fn our_own_server_is_sent_the_rest() {
    let content = noise(1, 6_000_000);
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let repository = server.repository("a");
    let in_chunks = process_with(folder.path(), |options| {
        options.chunks = BTreeMap::from([(repository.registry().clone(), 1_000_000)]);
    });
    let remote = in_chunks.client.repository(&repository);
    assert_eq!(
        remote.put_blob(&descriptor(&content), Blob::from_bytes(content.clone())).unwrap(),
        Put::Written
    );
    assert_eq!(server.store.verify_blob(&Digest::of(&content)).unwrap(), 6_000_000);
    assert_eq!(server.temporary_files(), 0);
}

fn chunked(sink: &Sink, bytes: u64) -> TestClient {
    let registry = sink.server.registry();
    TestClient::new(move |options| options.chunks = BTreeMap::from([(registry, bytes)]))
}

#[test]
fn a_host_gets_chunks_of_the_size_it_is_to_get() {
    let content = noise(1, 3_500_000);
    let sink = Sink::start(Rules::default());
    assert_eq!(sink.push(&chunked(&sink, 1_000_000), &content).unwrap(), Put::Written);
    assert!(sink.holds(&content));
    assert_eq!(sink.sizes(), [1_000_000, 1_000_000, 1_000_000, 500_000, 0]);
    let asked = sink.server.asked();
    let ranges: Vec<&str> = asked.iter().filter_map(|asked| asked.header("content-range")).collect();
    assert_eq!(ranges, ["0-999999", "1000000-1999999", "2000000-2999999", "3000000-3499999"]);
    // What fits into one is sent as one.
    let small = Sink::start(Rules::default());
    small.push(&chunked(&small, 4_000_000), &content).unwrap();
    assert_eq!(small.sizes(), [3_500_000]);
}

#[test]
fn chunks_are_no_smaller_than_the_registry_takes() {
    let content = noise(1, 3_500_000);
    let sink = Sink::start(Rules { least: Some(1_500_000), ..Rules::default() });
    sink.push(&chunked(&sink, 1_000_000), &content).unwrap();
    assert!(sink.holds(&content));
    assert_eq!(sink.sizes(), [1_500_000, 1_500_000, 500_000, 0]);
}

#[test]
fn what_is_too_large_is_made_smaller() {
    let content = noise(1, 9_000_000);
    let sink = Sink::start(Rules { largest: Some(1_100_000), ..Rules::default() });
    assert_eq!(sink.push(&TestClient::new(|_| {}), &content).unwrap(), Put::Written);
    assert!(sink.holds(&content));
    let mut sizes = sink.sizes();
    assert_eq!(sizes[..3], [9_000_000, 4 << 20, 2 << 20]);
    assert!(sizes.split_off(3).iter().all(|size| *size <= 1 << 20));
    // A host that takes nothing is not asked for ever.
    let none = Sink::start(Rules { largest: Some(0), ..Rules::default() });
    let error = none.push(&TestClient::new(|_| {}), &content).unwrap_err();
    assert!(matches!(&error, StoreError::Denied { reason, .. } if reason.contains("413")), "{error}");
    assert!(none.sizes().len() < 12, "{:?}", none.sizes());
}

#[test]
fn a_break_between_chunks_sends_none_twice() {
    let content = noise(1, 5_000_000);
    let sink = Sink::start(Rules { dies_after: Some(2_300_000), ..Rules::default() });
    *sink.is_back.lock().unwrap() = true;
    sink.push(&chunked(&sink, 1_000_000), &content).unwrap();
    assert!(sink.holds(&content));
    let expected = [1_000_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000, 700_000, 0];
    assert_eq!((sink.sizes(), sink.begun()), (expected.to_vec(), 1));
}
