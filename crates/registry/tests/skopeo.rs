//! skopeo against our server. Skips where skopeo is not installed.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use oci::{Digest, Repository};
use store::{ImageStore, LayoutStore, StoreError};
use support::peer::{is_installed, skopeo};
use support::{TestServer, layer, put_image, tag};

const PLAIN: &str = "--tls-verify=false";

#[test]
fn skopeo_pushes_lists_pulls_and_deletes() {
    if !is_installed("skopeo") {
        return;
    }
    let server = TestServer::start();
    let folder = tempfile::tempdir().unwrap();
    let local: Repository = "local/app".parse().unwrap();
    let source = LayoutStore::open(folder.path()).unwrap();
    let image =
        put_image(&source.repository(&local), &[layer(1, 3_000_000), layer(2, 100), layer(3, 70_000)]);
    source.repository(&local).tag(&tag("v1"), &image).unwrap();

    let layout = format!("oci:{}:local/app:v1", folder.path().display());
    let remote = format!("docker://{}", server.repository("team/app"));
    skopeo(&["copy", "--dest-tls-verify=false", &layout, &format!("{remote}:v1")]);
    skopeo(&["copy", "--dest-tls-verify=false", &layout, &format!("{remote}:v2")]);
    let served = server.store.repository(&"local/team/app".parse().unwrap());
    assert_eq!(served.document(&image.digest()).unwrap().raw(), image.raw());

    let listed: serde_json::Value = serde_json::from_str(&skopeo(&["list-tags", PLAIN, &remote])).unwrap();
    assert_eq!(listed["Tags"], serde_json::json!(["v1", "v2"]));
    let raw = skopeo(&["inspect", "--raw", PLAIN, &format!("{remote}:v1")]);
    assert_eq!(Digest::of(raw.as_bytes()), image.digest());

    let back = tempfile::tempdir().unwrap();
    let target = format!("oci:{}:back", back.path().display());
    skopeo(&["copy", "--src-tls-verify=false", &format!("{remote}@{}", image.digest()), &target]);
    let manifest = back.path().join("blobs/sha256").join(image.digest().hex());
    assert_eq!(std::fs::read(manifest).unwrap(), image.raw().as_ref());

    skopeo(&["delete", PLAIN, &format!("{remote}:v1")]);
    assert!(matches!(served.resolve(&tag("v1")), Err(StoreError::NotFound { .. })));
    assert_eq!(server.temporary_files(), 0);
}

#[test]
fn skopeo_copies_between_repositories_by_mounting() {
    if !is_installed("skopeo") {
        return;
    }
    let server = TestServer::start();
    let from = server.store.repository(&"local/from".parse().unwrap());
    let image = put_image(&from, &[layer(1, 300_000)]);
    from.tag(&tag("v1"), &image).unwrap();
    let name = |path: &str| format!("docker://{}:v1", server.repository(path));
    skopeo(&["copy", "--src-tls-verify=false", "--dest-tls-verify=false", &name("from"), &name("to")]);
    let to = server.store.repository(&"local/to".parse().unwrap());
    assert_eq!(to.resolve(&tag("v1")).unwrap().digest, image.digest());
    assert!(to.has_blob(&image.as_image().unwrap().layers[0].digest).unwrap());
}
