//! `rm` in a registry: tags, manifests, what goes with them, and registries that remove less than that.

use oci::annotations::REF_NAME;
use oci::{Descriptor, Digest, Document, ImageIndex, ImageManifest, MediaType, Platform};
use store::referrer::{cosign_tag, fallback_tag};
use store::{Blob, BlobStore, ImageStore, OciFolder};
use testkit::image::TinyImage;

use crate::seen::Seen;
use crate::shop::Shop;
use crate::unreliable::{Fault, Unreliable};

/// A registry with the image `one` as 1 and again, `two` as 2, and both as the platforms of `index`.
struct Scene {
    shop: Shop,
    registry: Unreliable,
    one: Digest,
}

impl Scene {
    fn new() -> Self {
        let shop = Shop::without_base(&[("a", "")]);
        let registry = Unreliable::start(&shop.beside("registry"));
        let layout = OciFolder::create(&shop.beside("layout")).unwrap();
        let one = TinyImage::of_files(&[("a", "1")]);
        let two = TinyImage::of_files(&[("a", "2")]);
        one.put(&layout, "1");
        one.put(&layout, "again");
        two.put(&layout, "2");
        let part = |image: &TinyImage, platform: &str| {
            let platform: Platform = platform.parse().unwrap();
            image.document.descriptor().clone().for_platform(platform)
        };
        let parts = vec![part(&one, "linux/amd64"), part(&two, "linux/arm64")];
        layout.tag(&"index".parse().unwrap(), &Document::from_index(ImageIndex::new(parts))).unwrap();
        let scene = Self { one: one.digest(), shop, registry };
        scene.call("copy --all-tags oci:LAYOUT REGISTRY/x").exits(0);
        scene
    }

    /// Runs a line in which REGISTRY and LAYOUT are the places and ONE the digest.
    fn call(&self, line: &str) -> Seen {
        let line = line.replace("REGISTRY", &self.registry.address).replace("ONE", &self.one.to_string());
        let line = line.replace("LAYOUT", &self.shop.beside("layout").display().to_string());
        self.shop.call(&format!("{line} --set defaults.push.retry.attempts=1"))
    }

    /// Demands that the registry has these tags of the repository and no others.
    #[track_caller]
    fn has(&self, expected: &[&str]) {
        let seen = self.call("ls --remote REGISTRY/x --format json").exits(0).json();
        let tags = seen["images"].as_array().unwrap().iter().map(|image| image["tag"].as_str().unwrap());
        assert_eq!(tags.collect::<Vec<_>>(), expected);
    }

    fn has_manifest(&self, digest: &Digest) -> bool {
        self.call(&format!("inspect --raw REGISTRY/x@{digest}")).code == Some(0)
    }

    /// Answers removals so; those of tags only where `tags_only`.
    fn refuses(&self, status: u16, tags_only: bool) {
        self.registry.does(move |line| match line.starts_with("DELETE ") {
            true if !tags_only || !line.contains("sha256:") => Fault::Answer(status, ""),
            _ => Fault::None,
        });
    }
}

#[test]
fn a_tag_goes_alone() {
    let scene = Scene::new();
    scene.call("rm --dry-run REGISTRY/x:1").exits(0);
    scene.has(&["1", "2", "again", "index"]);
    let seen = scene.call("rm REGISTRY/x:1 --format json").exits(0).json();
    assert_eq!((&seen["images"][0]["manifest"], &seen["images"][0]["tags"][0]), (&false.into(), &().into()));
    scene.has(&["2", "again", "index"]);
    assert!(scene.has_manifest(&scene.one));
    scene.call("rm REGISTRY/x:1").exits(1).says("does not exist");
}

#[test]
fn a_manifest_takes_tags_and_breaks_indexes_only_where_that_is_meant() {
    let scene = Scene::new();
    let seen = scene.call("rm REGISTRY/x@ONE").exits(2);
    let seen = seen.says("takes the tags along that point to it: 1, again").says("as a part: index");
    seen.says("--yes");
    scene.has(&["1", "2", "again", "index"]);
    let seen = scene.call("rm --dry-run REGISTRY/x@ONE --format json").exits(0).json();
    assert_eq!(seen["images"][0]["tags"], serde_json::json!(["1", "again"]));
    assert_eq!(seen["images"][0]["broken"], serde_json::json!(["index"]));
    scene.call("rm --yes REGISTRY/x@ONE").exits(0);
    scene.has(&["2", "index"]);
    assert!(!scene.has_manifest(&scene.one));
}

#[test]
fn one_that_is_not_there_leaves_the_others() {
    let scene = Scene::new();
    scene.call("rm REGISTRY/x:1 REGISTRY/x:none").exits(1).says("x:none does not exist");
    scene.has(&["1", "2", "again", "index"]);
}

#[test]
fn a_registry_without_removal_of_tags_never_takes_another_tag_in_silence() {
    let scene = Scene::new();
    for status in [400, 405] {
        scene.refuses(status, true);
        let seen = scene.call("rm REGISTRY/x:1").exits(2).says("removes no single tags");
        seen.says("takes the tags along that point to it: again").says("as a part: index");
        scene.has(&["1", "2", "again", "index"]);
    }
    // Nothing else is the index: it may go as a manifest.
    scene.call("rm REGISTRY/x:index").exits(0);
    scene.has(&["1", "2", "again"]);
    let seen = scene.call("rm --yes REGISTRY/x:1").exits(0);
    assert!(seen.stdout.contains("with tag again"), "{seen}");
    scene.has(&["2"]);
}

#[test]
fn a_registry_without_removal_says_so_and_what_to_do() {
    let scene = Scene::new();
    scene.refuses(405, false);
    for line in ["rm REGISTRY/x:2 --yes", "rm --yes REGISTRY/x@ONE"] {
        scene.call(line).exits(6).says("does not remove").says("405").says("REGISTRY_STORAGE_DELETE_ENABLED");
    }
    scene.has(&["1", "2", "again", "index"]);
    scene.refuses(401, false);
    scene.call("rm REGISTRY/x:2").exits(6);
    scene.has(&["1", "2", "again", "index"]);
}

#[test]
fn a_registry_that_wants_the_tags_to_go_first_gets_that() {
    let scene = Scene::new();
    let mut refused = false;
    scene.registry.does(move |line| {
        let first = line.starts_with("DELETE ") && line.contains("sha256:") && !refused;
        refused |= first;
        if first { Fault::Answer(400, "") } else { Fault::None }
    });
    scene.call("rm --yes REGISTRY/x@ONE").exits(0);
    scene.has(&["2", "index"]);
    assert!(!scene.has_manifest(&scene.one));
}

/// Puts a signature of `subject` into the layout, as cosign's tag and as a referrer, and returns the referrer.
fn sign(layout: &OciFolder, subject: &Descriptor) -> Document {
    let config = Descriptor::of(MediaType::OciEmpty, b"{}");
    layout.put_blob(&config, Blob::from_bytes("{}")).unwrap();
    let mut manifest = ImageManifest::new(config, Vec::new());
    layout.tag(&cosign_tag(&subject.digest, "sig"), &Document::from_manifest(manifest.clone())).unwrap();
    manifest.artifact_type = Some("application/vnd.example.signature".to_owned());
    manifest.subject = Some(subject.clone());
    manifest.annotations.insert("of".to_owned(), subject.digest.to_string());
    let referrer = Document::from_manifest(manifest);
    layout.add(&referrer).unwrap();
    referrer
}

#[test]
fn what_refers_to_an_image_goes_with_it_or_is_told() {
    let scene = Scene::new();
    let layout = OciFolder::open(&scene.shop.beside("layout")).unwrap();
    let two = layout.resolve(&"2".parse().unwrap()).unwrap();
    let signature = sign(&layout, &two);
    let about_it = sign(&layout, signature.descriptor());
    scene.call("copy --referrers oci:LAYOUT:2 REGISTRY/x:2").exits(0);
    let sig = cosign_tag(&two.digest, "sig");
    assert!(scene.has_manifest(&signature.digest()) && scene.has_manifest(&about_it.digest()));
    let seen = scene.call("rm --dry-run --referrers REGISTRY/x:2 --format json").exits(0).json();
    let expected = [about_it.digest().to_string(), signature.digest().to_string()];
    assert_eq!(seen["images"][0]["referrers"], serde_json::json!(expected));
    assert!(seen["images"][0]["digest_tags"].as_array().unwrap().contains(&sig.to_string().into()));
    let left = scene.call(&format!("rm --dry-run REGISTRY/x@{} --format json", two.digest)).json();
    assert_eq!(left["images"][0]["left"], serde_json::json!([signature.digest()]));
    scene.call("rm --referrers REGISTRY/x:2").exits(2).says("as a part: index");
    scene.call("rm --referrers --yes REGISTRY/x:2").exits(0);
    scene.has(&["1", "again", "index"]);
    assert!(!scene.has_manifest(&signature.digest()) && !scene.has_manifest(&about_it.digest()));
}

#[test]
fn lists_of_referrers_under_a_tag_go_as_well() {
    let scene = Scene::new();
    scene.registry.does(|line| match line.contains("/referrers/") {
        true => Fault::Answer(404, ""),
        false => Fault::None,
    });
    let layout = OciFolder::open(&scene.shop.beside("layout")).unwrap();
    let one = layout.resolve(&"1".parse().unwrap()).unwrap();
    sign(&layout, &one);
    // A list as another client keeps it where a registry lists nothing itself.
    let listed = layout.referrers(&one.digest).unwrap();
    layout.tag(&fallback_tag(&one.digest), &Document::from_index(ImageIndex::new(listed))).unwrap();
    scene.call(&format!("copy oci:LAYOUT:{0} REGISTRY/x:{0}", fallback_tag(&one.digest))).exits(0);
    let seen = scene.call("rm --referrers --yes REGISTRY/x@ONE --format json").exits(0).json();
    assert_eq!(seen["images"][0]["referrers"].as_array().unwrap().len(), 1);
    scene.has(&["2", "index"]);
}

#[test]
fn the_local_copy_of_a_name_is_another_thing() {
    let scene = Scene::new();
    scene.call("pull REGISTRY/x:1").exits(0);
    scene.call("rm --local REGISTRY/x:1").exits(0);
    scene.has(&["1", "2", "again", "index"]);
    scene.call("pull REGISTRY/x:1").exits(0);
    scene.call("rm REGISTRY/x:1").exits(0);
    scene.call("rm REGISTRY/x:1").exits(1).says("--local removes it from there");
    scene.call("rm --offline example.com/x:1").exits(2).says("another machine");
}

#[test]
fn layouts_lose_images_and_archives_do_not() {
    let scene = Scene::new();
    scene.call("rm oci:LAYOUT:again").exits(0);
    let layout = OciFolder::open(&scene.shop.beside("layout")).unwrap();
    let names = layout.images().unwrap();
    assert!(
        names.iter().all(|image| image.descriptor.annotations.get(REF_NAME).is_none_or(|tag| tag != "again"))
    );
    scene.call("rm oci:LAYOUT@ONE").exits(2).says("as a part: index");
    scene.call("rm --yes oci:LAYOUT@ONE").exits(0);
    assert_eq!(layout.tags().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>(), ["2", "index"]);
    scene.call("save oci:LAYOUT:2 -o x.tar -t x:2").exits(0);
    scene.call("rm docker-archive:x.tar:x:2").exits(2).says("written once");
    scene.call("rm docker-daemon:x:2").exits(2).says("docker rmi");
}
