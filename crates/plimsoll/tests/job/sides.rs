//! A name that both the local store and its registry have: who is asked for it, and that nothing said about an image
//! is lost on its way, whatever places it passes.

use oci::{Descriptor, Digest, Document, ImageManifest, MediaType};
use serde_json::{Value, json};
use store::referrer::cosign_tag;
use store::{Blob, BlobStore as _, ImageStore as _, OciFolder};
use testkit::image::TinyImage;

use crate::shop::Shop;
use crate::unreliable::{Fault, Unreliable};

/// A registry with an image `a:1`, which was pulled from there, and which an SBOM and cosign's signature speak of there
/// alone.
struct Scene {
    shop: Shop,
    registry: Unreliable,
    image: Digest,
    sbom: Digest,
    signature: oci::Tag,
}

impl Scene {
    fn new() -> Self {
        let shop = Shop::without_base(&[("a", "")]);
        let registry = Unreliable::start(&shop.beside("registry"));
        let layout = OciFolder::create(&shop.beside("layout")).unwrap();
        let image = TinyImage::of_layers(&[&[("a", "1")], &[("b", "2")]]);
        image.put(&layout, "1");
        TinyImage::of_files(&[("a", "other")]).put(&layout, "2");
        let config = Descriptor::of(MediaType::OciEmpty, b"{}");
        layout.put_blob(&config, Blob::from_bytes("{}")).unwrap();
        let about = |kind: &str, subject: Option<&Document>| {
            let mut manifest = ImageManifest::new(config.clone(), Vec::new());
            manifest.artifact_type = Some(kind.to_owned());
            manifest.subject = subject.map(|subject| subject.descriptor().clone());
            Document::from_manifest(manifest)
        };
        let sbom = about("application/spdx+json", Some(&image.document));
        layout.add(&sbom).unwrap();
        let signature = cosign_tag(&image.digest(), "sig");
        layout.tag(&signature, &about("application/vnd.example.signature", None)).unwrap();
        let scene = Self { shop, registry, image: image.digest(), sbom: sbom.digest(), signature };
        scene.json("copy oci:LAYOUT:1 REGISTRY/a:1 --referrers");
        scene.json("pull REGISTRY/a:1");
        scene
    }

    fn line(&self, line: &str) -> String {
        let line = line.replace("LAYOUT", &self.shop.beside("layout").display().to_string());
        let line = line.replace("HERE", &self.shop.beside("").display().to_string());
        let retry = "--set defaults.push.retry.attempts=1";
        format!("{} {retry}", line.replace("REGISTRY", &self.registry.address))
    }

    #[track_caller]
    fn json(&self, line: &str) -> Value {
        self.shop.call(&format!("{} --format json", self.line(line))).exits(0).json()
    }

    /// Demands that a layout has all that is said about the image, and nothing else under a name.
    #[track_caller]
    fn is_complete(&self, layout: &str, tag: &str) {
        let layout = OciFolder::open(&self.shop.beside(layout)).unwrap();
        let found: Vec<Digest> =
            layout.referrers(&self.image).unwrap().into_iter().map(|one| one.digest).collect();
        assert_eq!(found, [self.sbom]);
        let mut expected = vec![self.signature.clone(), tag.parse().unwrap()];
        expected.sort();
        assert_eq!(layout.tags().unwrap(), expected);
    }
}

#[test]
fn what_a_registry_knows_about_a_pulled_image_comes_along() {
    let scene = Scene::new();
    assert_eq!(scene.json("copy REGISTRY/a:1 oci:HERE/all:1 --referrers")["referrers"], 2);
    scene.is_complete("all", "1");
    assert_eq!(scene.json("copy REGISTRY/a:1 REGISTRY/b:1 --referrers")["referrers"], 2);
    assert_eq!(scene.json("copy REGISTRY/b:1 oci:HERE/again:1 --referrers")["referrers"], 2);
    scene.is_complete("again", "1");
    // Only what is here.
    assert_eq!(scene.json("copy REGISTRY/a:1 oci:HERE/few:1 --referrers --local")["referrers"], 0);
    // A registry that does not say what it knows is not passed over.
    scene.registry.does(|_| Fault::Answer(503, ""));
    scene.shop.call(&scene.line("copy REGISTRY/a:1 oci:HERE/none:1 --referrers")).exits(5);
    scene.json("copy REGISTRY/a:1 oci:HERE/none:1 --referrers --local");
    scene.json("copy REGISTRY/a:1 oci:HERE/none:2");
}

#[test]
fn a_registry_that_moved_on_is_asked_where_that_is_wanted() {
    let scene = Scene::new();
    let old = scene.image.to_string();
    scene.json("copy oci:LAYOUT:2 REGISTRY/a:1");
    let new = scene.json("digest oci:LAYOUT:2")["digest"].as_str().unwrap().to_owned();
    let digest = |flags: &str| scene.json(&format!("digest REGISTRY/a:1 {flags}"))["digest"].clone();
    assert_eq!((digest(""), digest("--local"), digest("--remote")), (json!(old), json!(old), json!(new)));
    let says = |line: &str| scene.shop.call(&scene.line(line)).exits(0).stderr.contains("--remote asks its");
    assert!(
        says("digest REGISTRY/a:1") && says("inspect REGISTRY/a:1") && says("copy REGISTRY/a:1 local/x:1")
    );
    assert!(!says("digest REGISTRY/a:1 --local") && !says(&format!("digest REGISTRY/a@{old}")));
    assert_eq!(scene.json("copy --remote REGISTRY/a:1 oci:HERE/new:1")["digest"], json!(new));
    let inspected =
        |flags: &str| scene.json(&format!("inspect REGISTRY/a@{old} {flags}"))["referrers"].clone();
    assert_eq!(inspected("--local"), json!([]));
    assert_eq!(inspected("--remote")[0]["digest"], json!(scene.sbom));
    scene.shop.call(&scene.line("digest REGISTRY/none:1 --local")).exits(1).says("in the local store");
    scene.shop.call(&scene.line("digest REGISTRY/a:1 --local --remote")).exits(2).says("cannot be used with");
}

#[test]
fn an_archive_keeps_what_is_said_about_its_image() {
    let scene = Scene::new();
    let archive = "oci-archive:HERE/a.tar";
    assert_eq!(scene.json(&format!("copy REGISTRY/a:1 {archive}:shop/a:1 --referrers"))["referrers"], 2);
    // The image is still the only one that is meant without a name.
    assert_eq!(scene.json(&format!("digest {archive}"))["digest"], json!(scene.image));
    scene.json(&format!("copy {archive} oci:HERE/out:v1 --referrers"));
    scene.is_complete("out", "v1");
    scene.json("load HERE/a.tar --tag local/loaded:1");
    assert_eq!(scene.json("inspect local/loaded:1")["referrers"][0]["digest"], json!(scene.sbom));
    scene.json("copy local/loaded:1 oci:HERE/back:1 --referrers");
    scene.is_complete("back", "1");
    // The same of a layout that lists the image without a name.
    scene.json("copy REGISTRY/a:1 oci:HERE/nameless --referrers");
    assert_eq!(scene.json("digest oci:HERE/nameless")["digest"], json!(scene.image));
    let docker = "copy REGISTRY/a:1 docker-archive:HERE/b.tar --referrers";
    scene.shop.call(&scene.line(docker)).exits(2).says("cannot hold referrers");
}

#[test]
fn all_images_of_an_archive_become_tags() {
    let scene = Scene::new();
    scene.json("copy --all-tags oci:LAYOUT local/many");
    scene.json("save local/many:1 local/many:2 -o HERE/many.tar");
    let line = "copy --all-tags docker-archive:HERE/many.tar REGISTRY/many";
    assert_eq!(scene.json(line)["tags"].as_array().unwrap().len(), 2);
    let listed = scene.json("ls --remote REGISTRY/many");
    let tags: Vec<&Value> = listed["images"].as_array().unwrap().iter().map(|image| &image["tag"]).collect();
    assert_eq!(tags, [&json!("1"), &json!("2")]);
    let line = "copy --all-tags REGISTRY/many docker-archive:HERE/other.tar";
    scene.shop.call(&scene.line(line)).exits(2).says("an archive is written once");
    assert!(!scene.shop.beside("other.tar").exists());
}

#[test]
fn a_repository_that_is_nowhere_is_no_empty_list() {
    let scene = Scene::new();
    scene.shop.call(&scene.line("ls REGISTRY/none")).exits(1).says("/none does not exist");
    let line = "copy --all-tags REGISTRY/none oci:HERE/x";
    scene.shop.call(&scene.line(line)).exits(1).says("has no tags, or does not exist");
}
