//! A store in a bucket in memory: what is put is there, and nothing else is.

mod collecting;

use std::io::Read as _;
use std::time::Duration;

use oci::{Descriptor, Digest, Document, ImageManifest, MediaType, Repository, Tag};

use super::*;
use crate::{
    Blob, BlobStore as _, Children, ImageStore as _, Put, Reach, RepositoryOptions, Source, TagRule,
};

pub(super) struct Fixture {
    pub bucket: Bucket,
    pub store: ObjectStore,
}

impl Fixture {
    pub fn new() -> Self {
        let bucket = Bucket::in_memory();
        let store = ObjectStore::open(bucket.clone()).unwrap();
        Self { bucket, store }
    }

    pub fn repository(&self, name: &str) -> ObjectRepository {
        self.store.repository(&name.parse().unwrap())
    }

    /// Returns the view that a server's clients have.
    pub fn strict(&self, name: &str) -> ObjectRepository {
        let options = RepositoryOptions { reach: Reach::Repository, children: Children::SparseLayers };
        self.store.repository_with(&name.parse().unwrap(), options)
    }
}

/// Puts an image of one layer with this content and returns its manifest.
pub(super) fn put_image(
    repository: &ObjectRepository,
    content: &str,
    subject: Option<&Document>,
) -> Document {
    let config = format!("{{\"comment\":\"{content}\"}}");
    let parts = [(MediaType::OciConfig, config.as_bytes()), (MediaType::OciLayer, content.as_bytes())];
    let [config, layer] = parts.map(|(media_type, content)| {
        let descriptor = Descriptor::of(media_type, content);
        repository.put_blob(&descriptor, Blob::from_bytes(content.to_vec())).unwrap();
        descriptor
    });
    let mut manifest = ImageManifest::new(config, vec![layer]);
    manifest.subject = subject.map(|subject| subject.descriptor().clone());
    manifest.artifact_type = subject.map(|_| "application/x-note".to_owned());
    let document = Document::from_manifest(manifest);
    repository.put_document(&document).unwrap();
    document
}

pub(super) fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

#[test]
fn an_image_goes_in_and_comes_out() {
    let fixture = Fixture::new();
    let repository = fixture.repository("local/acme/api");
    let document = put_image(&repository, "layer", None);
    repository.tag(&tag("v1"), &document).unwrap();
    repository.tag(&tag("main"), &document).unwrap();

    // Another process, which opens the same bucket.
    let other = ObjectStore::open(fixture.bucket.clone()).unwrap().repository(repository.name());
    assert_eq!(other.tags().unwrap(), [tag("main"), tag("v1")]);
    let found = other.resolve(&tag("v1")).unwrap();
    assert_eq!(other.document(&found.digest).unwrap(), document);
    let layer = &document.as_image().unwrap().layers[0];
    let mut content = String::new();
    other.open_blob(&layer.digest).unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "layer");
    assert_eq!(fixture.store.repositories(&Registry::local()).unwrap(), [repository.name().clone()]);

    other.untag(&tag("v1")).unwrap();
    assert!(matches!(other.untag(&tag("v1")), Err(StoreError::NotFound { .. })));
    other.delete_document(&document.digest()).unwrap();
    assert!(other.tags().unwrap().is_empty());
    assert!(matches!(other.document(&document.digest()), Err(StoreError::NotFound { .. })));
    assert!(matches!(other.delete_document(&document.digest()), Err(StoreError::NotFound { .. })));
}

#[test]
fn nothing_wrong_is_kept() {
    let fixture = Fixture::new();
    let repository = fixture.repository("local/a");
    let large = vec![7_u8; (17 << 20) + 3];
    for content in [&b"right"[..], &large] {
        let descriptor = Descriptor::of(MediaType::OciLayer, content);
        let mut wrong = content.to_vec();
        *wrong.last_mut().unwrap() ^= 1;
        let [short, long] = [&content[1..], &[content, b"!"].concat()];
        let stream = |bytes: &[u8], size: usize| {
            Blob::new(size as u64, Source::Stream(Box::new(std::io::Cursor::new(bytes.to_vec()))))
        };
        for blob in [
            Blob::from_bytes(wrong),
            Blob::from_bytes(short.to_vec()),
            stream(short, content.len()),
            stream(long, content.len()),
        ] {
            let error = repository.put_blob(&descriptor, blob).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        }
        assert_eq!(repository.blob_size(&descriptor.digest).unwrap(), None);
        let put = || repository.put_blob(&descriptor, Blob::from_bytes(content.to_vec())).unwrap();
        assert_eq!([put(), put()], [Put::Written, Put::Present]);
        let mut read = Vec::new();
        repository.open_blob(&descriptor.digest).unwrap().read_to_end(&mut read).unwrap();
        assert!(read == content);
        let mut range = Vec::new();
        fixture.store.open_range(&descriptor.digest, 1, 3).read_to_end(&mut range).unwrap();
        assert_eq!(range, content[1..4]);
    }
}

#[test]
fn a_bucket_that_lies_is_caught() {
    let fixture = Fixture::new();
    let repository = fixture.repository("local/a");
    let document = put_image(&repository, "layer", None);
    let layer = document.as_image().unwrap().layers[0].digest;
    for (content, words) in [("LAYER", "digest"), ("lay", "bytes"), ("", "bytes")] {
        let reader = fixture.store.open_sized(&layer, 5);
        fixture.bucket.put(&keys::blob(&layer), content).unwrap();
        let mut reader = reader;
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains(words), "{content}: {error}");
    }
    fixture.bucket.put(&keys::blob(&document.digest()), "{}").unwrap();
    assert!(matches!(repository.document(&document.digest()), Err(StoreError::Corrupt { .. })));
    // A blob of the wrong size is written again.
    let descriptor = &document.as_image().unwrap().layers[0];
    assert_eq!(repository.put_blob(descriptor, Blob::from_bytes("layer")).unwrap(), Put::Written);
}

#[test]
fn a_manifest_needs_its_parts() {
    let fixture = Fixture::new();
    let document = put_image(&fixture.strict("local/a"), "layer", None);
    // The content is in the bucket, but not in this repository.
    let other = fixture.strict("local/b");
    assert!(matches!(other.put_document(&document), Err(StoreError::NotFound { .. })));
    assert_eq!(other.blob_size(&document.as_image().unwrap().layers[0].digest).unwrap(), None);
    for descriptor in document.as_image().unwrap().blobs() {
        assert!(other.mount_blob(&descriptor.digest, &fixture.strict("local/a")).unwrap());
    }
    other.put_document(&document).unwrap();
    assert!(!other.mount_blob(&Digest::of(b"nothing"), &fixture.strict("local/a")).unwrap());
    let config = &document.as_image().unwrap().config;
    let expected = [fixture.strict("local/a"), other.clone()].map(|one| one.name().clone());
    assert_eq!(fixture.store.repositories_with_blobs(&Registry::local()).unwrap(), expected);
    // A wide view takes what lies anywhere.
    fixture.repository("local/c").put_document(&document).unwrap();
    assert!(fixture.repository("local/c").has_blob(&config.digest).unwrap());
    assert_eq!(other.used_bytes().unwrap(), document.descriptor().size + config.size + 5);
    other.delete_blob(&config.digest).unwrap();
    assert!(matches!(other.delete_blob(&config.digest), Err(StoreError::NotFound { .. })));
}

#[test]
fn referrers_are_listed_by_subject_and_go_with_their_manifest() {
    let fixture = Fixture::new();
    let repository = fixture.repository("local/a");
    let subject = put_image(&repository, "image", None);
    assert!(repository.referrers(&subject.digest()).unwrap().is_empty());
    let notes = ["one", "two"].map(|content| put_image(&repository, content, Some(&subject)));
    let found = repository.referrers(&subject.digest()).unwrap();
    let mut expected: Vec<Digest> = notes.iter().map(Document::digest).collect();
    expected.sort();
    assert_eq!(found.iter().map(|one| one.digest).collect::<Vec<_>>(), expected);
    assert_eq!(found[0].artifact_type.as_deref(), Some("application/x-note"));
    repository.delete_document(&notes[0].digest()).unwrap();
    assert_eq!(repository.referrers(&subject.digest()).unwrap().len(), 1);
}

#[test]
fn a_tag_that_stays_moves_for_nobody() {
    let fixture = Fixture::new();
    let repository = fixture.repository("local/a");
    let [one, two] = ["one", "two"].map(|content| put_image(&repository, content, None));
    let set = |document: &Document| {
        repository.set_tags(&[(tag("latest"), TagRule::Moves), (tag("v1"), TagRule::Stays)], document)
    };
    set(&one).unwrap();
    set(&one).unwrap();
    let error = set(&two).unwrap_err();
    assert!(matches!(&error, StoreError::Denied { reason, .. } if reason.contains("immutable")), "{error}");
    assert_eq!(repository.resolve(&tag("latest")).unwrap().digest, one.digest(), "all tags or none");
}

#[test]
fn what_others_left_in_the_bucket_is_not_ours() {
    let fixture = Fixture::new();
    let repository = fixture.repository("local/a");
    put_image(&repository, "layer", None);
    fixture.bucket.put("repositories/local/a/_tags/not a tag", "x").unwrap();
    fixture.bucket.put("repositories/local/a/_manifests/readme", "x").unwrap();
    fixture.bucket.put("repositories/local/a/_tags/broken", "{").unwrap();
    assert_eq!(repository.tags().unwrap(), [tag("broken")]);
    assert_eq!(repository.manifests().unwrap().len(), 1);
    assert!(matches!(repository.resolve(&tag("broken")), Err(StoreError::Corrupt { .. })));
    fixture.bucket.put("plimsoll.json", "{\"schema\":\"plimsoll.objects/9\"}").unwrap();
    let error = ObjectStore::open(fixture.bucket.clone()).unwrap_err();
    assert!(error.to_string().contains("plimsoll.objects/9"), "{error}");
    fixture.bucket.put("plimsoll.json", "not JSON").unwrap();
    assert!(matches!(ObjectStore::open(fixture.bucket.clone()), Err(StoreError::Corrupt { .. })));
}

#[test]
fn memory_has_no_addresses_to_hand_out() {
    let fixture = Fixture::new();
    assert_eq!(fixture.store.presign_blob(&Digest::of(b"x"), Duration::from_secs(60)).unwrap(), None);
    let repositories: Vec<Repository> = fixture.store.repositories(&Registry::local()).unwrap();
    assert!(repositories.is_empty());
}
