//! What a collection removes and what it spares.

use super::*;
use crate::layout::CollectOptions;

const AT_ONCE: CollectOptions = CollectOptions { grace: Duration::ZERO, patience: Duration::ZERO };

#[test]
fn what_no_image_needs_goes_and_the_rest_stays() {
    let fixture = Fixture::new();
    let repository = fixture.strict("local/a");
    let [kept, gone] = ["kept", "gone"].map(|content| put_image(&repository, content, None));
    let loose = Descriptor::of(MediaType::OciLayer, b"loose");
    repository.put_blob(&loose, Blob::from_bytes("loose")).unwrap();
    repository.delete_document(&gone.digest()).unwrap();

    let plan = fixture.store.plan_collection(&AT_ONCE, &|digest| *digest == loose.digest).unwrap();
    // Manifest, configuration and layer of the image that was deleted.
    assert_eq!(plan.blobs.len(), 3);
    let collected = fixture.store.apply_collection(plan.clone(), &AT_ONCE).unwrap();
    assert_eq!((collected.blobs, collected.bytes), (3, plan.bytes()));
    let image = kept.as_image().unwrap();
    assert!(image.blobs().all(|part| repository.has_blob(&part.digest).unwrap()));
    assert_eq!(repository.document(&kept.digest()).unwrap(), kept);
    assert!(fixture.store.blob_size(&loose.digest).unwrap().is_some(), "it was asked to be kept");
    let plan = fixture.store.plan_collection(&AT_ONCE, &|_| false).unwrap();
    assert_eq!(plan.blobs, [(loose.digest, 5)]);
}

#[test]
fn what_is_put_between_plan_and_turn_stays() {
    let fixture = Fixture::new();
    let repository = fixture.strict("local/a");
    let document = put_image(&repository, "again", None);
    repository.delete_document(&document.digest()).unwrap();
    let plan = fixture.store.plan_collection(&AT_ONCE, &|_| false).unwrap();
    assert_eq!(plan.blobs.len(), 3);
    repository.put_document(&document).unwrap();
    assert_eq!(fixture.store.apply_collection(plan, &AT_ONCE).unwrap().blobs, 0);
    assert_eq!(fixture.repository("local/a").document(&document.digest()).unwrap(), document);
}

#[test]
fn a_collection_that_broke_off_is_ended_by_the_next() {
    let fixture = Fixture::new();
    let repository = fixture.strict("local/a");
    let document = put_image(&repository, "x", None);
    repository.delete_document(&document.digest()).unwrap();
    // Killed after the notes: the content is still there and nobody has it.
    for part in document.as_image().unwrap().blobs() {
        fixture.bucket.remove(&keys::RepositoryKeys::new(repository.name()).blob(&part.digest)).unwrap();
    }
    let plan = fixture.store.plan_collection(&AT_ONCE, &|_| false).unwrap();
    assert_eq!(fixture.store.apply_collection(plan, &AT_ONCE).unwrap().blobs, 3);
}

#[test]
fn without_times_nothing_is_old_and_with_wrong_manifests_nothing_is_known() {
    let fixture = Fixture::new();
    let repository = fixture.strict("local/a");
    let document = put_image(&repository, "x", None);
    repository.delete_document(&document.digest()).unwrap();
    let patient = CollectOptions { grace: Duration::from_secs(3600), ..AT_ONCE };
    let plan = fixture.store.plan_collection(&patient, &|_| false).unwrap();
    assert!(plan.blobs.is_empty());

    repository.put_document(&document).unwrap();
    fixture.bucket.put(&keys::blob(&document.digest()), "{}").unwrap();
    let plan = fixture.store.plan_collection(&AT_ONCE, &|_| false);
    assert!(matches!(plan, Err(StoreError::Corrupt { .. })));
    fixture.bucket.remove(&keys::blob(&document.digest())).unwrap();
    let plan = fixture.store.plan_collection(&AT_ONCE, &|_| false).unwrap();
    assert_eq!(plan.unreadable, [document.digest().to_string()]);
}
