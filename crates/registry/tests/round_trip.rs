//! Our client against our server.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::fs::File;
use std::io::{Seek as _, Write as _};

use oci::{Descriptor, Digest, Document, ImageIndex, ImageManifest, MediaType};
use store::{Blob, BlobStore, CopyOptions, ImageStore, LayoutStore, Put, Source, StoreError, copy_image};
use support::{TestClient, TestServer, descriptor, noise, put_image, read, tag};

#[test]
fn an_image_goes_and_comes_back_with_its_digest() {
    let (server, test) = (TestServer::start(), TestClient::new(|_| {}));
    let folder = tempfile::tempdir().unwrap();
    let local = LayoutStore::open(folder.path()).unwrap().repository(&"local/app".parse().unwrap());
    let layers = [noise(1, 3_000_000), noise(2, 70_000), noise(3, 10), Vec::new()];
    let image = put_image(&local, &layers);

    let remote = test.client.repository(&server.repository("team/app"));
    let options = CopyOptions::default();
    let copied = copy_image(&local, &remote, image.descriptor(), &options, &|_| {}).unwrap();
    assert_eq!(copied.blobs_moved, 5);
    remote.tag(&tag("v1"), &image).unwrap();
    let copied = copy_image(&local, &remote, image.descriptor(), &options, &|_| {}).unwrap();
    assert_eq!((copied.blobs_moved, copied.blobs_present), (0, 5));

    assert_eq!(remote.resolve(&tag("v1")).unwrap(), *image.descriptor());
    assert_eq!(remote.tags().unwrap(), [tag("v1")]);
    let other = tempfile::tempdir().unwrap();
    let back = LayoutStore::open(other.path()).unwrap().repository(&"local/back".parse().unwrap());
    copy_image(&remote, &back, image.descriptor(), &options, &|_| {}).unwrap();
    assert_eq!(back.document(&image.digest()).unwrap().raw(), image.raw());
    for layer in &layers {
        assert!(read(back.open_blob(&Digest::of(layer)).unwrap()).unwrap() == *layer);
    }
    assert_eq!(test.notices(), []);
}

#[test]
fn what_is_not_there_is_not_found() {
    let (server, test) = (TestServer::start(), TestClient::new(|_| {}));
    let remote = test.client.repository(&server.repository("nothing"));
    let digest = Digest::of(b"x");
    assert_eq!(remote.blob_size(&digest).unwrap(), None);
    assert_eq!(remote.tags().unwrap(), []);
    let not_found = |error: StoreError| matches!(error, StoreError::NotFound { .. });
    assert!(not_found(remote.open_blob(&digest).unwrap_err()));
    assert!(not_found(remote.document(&digest).unwrap_err()));
    assert!(not_found(remote.resolve(&tag("x")).unwrap_err()));
    assert!(not_found(remote.untag(&tag("x")).unwrap_err()));
    assert!(not_found(remote.delete_document(&digest).unwrap_err()));
    assert!(test.client.ping(&server.handle.registry()).is_ok());
    assert_eq!(test.client.catalog(&server.handle.registry()).unwrap(), []);
}

#[test]
fn blobs_from_every_source() {
    let (server, test) = (TestServer::start(), TestClient::new(|_| {}));
    let remote = test.client.repository(&server.repository("a"));
    let contents = [noise(1, 2_000_000), noise(2, 2_000_000), noise(3, 2_000_000)];
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"before").unwrap();
    file.write_all(&contents[0]).unwrap();
    file.seek(std::io::SeekFrom::Start(6)).unwrap();
    let sources = [
        Source::File(file),
        Source::Bytes(contents[1].clone().into()),
        Source::Stream(Box::new(std::io::Cursor::new(contents[2].clone()))),
    ];
    for (content, source) in contents.iter().zip(sources) {
        let blob = Blob::new(content.len() as u64, source);
        assert_eq!(remote.put_blob(&descriptor(content), blob).unwrap(), Put::Written);
        assert!(read(remote.open_blob(&Digest::of(content)).unwrap()).unwrap() == *content);
    }
    assert_eq!(server.temporary_files(), 0);
}

#[test]
fn wrong_content_is_corrupt_and_never_visible() {
    let (server, test) = (TestServer::start(), TestClient::new(|_| {}));
    let remote = test.client.repository(&server.repository("a"));
    let claimed = descriptor(b"right");
    let error = remote.put_blob(&claimed, Blob::from_bytes("wrong")).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    let error = remote.put_blob(&claimed, Blob::from_bytes("longer than right")).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(remote.blob_size(&claimed.digest).unwrap(), None);
    assert_eq!(server.temporary_files(), 0);
    assert_eq!(test.notices(), [], "corrupt content is not tried again");
}

#[test]
fn a_file_that_shrank_is_named() {
    let (server, test) = (TestServer::start(), TestClient::new(|_| {}));
    let remote = test.client.repository(&server.repository("a"));
    let content = noise(1, 2_000_000);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("blob"), &content[..1_000_000]).unwrap();
    let file = File::open(folder.path().join("blob")).unwrap();
    let blob = Blob::new(content.len() as u64, Source::File(file));
    let error = remote.put_blob(&descriptor(&content), blob).unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("push"), "{error}");
    assert_eq!(remote.blob_size(&Digest::of(&content)).unwrap(), None);
}

#[test]
fn blobs_are_mounted_from_where_they_are() {
    let (server, test) = (TestServer::start(), TestClient::new(|_| {}));
    let (from, to) = (server.repository("from"), server.repository("to"));
    let content = noise(1, 100_000);
    test.client.repository(&from).put_blob(&descriptor(&content), Blob::from_bytes(content.clone())).unwrap();
    let remote = test.client.repository(&to).mount_from(&server.repository("empty")).mount_from(&from);
    let put = remote.put_blob(&descriptor(&content), Blob::from_bytes(content.clone())).unwrap();
    assert_eq!(put, Put::Mounted);
    assert!(read(remote.open_blob(&Digest::of(&content)).unwrap()).unwrap() == content);
    let other = noise(2, 100);
    let put = remote.put_blob(&descriptor(&other), Blob::from_bytes(other.clone())).unwrap();
    assert_eq!(put, Put::Written, "what no source has is sent");
    assert_eq!(server.temporary_files(), 0);
}

#[test]
fn an_immutable_tag_stays() {
    let server = TestServer::with(|options| {
        options.immutable = vec![registry::server::Immutable::new("pr-*")];
    });
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&server.repository("a"));
    let (one, two) = (put_image(&remote, &[noise(1, 10)]), put_image(&remote, &[noise(2, 10)]));
    let check = |error: StoreError| {
        assert!(matches!(error, StoreError::Denied { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(&one.digest().to_string()) && text.contains(&two.digest().to_string()),
            "{text}"
        );
    };
    // The client refuses for itself where the server has no rule.
    remote.tag_immutable(&tag("v1"), &one).unwrap();
    remote.tag_immutable(&tag("v1"), &one).unwrap();
    check(remote.tag_immutable(&tag("v1"), &two).unwrap_err());
    remote.tag(&tag("v1"), &two).unwrap();
    // The server's rule holds whatever the client does.
    remote.tag(&tag("pr-1"), &one).unwrap();
    remote.tag(&tag("pr-1"), &one).unwrap();
    check(remote.tag(&tag("pr-1"), &two).unwrap_err());
    assert_eq!(remote.resolve(&tag("pr-1")).unwrap().digest, one.digest());
    assert_eq!(test.notices(), []);
}

#[test]
fn tags_and_manifests_are_removed() {
    let (server, test) = (TestServer::start(), TestClient::new(|_| {}));
    let remote = test.client.repository(&server.repository("a/b"));
    let image = put_image(&remote, &[noise(1, 10)]);
    for name in ["one", "two", "three"] {
        remote.tag(&tag(name), &image).unwrap();
    }
    remote.untag(&tag("two")).unwrap();
    assert_eq!(remote.tags().unwrap(), [tag("one"), tag("three")]);
    assert_eq!(test.client.catalog(&server.handle.registry()).unwrap(), [server.repository("a/b")]);
    remote.delete_document(&image.digest()).unwrap();
    assert_eq!(remote.tags().unwrap(), []);
    assert!(matches!(remote.document(&image.digest()), Err(StoreError::NotFound { .. })));
}

#[test]
fn a_manifest_without_its_blobs_is_refused() {
    let (server, test) = (TestServer::start(), TestClient::new(|_| {}));
    let remote = test.client.repository(&server.repository("a"));
    let missing = descriptor(b"nowhere");
    let manifest = Document::from_manifest(ImageManifest::new(missing.clone(), Vec::new()));
    let error = remote.put_document(&manifest).unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    assert!(error.to_string().contains(&missing.digest.to_string()), "{error}");
}

#[test]
fn an_index_keeps_its_bytes() {
    let (server, test) = (TestServer::start(), TestClient::new(|_| {}));
    let remote = test.client.repository(&server.repository("a"));
    let image = put_image(&remote, &[noise(1, 10)]);
    let elsewhere = Descriptor::of(MediaType::OciManifest, b"not here");
    let index = ImageIndex::new(vec![image.descriptor().clone(), elsewhere]);
    let mut raw = Document::from_index(index).raw().to_vec();
    raw.extend_from_slice(b"\n\n");
    let index = Document::parse(raw.into(), None).unwrap();
    remote.tag(&tag("multi"), &index).unwrap();
    assert_eq!(remote.document(&index.digest()).unwrap(), index);
    assert_eq!(remote.resolve(&tag("multi")).unwrap().media_type, MediaType::OciIndex);
}

#[test]
fn many_threads_push_the_same_and_other_blobs() {
    let (server, test) = (TestServer::start(), TestClient::new(|_| {}));
    let remote = test.client.repository(&server.repository("a"));
    let shared = noise(0, 1_500_000);
    std::thread::scope(|scope| {
        for seed in 1..=8_u64 {
            let (remote, shared) = (&remote, &shared);
            scope.spawn(move || {
                let own = noise(seed, 600_000);
                for content in [shared, &own] {
                    remote.put_blob(&descriptor(content), Blob::from_bytes(content.clone())).unwrap();
                    assert!(read(remote.open_blob(&Digest::of(content)).unwrap()).unwrap() == *content);
                }
            });
        }
    });
    assert_eq!(server.temporary_files(), 0);
    assert_eq!(test.notices(), []);
}

#[test]
fn a_read_only_server_says_so() {
    let server = TestServer::with(|options| options.access = registry::server::Access::ReadOnly);
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&server.repository("a"));
    let error = remote.put_blob(&descriptor(b"x"), Blob::from_bytes("x")).unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");
}

#[test]
fn a_blob_that_is_too_large_is_refused() {
    let server = TestServer::with(|options| options.max_blob_bytes = Some(1_000_000));
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&server.repository("a"));
    let content = noise(1, 5_000_000);
    let error = remote.put_blob(&descriptor(&content), Blob::from_bytes(content.clone())).unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains("at most 1000000 bytes"), "{error}");
    assert_eq!(server.temporary_files(), 0);
}

#[test]
fn what_the_registry_of_this_machine_has_under_any_name_does_not_move() {
    let server = TestServer::start();
    let test = TestClient::new(|_| {});
    let content = noise(1, 3_000_000);
    let descriptor = Descriptor::of(MediaType::OciLayer, &content);
    // The store of the builder is the store of the registry.
    let own = server.store.repository(&"local/built".parse().unwrap());
    own.put_blob(&descriptor, Blob::from_bytes(content.clone())).unwrap();
    let remote = test.client.repository(&server.repository("acme/released"));
    let put = remote.put_blob(&descriptor, own.open_blob(&descriptor.digest).unwrap()).unwrap();
    assert_eq!(put, Put::Mounted);
    assert_eq!(remote.blob_size(&descriptor.digest).unwrap(), Some(3_000_000));
}
