//! `inspect`, `ls`, `digest` and `diff` of what is no image: everything that a registry may hold is shown.

use oci::{Descriptor, Digest, Document, ImageIndex, ImageManifest, MediaType};
use serde_json::json;
use store::{Blob, BlobStore, ImageStore, LayoutRepository, LayoutStore};
use testkit::image::TinyImage;

use crate::shop::Shop;

/// A store with `local/x`, in which tests put what they inspect.
struct Scene {
    shop: Shop,
    repository: LayoutRepository,
}

impl Scene {
    fn new() -> Self {
        let shop = Shop::without_base(&[("a", "")]);
        let store = LayoutStore::open(&shop.root("store")).unwrap();
        let repository = store.repository(&"local/x".parse().unwrap());
        Self { shop, repository }
    }

    fn blob(&self, media_type: &str, content: &'static str) -> Descriptor {
        let descriptor = Descriptor::of(media_type.into(), content.as_bytes());
        self.repository.put_blob(&descriptor, Blob::from_bytes(content)).unwrap();
        descriptor
    }

    fn put(&self, tag: &str, document: &Document) -> Digest {
        self.repository.put_document(document).unwrap();
        self.repository.tag(&tag.parse().unwrap(), document).unwrap();
        document.digest()
    }

    /// Puts an artifact with one layer.
    fn artifact(&self, tag: &str, config: (&str, &'static str), layer: (&str, &'static str)) -> Digest {
        let (config, mut layer) = (self.blob(config.0, config.1), self.blob(layer.0, layer.1));
        layer.annotations.insert("org.opencontainers.image.title".to_owned(), "a-file.txt".to_owned());
        self.put(tag, &Document::from_manifest(ImageManifest::new(config, vec![layer])))
    }

    #[track_caller]
    fn json(&self, line: &str) -> serde_json::Value {
        self.shop.call(&format!("{line} --format json")).exits(0).json()
    }
}

#[test]
fn charts_and_modules_show_their_configuration() {
    let scene = Scene::new();
    let helm = "application/vnd.cncf.helm.config.v1+json";
    let chart = ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", "chart");
    let digest = scene.artifact("chart", (helm, r#"{"name":"api","version":"1.2.0"}"#), chart);
    let seen = scene.json("inspect local/x:chart");
    assert_eq!((&seen["artifact_type"], &seen["config_media_type"]), (&json!(helm), &json!(helm)));
    assert_eq!((&seen["config"]["version"], &seen["digest"]), (&json!("1.2.0"), &json!(digest)));
    assert_eq!(seen["layers"][0]["media_type"], chart.0);
    let text = scene.shop.call("inspect local/x:chart").exits(0).stdout;
    for words in [helm, r#"{"name":"api","version":"1.2.0"}"#, chart.0, "a-file.txt"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let wasm = ("application/vnd.wasm.config.v0+json", r#"{"architecture":"wasm","os":"wasip2"}"#);
    scene.artifact("module", wasm, ("application/wasm", "module"));
    assert_eq!(scene.json("inspect local/x:module")["config"]["os"], "wasip2");
    // One that says it is an image and has the configuration of none.
    scene.artifact("odd", ("application/vnd.oci.image.config.v1+json", "[]"), ("x/y", "odd"));
    assert_eq!(scene.json("inspect local/x:odd")["config"], json!([]));
    scene.artifact("text", ("text/plain", "no JSON"), ("x/y", "odd"));
    assert_eq!(scene.json("inspect local/x:text")["config"], json!(null));
}

#[test]
fn what_refers_to_what_is_a_tree() {
    let scene = Scene::new();
    let image = TinyImage::of_files(&[("a", "1")]);
    image.put(&scene.repository, "image");
    let about = |subject: &Document, kind: &str| {
        let layer = scene.blob("application/spdx+json", "{}");
        let mut manifest = ImageManifest::new(scene.blob(MediaType::OciEmpty.as_str(), "{}"), vec![layer]);
        manifest.artifact_type = Some(kind.to_owned());
        manifest.subject = Some(subject.descriptor().clone());
        manifest.annotations.insert("made.by".to_owned(), "a test".to_owned());
        Document::from_manifest(manifest)
    };
    let sbom = about(&image.document, "application/spdx+json");
    let signature = about(&sbom, "application/vnd.example.signature");
    scene.put("sbom", &sbom);
    scene.put("signature", &signature);
    let seen = scene.json("inspect local/x:image");
    assert_eq!(seen["referrers"][0]["digest"], json!(sbom.digest()));
    assert_eq!(seen["referrers"][0]["referrers"][0]["digest"], json!(signature.digest()));
    let seen = scene.json("inspect local/x:sbom");
    assert_eq!((&seen["subject"], &seen["config"]), (&json!(image.digest()), &json!({})));
    assert_eq!(seen["referrers"][0]["artifact_type"], "application/vnd.example.signature");
    let text = scene.shop.call("inspect local/x:sbom").exits(0).stdout;
    for words in ["artifact     application/spdx+json", "subject      sha256:", "made.by=a test"] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[test]
fn indexes_without_an_image_for_this_machine_show_their_children() {
    let scene = Scene::new();
    let image = TinyImage::of_files(&[("a", "1")]);
    image.put(&scene.repository, "image");
    let child = |name: &str| image.document.descriptor().clone().for_platform(name.parse().unwrap());
    let index = ImageIndex::new(vec![child("plan9/riscv64"), child("plan9/arm64")]);
    scene.put("foreign", &Document::from_index(index));
    let seen = scene.json("inspect local/x:foreign");
    assert_eq!(seen["platforms"], json!(["plan9/riscv64", "plan9/arm64"]));
    assert_eq!(seen["manifests"][1]["platform"], "plan9/arm64");
    let text = scene.shop.call("inspect local/x:foreign").exits(0).stdout;
    assert!(text.contains("children") && text.contains("plan9/arm64"), "{text}");
    scene.shop.call("inspect local/x:foreign --platform linux/s390x").exits(1).says("it has plan9/riscv64");
    scene.put("empty", &Document::from_index(ImageIndex::new(Vec::new())));
    assert_eq!(scene.json("inspect local/x:empty")["platforms"], json!([]));
    // As BuildKit writes its caches: layers listed in an index, and a configuration of its own among them.
    let layer = scene.blob("application/vnd.oci.image.layer.v1.tar+gzip", "layer");
    let config = scene.blob("application/vnd.buildkit.cacheconfig.v0", "{}");
    scene.put("cache", &Document::from_index(ImageIndex::new(vec![layer, config])));
    assert_eq!(scene.json("inspect local/x:cache")["manifests"][0]["size"], 5);
    let listed = scene.json("ls local/x");
    let cache = listed["images"].as_array().unwrap().iter().find(|image| image["tag"] == "cache").unwrap();
    assert_eq!(cache["size"], 7);
    assert_eq!(listed["images"].as_array().unwrap().len(), 4);
}

#[test]
fn artifacts_have_digests_and_differ() {
    let scene = Scene::new();
    let kind = "application/vnd.cncf.helm.config.v1+json";
    let one = scene.artifact("1", (kind, r#"{"name":"api","version":"1"}"#), ("x/y", "one"));
    scene.artifact("2", (kind, r#"{"name":"api","version":"2"}"#), ("x/y", "other"));
    assert_eq!(scene.shop.call("digest local/x:1").exits(0).stdout.trim(), one.to_string());
    let seen = scene.json("diff local/x:1 local/x:2");
    assert_eq!(seen["config"], json!([{ "path": "version", "before": "1", "after": "2" }]));
    assert_eq!((&seen["layers"]["before_bytes"], &seen["layers"]["after_bytes"]), (&json!(3), &json!(5)));
    scene.shop.call("diff --exit-code local/x:1 local/x:2").exits(8);
    TinyImage::of_files(&[("a", "1")]).put(&scene.repository, "image");
    let seen = scene.json("diff local/x:1 local/x:image");
    assert_eq!((&seen["same"], seen.get("files")), (&json!(false), None));
    scene.shop.call("diff --exit-code local/x:1 local/x:1").exits(0);
}
