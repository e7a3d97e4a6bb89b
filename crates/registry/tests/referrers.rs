//! Lists of what refers to a manifest: the registry's own, and the one we keep where it has none.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use oci::{Descriptor, Digest, Document, ImageIndex, ImageManifest, MediaType};
use store::referrer::fallback_tag;
use store::{Blob, ImageStore};
use support::scripted::{Answer, Asked, Scripted};
use support::{TestClient, TestServer, put_image};

fn about(subject: &Descriptor, content: &str) -> ImageManifest {
    let config = Descriptor::of(MediaType::from("application/vnd.oci.empty.v1+json"), b"{}");
    let layer = Descriptor::of(MediaType::from("text/plain"), content.as_bytes());
    let mut manifest = ImageManifest::new(config, vec![layer]);
    manifest.artifact_type = Some("application/x-test".to_owned());
    manifest.subject = Some(subject.clone());
    manifest
}

fn digests(found: &[Descriptor]) -> Vec<Digest> {
    found.iter().map(|one| one.digest).collect()
}

fn subject() -> Descriptor {
    Descriptor::of(MediaType::OciManifest, b"the subject")
}

#[test]
fn a_registry_that_lists_is_asked_and_no_tag_is_made() {
    let server = TestServer::start();
    let remote = TestClient::new(|_| {});
    let remote = remote.client.repository(&server.repository("a"));
    let image = put_image(&remote, &[b"layer".to_vec()]);
    let manifest = about(image.descriptor(), "x");
    for (descriptor, content) in [(&manifest.config, "{}"), (&manifest.layers[0], "x")] {
        store::BlobStore::put_blob(&remote, descriptor, Blob::from_bytes(content)).unwrap();
    }
    let document = Document::from_manifest(manifest);
    assert_eq!(remote.referrers(&image.digest()).unwrap(), []);
    remote.put_document(&document).unwrap();
    let found = remote.referrers(&image.digest()).unwrap();
    assert_eq!(digests(&found), [document.digest()]);
    assert_eq!(found[0].artifact_type.as_deref(), Some("application/x-test"));
    assert_eq!(remote.tags().unwrap(), []);
    remote.delete_document(&document.digest()).unwrap();
    assert_eq!(remote.referrers(&image.digest()).unwrap(), []);
}

/// A registry without a list of referrers, whose fallback tag answers with `lists` in turn.
fn without_list(lists: Vec<Option<Document>>) -> Scripted {
    let mut lists = lists.into_iter();
    let tag = format!("/v2/a/manifests/{}", fallback_tag(&subject().digest));
    Scripted::start(move |asked: &Asked| match asked.method.as_str() {
        "PUT" => Answer::status(201),
        "GET" if asked.path == tag => match lists.next().expect("the list was asked for too often") {
            Some(list) => Answer::status(200)
                .header("Content-Type", MediaType::OciIndex.as_str())
                .body(list.raw().to_vec()),
            None => Answer::status(404),
        },
        _ => Answer::status(404),
    })
}

fn list(entries: &[&Document]) -> Option<Document> {
    let entries = entries.iter().map(|document| store::referrer::describe(document)).collect();
    Some(Document::from_index(ImageIndex::new(entries)))
}

#[test]
fn a_list_that_others_overwrite_is_merged_until_all_are_in_it() {
    let [ours, other, third] =
        ["ours", "other", "third"].map(|content| Document::from_manifest(about(&subject(), content)));
    let server = without_list(vec![
        list(&[&other]),
        // Somebody who read before we wrote wrote after us.
        list(&[&other, &third]),
        list(&[&other, &third, &ours]),
    ]);
    let test = TestClient::new(|_| {});
    test.client.repository(&server.repository("a")).put_document(&ours).unwrap();
    let written: Vec<Vec<Digest>> = server
        .asked()
        .iter()
        .filter(|asked| asked.method == "PUT" && asked.path.contains("sha256-"))
        .map(|asked| digests(&serde_json::from_slice::<ImageIndex>(&asked.body).unwrap().manifests))
        .collect();
    let (ours, other, third) = (ours.digest(), other.digest(), third.digest());
    assert_eq!(written, [vec![other, ours], vec![other, third, ours]]);
}

#[test]
fn the_list_under_the_tag_is_read_leniently() {
    let ours = Document::from_manifest(about(&subject(), "ours"));
    // GitLab answers a tag that is made of a digest with the manifest that has it.
    let itself = Document::from_manifest(about(&subject(), "no list"));
    let server = without_list(vec![None, list(&[&ours, &ours]), Some(itself)]);
    let test = TestClient::new(|_| {});
    let remote = test.client.repository(&server.repository("a"));
    assert_eq!(remote.referrers(&subject().digest).unwrap(), []);
    assert_eq!(digests(&remote.referrers(&subject().digest).unwrap()), [ours.digest()]);
    assert_eq!(remote.referrers(&subject().digest).unwrap(), []);
}

#[test]
fn an_entry_that_is_there_is_not_written_again() {
    let ours = Document::from_manifest(about(&subject(), "ours"));
    let server = without_list(vec![list(&[&ours])]);
    let test = TestClient::new(|_| {});
    test.client.repository(&server.repository("a")).put_document(&ours).unwrap();
    let puts = server.lines().iter().filter(|line| line.starts_with("PUT")).count();
    assert_eq!(puts, 1, "{:?}", server.lines());
}
