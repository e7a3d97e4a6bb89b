//! Defects of ours in the middle of serving: a panic ends the request that ran into it, its client hears of
//! it where that can be, nothing it held stays behind, and everybody else is served.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;
use hyper::{Request, Response};
use oci::Digest;
use opendal::{Buffer, HttpBody, HttpTransport, HttpTransporter};
use registry::server::{Collection, InBucket, ServerOptions};
use store::object::S3Credentials;
use store::{ObjectStore, S3Place, S3Settings};
use support::bucket::FakeBucket;
use support::spec::Spec;
use support::{TestClient, TestServer, noise, wire};

/// What takes so long does not come.
const LONG: Duration = Duration::from_secs(60);

/// The way to a bucket, on which requests panic that are told to.
struct Panicking {
    way: HttpTransporter,
    fault: Fault,
}

/// The method and a part of the path of requests that panic.
type Fault = Arc<Mutex<Option<(&'static str, String)>>>;

impl HttpTransport for Panicking {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let fault = self.fault.lock().unwrap().clone();
        let is_hit = |method: &str, path: &str| {
            request.method() == method && request.uri().path().contains(path.trim_end_matches(" body"))
        };
        match fault {
            Some((method, path)) if is_hit(method, &path) && path.ends_with(" body") => {
                Ok(self.way.fetch(request).await?.map(|_| HttpBody::new(Broken, None)))
            }
            Some((method, path)) if is_hit(method, &path) => panic!("{method} {path}, as the test wants"),
            _ => self.way.fetch(request).await,
        }
    }
}

/// Content that panics.
struct Broken;

impl Stream for Broken {
    type Item = opendal::Result<Buffer>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        panic!("content, as the test wants")
    }
}

/// A server over such a bucket.
fn serve() -> (Spec, Fault) {
    let (bucket, client) = (FakeBucket::start(), TestClient::new(|_| {}));
    let fault = Fault::default();
    let way = Panicking { way: client.client.object_transport(), fault: fault.clone() };
    let place: S3Place = "s3:acme/images?region=r".parse().unwrap();
    let credentials = S3Credentials { key: "k".into(), secret: "s".into(), session: None };
    let endpoint = Some(bucket.endpoint());
    let settings = S3Settings { credentials: Some(credentials), region: None, endpoint };
    let store = ObjectStore::open(place.open(&settings, HttpTransporter::new(way)).unwrap()).unwrap();
    let spec = Spec(TestServer::with(|options| {
        options.bucket = Some(InBucket { store, redirect: None });
        options.metrics = true;
    }));
    // It is there until the process ends.
    std::mem::forget(bucket);
    (spec, fault)
}

fn count(spec: &Spec, name: &str) -> u64 {
    let text = spec.get("/metrics").text();
    let name = format!("plimsoll_registry_{name} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

/// Asks until the count is as it should be: what is counted at the end of a connection comes after its client
/// has seen that end.
fn until(spec: &Spec, name: &str, expected: u64) {
    let begun = Instant::now();
    loop {
        let found = count(spec, name);
        if found == expected {
            return;
        }
        assert!(begun.elapsed() < LONG, "{name}: {found}, and not {expected}");
        std::thread::yield_now();
    }
}

#[test]
fn requests_that_panic_are_answered_and_leave_nothing() {
    let (spec, fault) = serve();
    let there = spec.blob(&noise(1, 1000));
    let absent = noise(2, 300_000);
    let digest = Digest::of(&absent);
    *fault.lock().unwrap() = Some(("PUT", format!("blobs/sha256/{}", digest.hex())));
    // More than there may be sessions, connections or places of any kind would leave of it.
    const TIMES: u64 = 60;
    for _ in 0..TIMES {
        let session = spec.session();
        spec.check("PATCH", &session, &absent[..1000], 202);
        let answer = spec.check("PUT", &format!("{session}?digest={digest}"), &absent[1000..], 500);
        assert_eq!((answer.code().as_str(), answer.header("connection")), ("UNKNOWN", "close"));
        assert!(answer.text().contains("its log says which"), "{}", answer.text());
        spec.check("GET", &session, b"", 404);
    }
    assert_eq!(count(&spec, "defects_total"), TIMES);
    assert_eq!((count(&spec, "uploads"), spec.0.temporary_files()), (0, 0));
    // Meanwhile and afterwards others are served; the very blob too, once it can be.
    assert_eq!(spec.check("GET", &format!("/v2/a/blobs/{there}"), b"", 200).body, noise(1, 1000));
    *fault.lock().unwrap() = None;
    assert_eq!(spec.blob(&absent), digest);
}

#[test]
fn an_answer_that_panics_half_way_breaks_its_connection_alone() {
    let (spec, fault) = serve();
    let content = noise(3, 400_000);
    let digest = spec.blob(&content);
    let path = format!("/v2/a/blobs/{digest}");
    *fault.lock().unwrap() = Some(("GET", format!("blobs/sha256/{} body", digest.hex())));
    for _ in 0..20 {
        let mut stream = wire::open(spec.address(), "GET", &path, &[], 0);
        let mut come = Vec::new();
        let _ = stream.read_to_end(&mut come);
        assert!(come.len() < content.len(), "it never looks whole");
        assert!(come.is_empty() || come.starts_with(b"HTTP/1.1 200 "), "the answer had begun");
    }
    *fault.lock().unwrap() = None;
    assert!(spec.get(&path).body == content);
    until(&spec, "defects_total", 20);
    // That of the question itself.
    until(&spec, "connections", 1);
}

#[test]
fn what_panics_beside_an_answer_breaks_the_connection_alone() {
    let spec = Spec(TestServer::with(|options: &mut ServerOptions| {
        options.metrics = true;
        options.access_log = Arc::new(|entry| assert!(!entry.path.ends_with("/tags/list"), "no lists"));
    }));
    for _ in 0..5 {
        let mut stream = wire::open(spec.address(), "GET", "/v2/a/tags/list", &[], 0);
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
    }
    spec.check("GET", "/v2/", b"", 200);
    until(&spec, "defects_total", 5);
    until(&spec, "connections", 1);
}

#[test]
fn collections_go_on_after_one_that_panicked() {
    let (panicked, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (first, rounds) = (panicked.clone(), done.clone());
    let spec = Spec(TestServer::with(|options| {
        options.metrics = true;
        options.collection = Some(Collection {
            every: Duration::from_millis(10),
            grace: Duration::from_secs(60),
            keep: Arc::new(move || {
                assert!(first.swap(true, Ordering::Relaxed), "the first round, as the test wants");
                Box::new(|_| false)
            }),
            report: Arc::new(move |result| {
                assert!(result.is_ok());
                rounds.fetch_add(1, Ordering::Relaxed);
            }),
        });
    }));
    while done.load(Ordering::Relaxed) < 2 {
        std::thread::yield_now();
    }
    assert!(panicked.load(Ordering::Relaxed));
    assert_eq!(count(&spec, "defects_total"), 1);
}

/// What is told in the log, and panics where it tells of `REASON`.
struct PanickingLog;

const REASON: &str = "the connection that the log does not survive";

impl tracing::Subscriber for PanickingLog {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Words(bool);
        impl tracing::field::Visit for Words {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 |= format!("{value:?}").contains(REASON);
            }
        }
        let mut words = Words(false);
        event.record(&mut words);
        assert!(!words.0, "the log, as the test wants");
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn connections_are_taken_on_after_a_panic_between_two() {
    tracing::subscriber::set_global_default(PanickingLog).unwrap();
    let spec = Spec(TestServer::with(|options: &mut ServerOptions| {
        options.metrics = true;
        options.access_log = Arc::new(|entry| assert!(!entry.path.ends_with("/tags/list"), "{REASON}"));
    }));
    // One that is open all the while.
    let mut open = BufReader::new(TcpStream::connect(spec.address()).unwrap());
    let mut ask = move || {
        open.get_mut().write_all(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        wire::read(&mut open, false).status
    };
    assert_eq!(ask(), 200);
    for _ in 0..3 {
        // Whoever takes connections tells of this one's end, and panics there.
        let mut stream = wire::open(spec.address(), "GET", "/v2/a/tags/list", &[], 0);
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
        spec.check("GET", "/v2/", b"", 200);
    }
    // Each of them, and the panic that followed it.
    until(&spec, "defects_total", 6);
    assert_eq!(ask(), 200);
    drop(ask);
    until(&spec, "connections", 1);
}
