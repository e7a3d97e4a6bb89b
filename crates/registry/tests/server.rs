//! The server, request by request. Source: distribution-spec v1.1 and what its conformance suite
//! looks at.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use oci::{Algorithm, Descriptor, Digest, Document, Hasher, ImageIndex, ImageManifest, MediaType};
use registry::server::Immutable;
use store::ImageStore as _;
use support::spec::Spec;
use support::wire::Response;
use support::{TestServer, noise};

fn sha512(content: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(content);
    hasher.finish()
}

#[test]
fn the_base_says_what_it_is() {
    let response = Spec::start().check("GET", "/v2/", b"", 200);
    assert_eq!(response.header("docker-distribution-api-version"), "registry/2.0");
}

#[test]
fn every_way_to_push_a_blob() {
    let spec = Spec::start();
    let content = noise(1, 1000);
    for digest in [Digest::of(&content), sha512(&content)] {
        let put = |location: &str| format!("{location}?digest={digest}");
        let check = |response: Response| {
            assert_eq!(
                (response.status, response.header("location")),
                (201, &*format!("/v2/a/blobs/{digest}"))
            );
            assert_eq!(response.header("docker-content-digest"), digest.to_string());
            assert!(spec.get(&format!("/v2/a/blobs/{digest}")).body == content);
            spec.check("DELETE", &format!("/v2/a/blobs/{digest}"), b"", 202);
            spec.check("GET", &format!("/v2/a/blobs/{digest}"), b"", 404);
        };
        check(spec.ask("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], &content));
        check(spec.ask("PUT", &put(&spec.session()), &[], &content));
        let session = spec.session();
        let stream = spec.check("PATCH", &session, &content, 202);
        check(spec.ask("PUT", &put(stream.header("location")), &[], b""));
        let session = spec.session();
        spec.ask("PATCH", &session, &[("Content-Range", "0-399")], &content[..400]);
        spec.ask("PATCH", &session, &[("Content-Range", "400-699")], &content[400..700]);
        check(spec.ask("PUT", &put(&session), &[("Content-Range", "700-999")], &content[700..]));
    }
    assert_eq!(spec.0.temporary_files(), 0);
}

#[test]
fn empty_blobs_are_blobs() {
    let spec = Spec::start();
    let digest = Digest::of(b"");
    spec.check("PUT", &format!("{}?digest={digest}", spec.session()), b"", 201);
    let response = spec.check("GET", &format!("/v2/a/blobs/{digest}"), b"", 200);
    assert_eq!(response.header("content-length"), "0");
    spec.blob(b"");
}

#[test]
fn chunks_out_of_order_are_refused_and_the_session_goes_on() {
    let spec = Spec::start();
    let session = spec.session();
    spec.ask("PATCH", &session, &[("Content-Range", "0-9")], &[0; 10]);
    for method in ["PATCH", "PUT"] {
        let path = format!("{session}?digest={}", Digest::of(b""));
        let response = spec.ask(method, &path, &[("Content-Range", "20-29")], &[0; 10]);
        assert_eq!((response.status, response.header("range")), (416, "0-9"));
    }
    let status = spec.check("GET", &session, b"", 204);
    assert_eq!((status.header("range"), status.header("location")), ("0-9", &*session));
    let response = spec.ask("PATCH", &session, &[("Content-Range", "10-12")], &[0; 10]);
    assert_eq!((response.status, response.code().as_str()), (400, "SIZE_INVALID"));
    let response = spec.ask("PATCH", &session, &[("Content-Range", "x")], &[0; 10]);
    assert_eq!(response.status, 400);
    let content = [0; 20];
    spec.check("PATCH", &session, &[0; 10], 202);
    spec.check("PUT", &format!("{session}?digest={}", Digest::of(&content)), b"", 201);
}

#[test]
fn wrong_digests_are_refused_in_every_way() {
    let spec = Spec::start();
    let wrong = Digest::of(b"wrong");
    for digest in [wrong, sha512(b"wrong")] {
        let response = spec.ask("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], b"content");
        assert_eq!((response.status, response.code().as_str()), (400, "DIGEST_INVALID"));
        let response = spec.ask("PUT", &format!("{}?digest={digest}", spec.session()), &[], b"content");
        assert_eq!((response.status, response.code().as_str()), (400, "DIGEST_INVALID"));
        let session = spec.session();
        spec.check("PATCH", &session, b"content", 202);
        spec.check("PUT", &format!("{session}?digest={digest}"), b"", 400);
        spec.check("GET", &session, b"", 404);
        spec.check("HEAD", &format!("/v2/a/blobs/{digest}"), b"", 404);
    }
    spec.check("PUT", &spec.session(), b"content", 400);
    spec.check("PUT", &format!("{}?digest=sha256:bad", spec.session()), b"content", 400);
    spec.check("GET", "/v2/a/blobs/sha256:bad", b"", 400);
}

#[test]
fn sessions_belong_to_their_repository() {
    let spec = Spec::start();
    let session = spec.session();
    let other = session.replace("/v2/a/", "/v2/b/");
    for method in ["GET", "PATCH", "DELETE"] {
        assert_eq!(spec.check(method, &other, b"", 404).code(), "BLOB_UPLOAD_UNKNOWN");
    }
    spec.check("PUT", &format!("{other}?digest={}", Digest::of(b"")), b"", 404);
    spec.check("GET", "/v2/a/blobs/uploads/nonsense", b"", 404);
    spec.check("DELETE", &session, b"", 204);
    spec.check("GET", &session, b"", 404);
    assert_eq!(spec.0.temporary_files(), 0);
}

#[test]
fn ranges_of_a_blob() {
    let spec = Spec::start();
    let content = noise(1, 2000);
    let path = format!("/v2/a/blobs/{}", spec.blob(&content));
    let check = |range: &str, expected: &[u8], content_range: &str| {
        let response = spec.ask("GET", &path, &[("Range", range)], b"");
        assert_eq!((response.status, response.header("content-range")), (206, content_range), "{range}");
        assert!(response.body == expected);
    };
    check("bytes=500-1499", &content[500..1500], "bytes 500-1499/2000");
    check("bytes=500-", &content[500..], "bytes 500-1999/2000");
    check("bytes=-500", &content[1500..], "bytes 1500-1999/2000");
    check("bytes=1900-9999", &content[1900..], "bytes 1900-1999/2000");
    for range in ["bytes=500-0", "bytes=2000-", "bytes=-0"] {
        let response = spec.ask("GET", &path, &[("Range", range)], b"");
        assert_eq!((response.status, response.header("content-range")), (416, "bytes */2000"), "{range}");
    }
    assert!(spec.ask("GET", &path, &[("Range", "lines=1-2")], b"").body == content);
    let head = spec.check("HEAD", &path, b"", 200);
    assert_eq!((head.header("content-length"), head.header("accept-ranges")), ("2000", "bytes"));
}

#[test]
fn blobs_are_seen_only_where_they_were_put() {
    let spec = Spec::start();
    let digest = spec.blob(b"content");
    let elsewhere = format!("/v2/b/blobs/{digest}");
    spec.check("GET", &elsewhere, b"", 404);
    spec.check("HEAD", &elsewhere, b"", 404);
    let mount =
        |from: &str| spec.ask("POST", &format!("/v2/b/blobs/uploads/?mount={digest}{from}"), &[], b"");
    assert_eq!(mount("&from=c").status, 202, "c does not have it");
    assert_eq!(mount("&from=../a").status, 202);
    spec.check("GET", &elsewhere, b"", 404);
    let response = mount("&from=a");
    assert_eq!((response.status, response.header("location")), (201, &*elsewhere));
    spec.check("GET", &elsewhere, b"", 200);
    spec.check("DELETE", &elsewhere, b"", 202);
    let manifest = Document::from_manifest(ImageManifest::new(
        Descriptor::new(MediaType::OciConfig, digest, 7),
        Vec::new(),
    ));
    assert_eq!(spec.manifest(&manifest, "x").status, 201);
    assert_eq!(mount("").status, 201, "from whatever image has it");
    spec.check("GET", &elsewhere, b"", 200);
    let missing = Digest::of(b"missing");
    spec.check("POST", &format!("/v2/b/blobs/uploads/?mount={missing}"), b"", 202);
}

#[test]
fn images_of_other_registries_in_the_store_are_not_served() {
    let spec = Spec::start();
    let private = spec.0.store.repository(&"ghcr.io/acme/private".parse().unwrap());
    let image = support::put_image(&private, &[noise(1, 100)]);
    let layer = image.as_image().unwrap().layers[0].digest;
    spec.check("GET", &format!("/v2/acme/private/manifests/{}", image.digest()), b"", 404);
    spec.check("GET", &format!("/v2/ghcr.io/acme/private/manifests/{}", image.digest()), b"", 404);
    spec.check("POST", &format!("/v2/a/blobs/uploads/?mount={layer}&from=acme/private"), b"", 202);
    spec.check("POST", &format!("/v2/a/blobs/uploads/?mount={layer}"), b"", 202);
    assert_eq!(spec.get("/v2/_catalog").text(), r#"{"repositories":[]}"#);
}

#[test]
fn manifests_by_tag_and_digest() {
    let spec = Spec::start();
    let image = spec.image(1);
    let digest = image.digest();
    let response = spec.manifest(&image, "v1");
    assert_eq!((response.status, response.header("location")), (201, &*format!("/v2/a/manifests/{digest}")));
    assert_eq!(response.header("docker-content-digest"), digest.to_string());
    for name in ["v1", &digest.to_string()] {
        for method in ["GET", "HEAD"] {
            let response = spec.check(method, &format!("/v2/a/manifests/{name}"), b"", 200);
            assert_eq!(response.header("content-type"), MediaType::OciManifest.as_str());
            assert_eq!(response.header("content-length"), image.raw().len().to_string());
            assert_eq!(response.header("docker-content-digest"), digest.to_string());
            assert_eq!(response.body.is_empty(), method == "HEAD");
        }
    }
    let docker = [("Accept", MediaType::DockerManifest.as_str().to_owned())];
    let docker: Vec<(&str, &str)> = docker.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(spec.ask("GET", "/v2/a/manifests/v1", &docker, b"").status, 404);
    assert_eq!(spec.get("/v2/b/manifests/v1").code(), "MANIFEST_UNKNOWN");
    spec.check("DELETE", "/v2/a/manifests/v1", b"", 202);
    spec.check("GET", "/v2/a/manifests/v1", b"", 404);
    spec.check("GET", &format!("/v2/a/manifests/{digest}"), b"", 200);
    spec.manifest(&image, "v2");
    spec.check("DELETE", &format!("/v2/a/manifests/{digest}"), b"", 202);
    spec.check("GET", "/v2/a/manifests/v2", b"", 404);
    spec.check("GET", &format!("/v2/a/manifests/{digest}"), b"", 404);
    spec.check("DELETE", "/v2/a/manifests/v2", b"", 404);
}

#[test]
fn manifests_that_are_wrong_are_refused() {
    let spec = Spec::start();
    let image = spec.image(1);
    let response = spec.manifest(&image, &Digest::of(b"other").to_string());
    assert_eq!((response.status, response.code().as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(spec.manifest(&image, "sha256:bad").status, 400);
    assert_eq!(spec.manifest(&image, "-tag").status, 400);
    let response = spec.manifest(&image, &sha512(b"other").to_string());
    assert_eq!((response.status, response.code().as_str()), (400, "DIGEST_INVALID"));
    let put = |body: &[u8]| spec.ask("PUT", "/v2/a/manifests/x", &[], body);
    assert_eq!(put(b"<html>").code(), "MANIFEST_INVALID");
    assert_eq!(put(br#"{"schemaVersion":1}"#).code(), "MANIFEST_INVALID");
    assert_eq!(put(&vec![b' '; 9 << 20]).status, 413);
    let elsewhere = Descriptor::of(MediaType::OciConfig, b"missing");
    let lacking = Document::from_manifest(ImageManifest::new(elsewhere.clone(), Vec::new()));
    let response = spec.manifest(&lacking, "x");
    assert_eq!((response.status, response.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
    assert!(response.text().contains(&elsewhere.digest.to_string()));
    spec.check("GET", "/v2/a/manifests/x", b"", 404);
}

#[test]
fn an_immutable_tag_does_not_move() {
    let rule = |options: &mut registry::server::ServerOptions| {
        options.immutable = vec![Immutable::new("v*")];
    };
    let spec = Spec(TestServer::with(rule));
    let (one, two) = (spec.image(1), spec.image(2));
    assert_eq!(spec.manifest(&one, "v1").status, 201);
    assert_eq!(spec.manifest(&one, "v1").status, 201);
    let response = spec.manifest(&two, "v1");
    assert_eq!((response.status, response.code().as_str()), (409, "DENIED"));
    let text = response.text();
    assert!(text.contains(&one.digest().to_string()) && text.contains(&two.digest().to_string()), "{text}");
    assert_eq!(spec.manifest(&one, "main").status, 201);
    assert_eq!(spec.manifest(&two, "main").status, 201);
}

#[test]
fn lists_come_in_pages() {
    let spec = Spec::start();
    let image = spec.image(1);
    for name in ["c", "a", "b", "d"] {
        spec.manifest(&image, name);
    }
    let first = spec.check("GET", "/v2/a/tags/list?n=2", b"", 200);
    assert_eq!(first.text(), r#"{"name":"a","tags":["a","b"]}"#);
    assert_eq!(first.header("link"), r#"</v2/a/tags/list?n=2&last=b>; rel="next""#);
    let second = spec.get("/v2/a/tags/list?n=2&last=b");
    assert_eq!((second.text().as_str(), second.header("link")), (r#"{"name":"a","tags":["c","d"]}"#, ""));
    assert_eq!(spec.get("/v2/a/tags/list?last=bb").text(), r#"{"name":"a","tags":["c","d"]}"#);
    assert_eq!(spec.get("/v2/a/tags/list?n=0").text(), r#"{"name":"a","tags":[]}"#);
    assert_eq!(spec.get("/v2/a/tags/list?n=99999999999").text(), r#"{"name":"a","tags":["a","b","c","d"]}"#);
    spec.check("GET", "/v2/a/tags/list?n=x", b"", 400);
    assert_eq!(spec.check("GET", "/v2/nothing/tags/list", b"", 404).code(), "NAME_UNKNOWN");
    assert_eq!(spec.get("/v2/_catalog?n=5").text(), r#"{"repositories":["a"]}"#);
}

#[test]
fn referrers_are_listed() {
    let spec = Spec::start();
    let subject = spec.image(1);
    let list = |query: &str| {
        let response = spec.get(&format!("/v2/a/referrers/{}{query}", subject.digest()));
        assert_eq!((response.status, response.header("content-type")), (200, MediaType::OciIndex.as_str()));
        let index: ImageIndex = serde_json::from_slice(&response.body).unwrap();
        (index.manifests, response.header("oci-filters-applied").to_owned())
    };
    assert_eq!(list("").0, []);
    let mut artifact = ImageManifest::new(Descriptor::of(MediaType::OciEmpty, b"{}"), Vec::new());
    artifact.subject = Some(subject.descriptor().clone());
    artifact.artifact_type = Some("text/sbom".to_owned());
    artifact.annotations.insert("k".to_owned(), "v".to_owned());
    let artifact = Document::from_manifest(artifact);
    let response = spec.manifest(&artifact, &artifact.digest().to_string());
    assert_eq!(response.header("oci-subject"), subject.digest().to_string());
    let mut image = subject.as_image().unwrap().clone();
    image.subject = Some(subject.descriptor().clone());
    let image = Document::from_manifest(image);
    spec.manifest(&image, &image.digest().to_string());

    let (all, filters) = list("");
    assert_eq!((all.len(), filters.as_str()), (2, ""));
    let (found, filters) = list("?artifactType=text/sbom");
    assert_eq!(filters, "artifactType");
    assert_eq!(
        (found.len(), found[0].digest, found[0].size),
        (1, artifact.digest(), artifact.descriptor().size)
    );
    assert_eq!(found[0].annotations["k"], "v");
    assert_eq!(list("?artifactType=application/vnd.oci.image.config.v1%2Bjson").0.len(), 1);
    spec.check("DELETE", &format!("/v2/a/manifests/{}", artifact.digest()), b"", 202);
    assert_eq!(list("").0.len(), 1);
    spec.check("GET", "/v2/a/referrers/sha256:bad", b"", 400);
}

#[test]
fn paths_and_methods_that_do_not_exist() {
    let spec = Spec::start();
    assert_eq!(spec.check("GET", "/v2/../../etc/manifests/x", b"", 400).code(), "NAME_INVALID");
    assert_eq!(spec.check("GET", "/v2/a/..%2f..%2fetc/manifests/x", b"", 400).code(), "NAME_INVALID");
    assert_eq!(spec.check("GET", "/v2/UPPER/manifests/x", b"", 400).code(), "NAME_INVALID");
    spec.check("GET", "/", b"", 404);
    spec.check("GET", "/v1/", b"", 404);
    let response = spec.check("POST", "/v2/a/manifests/x", b"", 405);
    assert_eq!(response.header("allow"), "GET, HEAD, PUT, DELETE");
    assert_eq!(response.code(), "UNSUPPORTED");
}

#[test]
fn answers_are_logged() {
    let entries = Arc::new(Mutex::new(Vec::new()));
    let log = entries.clone();
    let spec = Spec(TestServer::with(|options| {
        options.access_log = Arc::new(move |entry| log.lock().unwrap().push(entry.clone()));
    }));
    spec.get("/v2/a/tags/list?n=secret");
    let entries = entries.lock().unwrap();
    let entry = &entries[0];
    assert_eq!((entry.method.as_str(), entry.path.as_str(), entry.status), ("GET", "/v2/a/tags/list", 404));
    assert!(entry.elapsed < Duration::from_secs(60));
}

#[test]
fn health_and_counters_are_beside_the_protocol() {
    let spec = Spec(TestServer::with(|options| options.metrics = true));
    assert_eq!(spec.check("GET", "/healthz", b"", 200).text(), "ok\n");
    spec.blob(&noise(1, 500));
    let text = spec.check("GET", "/metrics", b"", 200).text();
    assert!(text.contains("plimsoll_registry_received_bytes_total 500\n"), "{text}");
    assert!(text.contains("plimsoll_registry_requests_total{method=\"POST\",status=\"2xx\"} 1\n"), "{text}");
    Spec::start().check("GET", "/metrics", b"", 404);
    std::fs::remove_dir_all(spec.0.folder.path()).unwrap();
    spec.check("GET", "/healthz", b"", 503);
}

#[test]
fn manifests_that_are_known_are_asked_of_the_store_all_the_same() {
    let spec = Spec::start();
    let (one, two) = (spec.image(1), spec.image(2));
    let repository = spec.0.store.repository(&"local/a".parse().unwrap());
    let digest =
        |name: &str| spec.get(&format!("/v2/a/manifests/{name}")).header("docker-content-digest").to_owned();
    spec.manifest(&one, "v1");
    for _ in 0..3 {
        assert_eq!(digest("v1"), one.digest().to_string());
    }
    // Another program moves the tag, takes it away, and then the manifest.
    repository.tag(&support::tag("v1"), &two).unwrap();
    assert_eq!(digest("v1"), two.digest().to_string());
    assert_eq!(digest(&one.digest().to_string()), one.digest().to_string());
    repository.untag(&support::tag("v1")).unwrap();
    spec.check("GET", "/v2/a/manifests/v1", b"", 404);
    repository.delete_document(&two.digest()).unwrap();
    spec.check("GET", &format!("/v2/a/manifests/{}", two.digest()), b"", 404);
    spec.check("GET", &format!("/v2/b/manifests/{}", one.digest()), b"", 404);
}
