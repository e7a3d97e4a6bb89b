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
fn builds_leave_them_out_and_say_so() {
    let scene = Scene::new();
    let name = format!("{}/base:1", scene.registry.address);
    scene.import(&name);
    scene.shop.write("Dockerfile", format!("FROM {name}\nCOPY a /a\n"));
    let address = &scene.registry.address;
    let pushed = |more: &str| {
        let line = format!("build -f Dockerfile -t {address}/built:1 --push {more} .");
        scene.shop.call(&line).exits(0).stderr
    };
    let said = pushed("");
    assert!(said.contains(URL) && said.contains("--allow-nondistributable pushes"), "{said}");
    assert!(!scene.is_there());
    let said = pushed("--allow-nondistributable");
    assert!(!said.contains(URL) && scene.is_there(), "{said}");
}

#[test]
fn a_run_and_a_bake_push_them_where_that_is_asked_for() {
    let scene = Scene::new();
    let name = format!("{}/base:1", scene.registry.address);
    scene.import(&name);
    scene.shop.write("plimsoll.toml", "[service.app]\n");
    scene.shop.write("Dockerfile", format!("FROM {name}\nCOPY a /a\n"));
    scene.shop.git.commit("image");
    let registry = format!("--set registry={}/run", scene.registry.address);
    let said = scene.shop.call(&format!("run {registry} --progress plain")).exits(0).stderr;
    assert!(said.contains("is not to be distributed") && said.contains(URL), "{said}");
    assert!(!scene.is_there());
    let bake = format!("target \"default\" {{\n  tags = [\"{}/bake:1\"]\n}}\n", scene.registry.address);
    scene.shop.write("docker-bake.hcl", bake);
    let said = scene.shop.call("bake --push --progress plain").exits(0).stderr;
    assert!(said.contains(URL) && !scene.is_there(), "{said}");
    scene.shop.call("bake --push --allow-nondistributable").exits(0);
    assert!(scene.is_there());
    let again = Scene::new();
    again.import(&format!("{}/base:1", again.registry.address));
    again.shop.write("plimsoll.toml", "[defaults.push]\nallow-nondistributable = true\n[service.app]\n");
    again.shop.write("Dockerfile", format!("FROM {}/base:1\nCOPY a /a\n", again.registry.address));
    again.shop.git.commit("image");
    again.shop.call(&format!("run --set registry={}/run", again.registry.address)).exits(0);
    assert!(again.is_there());
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
fn what_a_layout_or_an_archive_lacks_comes_from_where_it_is_said_to_be() {
    use std::io::{Read as _, Write as _};

    let scene = Scene::new();
    let content = {
        let layout = OciFolder::open(&scene.shop.beside("layout")).unwrap();
        let mut content = Vec::new();
        layout.open_blob(&scene.foreign.digest).unwrap().read_to_end(&mut content).unwrap();
        content
    };
    // Somebody who has the layer, and asks nobody who he is.
    let web = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = web.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in web.incoming() {
            let mut stream = std::io::BufReader::new(stream.unwrap());
            let mut line = String::new();
            while std::io::BufRead::read_line(&mut stream, &mut line).is_ok_and(|count| count > 2) {}
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len());
            let stream = stream.get_mut();
            // Who asked may have gone away.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&content));
        }
    });
    let place = scene.shop.beside("lacking");
    let layout = OciFolder::create(&place).unwrap();
    let manifest = scene.image.as_image().unwrap();
    let foreign = Descriptor { urls: vec![format!("http://{address}/layer")], ..scene.foreign.clone() };
    let full = OciFolder::open(&scene.shop.beside("layout")).unwrap();
    for blob in [&manifest.config, &manifest.layers[1]] {
        layout.put_blob(blob, full.open_blob(&blob.digest).unwrap()).unwrap();
    }
    let image = Document::from_manifest(ImageManifest::new(
        manifest.config.clone(),
        vec![foreign, manifest.layers[1].clone()],
    ));
    layout.tag(&"1".parse().unwrap(), &image).unwrap();

    let line = format!("copy oci:{}:1", place.display());
    // An address of this machine is asked only where somebody says so, and with --offline nobody is.
    let said = scene.shop.call(&format!("{line} local/a:1")).exits(1);
    said.says("address of this machine").says("only a copy to a registry does without");
    let named = format!("--insecure-registry {address}");
    scene.shop.call(&format!("{line} local/a:1 {named} --offline")).exits(1).says("does without");
    scene.call(&format!("{line} local/a:1 {named}"));
    let archive = scene.shop.beside("whole.tar").display().to_string();
    scene.call(&format!("{line} oci-archive:{archive}:a:1 {named}"));
    scene.call(&format!("load {archive} --tag local/b:1 --offline"));
    assert_eq!(scene.call("digest local/b:1")["digest"], json!(image.digest()));
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
    let line = format!("copy oci:{}:1 docker-archive:{} --offline", layout.display(), archive.display());
    scene.shop.call(&line).exits(1).says(&scene.foreign.digest.to_string());
    assert!(!archive.exists());
}
