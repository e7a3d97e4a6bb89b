//! What others rely on in the local store.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;

use oci::{Descriptor, ImageIndex, ImageManifest, MediaType, Tag};

use super::*;
use crate::{Blob, BlobStore, ImageStore, Put, Source};

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> LayoutStore {
        LayoutStore::open(&self.folder.path().join("store")).unwrap()
    }
}

fn name(text: &str) -> Repository {
    text.parse().unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn put(store: &impl BlobStore, media_type: MediaType, content: &'static [u8]) -> Descriptor {
    let descriptor = Descriptor::of(media_type, content);
    store.put_blob(&descriptor, Blob::from_bytes(content)).unwrap();
    descriptor
}

fn image(store: &impl BlobStore, layer: &'static [u8]) -> Document {
    let config = put(store, MediaType::OciConfig, b"{}");
    let layer = put(store, MediaType::OciLayer, layer);
    Document::from_manifest(ImageManifest::new(config, vec![layer]))
}

fn read(blob: Blob) -> Vec<u8> {
    let mut content = Vec::new();
    blob.take(u64::MAX).read_to_end(&mut content).unwrap();
    content
}

#[track_caller]
fn check_not_found<T: std::fmt::Debug>(result: Result<T, StoreError>, named: &str) {
    match result {
        Err(StoreError::NotFound { what }) => assert!(what.contains(named), "{what}"),
        other => panic!("expected NotFound, found {other:?}"),
    }
}

#[test]
fn an_image_comes_back_under_its_name_in_another_process() {
    let place = Place::new();
    let repository = place.open().repository(&name("ghcr.io/acme/api"));
    let document = image(&repository, b"layer");
    repository.tag(&tag("main"), &document).unwrap();

    let store = place.open();
    let again = store.repository(&name("ghcr.io/acme/api"));
    assert_eq!(again.resolve(&tag("main")).unwrap(), *document.descriptor());
    assert_eq!(again.document(&document.digest()).unwrap(), document);
    assert_eq!(again.tags().unwrap(), [tag("main")]);
    assert_eq!(store.repositories().unwrap(), [name("ghcr.io/acme/api")]);
    assert_eq!(store.find(&document.digest()).unwrap().unwrap(), document);
    assert_eq!(store.find(&Digest::of(b"layer")).unwrap(), None);
    assert_eq!(read(again.open_blob(&Digest::of(b"layer")).unwrap()), b"layer");
}

#[test]
fn names_of_every_shape_are_told_apart() {
    let place = Place::new();
    let store = place.open();
    let names = ["127.0.0.1:5000/a", "docker.io/library/debian", "local/a", "local/a/b", "local/a/b/c"];
    for text in names {
        let repository = store.repository(&name(text));
        repository.tag(&tag("t"), &image(&repository, b"l")).unwrap();
    }
    assert_eq!(store.repositories().unwrap(), names.map(name));
}

#[test]
fn what_is_there_is_not_written_again() {
    let place = Place::new();
    let store = place.open();
    let descriptor = Descriptor::of(MediaType::OciLayer, b"content");
    let (one, two) = (store.repository(&name("local/one")), store.repository(&name("local/two")));
    assert_eq!(one.put_blob(&descriptor, Blob::from_bytes("content")).unwrap(), Put::Written);
    assert_eq!(one.put_blob(&descriptor, Blob::from_bytes("content")).unwrap(), Put::Present);
    assert_eq!(two.put_blob(&descriptor, Blob::from_bytes("content")).unwrap(), Put::Mounted);
}

#[test]
fn wrong_content_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let store = place.open();
    let descriptor = Descriptor::of(MediaType::OciLayer, b"content");
    let refused = |blob| matches!(store.put_blob(&descriptor, blob), Err(StoreError::Corrupt { .. }));
    assert!(refused(Blob::from_bytes("CONTENT")));
    assert!(refused(Blob::from_bytes("conten")));
    assert!(refused(Blob::new(7, Source::Stream(Box::new(&b"content and more"[..])))));
    assert!(refused(Blob::checked(descriptor.digest, 7, &b"CONTENT"[..])));
    assert_eq!(store.blob_size(&descriptor.digest).unwrap(), None);
    assert_eq!(fs::read_dir(store.path("temporary")).unwrap().count(), 0);
}

#[test]
fn ingest_takes_content_whose_digest_is_known_at_the_end() {
    let place = Place::new();
    let store = place.open();
    let write = |content: &[u8]| {
        let mut ingest = store.ingest().unwrap().hashing(oci::Algorithm::Sha256);
        ingest.write_all(content).unwrap();
        ingest
    };
    let digest = Digest::of(b"abc");
    assert!(matches!(write(b"abd").commit_checked(&digest, 3), Err(StoreError::Corrupt { .. })));
    assert!(matches!(write(b"ab").commit(&digest, 3), Err(StoreError::Corrupt { .. })));
    assert_eq!(write(b"abc").commit_checked(&digest, 3).unwrap(), Put::Written);
    assert_eq!(write(b"abc").commit(&digest, 3).unwrap(), Put::Present);
    let long = oci::Hasher::new(oci::Algorithm::Sha512).finish();
    assert_eq!(write(b"").commit_checked(&long, 0).unwrap(), Put::Written);
    assert_eq!(store.blob_size(&long).unwrap(), Some(0));
    assert_eq!(fs::metadata(store.blob_path(&digest)).unwrap().mode() & 0o777, 0o444);
}

#[test]
fn a_corrupted_blob_is_found_moved_away_and_can_be_written_again() {
    let place = Place::new();
    let store = place.open();
    let descriptor = put(&store.repository(&name("local/a")), MediaType::OciLayer, b"content");
    let path = store.blob_path(&descriptor.digest);
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"CONTENT").unwrap();

    let error = store.open_blob(&descriptor.digest).unwrap_err();
    let StoreError::Corrupt { reason, .. } = &error else { panic!("{error:?}") };
    assert!(reason.contains(&descriptor.digest.to_string()), "{reason}");
    assert!(reason.contains(&Digest::of(b"CONTENT").to_string()), "{reason}");
    assert_eq!(fs::read_dir(store.path("quarantine")).unwrap().count(), 1);
    check_not_found(store.open_blob(&descriptor.digest), "blob sha256:");
    assert_eq!(store.put_blob(&descriptor, Blob::from_bytes("content")).unwrap(), Put::Written);
    assert_eq!(store.verify_blob(&descriptor.digest).unwrap(), 7);
}

#[test]
fn writing_repairs_a_blob_that_was_cut_short() {
    let place = Place::new();
    let store = place.open();
    let descriptor = put(&store.repository(&name("local/a")), MediaType::OciLayer, b"content");
    let path = store.blob_path(&descriptor.digest);
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"con").unwrap();
    assert_eq!(store.put_blob(&descriptor, Blob::from_bytes("content")).unwrap(), Put::Written);
    assert_eq!(read(store.open_blob(&descriptor.digest).unwrap()), b"content");
}

#[test]
fn a_blob_without_a_stamp_is_hashed_once_and_stamped() {
    let place = Place::new();
    let store = place.open();
    let digest = Digest::of(b"from elsewhere");
    fs::write(store.blob_path(&digest), b"from elsewhere").unwrap();
    assert_eq!(read(store.open_blob(&digest).unwrap()), b"from elsewhere");
    let known = store.0.hashed.lock().unwrap()[&digest].lock().unwrap().unwrap();
    assert_eq!(known.size, 14);
    let file = fs::File::open(store.blob_path(&digest)).unwrap();
    assert!(Stamp::of(&file).unwrap() == known);
}

#[test]
fn a_manifest_without_its_blobs_is_refused() {
    let place = Place::new();
    let repository = place.open().repository(&name("local/a"));
    let config = put(&repository, MediaType::OciConfig, b"{}");
    let absent = Descriptor::of(MediaType::OciLayer, b"absent");
    let document = Document::from_manifest(ImageManifest::new(config.clone(), vec![absent.clone()]));
    check_not_found(repository.put_document(&document), &absent.digest.to_string());
    check_not_found(repository.document(&document.digest()), "manifest local/a@sha256:");

    let foreign = Descriptor { urls: vec!["https://example.com/layer".to_owned()], ..absent };
    let document = Document::from_manifest(ImageManifest::new(config, vec![foreign]));
    repository.put_document(&document).unwrap();
}

#[test]
fn a_manifest_that_names_a_wrong_size_is_refused() {
    let place = Place::new();
    let repository = place.open().repository(&name("local/a"));
    let config = put(&repository, MediaType::OciConfig, b"{}");
    let layer = put(&repository, MediaType::OciLayer, b"layer");
    let wrong = Descriptor { size: 99, ..layer };
    let document = Document::from_manifest(ImageManifest::new(config, vec![wrong]));
    assert!(matches!(repository.put_document(&document), Err(StoreError::Corrupt { .. })));
}

#[test]
fn an_index_needs_its_children_unless_it_may_be_sparse() {
    let place = Place::new();
    let store = place.open();
    let repository = store.repository(&name("local/a"));
    let child = image(&repository, b"layer");
    let index = Document::from_index(ImageIndex::new(vec![child.descriptor().clone()]));
    check_not_found(repository.put_document(&index), &child.digest().to_string());
    let options = RepositoryOptions { children: Children::Sparse, ..Default::default() };
    store.repository_with(&name("local/b"), options).put_document(&index).unwrap();
    repository.put_document(&child).unwrap();
    repository.put_document(&index).unwrap();
    // The other repository takes the child along, so that it can be had from there as well.
    let other = store.repository(&name("local/c"));
    other.put_document(&index).unwrap();
    assert_eq!(other.document(&child.digest()).unwrap(), child);
}

#[test]
fn a_strict_view_does_not_reach_into_other_repositories() {
    let place = Place::new();
    let store = place.open();
    let options = RepositoryOptions { reach: Reach::Repository, ..Default::default() };
    let one = store.repository_with(&name("local/one"), options);
    let two = store.repository_with(&name("local/two"), options);
    let document = image(&one, b"layer");
    let layer = Digest::of(b"layer");
    assert_eq!(two.blob_size(&layer).unwrap(), None);
    check_not_found(two.open_blob(&layer), "local/two");
    check_not_found(two.put_document(&document), "local/two");
    assert!(two.mount_blob(&layer, &one).unwrap());
    assert!(!two.mount_blob(&Digest::of(b"?"), &one).unwrap());
    assert_eq!(two.blob_size(&layer).unwrap(), Some(5));
    two.mount_blob(&Digest::of(b"{}"), &one).unwrap();
    two.put_document(&document).unwrap();
    two.delete_blob(&layer).unwrap();
    check_not_found(two.open_blob(&layer), "local/two");
    assert_eq!(one.blob_size(&layer).unwrap(), Some(5));
}

#[test]
fn immutable_tags_do_not_move_and_name_both_digests() {
    let place = Place::new();
    let repository = place.open().repository(&name("local/a"));
    let (one, two) = (image(&repository, b"1"), image(&repository, b"2"));
    repository.tag_immutable(&tag("v1"), &one).unwrap();
    repository.tag_immutable(&tag("v1"), &one).unwrap();
    match repository.tag_immutable(&tag("v1"), &two) {
        Err(StoreError::Denied { what, reason }) => {
            assert!(what.contains("local/a:v1"), "{what}");
            assert!(reason.contains(&one.digest().to_string()), "{reason}");
            assert!(reason.contains(&two.digest().to_string()), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(repository.resolve(&tag("v1")).unwrap().digest, one.digest());
    repository.tag(&tag("v1"), &two).unwrap();
    assert_eq!(repository.resolve(&tag("v1")).unwrap().digest, two.digest());
}

#[test]
fn deleting_takes_the_tags_along() {
    let place = Place::new();
    let store = place.open();
    let repository = store.repository(&name("local/a"));
    let (one, two) = (image(&repository, b"1"), image(&repository, b"2"));
    for (text, document) in [("a", &one), ("b", &two), ("c", &one)] {
        repository.tag(&tag(text), document).unwrap();
    }
    repository.delete_document(&one.digest()).unwrap();
    assert_eq!(repository.tags().unwrap(), [tag("b")]);
    check_not_found(repository.delete_document(&one.digest()), "local/a");
    check_not_found(repository.untag(&tag("a")), "local/a:a");
    check_not_found(repository.resolve(&tag("a")), "local/a:a");
    assert_eq!(entries(&store), ["local/a:b"]);
}

fn entries(store: &LayoutStore) -> Vec<String> {
    let index: ImageIndex = serde_json::from_slice(&fs::read(store.path("index.json")).unwrap()).unwrap();
    let name = |entry: &Descriptor| entry.annotations[oci::annotations::REF_NAME].clone();
    index.manifests.iter().map(name).collect()
}

#[test]
fn the_index_follows_the_tags_and_is_made_anew_after_a_crash() {
    let place = Place::new();
    let store = place.open();
    assert!(entries(&store).is_empty());
    let repository = store.repository(&name("ghcr.io/acme/api"));
    let document = image(&repository, b"1");
    for text in ["b", "a", "c"] {
        repository.tag(&tag(text), &document).unwrap();
    }
    repository.untag(&tag("c")).unwrap();
    let expected = ["ghcr.io/acme/api:a", "ghcr.io/acme/api:b"];
    assert_eq!(entries(&store), expected);

    fs::write(store.path("index.json"), b"{\"schemaVersion\":2,\"mani").unwrap();
    assert_eq!(entries(&place.open()), expected);
    let stale = ImageIndex::new(Vec::new());
    fs::write(store.path("index.json"), serde_json::to_vec(&stale).unwrap()).unwrap();
    assert!(entries(&place.open()).is_empty());
    fs::write(store.path("index.dirty"), b"").unwrap();
    assert_eq!(entries(&place.open()), expected);
    assert!(!store.path("index.dirty").exists());
}

#[test]
fn opening_clears_what_a_killed_process_left_and_keeps_what_a_running_one_writes() {
    let place = Place::new();
    let running = place.open();
    let mut ingest = running.ingest().unwrap();
    ingest.write_all(b"running").unwrap();
    let left = running.path("temporary").join("left");
    fs::write(&left, b"half a blob").unwrap();
    let second = place.open();
    assert!(!left.exists());
    ingest.commit(&Digest::of(b"running"), 7).unwrap();
    assert_eq!(second.blob_size(&Digest::of(b"running")).unwrap(), Some(7));
}

#[test]
fn stores_of_another_format_and_damaged_facts_are_named() {
    let place = Place::new();
    let store = place.open();
    let repository = store.repository(&name("local/a"));
    repository.tag(&tag("t"), &image(&repository, b"1")).unwrap();
    fs::write(store.path("repositories/local/a/_tags/t"), b"not json").unwrap();
    match repository.resolve(&tag("t")) {
        Err(StoreError::Corrupt { what, .. }) => assert!(what.ends_with("_tags/t"), "{what}"),
        other => panic!("{other:?}"),
    }
    fs::write(store.path("plimsoll.json"), br#"{"schema":"plimsoll.store/9"}"#).unwrap();
    match LayoutStore::open(store.root()) {
        Err(StoreError::Denied { reason, .. }) => assert!(reason.contains("plimsoll.store/9"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn content_of_another_store_is_linked_and_keeps_its_stamp() {
    let (here, there) = (Place::new(), Place::new());
    let (source, target) = (here.open(), there.open());
    let descriptor = put(&source.repository(&name("local/a")), MediaType::OciLayer, b"content");
    let file = fs::File::open(source.blob_path(&descriptor.digest)).unwrap();
    let stamped = Stamp::of(&file).unwrap().is_on(&file);
    let put = target.put_blob(&descriptor, source.open_blob(&descriptor.digest).unwrap()).unwrap();
    assert_eq!(put, if stamped { Put::Mounted } else { Put::Written });
    assert_eq!(read(target.open_blob(&descriptor.digest).unwrap()), b"content");
    assert!(target.0.hashed.lock().unwrap().is_empty() || !stamped, "a linked blob was hashed again");
}

#[test]
fn a_verified_part_of_a_file_is_copied_by_the_kernel() {
    let place = Place::new();
    let store = place.open();
    let path = place.folder.path().join("archive");
    fs::write(&path, b"headcontenttail").unwrap();
    let mut file = OpenOptions::new().read(true).open(&path).unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(4)).unwrap();
    let descriptor = Descriptor::of(MediaType::OciLayer, b"content");
    let blob = Blob::verified(descriptor.digest, 7, Source::File(file));
    assert_eq!(store.put_blob(&descriptor, blob).unwrap(), Put::Written);
    assert_eq!(store.verify_blob(&descriptor.digest).unwrap(), 7);
}

#[test]
fn many_threads_with_stores_of_their_own_agree() {
    let place = Place::new();
    place.open();
    let work = |number: usize| {
        let repository = place.open().repository(&name("local/a"));
        let document = image(&repository, b"same layer");
        for round in 0..5 {
            repository.tag(&tag(&format!("own-{number}-{round}")), &document).unwrap();
            repository.tag(&tag("shared"), &document).unwrap();
        }
    };
    std::thread::scope(|scope| {
        for number in 0..6 {
            scope.spawn(move || work(number));
        }
    });
    let store = place.open();
    let tags = store.repository(&name("local/a")).tags().unwrap();
    assert_eq!(tags.len(), 6 * 5 + 1);
    assert_eq!(entries(&store).len(), tags.len());
    assert_eq!(fs::read_dir(store.path("temporary")).unwrap().count(), 0);
    assert_eq!(store.verify_blob(&Digest::of(b"same layer")).unwrap(), 10);
}

#[test]
fn garbage_collection_waits_for_everyone() {
    let place = Place::new();
    let (one, two) = (place.open(), place.open());
    let shared = one.lock_shared().unwrap();
    let also = two.lock_shared().unwrap();
    assert!(two.try_lock_exclusive().unwrap().is_none());
    drop((shared, also));
    let exclusive = two.try_lock_exclusive().unwrap();
    assert!(exclusive.is_some());
    assert!(one.try_lock_exclusive().unwrap().is_none());
}
