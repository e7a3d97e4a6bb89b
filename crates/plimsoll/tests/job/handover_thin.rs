//! `handoff put --thin`: archives without what the registry has, and what `get` makes of them on a
//! machine with an empty store.

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::seen::Seen;
use crate::shop::{Shop, files_in};
use crate::unreliable::{Fault, Unreliable};

const NOISE_BYTES: usize = 1_500_000;

/// A job whose image shares its large layer with what the registry has, handed over thin.
struct Handed {
    shop: Shop,
    registry: Unreliable,
    digest: String,
}

impl Handed {
    /// Runs the main job, changes the small file on top, builds, and puts the image without pushing it.
    fn over() -> Self {
        let dockerfile = "FROM scratch\nCOPY noise /noise\nCOPY small /small\n";
        let shop = Shop::without_base(&[("plimsoll.toml", "[service.app]\n"), ("Dockerfile", dockerfile)]);
        let mut state = 7_u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        });
        shop.write("noise", noise.take(NOISE_BYTES).collect::<Vec<u8>>());
        shop.write("small", "1");
        shop.git.commit("first");
        let registry = Unreliable::start(&shop.beside("registry"));
        let registry_flag = format!("--set registry={}/acme", registry.address);
        shop.call(&format!("run {registry_flag}")).exits(0);
        shop.write("small", "2");
        shop.git.commit("second");
        let no_push = "--set defaults.push.events=[\"schedule\"]";
        let ledger = shop.ledger(&format!("run {registry_flag} {no_push}"), 0);
        let digest = ledger["services"]["app"]["digest"].as_str().unwrap().to_owned();
        shop.call("handoff put --thin").exits(0);
        Self { shop, registry, digest }
    }

    fn archive(&self) -> PathBuf {
        self.shop.path(".plimsoll/images/app.thin.tar")
    }

    /// Does something as another machine, which has the folder of the ledger and nothing else.
    fn elsewhere(&self, line: &str) -> Seen {
        let retry = "--set defaults.push.retry.attempts=2 --set defaults.push.retry.wait=1ms";
        let line = format!("{line} {retry} --ledger {}", self.shop.path(".plimsoll/ledger.json").display());
        let root = self.shop.beside("elsewhere");
        self.shop.call_with(&line, &[("PLIMSOLL_ROOT", OsStr::new(&root))])
    }

    /// Demands that the other machine has no manifest, and of blobs only what their names say.
    #[track_caller]
    fn has_nothing_half(&self) {
        let store = self.shop.beside("elsewhere/store");
        let manifest = store.join("blobs/sha256").join(self.digest.trim_start_matches("sha256:"));
        assert!(!manifest.exists(), "a manifest without its layers");
        for blob in files_in(&store.join("blobs/sha256")) {
            let digest = oci::Digest::of(&std::fs::read(&blob).unwrap());
            assert_eq!(OsStr::new(&digest.hex()), blob.file_name().unwrap());
        }
        assert_eq!(files_in(&store.join("temporary")), [] as [PathBuf; 0]);
    }
}

#[test]
fn what_the_registry_has_does_not_travel() {
    let handed = Handed::over();
    let size = std::fs::metadata(handed.archive()).unwrap().len();
    assert!(size < 20_000, "{size} bytes with a layer of {NOISE_BYTES}");
    handed.elsewhere("handoff get").exits(0);
    let seen = handed.elsewhere("handoff check").exits(0);
    assert!(seen.stdout.contains(&handed.digest), "{seen}");
    let seen = handed.elsewhere("handoff get").exits(0);
    assert!(seen.stdout.contains("here already"), "{seen}");
}

#[test]
fn a_thin_archive_is_read_by_its_completing_registry_alone() {
    let handed = Handed::over();
    handed.registry.does(|_| Fault::Answer(503, ""));
    let seen = handed.elsewhere("handoff get").exits(1);
    let seen = seen.says("is nowhere").says("app.thin.tar").says("status 503").says(&handed.registry.address);
    seen.says("left out of the thin archive");
    handed.has_nothing_half();
    handed.registry.does(|_| Fault::None);
    handed.elsewhere("handoff get").exits(0);
}

#[test]
fn a_registry_that_lost_a_layer_is_told() {
    let handed = Handed::over();
    handed.registry.does(|line| match line.contains("/blobs/") {
        true => Fault::Answer(404, ""),
        false => Fault::None,
    });
    let seen = handed.elsewhere("handoff get").exits(4).says("cannot be completed").says("app.thin.tar");
    seen.says("leaves out sha256:").says(&handed.registry.address);
    handed.has_nothing_half();
    assert_eq!(files_in(&handed.shop.beside("elsewhere/store/blobs/sha256")), [] as [PathBuf; 0]);
}

#[test]
fn layers_of_the_base_and_of_repositories_that_are_named_do_not_travel() {
    let dockerfile = "ARG BASE=scratch\nFROM $BASE\nCOPY small /small\n";
    let shop = Shop::without_base(&[("plimsoll.toml", "[service.app]\n"), ("Dockerfile", dockerfile)]);
    let layer = vec![7_u8; 1 << 20];
    shop.write("root/noise", layer.iter().enumerate().map(|(n, _)| (n * n / 7) as u8).collect::<Vec<u8>>());
    let registry = Unreliable::start(&shop.beside("registry"));
    let address = &registry.address;
    shop.call("import root local/base:1").exits(0);
    shop.call(&format!("copy local/base:1 {address}/images/base:1")).exits(0);
    shop.write("small", "1");
    shop.git.commit("first");
    let line = format!(
        "run --set registry={address}/acme --set service.app.args.BASE={address}/images/base:1 \
         --set defaults.push.events=[\"schedule\"]"
    );
    shop.call(&line).exits(0);
    shop.call("handoff put --thin").exits(0);
    let archive = shop.path(".plimsoll/images/app.thin.tar");
    let ledger: serde_json::Value =
        serde_json::from_slice(&std::fs::read(shop.path(".plimsoll/ledger.json")).unwrap()).unwrap();
    let base = format!("{address}/images/base");
    assert_eq!(ledger["services"]["app"]["layers_from"], serde_json::json!([base]));
    let size = std::fs::metadata(&archive).unwrap().len();
    assert!(size < 20_000, "{size} bytes with the layer of the base");
    let handed = Handed { shop, registry, digest: String::new() };
    handed.elsewhere("handoff get").exits(0);
    // The same image, where the base is another repository's by now.
    let address = handed.registry.address.clone();
    std::fs::remove_dir_all(handed.shop.beside("elsewhere")).unwrap();
    handed.registry.does(|line| match line.contains("/images/base/blobs/") {
        true => Fault::Answer(404, ""),
        false => Fault::None,
    });
    handed.elsewhere("handoff get").exits(4).says("cannot be completed").says("images/base");
    handed.shop.call(&format!("copy local/base:1 {address}/images/moved:1")).exits(0);
    handed.elsewhere(&format!("handoff get --layers-from {address}/images/moved")).exits(0);
    std::fs::remove_file(&archive).unwrap();
    handed.shop.call(&format!("handoff put --thin --layers-from {address}/images/moved")).exits(0);
    std::fs::remove_dir_all(handed.shop.beside("elsewhere")).unwrap();
    handed.elsewhere("handoff check").exits(0);
}

#[test]
fn wrong_bytes_from_the_registry_are_refused() {
    let handed = Handed::over();
    handed.registry.does(|line| match line.contains("GET") && line.contains("/blobs/") {
        true => Fault::Lie,
        false => Fault::None,
    });
    handed.elsewhere("handoff get").exits(1).says("digest").says_not("attempt 1 of 2");
    handed.has_nothing_half();
}

#[test]
fn a_damaged_thin_archive_is_refused() {
    let handed = Handed::over();
    let archive = handed.archive();
    let mut bytes = std::fs::read(&archive).unwrap();
    // In the last member's content, before the two blocks that end a tar.
    let place = bytes.len() - 1024 - 512;
    let place = (0..place).rev().find(|place| bytes[*place] != 0).unwrap();
    bytes[place] ^= 1;
    std::fs::write(&archive, &bytes).unwrap();
    handed.elsewhere("handoff get").exits(1).says("app.thin.tar");
    handed.has_nothing_half();
    std::fs::write(&archive, &bytes[..700]).unwrap();
    handed.elsewhere("handoff get").exits(1).says("app.thin.tar");
    handed.has_nothing_half();
}

#[test]
fn a_registry_that_cannot_be_asked_leaves_no_thin_archive() {
    let handed = Handed::over();
    std::fs::remove_file(handed.archive()).unwrap();
    handed.registry.does(|_| Fault::Answer(500, ""));
    let retry = "--set defaults.push.retry.attempts=1";
    handed.shop.call(&format!("handoff put --thin {retry}")).exits(5).says(&handed.registry.address);
    assert!(!handed.archive().exists());
    assert_eq!(files_in(&handed.shop.path(".plimsoll/images")).len(), 1, "the whole one of the build");
}

#[test]
fn names_of_this_machine_have_no_registry_to_be_thin_with() {
    let shop = Shop::without_base(&[
        ("plimsoll.toml", "[service.app]\n"),
        ("Dockerfile", "FROM scratch\nLABEL a=b\n"),
    ]);
    shop.call("run").exits(0);
    let seen = shop.call("handoff put --thin");
    assert_ne!(seen.code, Some(0), "{seen}");
    seen.says("names under local/");
}
