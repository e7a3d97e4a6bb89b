//! What says something about an image: it is found by labels of what it speaks of, is kept as long, and goes alone.

use oci::{Digest, Tag};
use store::referrer::cosign_tag;
use store::{Company, CopyOptions, copy_image};

use super::*;

/// Puts a manifest about another into the store of an image.
fn about(image: &Image, kind: &str, subject: Option<&Document>) -> Document {
    let config = Descriptor::of(MediaType::OciEmpty, b"{}");
    image.store.put_blob(&config, Blob::from_bytes("{}")).unwrap();
    let mut manifest = ImageManifest::new(config, Vec::new());
    manifest.artifact_type = Some(kind.to_owned());
    manifest.subject = subject.map(|subject| subject.descriptor().clone());
    let document = Document::from_manifest(manifest);
    image.store.put_document(&document).unwrap();
    document
}

fn in_company() -> CopyOptions {
    CopyOptions { company: Company::Referrers, ..CopyOptions::whole() }
}

fn digests(found: &[Descriptor]) -> Vec<Digest> {
    found.iter().map(|found| found.digest).collect()
}

/// An image, an SBOM of it, a signature of that, and cosign's signature under a tag.
fn with_company() -> (Image, Document, Document, Tag) {
    let image = image(&[300]);
    let sbom = about(&image, "application/spdx+json", Some(&image.document));
    let signature = about(&image, "application/vnd.example.signature", Some(&sbom));
    let tag = cosign_tag(&image.document.digest(), "sig");
    image.store.tag(&tag, &about(&image, "application/vnd.example.cosign", None)).unwrap();
    (image, sbom, signature, tag)
}

fn send_all(image: &Image, fake: &Fake) -> Copied {
    let to = repository(fake).held(Timestamp::UNIX_EPOCH).unwrap();
    let copied = copy_image(&image.store, &to, image.document.descriptor(), &in_company(), &|_| {}).unwrap();
    to.tag(&"1".parse().unwrap(), &image.document).unwrap();
    copied
}

#[test]
fn referrers_go_in_are_found_and_come_out() {
    let (image, sbom, signature, tag) = with_company();
    let fake = Fake::start();
    assert_eq!(send_all(&image, &fake).referrers, 3);
    let from = repository(&fake);
    let found = from.referrers(&image.document.digest()).unwrap();
    assert_eq!(digests(&found), [sbom.digest()]);
    assert_eq!(found[0].artifact_type.as_deref(), Some("application/spdx+json"));
    assert_eq!(digests(&from.referrers(&sbom.digest()).unwrap()), [signature.digest()]);
    assert!(from.referrers(&signature.digest()).unwrap().is_empty());
    assert!(from.referrers(&Digest::of(b"nowhere")).unwrap().is_empty());
    assert_eq!(from.tags().unwrap(), ["1".parse().unwrap(), tag.clone()]);

    // Whoever has the image has them: labels lead there, and what is said has no name of its own.
    let label = format!("containerd.io/gc.ref.content.referrer.{}", sbom.digest().hex());
    let subject = key("default", &image.document.digest().to_string());
    assert_eq!(fake.state().blobs[&subject].labels[&label], sbom.digest().to_string());
    assert_eq!(fake.state().images.len(), 2);

    let back = MemoryStore::new();
    let copied = copy_image(&from, &back, image.document.descriptor(), &in_company(), &|_| {}).unwrap();
    assert_eq!(copied.referrers, 3);
    assert_eq!(digests(&back.referrers(&sbom.digest()).unwrap()), [signature.digest()]);
    assert!(back.resolve(&tag).is_ok());
    // The second time only the labels are looked at.
    fake.received();
    send_all(&image, &fake);
    assert_eq!(fake.received(), 0);
}

#[test]
fn one_is_removed_without_the_others() {
    let (image, sbom, signature, _) = with_company();
    let other = about(&image, "application/vnd.example.other", Some(&image.document));
    let fake = Fake::start();
    send_all(&image, &fake);
    let from = repository(&fake);
    assert_eq!(from.referrers(&image.document.digest()).unwrap().len(), 2);
    from.delete_document(&other.digest()).unwrap();
    assert_eq!(digests(&from.referrers(&image.document.digest()).unwrap()), [sbom.digest()]);
    assert_eq!(digests(&from.referrers(&sbom.digest()).unwrap()), [signature.digest()]);
    assert!(matches!(from.delete_document(&other.digest()), Err(StoreError::NotFound { .. })));
}

#[test]
fn what_speaks_of_something_absent_has_its_own_name_alone() {
    let image = image(&[300]);
    let nowhere = Document::from_manifest(ImageManifest::new(
        Descriptor::of(MediaType::OciConfig, b"nowhere"),
        Vec::new(),
    ));
    let sbom = about(&image, "application/spdx+json", Some(&nowhere));
    let fake = Fake::start();
    let to = repository(&fake).held(Timestamp::UNIX_EPOCH).unwrap();
    copy_image(&image.store, &to, sbom.descriptor(), &in_company(), &|_| {}).unwrap();
    to.name_digest(&sbom).unwrap();
    assert!(to.referrers(&nowhere.digest()).unwrap().is_empty());
    to.delete_document(&sbom.digest()).unwrap();
    assert!(fake.state().images.is_empty());
}

#[test]
fn labels_that_lie_lead_nowhere() {
    let (image, _, signature, _) = with_company();
    let fake = Fake::start();
    send_all(&image, &fake);
    let subject = image.document.digest();
    let labels = [
        ("a", "no digest".to_owned()),
        ("b", Digest::of(b"nowhere").to_string()),
        // About something else, and no manifest at all.
        ("c", signature.digest().to_string()),
        ("d", image.document.as_image().unwrap().layers[0].digest.to_string()),
    ];
    for (name, value) in labels {
        let mut state = fake.state();
        let kept = state.blobs.get_mut(&key("default", &subject.to_string())).unwrap();
        kept.labels.insert(format!("containerd.io/gc.ref.content.referrer.{name}"), value);
    }
    assert_eq!(repository(&fake).referrers(&subject).unwrap().len(), 1);
}
