//! Tiny images for tests: every document and blob in memory, the same bytes each time.

use oci::{
    Descriptor, DiffId, Digest, Document, History, ImageConfig, ImageManifest, MediaType, Platform, RootFs,
    Tag,
};
use store::{Blob, ImageStore};

use crate::tar::TarBuilder;

/// The files of one layer: path and content.
pub type Files<'a> = &'a [(&'a str, &'a str)];

/// An image with uncompressed layers.
#[derive(Clone, Debug)]
pub struct TinyImage {
    /// The manifest.
    pub document: Document,
    /// The configuration, as its blob is written.
    pub config: Vec<u8>,
    /// The layers' tars, lowest first.
    pub layers: Vec<Vec<u8>>,
}

impl TinyImage {
    /// Returns an image of one layer for the platform of this machine.
    pub fn of_files(files: Files<'_>) -> Self {
        Self::of_layers(&[files])
    }

    /// Returns an image with the given layers, lowest first, for the platform of this machine.
    pub fn of_layers(layers: &[Files<'_>]) -> Self {
        Self::with_config(layers, blank_config(&Platform::host()))
    }

    /// Returns an image whose configuration is `config` with `rootfs` and `history` filled in.
    pub fn with_config(layers: &[Files<'_>], mut config: ImageConfig) -> Self {
        let layers: Vec<Vec<u8>> = layers.iter().map(|files| tar_of(files)).collect();
        config.rootfs = RootFs {
            diff_ids: layers.iter().map(|tar| DiffId(Digest::of(tar))).collect(),
            ..RootFs::default()
        };
        config.history = layers.iter().map(|_| step("COPY files / # test")).collect();
        let config = serde_json::to_vec(&config).expect("a configuration has only string keys");
        let manifest = ImageManifest::new(
            Descriptor::of(MediaType::OciConfig, &config),
            layers.iter().map(|tar| Descriptor::of(MediaType::OciLayer, tar)).collect(),
        );
        Self { document: Document::from_manifest(manifest), config, layers }
    }

    /// Returns the manifest's digest.
    pub fn digest(&self) -> Digest {
        self.document.digest()
    }

    /// Returns each blob with its descriptor: the configuration, then the layers.
    pub fn blobs(&self) -> Vec<(Descriptor, Vec<u8>)> {
        let manifest = self.document.as_image().expect("made from a manifest");
        let content = std::iter::once(&self.config).chain(&self.layers);
        manifest.blobs().cloned().zip(content.cloned()).collect()
    }

    /// Puts the image into `store` under `tag`.
    #[track_caller]
    pub fn put(&self, store: &dyn ImageStore, tag: &str) {
        for (descriptor, content) in self.blobs() {
            let digest = descriptor.digest;
            let put = store.put_blob(&descriptor, Blob::from_bytes(content));
            put.unwrap_or_else(|error| panic!("cannot put blob {digest}: {error}"));
        }
        let tag: Tag = tag.parse().unwrap_or_else(|error| panic!("{error}"));
        store.put_document(&self.document).unwrap_or_else(|error| panic!("cannot put the manifest: {error}"));
        store.tag(&tag, &self.document).unwrap_or_else(|error| panic!("cannot tag {tag}: {error}"));
    }
}

/// Returns a configuration for `platform` with nothing else set.
pub fn blank_config(platform: &Platform) -> ImageConfig {
    ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        ..ImageConfig::default()
    }
}

fn step(created_by: &str) -> History {
    History { created_by: Some(created_by.to_owned()), ..History::default() }
}

fn tar_of(files: Files<'_>) -> Vec<u8> {
    let tar = files.iter().fold(TarBuilder::new(), |tar, (path, content)| tar.file(path, content.as_bytes()));
    tar.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_agree_with_their_blobs() {
        let image = TinyImage::of_layers(&[&[("a", "1")], &[("b", "2")]]);
        for (descriptor, content) in image.blobs() {
            assert_eq!(descriptor.digest, Digest::of(&content));
            assert_eq!(descriptor.size, content.len() as u64);
        }
        let config: ImageConfig = serde_json::from_slice(&image.config).unwrap();
        assert_eq!(config.rootfs.diff_ids.len(), 2);
        assert_eq!(config.history.len(), 2);
    }

    #[test]
    fn the_same_files_give_the_same_digest() {
        let digest = |content| TinyImage::of_files(&[("a", content)]).digest();
        assert_eq!(digest("1"), digest("1"));
        assert_ne!(digest("1"), digest("2"));
    }
}
