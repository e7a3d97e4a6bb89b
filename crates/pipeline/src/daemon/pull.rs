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

use oci::{DiffId, Digest, Document, Platform, Repository};
use registry::loan::{self, Goods};
use store::StoreError;

use super::inventory::Keeping;
use super::plain::{self, Twin};
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
        let unpacked = if is_unpacked { unopened(parcel.manifest, diff_ids)? } else { None };
        let (image, unpacked) = unpacked.unwrap_or_else(|| (parcel.manifest.clone(), BTreeMap::new()));
        let digest = image.digest();
        let goods = Goods { source: parcel.source, image: &image, unpacked: &unpacked };
        let lent = loan::lend(goods, |name| {
            self.take_loan(name, &digest, platform)?;
            let named = self.name(parcel);
            self.forget_loan(name, &digest);
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

    /// Has the daemon pull what is lent under a name.
    pub(super) fn take_loan(
        &self,
        name: &Repository,
        digest: &Digest,
        platform: Option<&Platform>,
    ) -> Result<(), DaemonError> {
        let mut request = format!("POST /images/create?fromImage={name}&tag={digest}");
        if let Some(platform) = platform {
            request.push_str(&format!("&platform={platform}"));
        }
        self.ask(&request, LOAD_TIMEOUT).map(drop)
    }

    /// Takes away the name of a loan, which leads nowhere any more. An image that has other names stays; a daemon that
    /// keeps the name has one too many, and nothing else.
    pub(super) fn forget_loan(&self, name: &Repository, digest: &Digest) {
        let _ = self.ask(&format!("DELETE /images/{name}@{digest}?noprune=1"), QUESTION_TIMEOUT);
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

/// Returns the twin of an image whose layers nobody has opened: their sizes are those of the blobs, which who pulls only
/// shows.
fn unopened(manifest: &Document, diff_ids: &[DiffId]) -> Result<Option<Twin>, StoreError> {
    let layers = plain::layers_of(manifest, diff_ids, |layer| Ok(Some(layer.size)))?;
    Ok(layers.and_then(|layers| plain::twin(manifest, &layers)))
}

#[cfg(test)]
mod tests {
    use oci::{Descriptor, ImageManifest, MediaType};

    use super::*;

    #[test]
    fn layers_are_named_without_their_compression() {
        let config = Descriptor::of(MediaType::OciConfig, b"{}");
        let packed = Descriptor::of(MediaType::OciLayerGzip, b"packed");
        let plain = Descriptor::of(MediaType::OciLayer, b"plain");
        let diff_ids = [DiffId(Digest::of(b"content")), DiffId(plain.digest)];
        let layers = vec![packed.clone(), plain.clone()];
        let image = Document::from_manifest(ImageManifest::new(config.clone(), layers));
        let (twin, blobs) = unopened(&image, &diff_ids).unwrap().unwrap();
        let twin = twin.as_image().unwrap();
        assert_eq!(twin.config, config);
        assert_eq!(twin.layers.iter().map(|layer| layer.digest).collect::<Vec<_>>(), diff_ids.map(|id| id.0));
        assert_eq!(blobs, BTreeMap::from([(diff_ids[0].0, packed.digest)]));
        assert!(
            unopened(&image, &diff_ids[..1]).unwrap().is_none(),
            "a configuration that says something else"
        );
        let elsewhere = Descriptor { urls: vec!["https://example.com".to_owned()], ..packed };
        let image =
            Document::from_manifest(ImageManifest::new(config.clone(), vec![elsewhere, plain.clone()]));
        assert!(unopened(&image, &diff_ids).unwrap().is_none());
        let image = Document::from_manifest(ImageManifest::new(config, vec![plain]));
        assert!(unopened(&image, &diff_ids[1..]).unwrap().is_none(), "nothing to unpack");
    }
}
