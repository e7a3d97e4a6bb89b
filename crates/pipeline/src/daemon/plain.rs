//! The layers of an image without their compression, as far as that can be told without fetching them.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use oci::{Descriptor, DiffId, Digest, Document, ImageManifest, MediaType};
use store::{Blob, BlobStore, Source, StoreError};

use super::Parcel;

/// A layer of at least this size is worth a way of its own: of smaller ones Go's decompressor makes less than a tenth of
/// a second.
pub(super) const LARGE_BYTES: u64 = 8 << 20;
const BUFFER_BYTES: usize = 1 << 20;

/// A layer that lies here.
pub(super) struct Plain {
    /// The digest of what it holds.
    pub diff_id: Digest,
    /// How it is stored.
    pub packed: Descriptor,
    /// How much it holds.
    pub bytes: u64,
}

/// Returns the layers of an image, lowest first; `None` where one lies elsewhere, or where nobody knows what is in it.
pub(super) fn layers(parcel: &Parcel<'_>, diff_ids: &[DiffId]) -> Result<Option<Vec<Plain>>, StoreError> {
    layers_of(parcel.manifest, diff_ids, |layer| plain_bytes(parcel.source, &layer.digest))
}

/// Returns the layers of an image, lowest first, of which `bytes` says how much each holds; `None` where one lies
/// elsewhere, or where `bytes` does not know.
pub(super) fn layers_of(
    manifest: &Document,
    diff_ids: &[DiffId],
    bytes: impl Fn(&Descriptor) -> Result<Option<u64>, StoreError>,
) -> Result<Option<Vec<Plain>>, StoreError> {
    let Some(image) = manifest.as_image().filter(|image| image.layers.len() == diff_ids.len()) else {
        return Ok(None);
    };
    let mut layers = Vec::new();
    for (layer, diff_id) in image.layers.iter().zip(diff_ids) {
        let is_layer = layer.urls.is_empty() && layer.media_type.layer_compression().is_some();
        let bytes = if is_layer { bytes(layer)? } else { None };
        let Some(bytes) = bytes else { return Ok(None) };
        layers.push(Plain { diff_id: diff_id.0, packed: layer.clone(), bytes });
    }
    Ok(Some(layers))
}

/// The manifest of an image with layers that are not compressed, and which blobs hold those.
pub(super) type Twin = (Document, BTreeMap<Digest, Digest>);

/// Returns the twin of an image; `None` where no layer is compressed.
pub(super) fn twin(manifest: &Document, layers: &[Plain]) -> Option<Twin> {
    let image = manifest.as_image()?;
    let packed = layers.iter().filter(|layer| layer.diff_id != layer.packed.digest);
    let unpacked: BTreeMap<_, _> = packed.map(|layer| (layer.diff_id, layer.packed.digest)).collect();
    let plain = layers.iter().map(|layer| Descriptor::new(MediaType::OciLayer, layer.diff_id, layer.bytes));
    let twin = Document::from_manifest(ImageManifest::new(image.config.clone(), plain.collect()));
    (!unpacked.is_empty()).then_some((twin, unpacked))
}

/// Returns how much a layer holds; `None` where it would have to come from another machine for that.
fn plain_bytes(source: &(impl BlobStore + ?Sized), digest: &Digest) -> Result<Option<u64>, StoreError> {
    let failed = |error| StoreError::io("read", format!("blob {digest}"), error);
    let blob = source.open_blob(digest)?;
    let size = blob.size();
    let told = match blob.into_file().map_err(Blob::into_source) {
        Ok(mut file) => layer::told_bytes(&mut file, size),
        Err(Source::Bytes(bytes)) => layer::told_bytes(&mut Cursor::new(bytes), size),
        Err(_) => return Ok(None),
    };
    match told.map_err(failed)? {
        Some(bytes) => Ok(Some(bytes)),
        None => {
            let mut content = layer::decompress(source.open_blob(digest)?).map_err(failed)?;
            io::copy(&mut content, &mut io::sink()).map(Some).map_err(failed)
        }
    }
}

impl Plain {
    /// Writes what the layer holds, unless `is_lost` becomes true on the way.
    ///
    /// # Errors
    /// Also where it holds more or less than it said.
    pub fn write(
        &self,
        source: &dyn BlobStore,
        is_lost: &AtomicBool,
        output: &mut impl Write,
    ) -> io::Result<()> {
        let blob = source.open_blob(&self.packed.digest).map_err(io::Error::other)?;
        let mut content = layer::decompress(blob)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut left = self.bytes;
        loop {
            let count = match content.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                count => count?,
            };
            if count as u64 > left || (count == 0 && left > 0) {
                let reason = format!(
                    "layer {} does not hold the {} bytes that it says",
                    self.packed.digest, self.bytes
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            if count == 0 {
                return Ok(());
            }
            if is_lost.load(Ordering::Relaxed) {
                return Err(io::Error::other("the layer below it was not taken"));
            }
            output.write_all(&buffer[..count])?;
            left -= count as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use oci::Compression;
    use store::MemoryStore;

    use super::*;

    fn stored(content: &[u8]) -> (MemoryStore, Descriptor) {
        let store = MemoryStore::new();
        let descriptor = Descriptor::of(MediaType::OciLayerGzip, content);
        store.put_blob(&descriptor, Blob::from_bytes(content.to_vec())).unwrap();
        (store, descriptor)
    }

    fn packed(format: Compression, content: &[u8]) -> Vec<u8> {
        let mut writer = layer::compressor(layer::Settings::new(format), Vec::new()).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn a_layer_is_written_as_it_is_inside_whatever_packs_it() {
        let content: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
        for format in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let (store, descriptor) = stored(&packed(format, &content));
            let bytes = plain_bytes(&store, &descriptor.digest).unwrap().unwrap();
            assert_eq!(bytes, content.len() as u64, "{format:?}");
            let plain = Plain { diff_id: Digest::of(&content), packed: descriptor, bytes };
            let mut written = Vec::new();
            plain.write(&store, &AtomicBool::new(false), &mut written).unwrap();
            assert!(written == content, "{format:?}");
        }
    }

    #[test]
    fn one_that_holds_something_else_than_it_says_is_an_error() {
        let (store, descriptor) = stored(&packed(Compression::Gzip, b"content"));
        for bytes in [6, 8] {
            let plain = Plain { diff_id: Digest::of(b"content"), packed: descriptor.clone(), bytes };
            let error = plain.write(&store, &AtomicBool::new(false), &mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        let plain = Plain { diff_id: Digest::of(b"content"), packed: descriptor, bytes: 7 };
        plain.write(&store, &AtomicBool::new(true), &mut Vec::new()).unwrap_err();
    }

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
