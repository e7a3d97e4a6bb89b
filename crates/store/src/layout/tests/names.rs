//! Repositories, manifests and tags, also from several threads at once.

use super::*;

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
    let left = running.path("temporary").join(".plimsoll-left");
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
