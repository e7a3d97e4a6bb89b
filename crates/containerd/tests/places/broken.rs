//! Uploads that broke off, go on, or had a bad beginning.

use std::io::Write;

use oci::Digest;
use store::{Put, Source};

use super::*;
use crate::fake::Lie;

const LENGTH: usize = 3_000_000;

#[test]
fn an_upload_goes_on_where_it_broke_off() {
    let (fake, image) = (Fake::start(), image(&[LENGTH]));
    fake.lie(Lie::BreaksAfter(1_000_000));
    let error = send(&image, repository(&fake)).unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    assert!(fake.state().images.is_empty(), "a name leads to an image that is not whole");
    let first = fake.received();
    let there: usize = fake.state().ingests.values().map(Vec::len).sum();
    assert!((1_000_000..LENGTH).contains(&there), "{there}");
    send(&image, repository(&fake)).unwrap();
    let blobs: u64 = fake.state().blobs.values().map(|kept| kept.bytes.len() as u64).sum();
    // Small blobs that arrived before the break are there; no byte of any came twice.
    assert_eq!(first + fake.received(), blobs);
    assert!(fake.state().images.contains_key(&key("default", NAME)));
}

/// Puts a bad beginning of a blob where an upload goes on, and returns the blob's content.
fn with_bad_beginning(fake: &Fake) -> (Descriptor, Vec<u8>) {
    let content = noise(1, LENGTH);
    let descriptor = Descriptor::of(MediaType::OciLayer, &content);
    let reference = key("default", &format!("plimsoll-{}", descriptor.digest));
    fake.state().ingests.insert(reference, vec![7; 500_000]);
    (descriptor, content)
}

#[test]
fn a_file_begins_anew_where_the_beginning_was_wrong() {
    let fake = Fake::start();
    let (descriptor, content) = with_bad_beginning(&fake);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"head").unwrap();
    file.write_all(&content).unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(4)).unwrap();
    let blob = Blob::unverified(descriptor.digest, LENGTH as u64, file);
    assert_eq!(repository(&fake).put_blob(&descriptor, blob).unwrap(), Put::Written);
    assert_eq!(fake.state().blobs[&key("default", &descriptor.digest.to_string())].bytes, content);
}

#[test]
fn a_stream_fails_once_and_then_begins_anew() {
    let fake = Fake::start();
    let (descriptor, content) = with_bad_beginning(&fake);
    let blob = || Blob::checked(descriptor.digest, LENGTH as u64, std::io::Cursor::new(content.clone()));
    let error = repository(&fake).put_blob(&descriptor, blob()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(fake.state().ingests.is_empty(), "the next try would go on behind the same beginning");
    assert_eq!(repository(&fake).put_blob(&descriptor, blob()).unwrap(), Put::Written);
}

#[test]
fn what_lies_about_its_content_is_not_kept() {
    for length in [1000, LENGTH] {
        let fake = Fake::start();
        let descriptor = Descriptor::of(MediaType::OciLayer, &noise(1, length));
        let other = noise(2, length);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&other).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let blobs = [
            Blob::unverified(descriptor.digest, length as u64, file),
            Blob::checked(descriptor.digest, length as u64, std::io::Cursor::new(other.clone())),
            Blob::new(length as u64, Source::Bytes(other.into())),
        ];
        for blob in blobs {
            let error = repository(&fake).put_blob(&descriptor, blob).unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
            let state = fake.state();
            assert!(state.blobs.is_empty(), "it was kept");
            let begun = state.ingests.values().filter(|bytes| bytes.len() > 1000).count();
            assert_eq!(begun, 0, "the next try would go on behind it");
        }
    }
}

#[test]
fn a_source_that_ends_early_says_so_and_what_came_is_kept() {
    let fake = Fake::start();
    let content = noise(1, LENGTH);
    let descriptor = Descriptor::of(MediaType::OciLayer, &content);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content[..LENGTH / 2]).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let blob = Blob::unverified(descriptor.digest, LENGTH as u64, file);
    let error = repository(&fake).put_blob(&descriptor, blob).unwrap_err();
    assert!(error.to_string().contains("cannot read blob"), "{error}");
    assert!(fake.state().blobs.is_empty());
}

#[test]
fn another_client_with_the_same_blob_is_waited_for() {
    let fake = Fake::start();
    fake.lie(Lie::Locked(2));
    let content = noise(1, LENGTH);
    let descriptor = Descriptor::of(MediaType::OciLayer, &content);
    assert_eq!(repository(&fake).put_blob(&descriptor, Blob::from_bytes(content)).unwrap(), Put::Written);
    assert_eq!(fake.state().lie, Lie::Locked(0));
    assert_eq!(Digest::of(&noise(1, LENGTH)), descriptor.digest);
}
