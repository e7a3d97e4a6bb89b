//! What the conformance suite of distribution-spec (version 2) does with blobs and with what is not there, in
//! its order, for each algorithm; `tests/conformance.rs` has its sets of manifests.
//! Source: distribution-spec, conformance/README.md, "APIs".

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use oci::{Algorithm, Digest};
use support::noise;
use support::spec::Spec;
use support::wire::Response;

/// One algorithm on one server.
struct Run {
    spec: Spec,
    algorithm: Algorithm,
    seed: std::cell::Cell<u64>,
}

impl Run {
    fn new(spec: Spec, algorithm: Algorithm) -> Self {
        Self { spec, algorithm, seed: std::cell::Cell::new(1) }
    }

    fn content(&self, length: usize) -> (Vec<u8>, Digest) {
        self.seed.set(self.seed.get() + 1);
        let content = noise(self.seed.get(), length);
        let digest = Digest::with(self.algorithm, &content);
        (content, digest)
    }

    #[track_caller]
    fn session(&self) -> String {
        // The suite does not say which algorithm is to come.
        let begun = self.spec.check("POST", "/v2/a/blobs/uploads/", b"", 202);
        begun.header("location").to_owned()
    }

    /// Sends chunks with their ranges and follows each `Location`; returns where the PUT goes.
    #[track_caller]
    fn chunks(&self, content: &[u8], length: usize) -> String {
        let mut location = self.session();
        for (number, chunk) in content.chunks(length).enumerate() {
            let first = number * length;
            let range = format!("{first}-{}", first + chunk.len() - 1);
            let response = self.spec.ask("PATCH", &location, &[("Content-Range", &range)], chunk);
            assert_eq!(response.status, 202, "{}", response.text());
            assert_eq!(response.header("range"), format!("0-{}", first + chunk.len() - 1));
            location = response.header("location").to_owned();
        }
        location
    }

    #[track_caller]
    fn put(&self, location: &str, digest: Digest, body: &[u8]) -> Response {
        self.spec.ask("PUT", &format!("{location}?digest={digest}"), &[], body)
    }

    /// The blob is there, whole and in its name, and goes when it is told to.
    #[track_caller]
    fn check_there(&self, created: &Response, content: &[u8], digest: Digest) {
        assert_eq!(created.status, 201, "{}", created.text());
        assert_eq!(created.header("docker-content-digest"), digest.to_string());
        let path = format!("/v2/a/blobs/{digest}");
        for path in [path.as_str(), created.header("location")] {
            for method in ["HEAD", "GET"] {
                let response = self.spec.check(method, path, b"", 200);
                assert_eq!(response.header("content-length"), content.len().to_string());
                assert_eq!(response.header("docker-content-digest"), digest.to_string());
                assert!(method == "HEAD" || response.body == content);
            }
        }
        self.spec.check("DELETE", &path, b"", 202);
        self.spec.check("HEAD", &path, b"", 404);
    }

    #[track_caller]
    fn check_refused(&self, response: &Response, digest: Digest) {
        assert_eq!((response.status, response.code().as_str()), (400, "DIGEST_INVALID"));
        self.spec.check("HEAD", &format!("/v2/a/blobs/{digest}"), b"", 404);
    }
}

#[track_caller]
fn for_each(check: impl Fn(&Run)) {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        Spec::of_each_storage().into_iter().for_each(|spec| check(&Run::new(spec, algorithm)));
    }
}

#[test]
fn ways_to_push() {
    for_each(|run| {
        let (content, digest) = run.content(512);
        run.spec.check("GET", &format!("/v2/a/blobs/{digest}"), b"", 404);
        let post = run.spec.ask("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], &content);
        run.check_there(&post, &content, digest);
        run.check_there(&run.put(&run.session(), digest, &content), &content, digest);
        // Chunks: one, three, and the last of three with the PUT.
        for (size, length) in [(512, 512), (3 * 1024 - 5, 1024)] {
            let (content, digest) = run.content(size);
            run.check_there(&run.put(&run.chunks(&content, length), digest, b""), &content, digest);
        }
        let (content, digest) = run.content(3 * 1024 - 5);
        let location = run.chunks(&content[..2048], 1024);
        let path = format!("{location}?digest={digest}");
        let last = run.spec.ask("PUT", &path, &[("Content-Range", "2048-3066")], &content[2048..]);
        run.check_there(&last, &content, digest);
        // A stream says no range.
        let (content, digest) = run.content(512);
        let stream = run.spec.check("PATCH", &run.session(), &content, 202);
        run.check_there(&run.put(stream.header("location"), digest, b""), &content, digest);
        for content in [&b""[..], b"{}"] {
            let digest = Digest::with(run.algorithm, content);
            run.check_there(&run.put(&run.session(), digest, content), content, digest);
            let post = run.spec.ask("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], content);
            run.check_there(&post, content, digest);
        }
        assert_eq!(run.spec.0.temporary_files(), 0);
    });
}

#[test]
fn chunks_out_of_order() {
    for_each(|run| {
        for is_put in [false, true] {
            let (content, digest) = run.content(3 * 1024 - 5);
            let location = run.chunks(&content[..1024], 1024);
            let (method, path) = match is_put {
                false => ("PATCH", location.clone()),
                true => ("PUT", format!("{location}?digest={digest}")),
            };
            let early = run.spec.ask(method, &path, &[("Content-Range", "2048-3066")], &content[2048..]);
            assert_eq!(early.status, 416);
            let status = run.spec.check("GET", &location, b"", 204);
            assert_eq!(status.header("range"), "0-1023");
            let location = status.header("location").to_owned();
            run.spec.ask("PATCH", &location, &[("Content-Range", "1024-2047")], &content[1024..2048]);
            run.spec.ask("PATCH", &location, &[("Content-Range", "2048-3066")], &content[2048..]);
            run.check_there(&run.put(&location, digest, b""), &content, digest);
        }
    });
}

#[test]
fn an_upload_that_is_cancelled() {
    for_each(|run| {
        let session = run.session();
        run.spec.check("DELETE", &session, b"", 204);
        run.spec.check("GET", &session, b"", 404);
        assert_eq!(run.put(&session, Digest::of(b"x"), b"x").status, 404);
    });
}

#[test]
fn content_that_is_not_what_its_digest_says() {
    for_each(|run| {
        let (mut content, digest) = run.content(3 * 1024 - 5);
        content.extend_from_slice(b"oh no");
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        run.check_refused(&run.spec.ask("POST", &path, &[], &content), digest);
        run.check_refused(&run.put(&run.session(), digest, &content), digest);
        run.check_refused(&run.put(&run.chunks(&content, 1024), digest, b""), digest);
        let location = run.chunks(&content[..2048], 1024);
        run.check_refused(&run.put(&location, digest, &content[2048..]), digest);
        let stream = run.spec.check("PATCH", &run.session(), &content, 202);
        run.check_refused(&run.put(stream.header("location"), digest, b""), digest);
        assert_eq!(run.spec.0.temporary_files(), 0);
    });
}

#[test]
fn parts_of_a_blob() {
    for_each(|run| {
        let (content, digest) = run.content(2048);
        let created = run.put(&run.session(), digest, &content);
        assert_eq!(created.status, 201);
        for (range, first, last) in
            [("500-1499", 500, 1499), ("500-", 500, 2047), ("-500", 1548, 2047), ("2000-5000", 2000, 2047)]
        {
            let range = format!("bytes={range}");
            let part = run.spec.ask("GET", &format!("/v2/a/blobs/{digest}"), &[("Range", &range)], b"");
            assert_eq!(
                (part.status, part.header("content-range")),
                (206, &*format!("bytes {first}-{last}/2048"))
            );
            assert_eq!(part.header("content-length"), (last - first + 1).to_string());
            assert!(part.body == content[first..=last]);
        }
        for range in ["bytes=500-0", "bytes=5000-10000"] {
            let part = run.spec.ask("GET", &format!("/v2/a/blobs/{digest}"), &[("Range", range)], b"");
            assert_eq!(part.status, 416, "{range}");
        }
    });
}

#[test]
fn what_is_not_there() {
    Spec::of_each_storage().iter().for_each(check_what_is_not_there);
}

fn check_what_is_not_there(spec: &Spec) {
    let missing = Digest::of(b"missing");
    let empty = spec.check("GET", &format!("/v2/nobody/referrers/{missing}"), b"", 200);
    assert_eq!(empty.header("content-type"), "application/vnd.oci.image.index.v1+json");
    let index: serde_json::Value = serde_json::from_slice(&empty.body).unwrap();
    assert_eq!((&index["schemaVersion"], &index["manifests"]), (&2.into(), &serde_json::json!([])));
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(spec.check("GET", "/v2/nobody/tags/list", b"", 404).code(), "NAME_UNKNOWN");
    for name in [missing.to_string(), "missing".to_owned()] {
        assert_eq!(
            spec.check("GET", &format!("/v2/a/manifests/{name}"), b"", 404).code(),
            "MANIFEST_UNKNOWN"
        );
    }
    let image = spec.image(1);
    assert_eq!(spec.manifest(&image, "sha256:baddigeststring").status, 400);
    assert_eq!(spec.get("/v2/a/manifests/sha256:baddigeststring").status, 400);
    // The bytes have two spaces more than those that the digest is of.
    let padded = [image.raw().as_ref(), b"  "].concat();
    let path = format!("/v2/a/manifests/{}", image.digest());
    let headers = [("Content-Type", image.descriptor().media_type.as_str())];
    let response = spec.ask("PUT", &path, &headers, &padded);
    assert_eq!((response.status, response.code().as_str()), (400, "DIGEST_INVALID"));
    spec.check("GET", &path, b"", 404);
}
