//! Images that go in and come out, and what the folder holds then.

use std::collections::BTreeSet;

use oci::{ImageIndex, ImageManifest, MediaType};

use super::*;
use crate::{Company, CopyOptions, MemoryStore, Top, copy_image};

fn image(store: &dyn ImageStore, layer: &'static str, subject: Option<&Document>) -> Document {
    let put = |media_type, content: &'static str| {
        let descriptor = Descriptor::of(media_type, content.as_bytes());
        store.put_blob(&descriptor, Blob::from_bytes(content)).unwrap();
        descriptor
    };
    let config =
        put(MediaType::OciConfig, r#"{"architecture":"arm64","os":"linux","rootfs":{"type":"layers"}}"#);
    let layer = put(MediaType::OciLayer, layer);
    let mut manifest = ImageManifest::new(config, vec![layer]);
    manifest.subject = subject.map(|subject| subject.descriptor().clone());
    let document = Document::from_manifest(manifest);
    store.put_document(&document).unwrap();
    document
}

fn put(source: &dyn ImageStore, folder: &FlatFolder, document: &Document, company: Company) {
    let top = if company == Company::Alone { Top::LeftToTag } else { Top::Copied };
    let options = CopyOptions { top, company, ..CopyOptions::default() };
    copy_image(source, folder, document.descriptor(), &options, &|_| {}).unwrap();
    folder.set(document).unwrap();
}

fn names(root: &Path) -> BTreeSet<String> {
    fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn an_image_is_its_manifest_and_its_blobs_by_their_digits() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("image");
    let source = MemoryStore::new();
    let document = image(&source, "layer", None);
    put(&source, &FlatFolder::create(&root).unwrap(), &document, Company::Alone);
    let mut expected: BTreeSet<String> = [MANIFEST, VERSION_FILE].map(str::to_owned).into();
    expected.extend(children(&document).iter().map(|child| child.descriptor.digest.hex()));
    assert_eq!(names(&root), expected);
    assert_eq!(fs::read(root.join(MANIFEST)).unwrap(), document.raw()[..]);
    let again = FlatFolder::open(&root).unwrap();
    assert_eq!(again.resolve(&"any".parse().unwrap()).unwrap(), *document.descriptor());
    let copied =
        copy_image(&again, &MemoryStore::new(), document.descriptor(), &CopyOptions::default(), &|_| {});
    assert_eq!(copied.unwrap().blobs_moved, 2);
}

#[test]
fn another_image_takes_the_place_of_the_one_before() {
    let place = tempfile::tempdir().unwrap();
    let source = MemoryStore::new();
    let (first, second) = (image(&source, "1", None), image(&source, "2", None));
    let folder = FlatFolder::create(place.path()).unwrap();
    put(&source, &folder, &first, Company::Alone);
    fs::write(place.path().join("notes.txt"), "mine").unwrap();
    put(&source, &FlatFolder::create(place.path()).unwrap(), &second, Company::Alone);
    assert_eq!(folder.image().unwrap(), second);
    let files = names(place.path());
    assert_eq!(files.len(), 5, "{files:?}");
    assert!(files.contains("notes.txt"), "what is not ours stays: {files:?}");
    assert!(matches!(folder.document(&first.digest()), Err(StoreError::NotFound { .. })));
}

#[test]
fn an_index_comes_with_its_manifests_and_what_is_about_them() {
    let source = MemoryStore::new();
    let child = image(&source, "layer", None);
    let index = Document::from_index(ImageIndex::new(vec![child.descriptor().clone()]));
    source.put_document(&index).unwrap();
    let signature = image(&source, "signature", Some(&index));
    let place = tempfile::tempdir().unwrap();
    let folder = FlatFolder::create(place.path()).unwrap();
    put(&source, &folder, &index, Company::Referrers);
    assert_eq!(folder.document(&child.digest()).unwrap(), child);
    let about = folder.referrers(&index.digest()).unwrap();
    assert_eq!(about.iter().map(|found| found.digest).collect::<Vec<_>>(), [signature.digest()]);
    let target = MemoryStore::new();
    let options = CopyOptions { company: Company::Referrers, ..CopyOptions::default() };
    copy_image(&folder, &target, index.descriptor(), &options, &|_| {}).unwrap();
    assert_eq!(target.referrers(&index.digest()).unwrap().len(), 1);
}

#[track_caller]
fn check_corrupt<T: std::fmt::Debug>(result: Result<T, StoreError>, named: &str) {
    match result {
        Err(StoreError::Corrupt { what, reason }) => {
            assert!(format!("{what} {reason}").contains(named), "{what}: {reason}")
        }
        other => panic!("expected Corrupt, found {other:?}"),
    }
}

#[test]
fn damage_is_found_and_other_peoples_folders_are_left_alone() {
    let place = tempfile::tempdir().unwrap();
    assert!(matches!(FlatFolder::open(&place.path().join("no")), Err(StoreError::NotFound { .. })));
    assert!(matches!(FlatFolder::open(place.path()), Err(StoreError::NotFound { .. })));
    let source = MemoryStore::new();
    let document = image(&source, "layer", None);
    let folder = FlatFolder::create(place.path()).unwrap();
    assert!(matches!(folder.set(&document), Err(StoreError::NotFound { .. })), "its blobs are not there");
    put(&source, &folder, &document, Company::Alone);
    let layer = &children(&document)[1].descriptor.digest;
    fs::write(place.path().join(layer.hex()), "LAYER").unwrap();
    let copied = copy_image(
        &FlatFolder::open(place.path()).unwrap(),
        &MemoryStore::new(),
        document.descriptor(),
        &CopyOptions::default(),
        &|_| {},
    );
    check_corrupt(copied, &layer.hex());
    fs::write(place.path().join(MANIFEST), "{").unwrap();
    check_corrupt(FlatFolder::open(place.path()), MANIFEST);

    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("thesis.tex"), "years of work").unwrap();
    check_corrupt(FlatFolder::create(foreign.path()), "neither empty");
    fs::write(foreign.path().join(VERSION_FILE), "3").unwrap();
    check_corrupt(FlatFolder::create(foreign.path()), "neither empty");
    assert_eq!(names(foreign.path()).len(), 2);
}
