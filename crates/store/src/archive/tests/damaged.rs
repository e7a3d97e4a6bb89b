//! Archives that are truncated, lie, or want out of their folder.

use proptest::prelude::*;

use super::*;

/// A Docker archive of one plain layer, with anything before and after its members.
fn docker(before: RawTar, layer: &[u8], diff: &[u8]) -> RawTar {
    before
        .file("manifest.json", r#"[{"Config":"c.json","RepoTags":["a:b"],"Layers":["l.tar"]}]"#)
        .file("c.json", config(&[diff]))
        .file("l.tar", layer)
}

#[track_caller]
fn check_corrupt<T: std::fmt::Debug>(result: Result<T, StoreError>, named: &[&str]) {
    match result {
        Err(error @ StoreError::Corrupt { .. }) => {
            let text = error.to_string();
            assert!(named.iter().all(|part| text.contains(part)), "{text}");
        }
        other => panic!("expected Corrupt, found {other:?}"),
    }
}

fn open_and_load(bytes: &[u8]) -> Result<(), StoreError> {
    let place = Place::new();
    let archive = place.open(bytes)?;
    archive.images().iter().try_for_each(|image| load(&archive, image).map(|_| ()))
}

#[test]
fn the_archive_these_tests_damage_is_good() {
    let layer = layer_tar("text");
    open_and_load(&docker(RawTar::default(), &layer, &layer).end()).unwrap();
}

#[test]
fn truncated_archives_say_where() {
    let layer = layer_tar("text");
    let whole = docker(RawTar::default(), &layer, &layer).end();
    let cut = |length: usize| open_and_load(&whole[..length]);
    check_corrupt(cut(whole.len() - 1024 - 100), &["l.tar", "truncated", "ends at byte"]);
    check_corrupt(cut(512 * 4 + 100), &["damaged tar at byte 2048", "breaks off"]);
    check_corrupt(cut(512 * 4), &["l.tar", "manifest.json names it", "truncated"]);
    check_corrupt(cut(512 * 2), &["c.json", "manifest.json names it", "truncated"]);
    check_corrupt(cut(0), &["holds no image"]);
    let gzip = compress(Compression::Gzip, &whole);
    check_corrupt(open_and_load(&gzip[..gzip.len() - 20]), &["truncated"]);
}

#[test]
fn content_that_is_not_what_it_should_be_is_named() {
    let (layer, other) = (layer_tar("text"), layer_tar("other"));
    let diff_id = Digest::of(&other).to_string();
    let plain = docker(RawTar::default(), &layer, &other).end();
    check_corrupt(open_and_load(&plain), &["l.tar", &diff_id, &Digest::of(&layer).to_string()]);
    let gzip = docker(RawTar::default(), &compress(Compression::Gzip, &layer), &other).end();
    check_corrupt(open_and_load(&gzip), &["l.tar", "diff id", &diff_id]);
    let broken = docker(RawTar::default(), b"\x1f\x8b but no gzip", &other).end();
    check_corrupt(open_and_load(&broken), &["l.tar", "cannot be uncompressed"]);
    let bzip2 = docker(RawTar::default(), b"BZh91AY&SY", &other).end();
    check_corrupt(open_and_load(&bzip2), &["l.tar", "not supported"]);
}

#[test]
fn a_blob_under_another_digest_is_named() {
    let store = MemoryStore::new();
    let document = image(&store, "text");
    let place = Place::new();
    let path = place.path("saved.tar");
    let saved = ArchiveImage { source: &store, descriptor: document.descriptor().clone(), names: Vec::new() };
    save_to_path(&[saved], ArchiveFormat::OciArchive, &ArchiveOptions::default(), &path).unwrap();
    let layer = document.as_image().unwrap().layers[0].clone();
    let mut bytes = fs::read(&path).unwrap();
    let mut content = Vec::new();
    std::io::copy(&mut store.open_blob(&layer.digest).unwrap(), &mut content).unwrap();
    let at = bytes.windows(content.len()).position(|window| window == content).unwrap();
    bytes[at + content.len() - 1] ^= 1;
    let archive = place.open(&bytes).unwrap();
    check_corrupt(archive.open_blob(&layer.digest), &["blobs/sha256/", &layer.digest.to_string()]);
    check_corrupt(load(&archive, &archive.images()[0]), &["blobs/sha256/"]);
}

#[test]
fn members_that_want_out_are_refused() {
    let layer = layer_tar("text");
    let upward = docker(RawTar::default().file("../../etc/passwd", "x"), &layer, &layer).end();
    check_corrupt(open_and_load(&upward), &["../../etc/passwd"]);
    let inside = docker(RawTar::default().file("a/../../b", "x"), &layer, &layer).end();
    check_corrupt(open_and_load(&inside), &["a/../../b"]);
    // An absolute name is a name like any other: nothing is ever put on disk by its name.
    let absolute = docker(RawTar::default().file("/etc/passwd", "x"), &layer, &layer).end();
    open_and_load(&absolute).unwrap();
}

#[test]
fn links_that_lead_out_are_refused_when_they_are_followed() {
    let layer = layer_tar("text");
    for target in ["/etc/passwd", "../../etc/passwd", "a/../../x"] {
        let unused = docker(RawTar::default().symlink("other", target), &layer, &layer);
        open_and_load(&unused.clone().end()).unwrap();
        check_corrupt(
            open_and_load(&unused.symlink("l.tar", target).end()),
            &["l.tar", target, "out of the archive"],
        );
    }
    let list = |config: &str| {
        let list = format!(r#"[{{"Config":"{config}","RepoTags":null,"Layers":[]}}]"#);
        RawTar::default().file("manifest.json", list).end()
    };
    check_corrupt(
        open_and_load(&list("../../../etc/passwd")),
        &["../../../etc/passwd", "out of the archive"],
    );
    check_corrupt(open_and_load(&list("/etc/passwd")), &["/etc/passwd", "out of the archive"]);
}

#[test]
fn links_in_a_circle_end() {
    let layer = layer_tar("text");
    let circle =
        docker(RawTar::default(), &layer, &layer).symlink("l.tar", "m.tar").symlink("m.tar", "l.tar");
    check_corrupt(open_and_load(&circle.end()), &["l.tar", "link to itself"]);
    let nowhere = docker(RawTar::default(), &layer, &layer).symlink("l.tar", "gone");
    check_corrupt(open_and_load(&nowhere.end()), &["l.tar", "not there"]);
}

#[test]
fn lists_that_do_not_fit_are_refused() {
    let layer = layer_tar("text");
    let list = |json: &str| {
        let tar = RawTar::default().file("manifest.json", json).file("c.json", config(&[&layer]));
        open_and_load(&tar.file("l.tar", &layer).end())
    };
    check_corrupt(list(r#"[{"Config":"gone.json","Layers":[]}]"#), &["gone.json", "manifest.json names it"]);
    check_corrupt(list(r#"[{"Config":"c.json","Layers":[]}]"#), &["c.json", "0 layers", "1 diff ids"]);
    check_corrupt(list(r#"[{"Config":"c.json","Layers":["gone"]}]"#), &["gone", "manifest.json names it"]);
    check_corrupt(list(r#"[{"Config":"l.tar","Layers":[]}]"#), &["l.tar", "configuration"]);
    check_corrupt(list(r#"{"no":"list"}"#), &["manifest.json"]);
    check_corrupt(list("[]"), &["holds no image"]);
    let index = RawTar::default().file("index.json", "[]").end();
    check_corrupt(open_and_load(&index), &["index.json"]);
    let digest = Digest::of(b"gone");
    let entry = Descriptor::new(MediaType::OciManifest, digest, 4);
    let index = serde_json::to_vec(&oci::ImageIndex::new(vec![entry])).unwrap();
    let index = RawTar::default().file("index.json", index).end();
    check_corrupt(open_and_load(&index), &["index.json", &digest.to_string()]);
}

#[test]
fn a_list_of_a_hundred_megabytes_is_refused_unread() {
    let list = vec![b' '; 100 << 20];
    let archive = RawTar::default().file("manifest.json", list).end();
    check_corrupt(open_and_load(&archive), &["manifest.json", "104857600 bytes"]);
}

#[test]
fn what_is_no_archive_is_told() {
    check_corrupt(open_and_load(&[7; 4096]), &["damaged tar at byte 0"]);
    check_corrupt(open_and_load(b"PK\x03\x04 a zip file"), &["damaged tar at byte 0"]);
    let place = Place::new();
    let absent = ArchiveStore::open(&place.path("absent.tar"), place.folder.path());
    assert!(matches!(absent, Err(StoreError::NotFound { what }) if what.contains("absent.tar")));
    let folder = ArchiveStore::open(place.folder.path(), place.folder.path());
    assert!(matches!(folder, Err(StoreError::Unreachable { .. })));
}

#[test]
fn writing_to_an_archive_is_denied() {
    let layer = layer_tar("text");
    let place = Place::new();
    let archive = place.open(&docker(RawTar::default(), &layer, &layer).end()).unwrap();
    let document = archive.document(&archive.images()[0].descriptor.digest).unwrap();
    let tag = "x".parse().unwrap();
    let denied = |result| matches!(result, Err(StoreError::Denied { .. }));
    assert!(denied(archive.tag(&tag, &document)) && denied(archive.put_document(&document)));
    assert!(denied(archive.untag(&tag)) && denied(archive.delete_document(&document.digest())));
    assert!(denied(archive.put_blob(document.descriptor(), Blob::from_bytes("x")).map(|_| ())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((0..6000_usize, any::<u8>()), 1..8), cut in 0..8000_usize) {
        let layer = layer_tar("text");
        let mut bytes = docker(RawTar::default(), &layer, &layer).end();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(cut);
        // Whatever comes out, it comes out as a value; what loads has the digests it claims.
        if let Ok(()) = open_and_load(&bytes) {
            prop_assert!(!bytes.is_empty());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(open_and_load(&bytes).is_err());
    }
}
