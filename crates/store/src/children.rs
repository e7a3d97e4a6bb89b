//! What a manifest or index needs, in one place for all stores and for copying.

use oci::{Descriptor, Document, Repository};

use crate::StoreError;

/// Something that a document points to and is not complete without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child<'a> {
    /// The link to it.
    pub descriptor: &'a Descriptor,
    /// What it is.
    pub kind: ChildKind,
    /// Whether it may be absent, because it is to be had elsewhere or may not be distributed.
    pub optional: bool,
    /// Whether registries are not to hand it on.
    pub foreign: bool,
}

impl Child<'_> {
    /// Says that it is not in `repository`, where `document` needs it.
    pub(crate) fn missing(&self, document: &Document, repository: &Repository) -> StoreError {
        StoreError::NotFound { what: self.what(document, repository) }
    }

    /// Says that what `repository` has of it is `found` bytes long, which is not what `document` says.
    pub(crate) fn wrong_size(&self, document: &Document, repository: &Repository, found: u64) -> StoreError {
        let reason = format!("expected {} bytes, found {found}", self.descriptor.size);
        StoreError::Corrupt { what: self.what(document, repository), reason }
    }

    fn what(&self, document: &Document, repository: &Repository) -> String {
        let kind = match self.kind {
            ChildKind::Document => "manifest",
            ChildKind::Blob => "blob",
        };
        let Descriptor { digest, media_type, .. } = self.descriptor;
        format!("{kind} {digest} ({media_type}) in {repository}, part of manifest {}", document.digest())
    }
}

/// What a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildKind {
    /// A manifest or index, which has children itself.
    Document,
    /// Content without links.
    Blob,
}

/// Returns what `document` needs, in its order: the children of an index; the configuration and the
/// layers of a manifest, the blobs of an artifact. A subject is not among them, it may come later or never.
pub fn children(document: &Document) -> Vec<Child<'_>> {
    let descriptors: Vec<&Descriptor> = match (document.as_image(), document.as_index()) {
        (Some(manifest), _) => manifest.blobs().collect(),
        (_, Some(index)) => index.manifests.iter().collect(),
        (None, None) => document.as_artifact().into_iter().flat_map(|artifact| &artifact.blobs).collect(),
    };
    descriptors.into_iter().map(child).collect()
}

fn child(descriptor: &Descriptor) -> Child<'_> {
    let media_type = &descriptor.media_type;
    let kind = match media_type.is_manifest() || media_type.is_index() {
        true => ChildKind::Document,
        false => ChildKind::Blob,
    };
    let foreign = media_type.is_nondistributable();
    Child { descriptor, kind, optional: !descriptor.urls.is_empty() || foreign, foreign }
}

#[cfg(test)]
mod tests {
    use oci::{ImageIndex, ImageManifest, MediaType};

    use super::*;

    #[test]
    fn a_manifest_needs_its_blobs_but_not_foreign_ones() {
        let config = Descriptor::of(MediaType::OciConfig, b"{}");
        let layer = |media_type: &str| Descriptor::of(media_type.into(), b"layer");
        let foreign = layer("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd");
        let elsewhere = Descriptor { urls: vec!["https://example.com".to_owned()], ..layer("x/y") };
        let manifest = ImageManifest::new(config, vec![layer("x/y"), foreign, elsewhere]);
        let document = Document::from_manifest(manifest);
        let optional: Vec<bool> = children(&document).iter().map(|child| child.optional).collect();
        assert_eq!(optional, [false, false, true, true]);
        assert!(children(&document).iter().all(|child| child.kind == ChildKind::Blob));
    }

    #[test]
    fn an_index_needs_manifests_and_whatever_else_it_lists() {
        let manifest = Descriptor::of(MediaType::OciManifest, b"manifest");
        let layer = Descriptor::of(MediaType::OciLayerGzip, b"cache");
        let document = Document::from_index(ImageIndex::new(vec![manifest, layer]));
        let kinds: Vec<ChildKind> = children(&document).iter().map(|child| child.kind).collect();
        assert_eq!(kinds, [ChildKind::Document, ChildKind::Blob]);
    }
}
