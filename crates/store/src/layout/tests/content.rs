//! Blobs: written once, checked, repaired, shared.

use super::*;

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
