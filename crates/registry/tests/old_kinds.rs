//! Kinds of manifests that the specifications have left behind and some registries still serve: Docker's schema 1 is
//! named, the OCI's artifact manifest is carried.
#![allow(clippy::unwrap_used, reason = "only tests use it")]

mod support;

use oci::{Descriptor, Digest, Document, MediaType};
use serde_json::json;
use store::{Blob, BlobStore, Company, CopyOptions, ImageStore, LayoutStore, StoreError, copy_image};
use support::scripted::{Answer, Asked, Scripted};
use support::{TestClient, TestServer, put_image, read, tag};

#[test]
fn schema_1_is_said_to_be_what_it_is() {
    let text =
        r#"{"schemaVersion":1,"name":"a","tag":"1","architecture":"amd64","fsLayers":[],"history":[]}"#;
    // A signed one is known by the digest of what was signed.
    let digest = Digest::of(b"without signatures");
    for content_type in
        ["application/vnd.docker.distribution.manifest.v1+prettyjws", "application/json", "text/plain"]
    {
        let server = Scripted::start(move |asked: &Asked| {
            let answer = Answer::status(200).header("Content-Type", content_type);
            let answer = answer.header("Docker-Content-Digest", digest);
            if asked.method == "HEAD" {
                answer.header("Content-Length", text.len())
            } else {
                answer.body(text)
            }
        });
        let test = TestClient::new(|_| {});
        let remote = test.client.repository(&server.repository("a"));
        for error in [remote.resolve(&tag("1")).unwrap_err(), remote.document(&digest).unwrap_err()] {
            let StoreError::Unsupported { what, reason } = &error else { panic!("{error:?}") };
            assert!(what.contains("/a") && reason.contains("schema 1"), "{error}");
            assert!(reason.contains("skopeo copy --format oci"), "{error}");
        }
        assert!(test.slept().is_empty());
    }
}

#[test]
fn what_is_no_manifest_at_all_is_named() {
    let text = r#"{"mediaType":"application/vnd.example.index.v9+json","schemaVersion":9}"#;
    let server = Scripted::start(move |_: &Asked| Answer::status(200).body(text));
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&server.repository("a"));
    let error = remote.document(&Digest::of(text.as_bytes())).unwrap_err();
    assert!(
        matches!(error, StoreError::Unsupported { reason, .. } if reason.contains("vnd.example.index.v9"))
    );
}

/// Puts a signature of the withdrawn form about `subject`.
fn put_artifact(store: &dyn ImageStore, subject: &Document) -> Document {
    let blob = Descriptor::of(MediaType::from("application/vnd.example.signature"), b"signature");
    store.put_blob(&blob, Blob::from_bytes(&b"signature"[..])).unwrap();
    let text = json!({
        "mediaType": MediaType::OciArtifact,
        "artifactType": "application/vnd.example.signature",
        "blobs": [blob],
        "subject": subject.descriptor(),
        "annotations": {"org.example.key": "value"},
    });
    let document = Document::parse(serde_json::to_vec(&text).unwrap().into(), None).unwrap();
    store.put_document(&document).unwrap();
    document
}

#[test]
fn the_withdrawn_artifact_manifest_is_carried_with_its_blobs() {
    let (server, folder) = (TestServer::start(), tempfile::tempdir().unwrap());
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&server.repository("a"));
    let image = put_image(&remote, &[b"layer".to_vec()]);
    let artifact = put_artifact(&remote, &image);
    remote.tag(&tag("1"), &image).unwrap();
    remote.tag(&tag("signature"), &artifact).unwrap();

    let found = remote.resolve(&tag("signature")).unwrap();
    assert_eq!((&found.media_type, found.digest), (&MediaType::OciArtifact, artifact.digest()));
    let [listed] = &remote.referrers(&image.digest()).unwrap()[..] else { panic!("one refers to it") };
    assert_eq!(listed.artifact_type.as_deref(), Some("application/vnd.example.signature"));
    assert_eq!(listed.annotations["org.example.key"], "value");

    // Into another repository of the registry, and from there into a store.
    let other = test.client.repository(&server.repository("b"));
    let options = CopyOptions { company: Company::Referrers, ..CopyOptions::default() };
    let copied = copy_image(&remote, &other, image.descriptor(), &options, &|_| {}).unwrap();
    assert_eq!((copied.documents, copied.referrers), (2, 1));
    let store = LayoutStore::open(folder.path()).unwrap();
    let local = store.repository(&"local/b".parse().unwrap());
    copy_image(&other, &local, image.descriptor(), &options, &|_| {}).unwrap();
    let kept = local.document(&artifact.digest()).unwrap();
    assert_eq!(kept.raw(), artifact.raw());
    let blob = kept.as_artifact().unwrap().blobs[0].digest;
    assert_eq!(read(local.open_blob(&blob).unwrap()).unwrap(), b"signature");
    assert_eq!(local.referrers(&image.digest()).unwrap().len(), 1);
}
