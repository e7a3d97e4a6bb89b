//! Requests that nobody should make, and content that nobody should push: a clear answer, nothing lost,
//! nobody let in.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use oci::{Descriptor, Digest, Document, ImageIndex, ImageManifest, MediaType};
use registry::server::Collection;
use rustix::process::{Resource, getrlimit};
use support::scripted::{Answer, Asked, Scripted};
use support::spec::Spec;
use support::{TestClient, TestServer, noise, wire};

/// The files below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn no_name_leads_out_of_the_store() {
    let spec = Spec::start();
    spec.blob(b"here");
    let before = files(spec.0.folder.path());
    let digest = Digest::of(b"x");
    let names = [
        "..",
        "../..",
        "a/../../b",
        "a/%2e%2e/b",
        "%2e%2e%2fetc",
        ".",
        "a//b",
        "a/",
        "/a",
        "_tags",
        "a/_blobs",
        "a\\..\\b",
        "a%00b",
        "\u{e4}",
        "A",
        "-a",
        "a/-",
        "a..b/..",
    ];
    for name in names {
        for (method, rest) in [
            ("GET", "manifests/v1".to_owned()),
            ("PUT", "manifests/v1".to_owned()),
            ("DELETE", "manifests/v1".to_owned()),
            ("GET", format!("blobs/{digest}")),
            ("POST", format!("blobs/uploads/?digest={digest}")),
            ("GET", "tags/list".to_owned()),
            ("GET", format!("referrers/{digest}")),
        ] {
            let response = spec.ask(method, &format!("/v2/{name}/{rest}"), &[], b"x");
            assert!(matches!(response.status, 400 | 404), "{method} {name}: {}", response.status);
            assert!(!response.text().contains(spec.0.folder.path().to_str().unwrap()));
        }
    }
    for last in ["../x", "..%2fx", "sha256:../../../etc/passwd", "sha256:", "sha256:%00", "-x", "x\u{e4}"] {
        for kind in ["manifests", "blobs", "blobs/uploads", "referrers"] {
            for method in ["GET", "PUT", "PATCH", "DELETE"] {
                let response = spec.ask(method, &format!("/v2/a/{kind}/{last}"), &[], b"x");
                assert!(
                    matches!(response.status, 400 | 404 | 405),
                    "{method} {kind} {last}: {}",
                    response.status
                );
            }
        }
    }
    for query in ["mount=sha256:../../x&from=a", "digest=sha256:../../x", "digest-algorithm=../x"] {
        spec.check("POST", &format!("/v2/a/blobs/uploads/?{query}"), b"x", 400);
    }
    assert_eq!(files(spec.0.folder.path()), before, "nothing was written");
    // A source of mounts that cannot be is none: an upload begins, as for any other.
    spec.check("POST", &format!("/v2/a/blobs/uploads/?mount={digest}&from=../../etc"), b"", 202);
}

#[test]
fn manifests_of_five_megabytes_and_of_too_many() {
    let spec = Spec::start();
    let image = spec.image(1);
    let of_size = |bytes: usize| {
        let mut manifest: ImageManifest = image.as_image().unwrap().clone();
        manifest.annotations.insert("org.example.padding".to_owned(), "x".repeat(bytes));
        Document::from_manifest(manifest)
    };
    let large = of_size(5_000_000);
    assert_eq!(spec.manifest(&large, "large").status, 201);
    assert!(spec.get("/v2/a/manifests/large").body == *large.raw());
    let raw = format!(r#"{{"schemaVersion":2,"annotations":{{"a":"{}"}}}}"#, "x".repeat(9_000_000));
    let headers = [("Content-Type", "application/vnd.oci.image.manifest.v1+json")];
    let response = spec.ask("PUT", "/v2/a/manifests/larger", &headers, raw.as_bytes());
    assert_eq!(response.status, 413, "{}", response.text());
    // Without a length, the same.
    let mut stream = TcpStream::connect(spec.address()).unwrap();
    write!(stream, "PUT /v2/a/manifests/endless HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
    while stream.write_all(chunk.as_bytes()).is_ok() {}
    spec.check("GET", "/v2/a/manifests/endless", b"", 404);
    spec.check("GET", "/v2/a/manifests/larger", b"", 404);
}

#[test]
fn documents_that_are_none() {
    let spec = Spec::start();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bad: [&[u8]; 9] = [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\"x\"",
        b"{\"schemaVersion\":\"two\"}",
        b"\xff\xfe",
        b"<html>",
        deep.as_bytes(),
    ];
    for raw in bad {
        for media_type in [
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "text/plain",
        ] {
            let response = spec.ask("PUT", "/v2/a/manifests/bad", &[("Content-Type", media_type)], raw);
            assert_eq!(response.status, 400, "{media_type}: {:?}", &raw[..raw.len().min(40)]);
            assert_eq!(response.code(), "MANIFEST_INVALID");
        }
    }
    spec.check("GET", "/v2/a/manifests/bad", b"", 404);
}

#[test]
fn unknown_media_types_are_carried() {
    let spec = Spec::start();
    let content = noise(1, 100);
    spec.blob(&content);
    spec.blob(b"{}");
    let odd = |text: &str, content: &[u8]| Descriptor::of(text.into(), content);
    let mut manifest = ImageManifest::new(
        odd("application/x-config", b"{}"),
        vec![odd("application/x-layer+brotli", &content)],
    );
    manifest.artifact_type = Some("application/x-artifact".to_owned());
    let image = Document::from_manifest(manifest);
    assert_eq!(spec.manifest(&image, "odd").status, 201);
    // An index of it, of a blob, and of a kind of manifest that nobody knows here.
    let children = vec![
        image.descriptor().clone(),
        odd("application/x-blob", &content),
        odd("application/x-manifest+json", b"?"),
    ];
    let index = Document::from_index(ImageIndex::new(children));
    assert_eq!(spec.manifest(&index, "index").status, 201);
    for (name, document) in [("odd", &image), ("index", &index)] {
        let response = spec.get(&format!("/v2/a/manifests/{name}"));
        assert!(response.body == *document.raw());
        assert_eq!(response.header("content-type"), document.descriptor().media_type.as_str());
    }
}

/// Returns a server that collects all the time, and its first collection.
fn collecting() -> (Spec, mpsc::Receiver<()>) {
    let (report, collected) = mpsc::channel();
    let server = TestServer::with(|options| {
        options.collection = Some(Collection {
            every: Duration::from_millis(10),
            grace: Duration::ZERO,
            keep: Arc::new(|| Box::new(|_| false)),
            report: Arc::new(move |result| {
                result.as_ref().unwrap();
                // Nobody asks any more at the end of the test.
                let _ = report.send(());
            }),
        });
    });
    (Spec(server), collected)
}

#[test]
fn indexes_in_indexes_without_end() {
    let spec = Spec::start();
    let mut last = Document::from_index(ImageIndex::new(Vec::new()));
    for level in 0..100 {
        let response = spec.manifest(&last, &last.digest().to_string());
        assert_eq!(response.status, 201, "level {level}");
        last = Document::from_index(ImageIndex::new(vec![last.descriptor().clone(); 3]));
    }
    assert_eq!(spec.manifest(&last, "deep").status, 201);
    let store = &spec.0.store;
    let options = store::CollectOptions { grace: Duration::ZERO, patience: Duration::from_secs(5) };
    let plan = store.plan_collection(&options, &|_| false).unwrap();
    assert_eq!(plan.blobs, []);
    spec.check("GET", "/v2/a/manifests/deep", b"", 200);
    // The server carries it; a client of ours that copies it does not go on for ever.
    let client = TestClient::new(|_| {});
    let remote = client.client.repository(&spec.0.repository("a"));
    let copied = store::copy_image(
        &remote,
        &store::MemoryStore::new(),
        last.descriptor(),
        &store::CopyOptions::default(),
        &|_| {},
    );
    assert!(matches!(copied, Err(store::StoreError::Corrupt { .. })), "{copied:?}");
}

#[test]
fn an_index_that_says_to_contain_itself_is_corrupt() {
    // No index has its own digest in it; a registry can only say so.
    let claimed = Digest::of(b"itself");
    let descriptor = Descriptor::new(MediaType::OciIndex, claimed, 0);
    let index = Document::from_index(ImageIndex::new(vec![descriptor.clone()]));
    let raw = index.raw().clone();
    let size = raw.len() as u64;
    let server = Scripted::start(move |_: &Asked| {
        Answer::status(200)
            .header("Content-Type", MediaType::OciIndex.as_str())
            .header("Docker-Content-Digest", claimed)
            .body(raw.to_vec())
    });
    let client = TestClient::new(|_| {});
    let remote = client.client.repository(&server.repository("a"));
    let descriptor = Descriptor { size, ..descriptor };
    let to = store::MemoryStore::new();
    let error = store::copy_image(&remote, &to, &descriptor, &store::CopyOptions::default(), &|_| {});
    assert!(matches!(error, Err(store::StoreError::Corrupt { .. })), "{error:?}");
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn what_is_deleted_while_it_is_pulled_comes_whole() {
    let (spec, collected) = collecting();
    let content = noise(1, 12_000_000);
    let digest = spec.blob(&content);
    spec.blob(b"{}");
    let image = Document::from_manifest(ImageManifest::new(
        Descriptor::of(MediaType::OciConfig, b"{}"),
        vec![Descriptor::of(MediaType::OciLayerGzip, &content)],
    ));
    assert_eq!(spec.manifest(&image, "v1").status, 201);
    let path = format!("/v2/a/blobs/{digest}");
    let stream = wire::open(spec.address(), "GET", &path, &[], 0);
    let mut reader = BufReader::with_capacity(4096, stream);
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 2 {
        line.clear();
    }
    let mut start = vec![0; 1000];
    reader.read_exact(&mut start).unwrap();

    spec.check("DELETE", "/v2/a/manifests/v1", b"", 202);
    spec.check("DELETE", &format!("/v2/a/manifests/{}", image.digest()), b"", 202);
    // The collection may have been there first.
    let removed = spec.ask("DELETE", &path, &[], b"");
    assert!([202, 404].contains(&removed.status), "{}", removed.text());
    spec.check("GET", &path, b"", 404);
    collected.try_iter().count();
    // Files are a whole second old before they go.
    while spec.0.store.blob_size(&digest).unwrap().is_some() {
        collected.recv_timeout(Duration::from_secs(30)).unwrap();
    }
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!([start, rest].concat() == content);
}

/// How many requests can be under way at once: two thousand, or what the files of this process allow,
/// which both ends are in.
fn crowd() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let each_has = 3;
    usize::try_from(limit.saturating_sub(200) / each_has).unwrap_or(usize::MAX).min(2000)
}

#[test]
fn two_thousand_requests_at_once() {
    let spec = Spec::start();
    let image = spec.image(7);
    assert_eq!(spec.manifest(&image, "v1").status, 201);
    let count = crowd();
    eprintln!("{count} requests at once");
    let content = |number: usize| noise(number as u64 + 1, 2000);
    let open = |number: usize| {
        let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::of(&content(number)));
        let mut stream = wire::open_taken(spec.address(), "POST", &path, 2000);
        stream.write_all(&content(number)[..1000]).unwrap();
        stream
    };
    let mut streams: Vec<TcpStream> = (0..count).map(open).collect();
    // All of them are being handled, and others are served meanwhile.
    for _ in 0..20 {
        assert!(spec.get("/v2/a/manifests/v1").body == *image.raw());
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&content(number)[1000..]).unwrap();
    }
    for (number, stream) in streams.into_iter().enumerate() {
        assert_eq!(wire::receive(stream, false).status, 201, "{number}");
    }
    for number in (0..count).step_by(97) {
        let path = format!("/v2/a/blobs/{}", Digest::of(&content(number)));
        assert!(spec.get(&path).body == content(number), "{number}");
    }
    assert_eq!(spec.0.temporary_files(), 0);
}
