//! An image goes in and comes out, and only what is missing moves.

use std::collections::BTreeSet;

use oci::{Digest, ImageIndex};
use store::{CopyOptions, copy_image};

use super::*;

#[test]
fn an_image_goes_in_and_comes_out_the_same() {
    let (fake, image) = (Fake::start(), image(&[700_000, 10, 300_000]));
    let copied = send(&image, repository(&fake)).unwrap();
    assert_eq!((copied.blobs_moved, copied.blobs_present), (4, 0));

    let back = MemoryStore::new();
    let from = repository(&fake);
    let found = from.resolve(&"1".parse().unwrap()).unwrap();
    assert_eq!(found, *image.document.descriptor());
    copy_image(&from, &back, &found, &CopyOptions::default(), &|_| {}).unwrap();
    assert_eq!(back.document(&found.digest).unwrap().raw(), image.document.raw());
}

#[test]
fn the_manifest_leads_to_its_parts_and_the_lease_is_over() {
    let (fake, image) = (Fake::start(), image(&[5, 6]));
    let to = repository(&fake).coming_from(Some(&"ghcr.io/acme/api".parse().unwrap()));
    send(&image, to).unwrap();
    let state = fake.state();
    let kept = &state.blobs[&key("default", &image.document.digest().to_string())];
    let manifest = image.document.as_image().unwrap();
    for (label, part) in
        [("config", &manifest.config), ("l.0", &manifest.layers[0]), ("l.1", &manifest.layers[1])]
    {
        let label = format!("containerd.io/gc.ref.content.{label}");
        assert_eq!(kept.labels[&label], part.digest.to_string());
        let part = &state.blobs[&key("default", &part.digest.to_string())];
        assert_eq!(part.labels["containerd.io/distribution.source.ghcr.io"], "acme/api");
    }
    let [lease] = &state.ended[..] else { panic!("{:?}", state.ended) };
    assert_eq!(lease.labels["containerd.io/gc.expire"], "1970-01-02T00:00:00Z");
    let parts: BTreeSet<String> = state.blobs.keys().map(|(_, digest)| digest.clone()).collect();
    assert_eq!(lease.held, parts);
    assert!(state.leases.is_empty() && state.ingests.is_empty());
}

#[test]
fn what_is_there_is_not_sent_again() {
    let fake = Fake::start();
    send(&image(&[400_000, 300_000]), repository(&fake)).unwrap();
    fake.received();
    let copied = send(&image(&[400_000, 300_000]), repository(&fake)).unwrap();
    assert_eq!((copied.blobs_present, copied.bytes_moved, fake.received()), (3, 0, 0));
    // Another top layer: it, the configuration and the manifest.
    let changed = image(&[400_000, 299_999]);
    send(&changed, repository(&fake)).unwrap();
    let manifest = changed.document.as_image().unwrap();
    assert_eq!(fake.received(), 299_999 + manifest.config.size + changed.document.descriptor().size);
}

#[test]
fn a_manifest_that_was_there_without_its_labels_gets_them() {
    let (fake, image) = (Fake::start(), image(&[5]));
    send(&image, repository(&fake)).unwrap();
    let manifest = key("default", &image.document.digest().to_string());
    let labels = std::mem::take(&mut fake.state().blobs.get_mut(&manifest).unwrap().labels);
    send(&image, repository(&fake)).unwrap();
    assert_eq!(fake.state().blobs[&manifest].labels, labels);
}

#[test]
fn what_another_namespace_has_moves_no_bytes() {
    let (fake, image) = (Fake::start(), image(&[600_000]));
    send(&image, repository(&fake)).unwrap();
    fake.received();
    let copied = send(&image, in_namespace(&fake, "k8s.io")).unwrap();
    assert_eq!((copied.blobs_mounted, copied.blobs_moved), (1, 1));
    assert!(fake.received() < 10_000, "more than the configuration and the manifest");
    assert!(fake.state().images.contains_key(&key("k8s.io", NAME)));
}

#[test]
fn an_index_goes_whole_and_leads_to_its_manifests() {
    let (fake, one, two) = (Fake::start(), image(&[5]), image(&[6]));
    let all = MemoryStore::new();
    for part in [&one, &two] {
        copy_image(&part.store, &all, part.document.descriptor(), &CopyOptions::default(), &|_| {}).unwrap();
    }
    let parts = [&one, &two].map(|part| part.document.descriptor().clone()).to_vec();
    let document = Document::from_index(ImageIndex::new(parts));
    all.put_document(&document).unwrap();
    send(&Image { store: all, document: document.clone() }, repository(&fake)).unwrap();
    let state = fake.state();
    let labels = &state.blobs[&key("default", &document.digest().to_string())].labels;
    assert_eq!(labels["containerd.io/gc.ref.content.m.0"], one.document.digest().to_string());
    assert_eq!(labels["containerd.io/gc.ref.content.m.1"], two.document.digest().to_string());
    assert_eq!(state.blobs.len(), 7);
}

#[test]
fn content_can_be_read_from_anywhere_and_an_empty_blob_is_one() {
    let (fake, image) = (Fake::start(), image(&[100_000, 0]));
    send(&image, repository(&fake)).unwrap();
    let from = repository(&fake);
    let layer = Digest::of(&noise(100_000, 100_000));
    let mut blob = from.open_blob(&layer).unwrap();
    assert_eq!(blob.resume(&noise(100_000, 60_000)[..]).unwrap(), 60_000);
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut blob, &mut rest).unwrap();
    assert_eq!(rest, noise(100_000, 100_000)[60_000..]);
    let mut empty = Vec::new();
    std::io::Read::read_to_end(&mut from.open_blob(&Digest::of(b"")).unwrap(), &mut empty).unwrap();
    assert!(empty.is_empty());
}
