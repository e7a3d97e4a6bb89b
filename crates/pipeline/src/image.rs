//! One image of one platform: the manifest behind a name, and its configuration.

use std::collections::BTreeMap;
use std::io::Read;

use oci::manifest::MAX_DOCUMENT_BYTES;
use oci::{Descriptor, Digest, Document, ImageConfig, ImageIndex, ImageManifest, Platform, annotations};
use store::{ImageStore, StoreError};

/// The manifest of one platform with its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    document: Document,
    /// The configuration.
    pub config: ImageConfig,
}

/// Why there is no image of the wanted platform.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The store failed, or does not have a part of it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The index has other platforms.
    #[error("{digest} has no image for {wanted}; it has {available}")]
    Platform {
        /// The index.
        digest: Digest,
        /// What was asked for.
        wanted: String,
        /// What there is, with commas.
        available: String,
    },
    /// Something else under an image's name: a signature, an SBOM, a chart.
    #[error("{digest} is no image but an artifact of type {artifact_type}")]
    Artifact {
        /// The manifest.
        digest: Digest,
        /// What it says it is.
        artifact_type: String,
    },
}

impl Image {
    /// Returns the commit that the image's revision label names, where it has one.
    pub fn revision(&self) -> Option<String> {
        self.config.config.labels.as_ref()?.get(annotations::REVISION).cloned()
    }

    /// Opens the image of `platform` behind `document`, which may be an index; without a platform
    /// the one of this machine, or the only one there is. A single manifest is taken whatever its
    /// platform unless one was asked for.
    ///
    /// # Errors
    /// `Platform` where there is none for it, `Artifact` where there is no image at all.
    pub fn open(
        store: &dyn ImageStore,
        document: &Document,
        platform: Option<&Platform>,
    ) -> Result<Self, ImageError> {
        let Some(index) = document.as_index() else {
            let image = Self::read(store, document.clone())?;
            return match platform {
                Some(wanted) if !wanted.accepts(&image.config.platform()) => {
                    Err(no_platform(document.digest(), wanted, &[image.config.platform()]))
                }
                _ => Ok(image),
            };
        };
        let document = store.document(&choose(document.digest(), index, platform)?.digest)?;
        if document.as_index().is_some() {
            return Self::open(store, &document, platform);
        }
        Self::read(store, document)
    }

    /// Puts a manifest together with its configuration, which was read.
    pub(crate) fn of(document: Document, config: ImageConfig) -> Self {
        Self { document, config }
    }

    fn read(store: &dyn ImageStore, document: Document) -> Result<Self, ImageError> {
        let Some(manifest) = document.as_image() else {
            let artifact_type = document.as_artifact().and_then(|artifact| artifact.artifact_type.clone());
            let artifact_type = artifact_type.unwrap_or_else(|| document.descriptor().media_type.to_string());
            return Err(ImageError::Artifact { digest: document.digest(), artifact_type });
        };
        if !is_config(manifest) {
            let artifact_type = manifest.artifact_type.clone();
            let artifact_type = artifact_type.unwrap_or_else(|| manifest.config.media_type.to_string());
            return Err(ImageError::Artifact { digest: document.digest(), artifact_type });
        }
        let config = read_config(store, &manifest.config)?;
        Ok(Self { document, config })
    }

    /// Returns the manifest as it lies in the store.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Returns the manifest.
    pub fn manifest(&self) -> &ImageManifest {
        self.document.as_image().expect("it was read as one")
    }

    /// Returns the manifest's digest.
    pub fn digest(&self) -> Digest {
        self.document.digest()
    }
}

/// Returns the child of an index for `platform`, by default that of this machine or the only one.
///
/// # Errors
/// `Platform` where there is none.
pub(crate) fn choose<'a>(
    digest: Digest,
    index: &'a ImageIndex,
    platform: Option<&Platform>,
) -> Result<&'a Descriptor, ImageError> {
    let images: Vec<&Descriptor> = index.manifests.iter().filter(|child| is_image(child)).collect();
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    match (index.for_platform(&wanted), platform, &images[..]) {
        (Some(child), _, _) | (None, None, &[child]) => Ok(child),
        _ => {
            let available: Vec<Platform> = images.iter().filter_map(|child| child.platform.clone()).collect();
            Err(no_platform(digest, &wanted, &available))
        }
    }
}

/// Returns the platforms of what lies behind `document`; one for a single image.
///
/// # Errors
/// As for [`Image::open`].
pub fn platforms(store: &dyn ImageStore, document: &Document) -> Result<Vec<Platform>, ImageError> {
    match document.as_index() {
        Some(index) => {
            let images = index.manifests.iter().filter(|child| is_image(child));
            Ok(images.filter_map(|child| child.platform.as_ref().map(Platform::normalized)).collect())
        }
        None => Ok(vec![Image::read(store, document.clone())?.config.platform()]),
    }
}

/// Whether the store has every manifest behind `document`; of an index that was pulled for one platform
/// it has not.
///
/// # Errors
/// Where the store fails.
pub fn is_complete(store: &dyn ImageStore, document: &Document) -> Result<bool, StoreError> {
    for child in
        document.as_index().iter().flat_map(|index| &index.manifests).filter(|child| is_document(child))
    {
        match store.document(&child.digest) {
            Ok(child) if is_complete(store, &child)? => {}
            Ok(_) | Err(StoreError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Returns the size in bytes of all blobs behind `document`, each counted once.
///
/// # Errors
/// Where a manifest of an index cannot be read; one that the store does not have counts nothing.
pub fn size(store: &dyn ImageStore, document: &Document) -> Result<u64, StoreError> {
    let mut blobs = BTreeMap::new();
    collect_blobs(store, document, &mut blobs)?;
    Ok(blobs.values().sum())
}

fn collect_blobs(
    store: &dyn ImageStore,
    document: &Document,
    blobs: &mut BTreeMap<Digest, u64>,
) -> Result<(), StoreError> {
    if let Some(manifest) = document.as_image() {
        blobs.extend(manifest.blobs().map(|blob| (blob.digest, blob.size)));
    }
    for child in document.as_index().iter().flat_map(|index| &index.manifests) {
        if !is_document(child) {
            blobs.insert(child.digest, child.size);
            continue;
        }
        match store.document(&child.digest) {
            Ok(child) => collect_blobs(store, &child, blobs)?,
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// BuildKit puts attestations into an index as children of an unknown platform.
fn is_image(child: &Descriptor) -> bool {
    let unknown = child.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
    !unknown && is_document(child)
}

/// Caches of BuildKit list layers in an index, which have no children.
fn is_document(child: &Descriptor) -> bool {
    child.media_type.is_manifest() || child.media_type.is_index()
}

/// Whether a manifest says that its configuration is one of an image.
pub(crate) fn is_config(manifest: &ImageManifest) -> bool {
    matches!(manifest.config.media_type, oci::MediaType::OciConfig | oci::MediaType::DockerConfig)
}

fn no_platform(digest: Digest, wanted: &Platform, available: &[Platform]) -> ImageError {
    let available: Vec<String> = available.iter().map(|platform| platform.normalized().to_string()).collect();
    let available = if available.is_empty() { "none".to_owned() } else { available.join(", ") };
    ImageError::Platform { digest, wanted: wanted.to_string(), available }
}

fn read_config(store: &dyn ImageStore, descriptor: &Descriptor) -> Result<ImageConfig, StoreError> {
    let raw = read_blob(store, descriptor, MAX_DOCUMENT_BYTES)?;
    serde_json::from_slice(&raw).map_err(|error| corrupt_config(descriptor, error.to_string()))
}

/// Reads a configuration of at most `limit` bytes.
pub(crate) fn read_blob(
    store: &dyn ImageStore,
    descriptor: &Descriptor,
    limit: u64,
) -> Result<Vec<u8>, StoreError> {
    if descriptor.size > limit {
        let reason = format!("it has {} bytes, more than {limit}", descriptor.size);
        return Err(corrupt_config(descriptor, reason));
    }
    let blob = store.open_blob(&descriptor.digest)?;
    let mut raw = Vec::new();
    blob.take(limit).read_to_end(&mut raw).map_err(|source| match source.kind() {
        std::io::ErrorKind::InvalidData => corrupt_config(descriptor, source.to_string()),
        _ => StoreError::io("read", format!("image configuration {}", descriptor.digest), source),
    })?;
    Ok(raw)
}

fn corrupt_config(descriptor: &Descriptor, reason: String) -> StoreError {
    StoreError::Corrupt { what: format!("image configuration {}", descriptor.digest), reason }
}

#[cfg(test)]
mod tests {
    use oci::{ImageIndex, MediaType};
    use store::LayoutStore;
    use testkit::image::{TinyImage, blank_config};

    use super::*;

    struct Scene {
        _folder: tempfile::TempDir,
        repository: store::LayoutRepository,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = LayoutStore::open(folder.path()).unwrap();
            let repository = store.repository(&"local/x".parse().unwrap());
            Self { _folder: folder, repository }
        }

        fn index_of(&self, platforms: &[&str]) -> Document {
            let child = |text: &&str| {
                let platform: Platform = text.parse().unwrap();
                let image = TinyImage::with_config(&[&[("a", text)]], blank_config(&platform));
                image.put(&self.repository, "child");
                image.document.descriptor().clone().for_platform(platform)
            };
            Document::from_index(ImageIndex::new(platforms.iter().map(child).collect()))
        }

        #[track_caller]
        fn check(&self, document: &Document, platform: Option<&str>, expected: &str) {
            let platform = platform.map(|text| text.parse().unwrap());
            let found = match Image::open(&self.repository, document, platform.as_ref()) {
                Ok(image) => image.config.platform().to_string(),
                Err(error) => error.to_string(),
            };
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn the_wanted_platform_or_a_clear_no() {
        let scene = Scene::new();
        let both = scene.index_of(&["linux/amd64", "linux/arm64"]);
        scene.check(&both, Some("linux/arm64/v8"), "linux/arm64");
        scene.check(&both, Some("linux/s390x"), "no image for linux/s390x; it has linux/amd64, linux/arm64");
        scene.check(&both, None, &Platform::host().to_string());
        let one = scene.index_of(&["linux/riscv64"]);
        scene.check(&one, None, "linux/riscv64");
        scene.check(&one, Some("linux/amd64"), "no image for linux/amd64; it has linux/riscv64");
        scene.check(&scene.index_of(&[]), None, "it has none");
    }

    #[test]
    fn attestations_of_buildkit_are_no_platforms() {
        let scene = Scene::new();
        let index = scene.index_of(&["linux/amd64", "unknown/unknown"]);
        let found = platforms(&scene.repository, &index).unwrap();
        assert_eq!(found, ["linux/amd64".parse().unwrap()]);
    }

    #[test]
    fn an_artifact_is_no_image() {
        let scene = Scene::new();
        let config = Descriptor::of(MediaType::OciEmpty, b"{}");
        let mut manifest = ImageManifest::new(config, Vec::new());
        manifest.artifact_type = Some("application/vnd.example.sbom".to_owned());
        let document = Document::from_manifest(manifest);
        scene.check(&document, None, "artifact of type application/vnd.example.sbom");
    }
}
