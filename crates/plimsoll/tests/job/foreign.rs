//! Layers that registries are not to hand on, through the commands that move images.

use oci::{Descriptor, Document, ImageManifest, MediaType, Reference};
use serde_json::json;
use store::{Blob, BlobStore as _, CopyOptions, ImageStore as _, LayoutStore, OciFolder, copy_image};
use testkit::image::TinyImage;

use crate::shop::Shop;
use crate::unreliable::Unreliable;

const URL: &str = "https://layers.example.com/windows";

/// A layout with an image `1` of an ordinary layer and one that is not to be distributed, and a registry.
struct Scene {
    shop: Shop,
    registry: Unreliable,
    image: Document,
    foreign: Descriptor,
}

impl Scene {
    fn new() -> Self {
        let shop = Shop::without_base(&[("a", "")]);
        let registry = Unreliable::start(&shop.beside("registry"));
        let layout = OciFolder::create(&shop.beside("layout")).unwrap();
        let plain = TinyImage::of_layers(&[&[("a", "1")], &[("b", "2")]]);
        for (descriptor, content) in plain.blobs() {
            layout.put_blob(&descriptor, Blob::from_bytes(content)).unwrap();
        }
        let manifest = plain.document.as_image().unwrap();
        let media_type = MediaType::from("application/vnd.oci.image.layer.nondistributable.v1.tar");
        let foreign = Descriptor { media_type, urls: vec![URL.to_owned()], ..manifest.layers[0].clone() };
        let layers = vec![foreign.clone(), manifest.layers[1].clone()];
        let image = Document::from_manifest(ImageManifest::new(manifest.config.clone(), layers));
        layout.tag(&"1".parse().unwrap(), &image).unwrap();
        Self { shop, registry, image, foreign }
    }

    fn call(&self, line: &str) -> serde_json::Value {
        let line = line.replace("LAYOUT", &self.shop.beside("layout").display().to_string());
        let line = line.replace("REGISTRY", &self.registry.address);
        let seen = self.shop.call(&format!("{line} --format json"));
        let seen = seen.exits(0);
        seen.json()
    }

    /// Puts the image into the local store under a name of the registry.
    fn import(&self, name: &str) {
        let store = LayoutStore::open(&self.shop.root("store")).unwrap();
        let name: Reference = name.parse().unwrap();
        let layout = OciFolder::open(&self.shop.beside("layout")).unwrap();
        let local = store.repository(name.repository());
        copy_image(&layout, &local, self.image.descriptor(), &CopyOptions::whole(), &|_| {}).unwrap();
        local.tag(name.tag().unwrap(), &self.image).unwrap();
    }

    fn left_out(&self) -> serde_json::Value {
        json!([{
            "digest": self.foreign.digest,
            "media_type": self.foreign.media_type,
            "size": self.foreign.size,
            "urls": [URL],
        }])
    }

    /// Whether the registry has the layer.
    fn is_there(&self) -> bool {
        let store = LayoutStore::open(&self.shop.beside("registry/store")).unwrap();
        store.blob_size(&self.foreign.digest).unwrap().is_some()
    }
}

#[test]
fn copies_and_pushes_leave_them_out_and_say_so() {
    let scene = Scene::new();
    for _ in 0..2 {
        let answer = scene.call("copy oci:LAYOUT:1 REGISTRY/a:1");
        assert_eq!(answer["left_out"], scene.left_out());
        assert_eq!(answer["digest"], json!(scene.image.digest()));
    }
    let answer = scene.call("migrate oci:LAYOUT REGISTRY/b");
    assert_eq!((&answer["left_out"], &answer["complete"]), (&scene.left_out(), &json!(true)));
    let name = format!("{}/c:1", scene.registry.address);
    scene.import(&name);
    assert_eq!(scene.call(&format!("push {name}"))["left_out"], scene.left_out());
    assert!(!scene.is_there());
    let text = scene.shop.call(&format!("push {name}")).exits(0).stdout;
    assert!(
        text.contains(&format!("to be had at {URL}")) && text.contains("--allow-nondistributable"),
        "{text}"
    );

    let answer = scene.call(&format!("push {name} --allow-nondistributable"));
    assert_eq!((&answer["left_out"], &answer["blobs_moved"]), (&json!([]), &json!(1)));
    assert!(scene.is_there());
    let answer = scene.call("migrate oci:LAYOUT REGISTRY/b --allow-nondistributable-artifacts");
    assert_eq!((&answer["left_out"], &answer["complete"]), (&json!([]), &json!(true)));
}

#[test]
fn places_of_ones_own_get_them() {
    let scene = Scene::new();
    let folder = scene.shop.beside("kept");
    let kept = folder.display();
    std::fs::create_dir(&folder).unwrap();
    for to in [format!("oci:{kept}/oci:1"), format!("dir:{kept}/dir"), format!("oci-archive:{kept}/a.tar")] {
        let answer = scene.call(&format!("copy oci:LAYOUT:1 {to}"));
        assert_eq!(answer["left_out"], json!([]), "{to}");
    }
    scene.call(&format!("save oci:LAYOUT:1 -o {kept}/b.tar --tag a:1"));
    for archive in ["a.tar", "b.tar"] {
        let archive = std::fs::read(folder.join(archive)).unwrap();
        let name = scene.foreign.digest.hex();
        assert!(archive.windows(name.len()).any(|part| part == name.as_bytes()));
    }
    let layer = |path: &str| folder.join(path).join(scene.foreign.digest.hex());
    assert!(layer("oci/blobs/sha256").is_file() && layer("dir").is_file());
}

#[test]
fn what_is_nowhere_is_named() {
    let scene = Scene::new();
    scene.call("copy oci:LAYOUT:1 REGISTRY/a:1");
    let line = format!("pull {}/a:1 --offline", scene.registry.address);
    scene.shop.call(&line).exits(1).says(URL).says("only a copy to a registry does without");
    let layout = scene.shop.beside("layout");
    std::fs::remove_file(layout.join("blobs/sha256").join(scene.foreign.digest.hex())).unwrap();
    let archive = scene.shop.beside("a.tar");
    let line = format!("copy oci:{}:1 docker-archive:{}", layout.display(), archive.display());
    scene.shop.call(&line).exits(1).says(&scene.foreign.digest.to_string());
    assert!(!archive.exists());
}
