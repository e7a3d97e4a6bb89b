//! The cache of other registries: what it asks for, what it keeps, and what it does with an upstream
//! that lies, breaks off or is gone.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use oci::{Digest, Document, Registry};
use registry::client::RetryPolicy;
use registry::server::access::{ANONYMOUS, Grant, Policy, Rule};
use registry::server::{
    Collection, Immutable, InBucket, Pattern, ProxyOptions, ProxyTrouble, Quota, ServerOptions,
};
use store::{BlobStore as _, Bucket, ImageStore as _, ObjectStore};
use support::scripted::{Answer, Asked, Scripted};
use support::wire::{self, Response};
use support::{TestClient, TestServer, layer, noise, put_image, tag};

/// A server whose requests are counted.
struct Upstream {
    server: TestServer,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    fn start() -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let server = TestServer::with(|options| {
            options.access_log =
                Arc::new(move |entry| log.lock().unwrap().push(format!("{} {}", entry.method, entry.path)));
        });
        Self { server, asked }
    }

    fn registry(&self) -> Registry {
        self.server.handle.registry()
    }

    /// Puts an image there under a tag.
    fn put(&self, name: &str, layers: &[Vec<u8>], tags: &[&str]) -> Document {
        let repository = self.server.store.repository(&format!("local/{name}").parse().unwrap());
        let image = put_image(&repository, layers);
        tags.iter().for_each(|one| repository.tag(&tag(one), &image).unwrap());
        image
    }

    /// Returns what was asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// A cache of one registry.
struct Cache {
    server: TestServer,
    trouble: Arc<Mutex<Vec<ProxyTrouble>>>,
    client: TestClient,
}

impl Cache {
    fn of(rule: &str) -> Self {
        Self::with(rule, |_| {})
    }

    fn with(rule: &str, change: impl FnOnce(&mut ServerOptions)) -> Self {
        let client = TestClient::new(|options| {
            options.retry =
                RetryPolicy { attempts: 2, timeout: Duration::from_secs(20), ..options.retry.clone() };
        });
        let trouble = Arc::new(Mutex::new(Vec::new()));
        let told = trouble.clone();
        let server = TestServer::with(|options| {
            options.proxy = Some(ProxyOptions {
                upstreams: vec![rule.parse().unwrap()],
                client: client.client.clone(),
                max_age: Duration::ZERO,
                max_idle: None,
                max_bytes: None,
                report: Arc::new(move |trouble| told.lock().unwrap().push(trouble.clone())),
            });
            options.metrics = true;
            change(options);
        });
        Self { server, trouble, client }
    }

    fn address(&self) -> SocketAddr {
        self.server.handle.address()
    }

    fn get(&self, path: &str) -> Response {
        wire::ask(self.address(), "GET", path, &[], b"")
    }

    #[track_caller]
    fn check(&self, method: &str, path: &str, status: u16) -> Response {
        let response = wire::ask(self.address(), method, path, &[], b"");
        assert_eq!(response.status, status, "{method} {path}: {}", response.text());
        response
    }

    fn trouble(&self) -> Vec<ProxyTrouble> {
        std::mem::take(&mut self.trouble.lock().unwrap())
    }

    #[track_caller]
    fn check_count(&self, name: &str, expected: u64) {
        let text = self.get("/metrics").text();
        let line = format!("plimsoll_registry_proxy_{name} {expected}");
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }

    /// How many blobs and manifests lie in the store.
    fn kept(&self) -> usize {
        std::fs::read_dir(self.server.folder.path().join("blobs/sha256")).unwrap().count()
    }
}

fn layers(image: &Document) -> Vec<Digest> {
    image.as_image().unwrap().layers.iter().map(|layer| layer.digest).collect()
}

#[test]
fn an_image_is_fetched_once() {
    let upstream = Upstream::start();
    let content = layer(1, 300_000);
    let image = upstream.put("acme/api", std::slice::from_ref(&content), &["v1"]);
    let cache = Cache::of(&format!("up={}", upstream.registry()));
    let digest = layers(&image)[0];

    let response = cache.check("GET", "/v2/up/acme/api/manifests/v1", 200);
    assert_eq!(response.body, image.raw().as_ref());
    assert_eq!(response.header("docker-content-digest"), image.digest().to_string());
    let blob = format!("/v2/up/acme/api/blobs/{digest}");
    assert_eq!(cache.check("HEAD", &blob, 200).header("content-length"), "300000");
    assert!(cache.get(&blob).body == content);
    let first = upstream.asked();
    let manifest = format!("/v2/acme/api/manifests/{}", image.digest());
    let there = format!("/v2/acme/api/blobs/{digest}");
    assert_eq!(
        first,
        [
            "HEAD /v2/acme/api/manifests/v1".to_owned(),
            format!("GET {manifest}"),
            format!("HEAD {there}"),
            format!("GET {there}")
        ]
    );

    // What has a digest is not asked for again; what a tag points to is, without its content.
    cache.check("GET", &format!("/v2/up/acme/api/manifests/{}", image.digest()), 200);
    assert!(cache.get(&blob).body == content);
    assert_eq!(upstream.asked(), [""; 0]);
    cache.check("HEAD", "/v2/up/acme/api/manifests/v1", 200);
    assert_eq!(upstream.asked(), ["HEAD /v2/acme/api/manifests/v1"]);
    cache.check_count("misses_total", 2);
    // It has its own name in the store, and clients see the one they use.
    let kept = cache.server.store.repository(&upstream.server.repository("acme/api"));
    assert_eq!(kept.resolve(&tag("v1")).unwrap().digest, image.digest());
    assert!(cache.get("/v2/_catalog").text().contains("\"up/acme/api\""));
    assert_eq!(cache.get("/v2/up/acme/api/tags/list").text(), r#"{"name":"up/acme/api","tags":["v1"]}"#);
}

#[test]
fn tags_have_an_age() {
    let upstream = Upstream::start();
    upstream.put("a", &[layer(1, 100)], &["v1", "main"]);
    let cache = Cache::with(&upstream.registry().to_string(), |options| {
        options.proxy.as_mut().unwrap().max_age = Duration::from_secs(600);
        options.immutable = vec![Immutable::new("v*")];
    });
    for _ in 0..3 {
        cache.check("GET", "/v2/a/manifests/main", 200);
    }
    assert_eq!(upstream.asked().iter().filter(|line| line.starts_with("HEAD")).count(), 1);

    let cache = Cache::with(&upstream.registry().to_string(), |options| {
        options.immutable = vec![Immutable::new("v*")];
    });
    for _ in 0..3 {
        cache.check("GET", "/v2/a/manifests/v1", 200);
    }
    assert_eq!(upstream.asked().iter().filter(|line| line.starts_with("HEAD")).count(), 1);
}

#[test]
fn a_tag_that_moves_or_goes_there_does_so_here() {
    let upstream = Upstream::start();
    upstream.put("a", &[layer(1, 100)], &["main"]);
    let cache = Cache::of(&upstream.registry().to_string());
    cache.check("GET", "/v2/a/manifests/main", 200);
    let second = upstream.put("a", &[layer(2, 100)], &["main"]);
    assert_eq!(cache.get("/v2/a/manifests/main").body, second.raw().as_ref());
    let there = upstream.server.store.repository(&"local/a".parse().unwrap());
    there.untag(&tag("main")).unwrap();
    assert_eq!(cache.check("GET", "/v2/a/manifests/main", 404).code(), "MANIFEST_UNKNOWN");
    let kept = cache.server.store.repository(&upstream.server.repository("a"));
    assert!(kept.resolve(&tag("main")).is_err());
    // The content is still what it was.
    cache.check("GET", &format!("/v2/a/manifests/{}", second.digest()), 200);
}

#[test]
fn many_clients_at_once_are_one_fetch() {
    let upstream = Upstream::start();
    let content = layer(1, 6_000_000);
    let image = upstream.put("a", std::slice::from_ref(&content), &["v1"]);
    let cache = Cache::of(&upstream.registry().to_string());
    let path = format!("/v2/a/blobs/{}", layers(&image)[0]);
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let manifest = cache.get(&format!("/v2/a/manifests/{}", image.digest()));
                assert_eq!(manifest.body, image.raw().as_ref());
                assert!(cache.get(&path).body == content);
            });
        }
    });
    let mut asked = upstream.asked();
    asked.sort();
    assert_eq!(asked, [format!("GET {path}"), format!("GET /v2/a/manifests/{}", image.digest())]);
}

/// An upstream of one blob that sends a part of it, and the rest when it is told to.
fn in_two_parts(content: Vec<u8>, first: usize) -> (Registry, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let registry = listener.local_addr().unwrap().to_string().parse().unwrap();
    let (go_on, told) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            line.clear();
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len()).unwrap();
        stream.write_all(&content[..first]).unwrap();
        told.recv().unwrap();
        stream.write_all(&content[first..]).unwrap();
    });
    (registry, go_on)
}

#[test]
fn a_blob_is_sent_on_while_it_comes() {
    let content = noise(1, 1_000_000);
    let (registry, go_on) = in_two_parts(content.clone(), 600_000);
    let cache = Cache::of(&registry.to_string());
    let path = format!("/v2/a/blobs/{}", Digest::of(&content));
    let mut stream = wire::open(cache.address(), "GET", &path, &[], 0);
    let part = wire::open(cache.address(), "GET", &path, &[("Range", "bytes=1000-1999")], 0);
    let mut read = BufReader::new(&mut stream);
    let mut line = String::new();
    while read.read_line(&mut line).unwrap() > 2 {
        line.clear();
    }
    let mut start = vec![0; 500_000];
    read.read_exact(&mut start).unwrap();
    assert!(start == content[..500_000]);
    part.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let response = wire::receive(part, false);
    assert_eq!((response.status, response.header("content-range")), (206, "bytes 1000-1999/1000000"));
    assert!(response.body == content[1000..2000]);
    assert_eq!(cache.kept(), 0, "nothing is kept before all of it was checked");
    go_on.send(()).unwrap();
    let mut rest = Vec::new();
    read.read_to_end(&mut rest).unwrap();
    assert!(rest == content[500_000..]);
    assert!(cache.get(&path).body == content);
    assert_eq!(cache.kept(), 1);
}

/// Returns what a client gets of a blob from an upstream that does what `script` says, and checks that
/// nothing of it is kept.
#[track_caller]
fn check_refused(content: &[u8], script: impl FnMut(&Asked) -> Answer + Send + 'static, most: usize) {
    let upstream = Scripted::start(script);
    let cache = Cache::of(&upstream.registry().to_string());
    let response = cache.get(&format!("/v2/a/blobs/{}", Digest::of(content)));
    match response.status {
        200 => assert!(response.body.len() <= most, "the last byte never comes: {}", response.body.len()),
        status => assert_eq!(status, 502, "{}", response.text()),
    }
    // The client has its answer a moment before the temporary file is gone.
    assert_eq!(cache.kept(), 0);
    let kept = cache.server.store.repository(&upstream.repository("a"));
    assert!(!kept.has_blob(&Digest::of(content)).unwrap());
    let trouble = cache.trouble();
    assert!(trouble.iter().all(|trouble| !trouble.is_served) && !trouble.is_empty(), "{trouble:?}");
    assert_eq!(cache.check("GET", "/healthz", 200).text(), "ok\n");
}

#[test]
fn an_upstream_that_lies_is_not_believed() {
    let content = noise(1, 400_000);
    let mut other = content.clone();
    other[399_999] ^= 1;
    check_refused(&content, move |_| Answer::status(200).body(other.clone()), 399_999);
    let short = content[..200_000].to_vec();
    check_refused(&content, move |_| Answer::status(200).body(short.clone()), 199_999);
    let cut = content[..100_000].to_vec();
    check_refused(&content, move |_| Answer::status(200).body(cut.clone()).announcing(400_000), 399_999);
    check_refused(&content, |_| Answer::status(200).body("<html>log in</html>"), 18);
}

#[test]
fn a_manifest_that_lies_is_not_kept() {
    let upstream = Scripted::start(|_: &Asked| {
        Answer::status(200)
            .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
            .header("Docker-Content-Digest", Digest::of(b"another"))
            .body("{}")
    });
    let cache = Cache::of(&upstream.registry().to_string());
    for name in ["v1".to_owned(), Digest::of(b"another").to_string()] {
        let response = cache.check("GET", &format!("/v2/a/manifests/{name}"), 502);
        assert_eq!(response.code(), "UNAVAILABLE");
    }
    assert_eq!(cache.kept(), 0);
}

#[test]
fn what_is_kept_is_served_while_the_upstream_is_down() {
    let upstream = Upstream::start();
    let image = upstream.put("a", &[layer(1, 1000)], &["v1", "v2"]);
    let cache = Cache::of(&format!("up={}", upstream.registry()));
    let blob = format!("/v2/up/a/blobs/{}", layers(&image)[0]);
    cache.check("GET", "/v2/up/a/manifests/v1", 200);
    cache.check("GET", &blob, 200);
    drop(upstream);

    assert_eq!(cache.check("GET", "/v2/up/a/manifests/v1", 200).body, image.raw().as_ref());
    cache.check("GET", &blob, 200);
    let trouble = cache.trouble();
    assert_eq!(trouble.len(), 1, "{trouble:?}");
    assert!(trouble[0].is_served && trouble[0].what.ends_with("/a:v1"), "{trouble:?}");
    let tries = cache.client.notices().len();
    assert!(cache.get("/v2/up/a/tags/list").text().contains("v1"));
    cache.check("GET", "/v2/up/a/manifests/v1", 200);
    let missing = cache.check("GET", "/v2/up/a/manifests/v2", 502);
    assert_eq!(missing.code(), "UNAVAILABLE");
    cache.check("GET", &format!("/v2/up/a/blobs/{}", Digest::of(b"x")), 502);
    assert_eq!(cache.client.notices().len(), tries, "a registry that was silent is left alone for a while");
    cache.check_count("stale_total", 3);
    cache.check_count("failures_total", 1);
}

#[test]
fn a_mirror_is_told_which_registry_it_stands_for() {
    let upstream = Upstream::start();
    upstream.put("library/debian", &[layer(1, 100)], &["12"]);
    let registry = upstream.registry();
    let cache = Cache::of(&format!("hub={registry}"));
    cache.check("GET", &format!("/v2/library/debian/manifests/12?ns={registry}"), 200);
    cache.check("GET", "/v2/library/debian/manifests/12?ns=other.example", 404);
    cache.check("GET", "/v2/library/debian/manifests/12", 404);
    // One's own images stay one's own, and a name of theirs cannot be taken.
    let path = format!("/v2/mine/blobs/uploads/?digest={}", Digest::of(b"mine"));
    assert_eq!(wire::ask(cache.address(), "POST", &path, &[], b"mine").status, 201);
    for path in ["/v2/hub/library/debian/blobs/uploads/", "/v2/library/debian/blobs/uploads/?ns="] {
        let path = if path.ends_with('=') { format!("{path}{registry}") } else { path.to_owned() };
        let response = cache.check("POST", &path, 405);
        assert!(response.text().contains("a cache of"), "{}", response.text());
    }
}

#[test]
fn rules_are_about_the_name_that_says_whose_it_is() {
    let upstream = Upstream::start();
    upstream.put("secret/api", &[layer(1, 100)], &["v1"]);
    let registry = upstream.registry();
    let cache = Cache::with(&format!("up={registry}"), |options| {
        let mut policy = Policy::new(Arc::new(|| support::NOW.parse().unwrap()));
        let grant = Grant {
            repositories: vec![Pattern::new("secret/*")],
            allow: ["pull".parse().unwrap()].into_iter().collect(),
        };
        policy.rules.push(Rule { who: vec![Pattern::new(ANONYMOUS)], grant });
        options.policy = Some(policy);
    });
    cache.check("GET", "/v2/up/secret/api/manifests/v1", 401);
    let response = cache.check("GET", &format!("/v2/secret/api/manifests/v1?ns={registry}"), 401);
    assert!(response.header("www-authenticate").contains("repository:up/secret/api:pull"));
    assert_eq!(upstream.asked(), [""; 0]);
}

#[test]
fn without_room_it_is_served_and_not_kept() {
    let upstream = Upstream::start();
    let content = layer(1, 200_000);
    let image = upstream.put("a", std::slice::from_ref(&content), &["v1"]);
    let cache = Cache::with(&upstream.registry().to_string(), |options| {
        let repositories = Pattern::new("127.0.0.1:*");
        options.quotas = vec![Quota { repositories, bytes: 100_000 }];
    });
    cache.check("GET", "/v2/a/manifests/v1", 200);
    for _ in 0..2 {
        assert!(cache.get(&format!("/v2/a/blobs/{}", layers(&image)[0])).body == content);
    }
    assert_eq!(cache.kept(), 1, "the manifest");
    assert_eq!(upstream.asked().iter().filter(|line| line.contains("GET /v2/a/blobs")).count(), 2);
}

#[test]
fn a_blob_of_another_repository_is_not_fetched_again() {
    let upstream = Upstream::start();
    let content = layer(1, 2000);
    let image = upstream.put("a", std::slice::from_ref(&content), &["v1"]);
    upstream.put("b", std::slice::from_ref(&content), &["v1"]);
    let digest = layers(&image)[0];
    let cache = Cache::of(&upstream.registry().to_string());
    cache.check("GET", &format!("/v2/a/blobs/{digest}"), 200);
    upstream.asked();
    cache.check("GET", &format!("/v2/b/blobs/{digest}"), 200);
    assert_eq!(upstream.asked(), [format!("HEAD /v2/b/blobs/{digest}")]);
    // Where the upstream does not show it, neither do we.
    cache.check("GET", &format!("/v2/c/blobs/{digest}"), 404);
}

#[test]
fn those_that_nobody_asks_for_go_first() {
    let upstream = Upstream::start();
    let images: Vec<Document> =
        (0..4).map(|number| upstream.put(&format!("n{number}"), &[layer(number, 50_000)], &["v1"])).collect();
    let (report, collected) = mpsc::channel();
    let cache = Cache::with(&upstream.registry().to_string(), |options| {
        options.proxy.as_mut().unwrap().max_bytes = Some(130_000);
        options.collection = Some(registry::server::Collection {
            every: Duration::from_millis(50),
            grace: Duration::ZERO,
            keep: Arc::new(|| Box::new(|_| false)),
            report: Arc::new(move |result| report.send(*result.as_ref().unwrap()).unwrap()),
        });
    });
    let pull = |number: usize| {
        cache.check("GET", &format!("/v2/n{number}/manifests/v1"), 200);
        cache.check("GET", &format!("/v2/n{number}/blobs/{}", layers(&images[number])[0]), 200);
    };
    (0..4).for_each(pull);
    // Two rounds after the last pull everything is in balance.
    let mut removed = 0;
    while removed < 100_000 {
        removed += collected.recv_timeout(Duration::from_secs(30)).unwrap().bytes;
    }
    let is_here = |number: usize| {
        let name = upstream.server.repository(&format!("n{number}"));
        cache.server.store.repository(&name).has_blob(&layers(&images[number])[0]).unwrap()
    };
    assert_eq!((0..4).map(is_here).collect::<Vec<_>>(), [false, false, true, true]);
}

/// What is pushed lies in the bucket; what is kept of others lies in the folder, and is let go of there.
#[test]
fn a_cache_beside_a_bucket() {
    let upstream = Upstream::start();
    let content = layer(1, 300_000);
    let image = upstream.put("acme/api", std::slice::from_ref(&content), &["v1"]);
    let bucket = ObjectStore::open(Bucket::in_memory()).unwrap();
    let (done, collections) = mpsc::channel();
    let done = Mutex::new(done);
    let collection = Collection {
        every: Duration::from_millis(200),
        grace: Duration::ZERO,
        keep: Arc::new(|| Box::new(|_| false)),
        report: Arc::new(move |result| {
            let _ = done.lock().unwrap().send(result.as_ref().map(|collected| collected.blobs).unwrap());
        }),
    };
    let cache = Cache::with(&format!("up={}", upstream.registry()), |options| {
        // An address of the bucket would be of no use for what is not in it.
        options.bucket = Some(InBucket { store: bucket.clone(), redirect: Some(Duration::from_secs(60)) });
        options.collection = Some(collection);
    });
    let own = cache.client.client.repository(&cache.server.repository("own"));
    let pushed = put_image(&own, &[noise(7, 1000)]);
    own.tag(&tag("v1"), &pushed).unwrap();
    assert_eq!(bucket.blob_size(&pushed.digest()).unwrap(), Some(pushed.raw().len() as u64));

    assert_eq!(cache.check("GET", "/v2/up/acme/api/manifests/v1", 200).body, image.raw().as_ref());
    let blob = format!("/v2/up/acme/api/blobs/{}", layers(&image)[0]);
    for _ in 0..2 {
        assert!(cache.check("GET", &blob, 200).body == content);
    }
    assert_eq!(bucket.blob_size(&layers(&image)[0]).unwrap(), None);
    let listed = cache.check("GET", "/v2/_catalog", 200);
    assert_eq!(listed.text().trim(), r#"{"repositories":["own","up/acme/api"]}"#);

    let gone = format!("/v2/up/acme/api/manifests/{}", image.digest());
    cache.check("DELETE", &gone, 202);
    // Ages are counted in whole seconds: what came last goes in a later round.
    let rounds = std::iter::from_fn(|| (cache.kept() > 0).then(|| collections.recv().unwrap()));
    assert!(rounds.take(50).sum::<u64>() > 0);
    assert_eq!(cache.kept(), 0, "the folder is collected too");
    assert!(support::read(own.open_blob(&Digest::of(&noise(7, 1000))).unwrap()).unwrap() == noise(7, 1000));
}
