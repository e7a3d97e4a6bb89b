//! Reading, writing and the shapes of damage.

use std::io::Read as _;

use oci::{ImageManifest, MediaType};

use super::*;
use crate::{CopyOptions, MemoryStore, copy_image};

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("layout")
    }

    fn create(&self) -> OciFolder {
        OciFolder::create(&self.root()).unwrap()
    }
}

fn image(store: &dyn ImageStore, layer: &'static str) -> Document {
    let put = |media_type, content: &'static str| {
        let descriptor = Descriptor::of(media_type, content.as_bytes());
        store.put_blob(&descriptor, Blob::from_bytes(content)).unwrap();
        descriptor
    };
    let config =
        put(MediaType::OciConfig, r#"{"architecture":"arm64","os":"linux","rootfs":{"type":"layers"}}"#);
    let layer = put(MediaType::OciLayer, layer);
    let document = Document::from_manifest(ImageManifest::new(config, vec![layer]));
    store.put_document(&document).unwrap();
    document
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

#[track_caller]
fn check_corrupt<T: std::fmt::Debug>(result: Result<T, StoreError>, named: &str) {
    match result {
        Err(StoreError::Corrupt { what, reason }) => {
            assert!(format!("{what} {reason}").contains(named), "{what}: {reason}");
        }
        other => panic!("expected Corrupt, found {other:?}"),
    }
}

#[test]
fn an_image_goes_in_and_comes_out_under_its_tag() {
    let place = Place::new();
    let source = MemoryStore::new();
    let document = image(&source, "layer");
    let target = place.create();
    copy_image(&source, &target, document.descriptor(), &CopyOptions::default(), &|_| {}).unwrap();
    target.tag(&tag("v1"), &document).unwrap();

    let again = OciFolder::open(&place.root()).unwrap();
    assert_eq!(again.resolve(&tag("v1")).unwrap(), *document.descriptor());
    assert_eq!(again.document(&document.digest()).unwrap(), document);
    let [found] = &again.images().unwrap()[..] else { panic!() };
    assert_eq!(found.names, [ArchivedName::Tag(tag("v1"))]);
    assert_eq!(found.platforms, ["linux/arm64".parse().unwrap()]);
    let copied =
        copy_image(&again, &MemoryStore::new(), document.descriptor(), &CopyOptions::default(), &|_| {});
    assert_eq!(copied.unwrap().blobs_moved, 2);
    assert_eq!(fs::read_dir(place.root()).unwrap().count(), 3, "nothing but what the specification names");
}

#[test]
fn tags_move_go_and_do_not_disturb_others() {
    let place = Place::new();
    let folder = place.create();
    let (one, two) = (image(&folder, "1"), image(&folder, "2"));
    folder.add(&one).unwrap();
    folder.add(&one).unwrap();
    assert_eq!(folder.images().unwrap().len(), 1);
    assert!(folder.tags().unwrap().is_empty());
    folder.tag(&tag("a"), &one).unwrap();
    folder.tag(&tag("b"), &one).unwrap();
    folder.tag(&tag("a"), &two).unwrap();
    assert_eq!(folder.tags().unwrap(), [tag("a"), tag("b")]);
    assert_eq!(folder.resolve(&tag("a")).unwrap().digest, two.digest());
    folder.untag(&tag("a")).unwrap();
    assert!(matches!(folder.untag(&tag("a")), Err(StoreError::NotFound { .. })));
    folder.delete_document(&one.digest()).unwrap();
    assert!(matches!(folder.resolve(&tag("b")), Err(StoreError::NotFound { .. })));
    assert!(folder.images().unwrap().is_empty());
}

#[test]
fn full_names_are_found_by_their_tag_where_it_is_clear() {
    let place = Place::new();
    let folder = place.create();
    let (one, two) = (image(&folder, "1"), image(&folder, "2"));
    let named = |document: &Document, name: &str| {
        let annotations = [(REF_NAME.to_owned(), name.to_owned())].into();
        Descriptor { annotations, ..document.descriptor().clone() }
    };
    let entries = vec![named(&one, "ghcr.io/a/b:v1"), named(&one, "x.y/a:v2"), named(&two, "x.y/b:v2")];
    folder.write_index(&ImageIndex::new(entries)).unwrap();
    assert_eq!(folder.resolve(&tag("v1")).unwrap().digest, one.digest());
    assert!(matches!(folder.resolve(&tag("v2")), Err(StoreError::Denied { .. })));
}

#[test]
fn content_that_was_changed_is_told_and_can_be_written_again() {
    let place = Place::new();
    let document = image(&place.create(), "layer");
    let layer = document.as_image().unwrap().layers[0].clone();
    let folder = OciFolder::open(&place.root()).unwrap();
    assert_eq!(folder.open_blob(&layer.digest).unwrap().size(), 5);
    fs::write(place.root().join(super::place(&layer.digest)), b"LAYER and more").unwrap();
    let mut changed = folder.open_blob(&layer.digest).unwrap();
    let error = changed.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains(&Digest::of(b"LAYER and more").to_string()), "{error}");
    let changed = folder.open_blob(&layer.digest).unwrap();
    check_corrupt(MemoryStore::new().put_blob(&layer, changed), "expected");
    assert_eq!(folder.put_blob(&layer, Blob::from_bytes("layer")).unwrap(), Put::Written);
    assert_eq!(folder.put_blob(&layer, Blob::from_bytes("layer")).unwrap(), Put::Present);
    fs::remove_file(place.root().join(super::place(&layer.digest))).unwrap();
    check_corrupt(folder.put_blob(&layer, Blob::from_bytes("other")).map(|_| ()), "expected digest");
    assert!(matches!(folder.put_document(&document), Err(StoreError::NotFound { .. })));
}

#[test]
fn folders_that_are_no_layout_are_left_alone() {
    let place = Place::new();
    assert!(matches!(OciFolder::open(&place.root()), Err(StoreError::NotFound { .. })));
    fs::create_dir(place.root()).unwrap();
    check_corrupt(OciFolder::open(&place.root()), "no image layout");
    fs::write(place.root().join("letter.txt"), b"dear").unwrap();
    check_corrupt(OciFolder::create(&place.root()), "no image layout");
    assert_eq!(fs::read_dir(place.root()).unwrap().count(), 1);
    fs::write(place.root().join(INDEX), b"[1]").unwrap();
    check_corrupt(OciFolder::open(&place.root()), "not an image index");
    fs::write(place.root().join(INDEX), vec![b' '; 9 << 20]).unwrap();
    check_corrupt(OciFolder::open(&place.root()), "more than the 8388608 bytes");
}

#[test]
fn threads_that_tag_at_once_lose_nothing() {
    let place = Place::new();
    let document = image(&place.create(), "layer");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (place, document) = (&place, &document);
            scope.spawn(move || {
                let folder = OciFolder::open(&place.root()).unwrap();
                folder.tag(&tag(&format!("t{number}")), document).unwrap();
            });
        }
    });
    assert_eq!(OciFolder::open(&place.root()).unwrap().tags().unwrap().len(), 8);
}

#[test]
fn a_layout_whose_making_was_killed_is_made_whole() {
    for done in 0..3 {
        let place = Place::new();
        fs::create_dir_all(place.root()).unwrap();
        if done > 0 {
            fs::create_dir_all(place.root().join("blobs/sha256")).unwrap();
        }
        if done > 1 {
            fs::write(place.root().join(LAYOUT.0), LAYOUT.1).unwrap();
        }
        let document = image(&place.create(), "layer");
        OciFolder::open(&place.root()).unwrap().add(&document).unwrap();
    }
    // One that lost its list has content that no name leads to; that is not for us to mend.
    let place = Place::new();
    image(&place.create(), "layer");
    fs::remove_file(place.root().join(INDEX)).unwrap();
    check_corrupt(OciFolder::create(&place.root()).map(|_| ()), "index.json");
}

#[test]
fn digests_and_links_lead_nowhere_else() {
    let place = Place::new();
    let layout = place.create();
    let document = image(&layout, "layer");
    layout.tag(&tag("1"), &document).unwrap();
    // A list that names a file outside.
    let index = place.root().join("index.json");
    let good = fs::read_to_string(&index).unwrap();
    for digest in ["sha256:../../../../etc/passwd", "sha256:..", "../x:ab", "sha256:/etc/passwd"] {
        fs::write(&index, good.replace(&document.digest().to_string(), digest)).unwrap();
        check_corrupt(layout.resolve(&tag("1")), "index.json");
        check_corrupt(layout.images(), "index.json");
    }
    fs::write(&index, good).unwrap();
    // A blob that is a link to something else is not what its name says, however long it is.
    let outside = place.folder.path().join("outside");
    fs::write(&outside, "other").unwrap();
    let layer = Digest::of(b"layer");
    let blob = place.root().join("blobs/sha256").join(layer.hex());
    fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink(&outside, &blob).unwrap();
    let mut read = Vec::new();
    let found = layout.open_blob(&layer).map(|mut blob| std::io::Read::read_to_end(&mut blob, &mut read));
    assert!(!matches!(found, Ok(Ok(_))), "{found:?}");
    let copied =
        copy_image(&layout, &MemoryStore::new(), document.descriptor(), &CopyOptions::whole(), &|_| {});
    check_corrupt(copied, &layer.to_string());
    assert_eq!(fs::read(&outside).unwrap(), b"other");
}
