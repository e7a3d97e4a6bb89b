//! Order, counting and errors of a copy.

use oci::{Digest, Document, ImageIndex, ImageManifest, MediaType, Tag};

use super::*;
use crate::graph::ATTESTED;
use crate::referrer::{cosign_tag, fallback_tag};
use crate::{Blob, LayoutStore, MemoryStore, OciFolder, image_for_platform};

fn put(store: &dyn ImageStore, media_type: MediaType, content: &'static str) -> Descriptor {
    let descriptor = Descriptor::of(media_type, content.as_bytes());
    store.put_blob(&descriptor, Blob::from_bytes(content)).unwrap();
    descriptor
}

fn image(store: &dyn ImageStore, config: &'static str, layer: &'static str) -> Document {
    let config = put(store, MediaType::OciConfig, config);
    let shared = put(store, MediaType::OciLayer, "shared by all");
    let layer = put(store, MediaType::OciLayer, layer);
    let document = Document::from_manifest(ImageManifest::new(config, vec![shared, layer]));
    store.put_document(&document).unwrap();
    document
}

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

/// An index of amd64 and arm64 with an attestation about arm64.
fn index(store: &dyn ImageStore) -> Document {
    let amd64 = image(store, "{\"a\":1}", "amd64 layer").descriptor().clone();
    let arm64 = image(store, "{\"a\":2}", "arm64 layer").descriptor().clone();
    let mut about = image(store, "{\"a\":3}", "attestation").descriptor().clone();
    about.annotations.insert(ATTESTED.to_owned(), arm64.digest.to_string());
    let about = about.for_platform(platform("unknown/unknown"));
    let children =
        vec![amd64.for_platform(platform("linux/amd64")), arm64.for_platform(platform("linux/arm64")), about];
    let document = Document::from_index(ImageIndex::new(children));
    store.put_document(&document).unwrap();
    document
}

fn copy(source: &dyn ImageStore, target: &dyn ImageStore, document: &Document) -> Result<Copied, StoreError> {
    copy_image(source, target, document.descriptor(), &CopyOptions::default(), &|_| {})
}

#[test]
fn an_index_arrives_with_everything_and_the_second_time_nothing_moves() {
    let (source, target) = (MemoryStore::new(), MemoryStore::new());
    let document = index(&source);
    let first = copy(&source, &target, &document).unwrap();
    assert_eq!((first.blobs_moved, first.blobs_present, first.documents), (7, 0, 4));
    assert_eq!(first.bytes_moved, (3 * 7 + 13 + 11 + 11 + 11) as u64);
    assert_eq!(target.document(&document.digest()).unwrap(), document);
    let second = copy(&source, &target, &document).unwrap();
    assert_eq!((second.bytes_moved, second.blobs_present), (0, 7));
}

#[test]
fn events_tell_the_plan_and_every_part() {
    let (source, target) = (MemoryStore::new(), MemoryStore::new());
    let document = image(&source, "{}", "one");
    let seen = Mutex::new(Vec::new());
    let observe = |event: CopyEvent<'_>| {
        seen.lock().unwrap().push(match event {
            CopyEvent::Planned { blobs, bytes } => format!("planned {blobs} {bytes}"),
            CopyEvent::BlobStarted(blob) => format!("started {}", blob.size),
            CopyEvent::BlobDone { blob, put } => format!("{put:?} {}", blob.size),
            CopyEvent::BlobLeftOut(blob) => format!("left out {}", blob.size),
            CopyEvent::DocumentDone(descriptor) => {
                format!("document {}", descriptor.digest == document.digest())
            }
        });
    };
    let options = CopyOptions { concurrency: 1, ..Default::default() };
    copy_image(&source, &target, document.descriptor(), &options, &observe).unwrap();
    // One at a time, the largest first.
    let expected = [
        "planned 3 18",
        "started 13",
        "Written 13",
        "started 3",
        "Written 3",
        "started 2",
        "Written 2",
        "document true",
    ];
    assert_eq!(seen.into_inner().unwrap(), expected);
}

#[test]
fn only_some_platforms_come_with_what_is_attested_about_them() {
    let source = MemoryStore::new();
    let document = index(&source);
    let folder = tempfile::tempdir().unwrap();
    let options = crate::RepositoryOptions { children: crate::Children::Sparse, ..Default::default() };
    let store = LayoutStore::open(folder.path()).unwrap();
    let target = store.repository_with(&"local/a".parse().unwrap(), options);
    let options =
        CopyOptions { platforms: Platforms::Only(vec![platform("linux/arm64")]), ..Default::default() };
    let copied = copy_image(&source, &target, document.descriptor(), &options, &|_| {}).unwrap();
    assert_eq!(copied.documents, 3);
    let index = document.as_index().unwrap();
    let there = |child: &Descriptor| target.document(&child.digest).is_ok();
    assert_eq!(index.manifests.iter().map(there).collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn a_platform_that_is_not_there_is_named_with_those_that_are() {
    let (source, target) = (MemoryStore::new(), MemoryStore::new());
    let document = index(&source);
    let options =
        CopyOptions { platforms: Platforms::Only(vec![platform("linux/s390x")]), ..Default::default() };
    let error = copy_image(&source, &target, document.descriptor(), &options, &|_| {}).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("linux/s390x") && text.contains("linux/amd64, linux/arm64"), "{text}");
    let error = image_for_platform(&source, document.descriptor(), &platform("linux/s390x")).unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }));
    let found = image_for_platform(&source, document.descriptor(), &platform("linux/arm64")).unwrap();
    assert_eq!(found.digest(), document.as_index().unwrap().manifests[1].digest);
}

#[test]
fn a_blob_that_is_missing_stops_the_copy_before_the_manifest() {
    let (source, target) = (MemoryStore::new(), MemoryStore::new());
    let config = put(&source, MediaType::OciConfig, "{}");
    let foreign = Descriptor {
        urls: vec!["https://example.com/layer".to_owned()],
        ..Descriptor::of(MediaType::DockerForeignLayerGzip, b"foreign")
    };
    let document = Document::from_manifest(ImageManifest::new(config, vec![foreign]));
    source.put_document(&document).unwrap();
    assert_eq!(copy(&source, &target, &document).unwrap().blobs_moved, 1);

    let folder = tempfile::tempdir().unwrap();
    let broken = LayoutStore::open(folder.path()).unwrap().repository(&"local/a".parse().unwrap());
    let document = image(&broken, "{}", "gone");
    let hex = Digest::of(b"gone").hex();
    std::fs::remove_file(folder.path().join("blobs/sha256").join(hex)).unwrap();
    let error = copy(&broken, &target, &document).unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error:?}");
    assert!(target.document(&document.digest()).is_err());
}

#[test]
fn between_layouts_of_one_file_system_no_bytes_move() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| LayoutStore::open(&folder.path().join(name)).unwrap();
    let (one, two) = (open("one"), open("two"));
    let name = "local/a".parse().unwrap();
    let document = image(&one.repository(&name), "{}", "layer");
    let copied = copy(&one.repository(&name), &two.repository(&name), &document).unwrap();
    assert_eq!(copied.blobs_moved + copied.blobs_mounted, 3);
    assert_eq!(two.repository(&name).document(&document.digest()).unwrap(), document);
    assert_eq!(two.verify_blob(&Digest::of(b"layer")).unwrap(), 5);
}

#[test]
fn indexes_nested_without_end_are_refused() {
    let source = MemoryStore::new();
    let mut document = image(&source, "{}", "layer");
    for _ in 0..12 {
        document = Document::from_index(ImageIndex::new(vec![document.descriptor().clone()]));
        source.put_document(&document).unwrap();
    }
    let error = copy(&source, &MemoryStore::new(), &document).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }));
}

/// A manifest of an artifact about `subject`, tagged where `tag` is given.
fn about(store: &dyn ImageStore, subject: &Document, content: &'static str, tag: Option<&Tag>) -> Document {
    let config = put(store, MediaType::from("application/vnd.oci.empty.v1+json"), "{}");
    let layer = put(store, MediaType::from("application/octet-stream"), content);
    let mut manifest = ImageManifest::new(config, vec![layer]);
    manifest.artifact_type = Some("application/x-test".to_owned());
    if tag.is_none() {
        manifest.subject = Some(subject.descriptor().clone());
    }
    let document = Document::from_manifest(manifest);
    store.put_document(&document).unwrap();
    if let Some(tag) = tag {
        store.tag(tag, &document).unwrap();
    }
    document
}

#[test]
fn what_refers_to_any_part_comes_along_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (MemoryStore::new(), OciFolder::create(folder.path()).unwrap());
    let document = index(&source);
    let child = source.document(&document.as_index().unwrap().manifests[0].digest).unwrap();
    let of_index = about(&source, &document, "of the index", None);
    let of_child = about(&source, &child, "of the child", None);
    let of_that = about(&source, &of_child, "of what is of the child", None);
    let tag = cosign_tag(&child.digest(), "sig");
    let signature = about(&source, &child, "signature", Some(&tag));
    // A list that names one which nothing else leads to, and one that is gone.
    let listed = about(&source, &document, "listed", Some(&"x".parse().unwrap()));
    let gone = about(&source, &document, "gone", Some(&"y".parse().unwrap()));
    let entries = vec![listed.descriptor().clone(), gone.descriptor().clone()];
    source.tag(&fallback_tag(&document.digest()), &Document::from_index(ImageIndex::new(entries))).unwrap();
    source.delete_document(&gone.digest()).unwrap();

    copy(&source, &target, &document).unwrap();
    assert!(matches!(target.document(&of_index.digest()), Err(StoreError::NotFound { .. })));
    let options = CopyOptions { company: Company::Referrers, ..Default::default() };
    let copied = copy_image(&source, &target, document.descriptor(), &options, &|_| {}).unwrap();
    assert_eq!((copied.documents, copied.referrers), (9, 5));
    let digests = |found: Vec<Descriptor>| found.iter().map(|one| one.digest).collect::<Vec<_>>();
    assert_eq!(digests(target.referrers(&document.digest()).unwrap()), [of_index.digest()]);
    assert_eq!(digests(target.referrers(&child.digest()).unwrap()), [of_child.digest()]);
    assert_eq!(digests(target.referrers(&of_child.digest()).unwrap()), [of_that.digest()]);
    assert_eq!(target.resolve(&tag).unwrap().digest, signature.digest());
    assert!(target.document(&listed.digest()).is_ok() && target.document(&gone.digest()).is_err());
}

#[test]
fn no_more_blobs_are_under_way_than_were_asked_for() {
    for (concurrency, most) in [(0, 1), (1, 1), (2, 2 + 6)] {
        let (source, target) = (MemoryStore::new(), MemoryStore::new());
        let mut layers: Vec<Descriptor> =
            (0..30).map(|number| put_bytes(&source, vec![number; 100])).collect();
        layers.extend((0..4).map(|number| put_bytes(&source, vec![number; 600_000])));
        let config = put(&source, MediaType::OciConfig, "{}");
        let document = Document::from_manifest(ImageManifest::new(config, layers));
        source.put_document(&document).unwrap();
        let options = CopyOptions { concurrency, ..Default::default() };
        let count = Mutex::new((0, 0));
        let observe = |event: CopyEvent<'_>| {
            let mut count = count.lock().unwrap();
            match event {
                CopyEvent::BlobStarted(_) => count.0 += 1,
                CopyEvent::BlobDone { .. } => count.0 -= 1,
                _ => {}
            }
            count.1 = count.1.max(count.0);
        };
        let copied = copy_image(&source, &target, document.descriptor(), &options, &observe).unwrap();
        assert_eq!(copied.blobs_moved, 35);
        let (left, peak) = *count.lock().unwrap();
        assert!(left == 0 && (1..=most).contains(&peak), "{peak} of {most} at {concurrency}");
    }
}

fn put_bytes(store: &dyn ImageStore, content: Vec<u8>) -> Descriptor {
    let descriptor = Descriptor::of(MediaType::OciLayer, &content);
    store.put_blob(&descriptor, Blob::from_bytes(content)).unwrap();
    descriptor
}
