//! What says something about an image: signatures, SBOMs, provenance, test results.
//!
//! Source: distribution-spec v1.1, "Listing Referrers"; image-spec v1.1, "subject".

use oci::{Descriptor, Digest, Document, Tag};

use crate::{ImageStore, StoreError};

/// The ends of cosign's tags for what belongs to a digest.
pub const COSIGN_SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];

/// Returns the descriptor by which a referrer is listed: with the type of artifact and the
/// annotations of the document itself. An image without a type has that of its configuration.
pub fn describe(document: &Document) -> Descriptor {
    let own = document.descriptor();
    let mut descriptor = Descriptor::new(own.media_type.clone(), own.digest, own.size);
    descriptor.annotations = document.annotations().clone();
    let of_image = document
        .as_image()
        .map(|image| image.artifact_type.clone().unwrap_or_else(|| image.config.media_type.to_string()));
    let of_index = || document.as_index().and_then(|index| index.artifact_type.clone());
    let of_artifact = || document.as_artifact().and_then(|artifact| artifact.artifact_type.clone());
    descriptor.artifact_type = of_image.or_else(of_index).or_else(of_artifact);
    descriptor
}

/// Whether `document` says something about `subject`.
pub fn is_about(document: &Document, subject: &Digest) -> bool {
    document.subject().is_some_and(|about| about.digest == *subject)
}

/// Returns the tag under which a registry without a list of referrers keeps one for `subject`.
pub fn fallback_tag(subject: &Digest) -> Tag {
    digest_tag(subject, "")
}

/// Whether a tag is one under which a list of referrers is kept.
pub fn is_list_tag(tag: &Tag) -> bool {
    let Some((algorithm, hex)) = tag.as_str().split_once('-') else { return false };
    ["sha256", "sha512"].contains(&algorithm) && hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a tag is made of a digest: one of a list of referrers, or of cosign's.
pub fn is_digest_tag(tag: &Tag) -> bool {
    let stem = COSIGN_SUFFIXES.iter().find_map(|end| tag.as_str().strip_suffix(end)?.strip_suffix('.'));
    stem.map_or(is_list_tag(tag), |stem| stem.parse().is_ok_and(|stem| is_list_tag(&stem)))
}

/// Returns cosign's tag for what belongs to `subject`; `suffix` is one of [`COSIGN_SUFFIXES`].
pub fn cosign_tag(subject: &Digest, suffix: &str) -> Tag {
    digest_tag(subject, &format!(".{suffix}"))
}

/// Source: distribution-spec v1.1, "Referrers Tag Schema": 32 and 64 characters of both parts.
fn digest_tag(subject: &Digest, end: &str) -> Tag {
    let hex = subject.hex();
    let hex = &hex[..hex.len().min(64)];
    let tag = format!("{}-{hex}{end}", subject.algorithm().as_str());
    tag.parse().expect("an algorithm and hexadecimal digits are a tag")
}

/// Returns those of `candidates` that are about `subject`, ascending by digest, each once. Those
/// that are gone or cannot be read are about nothing.
///
/// # Errors
/// What the store says, but for `NotFound`, `Corrupt` and `Unsupported`.
pub fn among(
    store: &dyn ImageStore,
    candidates: impl IntoIterator<Item = Digest>,
    subject: &Digest,
) -> Result<Vec<Descriptor>, StoreError> {
    let mut found = Vec::new();
    for digest in candidates {
        match store.document(&digest) {
            Ok(document) if is_about(&document, subject) => found.push(describe(&document)),
            Ok(_)
            | Err(
                StoreError::NotFound { .. } | StoreError::Corrupt { .. } | StoreError::Unsupported { .. },
            ) => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by_key(|descriptor| descriptor.digest);
    found.dedup_by_key(|descriptor| descriptor.digest);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_digests() {
        let digest = Digest::of(b"x");
        assert_eq!(fallback_tag(&digest).as_str(), format!("sha256-{}", digest.hex()));
        assert_eq!(cosign_tag(&digest, "sig").as_str(), format!("sha256-{}.sig", digest.hex()));
        assert!(is_list_tag(&fallback_tag(&digest)) && !is_list_tag(&cosign_tag(&digest, "sig")));
        assert!(is_digest_tag(&fallback_tag(&digest)) && is_digest_tag(&cosign_tag(&digest, "sig")));
        for other in ["v1", "v1.sig", "sha256-abc.sig", "sig"] {
            assert!(!is_digest_tag(&other.parse().unwrap()), "{other}");
        }
        let mut hasher = oci::Hasher::new(oci::Algorithm::Sha512);
        hasher.update(b"x");
        let long = hasher.finish();
        assert_eq!(fallback_tag(&long).as_str(), format!("sha512-{}", &long.hex()[..64]));
    }
}
