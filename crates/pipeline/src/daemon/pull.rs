//! An image that a daemon pulls through this process: one whose layers are in a registry and not here, so that each of them
//! comes once and is nowhere written down on the way.
//!
//! The daemon reaches us where it shares this machine's loopback address. One in a virtual machine or in a network of its
//! own does not; then an archive is sent.
//!
//! Docker's own stores keep an image by its configuration, whose layers are named without their compression. To
//! those the layers are lent so: most of the time of loading them is Go's decompressor, and ours is several times as
//! fast. Containerd's store keeps the manifest, so there everything stays as it is.
//!
//! Source: Docker Engine API v1.41, "Create an image", "Remove an image"; moby, registry/config.go:
//! registries on 127.0.0.0/8 need no TLS.

use std::collections::BTreeMap;

use oci::{Descriptor, DiffId, Digest, Document, ImageManifest, MediaType, Platform};
use registry::loan::{self, Goods};

use super::inventory::Keeping;
use super::{Daemon, DaemonError, LOAD_TIMEOUT, Parcel, QUESTION_TIMEOUT};

impl Daemon {
    /// Has the daemon pull an image and names it; returns how many bytes were taken, or `None` where it did not come to
    /// that and an archive is to be sent.
    pub(super) fn pull(
        &self,
        parcel: &Parcel<'_>,
        diff_ids: &[DiffId],
        keeping: Keeping,
        platform: Option<&Platform>,
    ) -> Result<Option<u64>, DaemonError> {
        let is_unpacked = keeping == Keeping::Configurations;
        let unpacked = if is_unpacked { unpacked(parcel.manifest, diff_ids) } else { None };
        let (image, unpacked) = unpacked.unwrap_or_else(|| (parcel.manifest.clone(), BTreeMap::new()));
        let digest = image.digest();
        let goods = Goods { source: parcel.source, image: &image, unpacked: &unpacked };
        let lent = loan::lend(goods, |name| {
            let platform = platform.map(|platform| format!("&platform={platform}")).unwrap_or_default();
            let request = format!("POST /images/create?fromImage={name}&tag={digest}{platform}");
            self.ask(&request, LOAD_TIMEOUT)?;
            let named = self.name(parcel);
            // The name of the loan leads nowhere from now on. The image stays, by its other names.
            let _ = self.ask(&format!("DELETE /images/{name}@{digest}?noprune=1"), QUESTION_TIMEOUT);
            named
        });
        match lent {
            Ok((named, bytes)) => named.map(|()| Some(bytes)),
            Err(error) => {
                tracing::debug!(%error, "nothing can be lent to the daemon");
                Ok(None)
            }
        }
    }

    fn name(&self, parcel: &Parcel<'_>) -> Result<(), DaemonError> {
        let config = parcel.manifest.as_image().map(|image| image.config.digest);
        for id in [parcel.manifest.digest()].into_iter().chain(config) {
            if self.inspect(&id.to_string())?.is_some_and(|found| found.is_whole()) {
                return parcel.names.iter().try_for_each(|(name, _)| self.tag(&id, name));
            }
        }
        Ok(())
    }
}

/// Returns the manifest of the same image with layers that are not compressed, and which blobs hold those; `None`
/// where none is compressed or where a layer lies elsewhere. Their sizes are those of the blobs: nobody knows others
/// yet, and who pulls only shows them.
fn unpacked(manifest: &Document, diff_ids: &[DiffId]) -> Option<(Document, BTreeMap<Digest, Digest>)> {
    let image = manifest.as_image().filter(|image| image.layers.len() == diff_ids.len())?;
    let mut layers = Vec::new();
    let mut unpacked = BTreeMap::new();
    for (layer, diff_id) in image.layers.iter().zip(diff_ids) {
        let is_here = layer.urls.is_empty() && layer.media_type.layer_compression().is_some();
        if !is_here {
            return None;
        }
        if layer.digest != diff_id.0 {
            unpacked.insert(diff_id.0, layer.digest);
        }
        layers.push(Descriptor::new(MediaType::OciLayer, diff_id.0, layer.size));
    }
    let twin = Document::from_manifest(ImageManifest::new(image.config.clone(), layers));
    (!unpacked.is_empty()).then_some((twin, unpacked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_named_without_their_compression() {
        let config = Descriptor::of(MediaType::OciConfig, b"{}");
        let packed = Descriptor::of(MediaType::OciLayerGzip, b"packed");
        let plain = Descriptor::of(MediaType::OciLayer, b"plain");
        let diff_ids = [DiffId(Digest::of(b"content")), DiffId(plain.digest)];
        let layers = vec![packed.clone(), plain.clone()];
        let image = Document::from_manifest(ImageManifest::new(config.clone(), layers));
        let (twin, blobs) = unpacked(&image, &diff_ids).unwrap();
        let twin = twin.as_image().unwrap();
        assert_eq!(twin.config, config);
        assert_eq!(twin.layers.iter().map(|layer| layer.digest).collect::<Vec<_>>(), diff_ids.map(|id| id.0));
        assert_eq!(blobs, BTreeMap::from([(diff_ids[0].0, packed.digest)]));
        assert!(unpacked(&image, &diff_ids[..1]).is_none(), "a configuration that says something else");
        let elsewhere = Descriptor { urls: vec!["https://example.com".to_owned()], ..packed };
        let image =
            Document::from_manifest(ImageManifest::new(config.clone(), vec![elsewhere, plain.clone()]));
        assert!(unpacked(&image, &diff_ids).is_none());
        let image = Document::from_manifest(ImageManifest::new(config, vec![plain]));
        assert!(unpacked(&image, &diff_ids[1..]).is_none(), "nothing to unpack");
    }
}
