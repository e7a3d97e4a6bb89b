//! Large images into a Docker daemon with containerd's store, which knows an image by its manifest and keeps its blobs as
//! they are, compressed.
//!
//! Unpacking them is what takes longest, on one processor, and nothing goes on beside it. What is unpacked is kept under the
//! digests of what layers hold, whatever blobs it came from. So the daemon pulls a twin of the image from here whose layers
//! are not compressed: it unpacks one while it receives the next. Meanwhile it is sent the archive of the image itself,
//! whose end is kept back until the twin is there, and then finds all of it unpacked. Where it cannot reach us, as from
//! another network, it unpacks the archive. The twin goes when it has served.
//!
//! Source: Docker Engine API v1.41, "Create an image", "Remove an image"; containerd, core/unpack/unpacker.go.

use std::collections::{BTreeMap, BTreeSet};

use oci::{Descriptor, Digest, Document, ImageManifest, MediaType, Platform};
use registry::loan::{self, Goods};

use super::plain::Plain;
use super::{Daemon, DaemonError, LOAD, LOAD_TIMEOUT, Parcel, QUESTION_TIMEOUT, archive_failed};

impl Daemon {
    /// Sends an image whose layers are `layers`; returns how many bytes went.
    pub(super) fn load_aside(
        &self,
        parcel: &Parcel<'_>,
        layers: &[Plain],
        platform: Option<&Platform>,
    ) -> Result<u64, DaemonError> {
        let Some((twin, unpacked)) = twin(parcel.manifest, layers) else {
            return self.send(parcel, BTreeSet::new());
        };
        let digest = twin.digest();
        let goods = Goods { source: parcel.source, image: &twin, unpacked: &unpacked };
        let lent = loan::lend(goods, |name| {
            let platform = platform.map(|platform| format!("&platform={platform}")).unwrap_or_default();
            let request = format!("POST /images/create?fromImage={name}&tag={digest}{platform}");
            let sent = std::thread::scope(|scope| {
                let pull =
                    std::thread::Builder::new().spawn_scoped(scope, || self.ask(&request, LOAD_TIMEOUT));
                let pull = pull.map_err(|error| archive_failed(parcel.manifest.digest(), error))?;
                self.upload(LOAD, |upload| {
                    let written = parcel.write(BTreeSet::new(), upload);
                    let pulled = pull.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                    if let Err(error) = pulled {
                        tracing::debug!(%error, "the daemon does not pull from here");
                    }
                    written
                })
            });
            let _ = self.ask(&format!("DELETE /images/{name}@{digest}?noprune=1"), QUESTION_TIMEOUT);
            sent
        });
        match lent {
            Ok((sent, lent)) => Ok(sent?.1 + lent),
            Err(error) => {
                tracing::debug!(%error, "nothing can be lent to the daemon");
                self.send(parcel, BTreeSet::new())
            }
        }
    }
}

/// Returns the manifest of the same image with layers that are not compressed, and which blobs hold those; `None` where
/// none is compressed.
fn twin(manifest: &Document, layers: &[Plain]) -> Option<(Document, BTreeMap<Digest, Digest>)> {
    let image = manifest.as_image()?;
    let packed = layers.iter().filter(|layer| layer.diff_id != layer.packed.digest);
    let unpacked: BTreeMap<_, _> = packed.map(|layer| (layer.diff_id, layer.packed.digest)).collect();
    let plain = layers.iter().map(|layer| Descriptor::new(MediaType::OciLayer, layer.diff_id, layer.bytes));
    let twin = Document::from_manifest(ImageManifest::new(image.config.clone(), plain.collect()));
    (!unpacked.is_empty()).then_some((twin, unpacked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twin_has_the_same_configuration_and_the_sizes_of_what_layers_hold() {
        let packed = Plain {
            diff_id: Digest::of(b"content"),
            packed: Descriptor::of(MediaType::OciLayerGzip, b"packed"),
            bytes: 7,
        };
        let plain = Descriptor::of(MediaType::OciLayer, b"plain");
        let plain = || Plain { diff_id: plain.digest, packed: plain.clone(), bytes: 5 };
        let config = Descriptor::of(MediaType::OciConfig, b"{}");
        let layers = vec![packed.packed.clone(), plain().packed];
        let image = Document::from_manifest(ImageManifest::new(config.clone(), layers));
        let blob = packed.packed.digest;
        let (twin_of_it, blobs) = twin(&image, &[packed, plain()]).unwrap();
        let found = twin_of_it.as_image().unwrap();
        assert_eq!(found.config, config);
        let layers: Vec<_> = found.layers.iter().map(|layer| (layer.digest, layer.size)).collect();
        assert_eq!(layers, [(Digest::of(b"content"), 7), (Digest::of(b"plain"), 5)]);
        assert_eq!(blobs, BTreeMap::from([(Digest::of(b"content"), blob)]));
        assert!(twin(&image, &[plain()]).is_none(), "nothing to unpack");
    }
}
