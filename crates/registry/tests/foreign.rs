//! Layers that registries are not to hand on: left out where others pull from, fetched from where their manifest says
//! otherwise, and never with credentials.
#![allow(clippy::unwrap_used, reason = "only tests use it")]

mod support;

use std::sync::Arc;

use oci::{Descriptor, Document, ImageManifest, MediaType, Registry};
use registry::client::{Credential, Credentials, Secret};
use store::{Blob, BlobStore, CopyOptions, Foreign, ImageStore, MemoryStore, StoreError, copy_image};
use support::scripted::{Act, Answer, Asked, Scripted};
use support::{TestClient, TestServer, noise, read};

const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
const LENGTH: usize = 300_000;

/// Puts an image of an ordinary layer and a foreign one, whose content is put only where `with_content`.
fn put(store: &dyn ImageStore, urls: &[String], with_content: bool) -> Document {
    let content = noise(7, LENGTH);
    let mut foreign = Descriptor::of(MediaType::from(FOREIGN), &content);
    foreign.urls = urls.to_vec();
    if with_content {
        store.put_blob(&foreign, Blob::from_bytes(content)).unwrap();
    }
    let config = Descriptor::of(MediaType::OciConfig, b"{}");
    store.put_blob(&config, Blob::from_bytes(&b"{}"[..])).unwrap();
    let layer = Descriptor::of(MediaType::OciLayerGzip, b"layer");
    store.put_blob(&layer, Blob::from_bytes(&b"layer"[..])).unwrap();
    let document = Document::from_manifest(ImageManifest::new(config, vec![foreign, layer]));
    store.put_document(&document).unwrap();
    document
}

fn foreign_of(document: &Document) -> &Descriptor {
    &document.as_image().unwrap().layers[0]
}

/// A client that knows a password for every host and follows `urls`.
fn client(hosts: [Registry; 2]) -> TestClient {
    let login = || Credential::Password { username: "me".to_owned(), password: Secret::new("secret") };
    let credentials =
        hosts.into_iter().fold(Credentials::anonymous(), |known, host| known.with(host, login()));
    TestClient::new(|options| {
        options.credentials = Arc::new(credentials);
        options.follow_urls = true;
    })
}

#[test]
fn a_registry_gets_them_only_when_that_is_asked_for() {
    for here in [true, false] {
        let (source, server) = (MemoryStore::new(), TestServer::start());
        let image = put(&source, &["https://example.com/layer".to_owned()], here);
        let foreign = foreign_of(&image).digest;
        let remote = TestClient::new(|_| {}).client.repository(&server.repository("a"));
        let copied =
            copy_image(&source, &remote, image.descriptor(), &CopyOptions::default(), &|_| {}).unwrap();
        assert_eq!((copied.blobs_moved, copied.left_out.len()), (2, 1));
        assert_eq!(copied.left_out[0].digest, foreign);
        assert_eq!(remote.document(&image.digest()).unwrap().raw(), image.raw());
        assert_eq!(remote.blob_size(&foreign).unwrap(), None);

        let asked = CopyOptions { foreign: Foreign::Copied, ..CopyOptions::default() };
        let copied = copy_image(&source, &remote, image.descriptor(), &asked, &|_| {});
        match (here, copied) {
            (true, copied) => {
                assert_eq!(copied.unwrap().left_out, []);
                assert_eq!(remote.blob_size(&foreign).unwrap(), Some(LENGTH as u64));
            }
            (false, Err(StoreError::NotFound { what })) => {
                assert!(what.contains("https://example.com/layer"), "{what}");
            }
            (false, copied) => panic!("{copied:?}"),
        }
    }
}

/// Copies an image whose foreign layer is not in its registry; returns what came of it and what `web` was asked.
fn copy_from_web(web: impl Fn(&Asked) -> Act + Send + 'static) -> (Result<Vec<u8>, StoreError>, Vec<Asked>) {
    let web = Scripted::start(move |asked: &Asked| web(asked));
    let server = TestServer::start();
    let test = client([web.registry(), server.handle.registry()]);
    let remote = test.client.repository(&server.repository("a"));
    let image = put(&remote, &[web.url("/layer?signature=1")], false);
    let target = MemoryStore::new();
    let copied = copy_image(&remote, &target, image.descriptor(), &CopyOptions::whole(), &|_| {});
    let content = copied.map(|_| read(target.open_blob(&foreign_of(&image).digest).unwrap()).unwrap());
    (content, web.asked())
}

#[test]
fn they_come_from_where_their_manifest_says_without_credentials() {
    let (content, asked) = copy_from_web(|_| Answer::status(200).body(noise(7, LENGTH)).into());
    assert_eq!(content.unwrap(), noise(7, LENGTH));
    assert_eq!(asked.iter().map(Asked::line).collect::<Vec<_>>(), ["GET /layer"]);
    assert_eq!(asked[0].header("authorization"), None);
    // Nobody is asked for a password there either.
    let (content, asked) =
        copy_from_web(|_| Answer::status(401).header("WWW-Authenticate", "Basic realm=\"web\"").into());
    assert!(matches!(content.unwrap_err(), StoreError::NotFound { what } if what.contains("401")));
    assert!(asked.len() == 1 && asked[0].header("authorization").is_none());
}

#[test]
fn what_is_wrong_there_is_refused() {
    let check = |web: fn(&Asked) -> Act, words: &str| {
        let error = copy_from_web(web).0.unwrap_err();
        let text = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let text = text.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        assert!(text.contains(words), "{words:?} is not in {text}");
        assert!(!text.contains("signature"), "{text}");
    };
    check(|_| Answer::status(404).into(), "status 404");
    check(|_| Answer::status(200).body(noise(8, LENGTH)).into(), "sha256:");
    check(|_| Answer::status(200).body(noise(7, LENGTH + 1)).into(), "300001 bytes there, and 300000");
    check(|_| Answer::status(302).header("Location", "ftp://a.b/c").into(), "only http and https");
    check(
        |_| {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            Act::Wild(Box::new(move |stream| {
                let mut chunk = b"10000\r\n".to_vec();
                chunk.extend(vec![0; 0x10000]);
                chunk.extend(b"\r\n");
                let _ = std::io::Write::write_all(stream, head.as_bytes());
                while std::io::Write::write_all(stream, &chunk).is_ok() {}
            }))
        },
        "is corrupt",
    );
}

#[test]
fn nobody_else_is_asked_where_that_is_off() {
    let web = Scripted::start(|_: &Asked| Answer::status(200).body(noise(7, LENGTH)));
    let server = TestServer::start();
    let remote = TestClient::new(|_| {}).client.repository(&server.repository("a"));
    let image = put(&remote, &[web.url("/layer")], false);
    let copied = copy_image(&remote, &MemoryStore::new(), image.descriptor(), &CopyOptions::whole(), &|_| {});
    assert!(matches!(copied.unwrap_err(), StoreError::NotFound { .. }));
    assert_eq!(web.asked().len(), 0);
}
