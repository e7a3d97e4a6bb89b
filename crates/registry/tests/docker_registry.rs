//! Our client against Debian's docker-registry. Skips where that is not installed.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use oci::{Digest, Repository};
use store::{Blob, BlobStore, CopyOptions, ImageStore, LayoutStore, Put, StoreError, copy_image};
use support::peer::{DockerRegistry, is_installed, skopeo};
use support::{TestClient, descriptor, noise, put_image, read, tag};

#[test]
fn an_image_goes_and_comes_back() {
    if !is_installed("docker-registry") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let peer = DockerRegistry::start(folder.path());
    let test = TestClient::new(|_| {});
    test.client.ping(peer.registry()).unwrap();
    let store = LayoutStore::open(&folder.path().join("store")).unwrap();
    let local = store.repository(&"local/app".parse().unwrap());
    let image = put_image(&local, &[noise(1, 3_000_000), noise(2, 100), Vec::new()]);

    let repository = Repository::new(peer.registry().clone(), "team/app").unwrap();
    let remote = test.client.repository(&repository);
    assert_eq!(remote.tags().unwrap(), []);
    let options = CopyOptions::default();
    let copied = copy_image(&local, &remote, image.descriptor(), &options, &|_| {}).unwrap();
    assert_eq!(copied.blobs_moved, 4);
    remote.tag(&tag("v1"), &image).unwrap();
    remote.tag_immutable(&tag("v1"), &image).unwrap();
    assert_eq!(remote.resolve(&tag("v1")).unwrap(), *image.descriptor());
    assert_eq!(remote.tags().unwrap(), [tag("v1")]);
    assert_eq!(test.client.catalog(peer.registry()).unwrap(), std::slice::from_ref(&repository));

    let back = LayoutStore::open(&folder.path().join("back")).unwrap();
    let back = back.repository(&"local/back".parse().unwrap());
    copy_image(&remote, &back, image.descriptor(), &options, &|_| {}).unwrap();
    assert_eq!(back.document(&image.digest()).unwrap().raw(), image.raw());

    remote.delete_document(&image.digest()).unwrap();
    assert!(matches!(remote.document(&image.digest()), Err(StoreError::NotFound { .. })));
    assert_eq!(test.notices(), []);
}

#[test]
fn blobs_are_mounted_and_streams_are_kept_aside() {
    if !is_installed("docker-registry") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let peer = DockerRegistry::start(folder.path());
    let test = TestClient::new(|_| {});
    let name = |path: &str| Repository::new(peer.registry().clone(), path).unwrap();
    let content = noise(1, 2_500_000);
    let from = test.client.repository(&name("from"));
    let stream =
        Blob::checked(Digest::of(&content), content.len() as u64, std::io::Cursor::new(content.clone()));
    assert_eq!(from.put_blob(&descriptor(&content), stream).unwrap(), Put::Written);
    let to = test.client.repository(&name("to")).mount_from(&name("from"));
    // From one repository of a registry to another: pulled lazily, never read where it is mounted.
    let blob = from.open_blob(&Digest::of(&content)).unwrap();
    assert_eq!(to.put_blob(&descriptor(&content), blob).unwrap(), Put::Mounted);
    assert!(read(to.open_blob(&Digest::of(&content)).unwrap()).unwrap() == content);
}

#[test]
fn wrong_content_is_corrupt() {
    if !is_installed("docker-registry") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let peer = DockerRegistry::start(folder.path());
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&Repository::new(peer.registry().clone(), "a").unwrap());
    let error = remote.put_blob(&descriptor(b"right"), Blob::from_bytes("wrong")).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(remote.blob_size(&Digest::of(b"right")).unwrap(), None);
}

#[test]
fn skopeo_sees_what_we_pushed() {
    if !is_installed("docker-registry") || !is_installed("skopeo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let peer = DockerRegistry::start(folder.path());
    let test = TestClient::new(|_| {});
    let repository = Repository::new(peer.registry().clone(), "a").unwrap();
    let remote = test.client.repository(&repository);
    let image = put_image(&remote, &[noise(1, 1000)]);
    remote.tag(&tag("v1"), &image).unwrap();
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{repository}:v1")]);
    assert_eq!(Digest::of(raw.as_bytes()), image.digest());
}

#[test]
fn what_refers_to_an_image_is_listed_under_a_tag() {
    if !is_installed("docker-registry") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let peer = DockerRegistry::start(folder.path());
    let repository = Repository::new(peer.registry().clone(), "team/app").unwrap();
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&repository);
    let image = put_image(&remote, &[noise(1, 1000)]);
    let attached: Vec<oci::Document> = (0..3).map(|seed| attach(&remote, &image, seed)).collect();
    let digests = |found: Vec<oci::Descriptor>| found.iter().map(|one| one.digest).collect::<Vec<_>>();
    let mut expected: Vec<Digest> = attached.iter().map(oci::Document::digest).collect();
    expected.sort();
    assert_eq!(digests(remote.referrers(&image.digest()).unwrap()), expected);
    assert_eq!(remote.tags().unwrap(), [store::referrer::fallback_tag(&image.digest())]);
    remote.delete_document(&expected.remove(1)).unwrap();
    assert_eq!(digests(remote.referrers(&image.digest()).unwrap()), expected);
}

fn attach(remote: &dyn ImageStore, image: &oci::Document, seed: u64) -> oci::Document {
    let content = noise(100 + seed, 100);
    remote.put_blob(&descriptor(&content), Blob::from_bytes(content.clone())).unwrap();
    let mut manifest = oci::ImageManifest::new(image_config(remote), vec![descriptor(&content)]);
    manifest.subject = Some(image.descriptor().clone());
    let document = oci::Document::from_manifest(manifest);
    remote.put_document(&document).unwrap();
    document
}

fn image_config(remote: &dyn ImageStore) -> oci::Descriptor {
    let config = oci::Descriptor::of(oci::MediaType::from("application/vnd.oci.empty.v1+json"), b"{}");
    remote.put_blob(&config, Blob::from_bytes("{}")).unwrap();
    config
}
