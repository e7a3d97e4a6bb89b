//! `migrate` into a registry: killed at any request it goes on where it was, nothing half is ever to be seen, and
//! what changed at the source is said.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use oci::{Descriptor, Document, ImageIndex, ImageManifest, MediaType};
use serde_json::json;
use store::{Blob, BlobStore, ImageStore, LayoutStore, OciFolder};
use testkit::image::TinyImage;

use crate::seen::Seen;
use crate::shop::Shop;
use crate::unreliable::{Fault, Unreliable};

/// A layout of six images, one of them an index and one signed, and a registry.
struct Scene {
    shop: Shop,
    registry: Unreliable,
    layout: OciFolder,
    /// The first lines of all requests.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    fn new() -> Self {
        let shop = Shop::without_base(&[("a", "")]);
        let registry = Unreliable::start(&shop.beside("registry"));
        let layout = OciFolder::create(&shop.beside("layout")).unwrap();
        let images: Vec<TinyImage> =
            (0..5).map(|n| TinyImage::of_layers(&[&[("base", "1")], &[("a", &n.to_string())]])).collect();
        for (number, image) in images.iter().enumerate() {
            image.put(&layout, &format!("v{number}"));
        }
        let part = |image: &TinyImage, platform: &str| {
            image.document.descriptor().clone().for_platform(platform.parse().unwrap())
        };
        let parts = vec![part(&images[0], "linux/amd64"), part(&images[1], "linux/arm64")];
        layout.tag(&"latest".parse().unwrap(), &Document::from_index(ImageIndex::new(parts))).unwrap();
        let config = Descriptor::of(MediaType::OciEmpty, b"{}");
        layout.put_blob(&config, Blob::from_bytes("{}")).unwrap();
        let mut signature = ImageManifest::new(config, Vec::new());
        signature.artifact_type = Some("application/vnd.example.signature".to_owned());
        signature.subject = Some(images[2].document.descriptor().clone());
        layout.add(&Document::from_manifest(signature)).unwrap();
        let asked = Arc::default();
        let scene = Self { shop, registry, layout, asked };
        scene.listen();
        scene
    }

    /// Notes requests, and does nothing else to them.
    fn listen(&self) {
        let asked = self.asked.clone();
        self.registry.does(move |line| {
            asked.lock().unwrap().push(line.to_owned());
            Fault::None
        });
    }

    fn line(&self, to: &str, more: &str) -> String {
        let (layout, address) = (self.shop.beside("layout"), &self.registry.address);
        let retry = "--set defaults.push.retry.attempts=1";
        format!("migrate -q oci:{} {address}/{to} {retry} {more}", layout.display())
    }

    fn migrate(&self, to: &str, more: &str) -> Seen {
        self.asked.lock().unwrap().clear();
        self.shop.call(&self.line(to, more))
    }

    /// Migrates and is killed when the request with this number is made; whether it came to that.
    fn killed_at(&self, number: u32, to: &str, more: &str) -> bool {
        let child = Arc::new(AtomicU32::new(0));
        let (pid, mut count) = (child.clone(), 0);
        self.registry.does(move |_| {
            count += 1;
            if count < number {
                return Fault::None;
            }
            let id = pid.load(Ordering::SeqCst);
            let id = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
            // What was sent already arrives all the same.
            Fault::None
        });
        let mut command = self.shop.command(&self.line(to, more));
        let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        child.store(running.id(), Ordering::SeqCst);
        let status = running.wait().unwrap();
        self.listen();
        !status.success()
    }

    /// Demands that every tag of a repository of the registry is whole; returns how many there are.
    #[track_caller]
    fn whole(&self, to: &str) -> usize {
        let store = LayoutStore::open(&self.shop.beside("registry/store")).unwrap();
        let names = store.repositories().unwrap();
        let Some(name) = names.iter().find(|name| name.path() == to) else { return 0 };
        let repository = store.repository(name);
        let tags = repository.tags().unwrap();
        for tag in &tags {
            let target = repository.resolve(tag).unwrap();
            let missing = store::missing_parts(&repository, &target, store::Foreign::LeftOut);
            assert_eq!(missing.unwrap(), [], "{tag} lacks something");
        }
        tags.len()
    }

    fn report(&self) -> (PathBuf, String) {
        let file = self.shop.beside("report.json");
        let flag = format!("--report {}", file.display());
        (file, flag)
    }
}

/// Numbers that look random and are the same each time.
fn numbers(seed: u64) -> impl FnMut(u32) -> u32 {
    let mut state = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((state >> 33) % u64::from(below)).unwrap()
    }
}

#[test]
fn killed_at_any_request_it_goes_on_and_nothing_half_is_seen() {
    let scene = Scene::new();
    scene.migrate("whole", "").exits(0);
    let total = u32::try_from(scene.asked.lock().unwrap().len()).unwrap();
    assert!(total > 30, "{total}");
    for trial in 0..10 {
        let mut number = numbers(trial);
        let (to, (file, flag)) = (format!("trial{trial}"), scene.report());
        let flag = if trial % 2 == 0 { flag } else { String::new() };
        let _ = std::fs::remove_file(&file);
        let mut kills = 0;
        while kills < 4 && scene.killed_at(1 + number(total), &to, &flag) {
            kills += 1;
            assert!(scene.whole(&to) <= 6);
        }
        let seen = scene.migrate(&to, &format!("--format json {flag}")).exits(0).json();
        assert_eq!((&seen["complete"], seen["tags"].as_array().unwrap().len()), (&json!(true), 6));
        assert!(seen["tags"].as_array().unwrap().iter().all(|line| line["verified"] == true), "{seen}");
        assert_eq!(scene.whole(&to), 6);
    }
}

#[test]
fn what_is_known_is_not_asked_for_again_and_still_found_wrong() {
    let scene = Scene::new();
    let (file, flag) = scene.report();
    scene.migrate("x", &flag).exits(0);
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!((&kept["schema"], &kept["complete"]), (&json!("plimsoll.migration/1"), &json!(true)));
    let heads = || scene.asked.lock().unwrap().iter().filter(|line| line.contains("/blobs/")).count();
    let seen = scene.migrate("x", &format!("{flag} --format json")).exits(0).json();
    assert_eq!((heads(), &seen["blobs_moved"], &seen["complete"]), (0, &json!(0), &json!(true)));
    scene.migrate("x", "").exits(0);
    assert!(heads() > 0, "without a report each blob is asked for");
    // Somebody removes an image and its blobs: what a report says of it is no proof.
    let address = &scene.registry.address;
    scene.shop.call(&format!("rm --yes {address}/x:v3")).exits(0);
    scene.migrate("x", &flag).exits(0);
    assert_eq!(scene.whole("x"), 6);
    scene.migrate("y", &flag).exits(2).says("the report of another migration");
    std::fs::write(&file, "{}").unwrap();
    scene.migrate("x", &flag).exits(2).says("no report of a migration");
    assert_eq!(std::fs::read(&file).unwrap(), b"{}");
}

#[test]
fn a_plan_says_how_much_it_would_move() {
    let scene = Scene::new();
    let seen = scene.migrate("x", "--dry-run --format json").exits(0).json();
    let estimate = &seen["estimate"];
    // Five configurations, six layers, and the empty configuration of the signature.
    assert_eq!(
        (&estimate["images"], &estimate["blobs"], &estimate["blobs_missing"]),
        (&json!(6), &json!(12), &json!(12))
    );
    assert_eq!((&estimate["documents"], &estimate["bytes"]), (&json!(7), &estimate["bytes_missing"]));
    assert!(
        !scene.asked.lock().unwrap().iter().any(|line| !line.starts_with("GET") && !line.starts_with("HEAD"))
    );
    scene.migrate("x", "--only v0").exits(0);
    let seen = scene.migrate("x", "--dry-run --except /^v[1-9]/ --format json").exits(0).json();
    assert_eq!((&seen["estimate"]["images"], &seen["tags"].as_array().unwrap().len()), (&json!(1), &2));
    assert_eq!(seen["estimate"]["blobs_missing"], 2);
}

#[test]
fn what_changes_at_the_source_meanwhile_is_said() {
    let scene = Scene::new();
    let layout = scene.shop.beside("layout");
    let mut changed = false;
    scene.registry.does(move |line| {
        if line.starts_with("PUT") && line.contains("/manifests/") && !changed {
            changed = true;
            let layout = OciFolder::open(&layout).unwrap();
            TinyImage::of_files(&[("new", "1")]).put(&layout, "v9");
            TinyImage::of_files(&[("moved", "1")]).put(&layout, "v0");
            layout.untag(&"v1".parse().unwrap()).unwrap();
        }
        Fault::None
    });
    let seen = scene.migrate("x", "--only v* --format json").exits(7).json();
    let what = |change: &serde_json::Value| {
        (change["tag"].as_str().unwrap().to_owned(), change["before"].is_null(), change["after"].is_null())
    };
    let changes: Vec<_> = seen["changed"].as_array().unwrap().iter().map(what).collect();
    let expected = [("v0", false, false), ("v1", false, true), ("v9", true, false)];
    assert_eq!(changes, expected.map(|(tag, before, after)| (tag.to_owned(), before, after)));
    assert_eq!((&seen["complete"], scene.whole("x")), (&json!(false), 5));
    scene.listen();
    scene.migrate("x", "--only v*").exits(0);
    let tags = scene.layout.tags().unwrap().len();
    assert_eq!((scene.whole("x"), tags), (6, 6), "v1 stays at the destination, latest was not wanted");
}

#[test]
fn tags_that_fail_do_not_stop_the_others_and_are_told() {
    let scene = Scene::new();
    scene.registry.does(|line| match line.starts_with("PUT") && line.ends_with("/manifests/v3") {
        true => Fault::Answer(403, ""),
        false => Fault::None,
    });
    let (file, flag) = scene.report();
    scene.migrate("x", &flag).exits(7);
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let failed: Vec<_> =
        kept["tags"].as_array().unwrap().iter().filter(|line| line["verified"] == false).collect();
    assert_eq!((failed.len(), &failed[0]["tag"], &kept["complete"]), (1, &json!("v3"), &json!(false)));
    assert!(failed[0]["error"].as_str().unwrap().contains("403"));
    scene.listen();
    let seen = scene.migrate("x", &format!("{flag} --format json")).exits(0).json();
    assert_eq!((&seen["complete"], &seen["blobs_moved"]), (&json!(true), &json!(0)));
}
