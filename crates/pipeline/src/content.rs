//! What lies behind a name, whatever it is: an image, an artifact (a signature, an SBOM, a chart, a cache, a
//! module), or an index without the wanted platform. Nothing that can be read is an error here; what needs an
//! image takes [`Image::open`].

use oci::manifest::MAX_DOCUMENT_BYTES;
use oci::{Descriptor, Document, ImageConfig, ImageManifest, Platform};
use serde_json::Value;
use store::{ImageStore, StoreError};

use crate::image::{self, Image, ImageError};

/// Configurations of artifacts that are longer, in bytes, are not shown.
const MAX_SHOWN_CONFIG: u64 = 256 << 10;
/// How deep indexes may lie in indexes.
const MAX_DEPTH: usize = 8;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The image of one platform.
    Image(Box<Image>),
    /// A manifest that is no image.
    Artifact(Artifact),
    /// An index that has no image for this machine, or none at all.
    Index(Document),
}

/// A manifest that is no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    document: Document,
    /// Its configuration, where that is JSON and of a size to be shown.
    pub config: Option<Value>,
}

impl Content {
    /// Opens what lies behind `document`: of an index the child for `platform`, by default that of this machine
    /// or the only one.
    ///
    /// # Errors
    /// `Platform` where one was asked for that is not there; what the store says.
    pub fn open(
        store: &dyn ImageStore,
        document: &Document,
        platform: Option<&Platform>,
    ) -> Result<Self, ImageError> {
        let mut found = document.clone();
        for _ in 0..MAX_DEPTH {
            let Some(index) = found.as_index() else { break };
            let child = image::choose(found.digest(), index, platform)
                .and_then(|child| Ok(store.document(&child.digest)?));
            found = match child {
                Ok(child) => child,
                Err(ImageError::Platform { .. } | ImageError::Store(StoreError::NotFound { .. }))
                    if platform.is_none() =>
                {
                    return Ok(Self::Index(document.clone()));
                }
                Err(error) => return Err(error),
            };
        }
        let Some(manifest) = found.as_image() else {
            return Ok(match found.as_artifact() {
                Some(_) => Self::Artifact(Artifact { document: found, config: None }),
                None => Self::Index(document.clone()),
            });
        };
        match of_manifest(store, manifest)? {
            Config::Image(config) => {
                let own = config.platform();
                match platform.filter(|wanted| document.as_index().is_none() && !wanted.accepts(&own)) {
                    // Says what there is.
                    Some(_) => {
                        Image::open(store, document, platform).map(|image| Self::Image(Box::new(image)))
                    }
                    None => Ok(Self::Image(Box::new(Image::of(found, *config)))),
                }
            }
            Config::Other(config) => Ok(Self::Artifact(Artifact { document: found, config })),
        }
    }

    /// Returns the manifest, or the index where there is none.
    pub fn document(&self) -> &Document {
        match self {
            Self::Image(image) => image.document(),
            Self::Artifact(artifact) => &artifact.document,
            Self::Index(document) => document,
        }
    }

    /// Returns what it consists of, the configuration first; the children of an index.
    pub fn parts(&self) -> Vec<&Descriptor> {
        let document = self.document();
        match (document.as_image(), document.as_index()) {
            (Some(manifest), _) => manifest.blobs().collect(),
            (None, Some(index)) => index.manifests.iter().collect(),
            (None, None) => document.as_artifact().into_iter().flat_map(|artifact| &artifact.blobs).collect(),
        }
    }

    /// Returns the image, where it is one whose layers hold files.
    pub fn as_image(&self) -> Option<&Image> {
        let has_files = |image: &&Image| {
            image.manifest().layers.iter().all(|layer| layer.media_type.layer_compression().is_some())
        };
        match self {
            Self::Image(image) => Some(&**image).filter(has_files),
            _ => None,
        }
    }
}

/// Returns the type of an artifact that a manifest or index says it is; of a manifest that says none, the type of
/// its configuration, unless that is one of an image.
pub fn artifact_type(document: &Document) -> Option<String> {
    if let Some(index) = document.as_index() {
        return index.artifact_type.clone();
    }
    if let Some(artifact) = document.as_artifact() {
        return artifact.artifact_type.clone();
    }
    let manifest = document.as_image()?;
    let of_config = || (!image::is_config(manifest)).then(|| manifest.config.media_type.to_string());
    manifest.artifact_type.clone().or_else(of_config)
}

enum Config {
    Image(Box<ImageConfig>),
    Other(Option<Value>),
}

fn of_manifest(store: &dyn ImageStore, manifest: &ImageManifest) -> Result<Config, ImageError> {
    let descriptor = &manifest.config;
    if !image::is_config(manifest) {
        if descriptor.size > MAX_SHOWN_CONFIG {
            return Ok(Config::Other(None));
        }
        let raw = match image::read_blob(store, descriptor, MAX_SHOWN_CONFIG) {
            // Some clients leave the empty configuration where the specification has put it: nowhere.
            Err(StoreError::NotFound { .. }) => return Ok(Config::Other(None)),
            raw => raw?,
        };
        return Ok(Config::Other(serde_json::from_slice(&raw).ok()));
    }
    let raw = image::read_blob(store, descriptor, MAX_DOCUMENT_BYTES)?;
    match serde_json::from_slice(&raw) {
        Ok(config) => Ok(Config::Image(config)),
        Err(_) => Ok(Config::Other(serde_json::from_slice(&raw).ok())),
    }
}

#[cfg(test)]
mod tests {
    use oci::{ImageIndex, MediaType};
    use store::{Blob, BlobStore, MemoryStore};
    use testkit::image::TinyImage;

    use super::*;

    fn manifest(store: &MemoryStore, media_type: &str, config: &'static str) -> Document {
        let descriptor = Descriptor::of(media_type.into(), config.as_bytes());
        store.put_blob(&descriptor, Blob::from_bytes(config)).unwrap();
        let document = Document::from_manifest(ImageManifest::new(descriptor, Vec::new()));
        store.put_document(&document).unwrap();
        document
    }

    #[track_caller]
    fn check(media_type: &str, config: &'static str, expected: (&str, Option<&str>)) {
        let store = MemoryStore::new();
        let document = manifest(&store, media_type, config);
        let found = match Content::open(&store, &document, None).unwrap() {
            Content::Image(_) => ("image", None),
            Content::Artifact(artifact) => ("artifact", artifact.config.map(|config| config.to_string())),
            Content::Index(_) => ("index", None),
        };
        assert_eq!((found.0, found.1.as_deref()), expected);
    }

    #[test]
    fn every_configuration_is_something() {
        let image = "application/vnd.oci.image.config.v1+json";
        let whole = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        check(image, whole, ("image", None));
        check(image, "[1]", ("artifact", Some("[1]")));
        check(image, "no json", ("artifact", None));
        check("application/vnd.oci.empty.v1+json", "{}", ("artifact", Some("{}")));
        check(
            "application/vnd.cncf.helm.config.v1+json",
            r#"{"name":"x"}"#,
            ("artifact", Some(r#"{"name":"x"}"#)),
        );
        check("text/plain", "hello", ("artifact", None));
    }

    #[test]
    fn an_index_is_shown_as_it_is_unless_a_platform_was_asked_for() {
        let store = MemoryStore::new();
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        let image = TinyImage::of_files(&[("a", "1")]);
        image.put(&store, "1");
        let child = |name: &str| image.document.descriptor().clone().for_platform(platform(name));
        let foreign =
            Document::from_index(ImageIndex::new(vec![child("plan9/riscv64"), child("plan9/arm64")]));
        assert!(matches!(Content::open(&store, &foreign, None).unwrap(), Content::Index(_)));
        let asked = Content::open(&store, &foreign, Some(&platform("linux/arm64")));
        assert!(matches!(asked, Err(ImageError::Platform { .. })));
        let layers = vec![Descriptor::of(MediaType::OciLayerGzip, b"layer")];
        let cache = Document::from_index(ImageIndex::new(layers));
        let found = Content::open(&store, &cache, None).unwrap();
        assert_eq!((found.parts().len(), found.as_image()), (1, None));
        assert_eq!(crate::image::size(&store, &cache).unwrap(), 5);
        assert!(crate::image::is_complete(&store, &cache).unwrap());
    }

    #[test]
    fn a_single_image_of_another_platform_is_none_where_one_was_asked_for() {
        let store = MemoryStore::new();
        let image = TinyImage::of_files(&[("a", "1")]);
        image.put(&store, "1");
        let other = Content::open(&store, &image.document, Some(&"plan9/arm64".parse().unwrap()));
        assert!(matches!(other, Err(ImageError::Platform { .. })));
        let signature = Descriptor::of("application/vnd.dev.cosign.simplesigning.v1+json".into(), b"x");
        let mut manifest = image.document.as_image().unwrap().clone();
        manifest.layers = vec![signature];
        let document = Document::from_manifest(manifest);
        let found = Content::open(&store, &document, None).unwrap();
        assert!(matches!(found, Content::Image(_)) && found.as_image().is_none());
    }
}
