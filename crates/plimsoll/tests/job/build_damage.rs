//! What the root keeps and somebody damaged is noticed and made again, never used.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::shop::{Shop, files_in};

const CONFIGURATION: &str = "[service.app]\n[suite.smoke]\nimage = \"app\"\nrun = \"grep -q whole /made\"\n";
const DOCKERFILE: &str = "FROM local/base:1\nRUN echo whole >/made\nRUN cat /made >/copy\n";

fn built() -> Option<(Shop, Value)> {
    let shop = Shop::open(&[("plimsoll.toml", CONFIGURATION), ("Dockerfile", DOCKERFILE)])?;
    let ledger = shop.ledger("run", 0);
    Some((shop, ledger))
}

fn app(ledger: &Value) -> &Value {
    &ledger["services"]["app"]
}

/// Writes other bytes into a file that may be read-only. The length stays where `bytes` says so.
fn damage(path: &Path, bytes: impl Fn(Vec<u8>) -> Vec<u8>) {
    let content = std::fs::read(path).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(path, bytes(content)).unwrap();
}

fn turned(mut content: Vec<u8>) -> Vec<u8> {
    content.iter_mut().for_each(|byte| *byte ^= 0x55);
    content
}

fn cut(mut content: Vec<u8>) -> Vec<u8> {
    content.truncate(content.len() / 2);
    content
}

/// The blobs of the layers that the build made; the base image's layer is not among them.
fn own_layers(shop: &Shop, ledger: &Value) -> Vec<PathBuf> {
    let image = app(ledger)["image"].as_str().unwrap();
    let seen = shop.call(&format!("inspect {image} --format json")).exits(0).json();
    let layers = seen["layers"].as_array().unwrap()[1..].iter();
    let hex = |layer: &Value| layer["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    layers.map(|layer| shop.root("store/blobs/sha256").join(hex(layer))).collect()
}

/// The next run comes to the same digest, and everything is whole.
#[track_caller]
fn check_mended(shop: &Shop, before: &Value) {
    let after = shop.ledger("run", 0);
    assert_eq!(app(&after)["digest"], app(before)["digest"]);
    assert_eq!(app(&after)["suites"]["smoke"]["status"], "passed");
    shop.check_root();
    let again = shop.ledger("run", 0);
    assert_eq!(app(&again)["status"], "cached", "it is known again\n{again}");
}

#[test]
fn a_damaged_layer_is_made_again() {
    for bytes in [turned, cut] {
        let Some((shop, before)) = built() else { return };
        let layers = own_layers(&shop, &before);
        assert_eq!(layers.len(), 2);
        layers.iter().for_each(|layer| damage(layer, bytes));
        check_mended(&shop, &before);
    }
}

#[test]
fn a_layer_that_is_gone_is_made_again() {
    let Some((shop, before)) = built() else { return };
    std::fs::remove_file(&own_layers(&shop, &before)[0]).unwrap();
    check_mended(&shop, &before);
}

#[test]
fn a_damaged_layer_whose_unpacked_tree_is_gone_too_is_made_again() {
    let Some((shop, before)) = built() else { return };
    own_layers(&shop, &before).iter().for_each(|layer| damage(layer, turned));
    for folder in files_in(&shop.root("build")) {
        let is_trees = folder.file_name().unwrap().to_str().unwrap().starts_with("trees-");
        if is_trees {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
    check_mended(&shop, &before);
}

#[test]
fn damaged_records_and_indexes_are_made_again() {
    for folder in ["build/steps", "build/indexes"] {
        for bytes in [turned, cut] {
            let Some((shop, before)) = built() else { return };
            let files: Vec<PathBuf> =
                files_in(&shop.root(folder)).into_iter().filter(|path| path.is_file()).collect();
            assert!(!files.is_empty(), "{folder}");
            files.iter().for_each(|file| damage(file, bytes));
            check_mended(&shop, &before);
        }
    }
}

#[test]
fn records_and_indexes_that_are_gone_are_made_again() {
    for folder in ["build/steps", "build/indexes", "build/contexts", "build"] {
        let Some((shop, before)) = built() else { return };
        let path = shop.root(folder);
        if path.exists() {
            std::fs::remove_dir_all(&path).unwrap();
        }
        check_mended(&shop, &before);
    }
}

#[test]
fn a_damaged_base_is_told_and_never_used() {
    let Some((shop, _)) = built() else { return };
    let base = shop.call("inspect local/base:1 --format json").exits(0).json();
    let hex = base["layers"][0]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    damage(&shop.root("store/blobs/sha256").join(&hex), turned);
    std::fs::remove_dir_all(shop.root("build")).unwrap();
    let seen = shop.call("build").exits(4).says(&hex);
    assert_eq!(seen.stdout, "", "{seen}");
    shop.import_base();
    shop.call("build").exits(0);
    shop.check_root();
}
