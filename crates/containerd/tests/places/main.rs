//! Images into and out of a containerd that tests play: what it is sent, what it keeps, and what comes of lies.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod broken;
mod fake;
mod killed;
mod lies;
mod names;
mod referrers;
mod whole;

use containerd::{Containerd, ContainerdRepository, Namespace};
use fake::Fake;
use jiff::Timestamp;
use oci::{Descriptor, Document, ImageManifest, MediaType};
use store::{Blob, BlobStore, Copied, CopyOptions, ImageStore, MemoryStore, StoreError, copy_image};

/// An image in memory.
struct Image {
    store: MemoryStore,
    document: Document,
}

/// Bytes that depend on `seed` and repeat nowhere soon.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(&mut next).take(length).collect()
}

/// An image of layers with these lengths; the same numbers give the same image, and a layer depends on nothing
/// but its own number.
fn image(layers: &[usize]) -> Image {
    let store = MemoryStore::new();
    let put = |media_type: MediaType, content: Vec<u8>| {
        let descriptor = Descriptor::of(media_type, &content);
        store.put_blob(&descriptor, Blob::from_bytes(content)).unwrap();
        descriptor
    };
    let config = put(MediaType::OciConfig, format!("{{\"layers\":{layers:?}}}").into_bytes());
    let layers = layers.iter().map(|length| put(MediaType::OciLayerGzip, noise(*length as u64, *length)));
    let document = Document::from_manifest(ImageManifest::new(config, layers.collect()));
    store.put_document(&document).unwrap();
    Image { store, document }
}

fn containerd(fake: &Fake) -> Containerd {
    Containerd::connect(&[fake.socket()]).unwrap()
}

fn repository(fake: &Fake) -> ContainerdRepository {
    in_namespace(fake, "default")
}

fn in_namespace(fake: &Fake, namespace: &str) -> ContainerdRepository {
    let namespace: Namespace = namespace.parse().unwrap();
    containerd(fake).repository(&namespace, &"acme/api".parse().unwrap())
}

/// Copies an image as `plimsoll copy` does, one blob at a time.
fn send(image: &Image, to: ContainerdRepository) -> Result<Copied, StoreError> {
    let to = to.held(Timestamp::UNIX_EPOCH)?;
    let options = CopyOptions { concurrency: 1, ..CopyOptions::default() };
    let copied = copy_image(&image.store, &to, image.document.descriptor(), &options, &|_| {})?;
    to.tag(&"1".parse().unwrap(), &image.document)?;
    Ok(copied)
}

fn key(namespace: &str, name: &str) -> (String, String) {
    (namespace.to_owned(), name.to_owned())
}

const NAME: &str = "docker.io/acme/api:1";
