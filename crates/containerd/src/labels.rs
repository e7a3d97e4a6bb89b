//! Labels that lead containerd's garbage collector from an image to its parts, as its own importer sets them, and
//! those that say where content came from.
//!
//! Source: containerd 2.2, core/images/mediatypes.go (`ChildGCLabels`), core/images/handlers.go
//! (`SetChildrenMappedLabels`), core/remotes/docker/handler.go; docs/garbage-collection.md.

use std::collections::HashMap;

use oci::{Descriptor, Digest, Document, MediaType, Repository};
use store::children;

const REFERENCE: &str = "containerd.io/gc.ref.content.";
/// When a lease ends by itself.
pub(crate) const EXPIRE: &str = "containerd.io/gc.expire";
const SOURCE: &str = "containerd.io/distribution.source.";
/// Of a manifest, what says something about it: so it is found, and kept as long as what it speaks of.
const REFERRER: &str = "containerd.io/gc.ref.content.referrer.";
/// Longer labels are refused.
const MAX_LABEL_BYTES: usize = 4096;

/// Configurations that have a label of their own.
const CONFIGURATIONS: [&str; 4] = [
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.containerd.container.criu.checkpoint.criu.tar",
    "application/vnd.containerd.container.checkpoint.config.v1+proto",
];

/// Layers that have one, besides all of OCI; suffixes are left away.
const LAYERS: [&str; 8] = [
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.erofs.layer.v1",
    "application/vnd.erofs",
    "application/vnd.erofs.chunk-index.v1",
];

/// Returns the labels that keep the parts of `document` while it is kept itself.
pub(crate) fn of_parts(document: &Document) -> HashMap<String, String> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut labels = HashMap::new();
    for child in children(document) {
        let stem = stem(child.descriptor);
        let count = counts.entry(stem.clone()).or_default();
        let key = match stem.ends_with('.') || *count > 0 {
            true => format!("{stem}{count}"),
            false => stem,
        };
        *count += 1;
        labels.insert(key, child.descriptor.digest.to_string());
    }
    labels
}

fn stem(child: &Descriptor) -> String {
    let media_type = child.media_type.as_str();
    let kind = match &child.media_type {
        _ if CONFIGURATIONS.contains(&media_type) => "config",
        MediaType::OciManifest | MediaType::DockerManifest => "m.",
        _ if is_layer(media_type) => "l.",
        _ => "",
    };
    format!("{REFERENCE}{kind}")
}

fn is_layer(media_type: &str) -> bool {
    // There is always a first part.
    let base = media_type.split('+').next().unwrap_or_default();
    media_type.starts_with("application/vnd.oci.image.layer.") || LAYERS.contains(&base)
}

/// Returns the label that says from which repository of which registry content came, so that others find it
/// there; none where that is not known to anybody else.
pub(crate) fn of_source(source: Option<&Repository>) -> HashMap<String, String> {
    let label =
        |source: &Repository| (format!("{SOURCE}{}", source.registry().as_str()), source.path().to_owned());
    let known = source.filter(|source| !source.registry().is_local()).map(label);
    known.into_iter().filter(|(key, value)| key.len() + value.len() <= MAX_LABEL_BYTES).collect()
}

/// Returns the label by which a manifest leads to one that says something about it.
pub(crate) fn of_referrer(referrer: &Digest) -> (String, String) {
    (format!("{REFERRER}{}", referrer.hex()), referrer.to_string())
}

/// Returns what the labels of a manifest lead to as saying something about it.
pub(crate) fn referrers(labels: &HashMap<String, String>) -> Vec<Digest> {
    let leading = labels.iter().filter(|(key, _)| key.starts_with(REFERRER));
    leading.filter_map(|(_, digest)| digest.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use oci::{ImageIndex, ImageManifest};

    use super::*;

    fn descriptor(media_type: &str) -> Descriptor {
        Descriptor::of(media_type.parse().unwrap(), media_type.as_bytes())
    }

    #[track_caller]
    fn check(document: &Document, expected: &[(&str, &str)]) {
        let expected = expected.iter().map(|(key, media_type)| {
            (format!("containerd.io/gc.ref.content.{key}"), descriptor(media_type).digest.to_string())
        });
        assert_eq!(of_parts(document), expected.collect());
    }

    #[test]
    fn parts_of_manifests_and_indexes() {
        const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
        const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
        const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip+x";
        const NOTE: &str = "application/x-note";
        const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
        const INDEX: &str = "application/vnd.oci.image.index.v1+json";
        let layers = [GZIP, DOCKER, NOTE, FOREIGN, GZIP].map(descriptor).to_vec();
        check(
            &Document::from_manifest(ImageManifest::new(descriptor(CONFIG), layers)),
            &[
                ("config", CONFIG),
                ("l.0", GZIP),
                ("l.1", DOCKER),
                ("0", NOTE),
                ("l.2", FOREIGN),
                ("l.3", GZIP),
            ],
        );
        let artifact = ImageManifest::new(descriptor(NOTE), vec![descriptor("application/x-other")]);
        check(&Document::from_manifest(artifact), &[("0", NOTE), ("1", "application/x-other")]);
        let index = ImageIndex::new([MANIFEST, INDEX, MANIFEST].map(descriptor).to_vec());
        check(&Document::from_index(index), &[("m.0", MANIFEST), ("0", INDEX), ("m.1", MANIFEST)]);
    }

    #[test]
    fn sources() {
        let label = |name: &str| of_source(Some(&name.parse().unwrap()));
        let expected =
            ("containerd.io/distribution.source.docker.io".to_owned(), "library/debian".to_owned());
        assert_eq!(label("debian"), HashMap::from([expected]));
        assert_eq!(label("local/api"), HashMap::new());
        assert_eq!(of_source(None), HashMap::new());
    }
}
