//! `cache`: what is kept is listed, goes by age and size, and never what an image needs or a build is at.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::SystemTime;

use serde_json::Value;

use crate::shop::{Shop, files_in};

const DOCKERFILE: &str = "\
FROM local/base:1
RUN echo first >/first
RUN echo second >/second
";

fn app(ledger: &Value) -> &Value {
    &ledger["services"]["app"]
}

fn steps_kept(shop: &Shop) -> Vec<String> {
    let listing = shop.call("cache ls --format json").exits(0).json();
    let layers = listing["layers"].as_array().unwrap();
    layers.iter().filter_map(|layer| Some(layer["instruction"].as_str()?.to_owned())).collect()
}

#[test]
fn steps_are_listed_and_nothing_goes_that_is_young() {
    let Some(shop) = Shop::with_dockerfile(DOCKERFILE) else { return };
    shop.ledger("run", 0);
    let mut steps = steps_kept(&shop);
    steps.sort();
    assert_eq!(steps, ["RUN echo first >/first", "RUN echo second >/second"]);
    let text = shop.call("cache ls").exits(0).stdout;
    assert!(text.contains("RUN echo second") && text.contains("in all"), "{text}");
    let pruned = shop.call("cache prune --max-age 1d --format json").exits(0).json();
    assert_eq!((&pruned["layers"], &pruned["freed_bytes"]), (&Value::Array(Vec::new()), &Value::from(0)));
}

#[test]
fn everything_goes_but_what_images_need() {
    let Some(shop) = Shop::with_dockerfile(DOCKERFILE) else { return };
    let first = shop.ledger("run", 0);
    let before = files_in(&shop.root("store/blobs/sha256")).len();
    let planned = shop.call("cache prune --all --dry-run --format json").exits(0).json();
    assert_eq!(steps_kept(&shop).len(), 2, "a dry run removes nothing");
    let pruned = shop.call("cache prune --all --format json").exits(0).json();
    assert_eq!(planned["freed_bytes"], pruned["freed_bytes"]);
    assert!(pruned["freed_bytes"].as_u64().unwrap() > 0 && pruned["kept_bytes"] == 0, "{pruned}");
    assert_eq!(steps_kept(&shop), [] as [&str; 0]);
    assert_eq!(files_in(&shop.root("store/blobs/sha256")).len(), before, "every blob is part of an image");
    assert_eq!(files_in(&shop.root("build/steps")).len(), 0);
    let second = shop.ledger("run", 0);
    assert_eq!(app(&second)["steps"]["cached"], 0);
    assert_eq!(app(&first)["digest"], app(&second)["digest"]);
    shop.check_root();
}

#[test]
fn what_an_image_needed_goes_with_the_image() {
    let Some(shop) = Shop::with_dockerfile(DOCKERFILE) else { return };
    let ledger = shop.ledger("build", 0);
    let digest = ledger["services"]["app"]["digest"].as_str().unwrap().to_owned();
    shop.call(&format!("rm local/repository/app@{digest}")).exits(0);
    let blobs = || files_in(&shop.root("store/blobs/sha256")).len();
    let before = blobs();
    shop.call("cache prune --all").exits(0);
    assert_eq!(blobs(), before, "who put it into the repository today may be about to name it");
    shop.ledger("build --no-cache", 0);
    shop.call(&format!("rm local/repository/app@{digest}")).exits(0);
    for mark in files_in(&shop.root("store/repositories/local/repository/app/_blobs")) {
        std::fs::File::options()
            .append(true)
            .open(mark)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
    }
    shop.call("cache prune --all").exits(0);
    let layers = 2;
    assert_eq!(blobs(), before - layers);
    shop.ledger("run", 0);
    shop.check_root();
}

#[test]
fn it_waits_for_a_build() {
    let shop = Shop::without_base(&[("plimsoll.toml", "")]);
    shop.call("ls").exits(0);
    let store = store::LayoutStore::open(&shop.root("store")).unwrap();
    let build = store.lock_shared().unwrap();
    let mut prune = shop.command("cache prune").stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(prune.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("waiting for the builds"), "{said}");
    assert!(prune.try_wait().unwrap().is_none());
    drop(build);
    assert!(prune.wait().unwrap().success());
}
