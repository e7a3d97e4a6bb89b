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

/// What is listed besides layers, by kind: how many and how large.
fn others(shop: &Shop) -> Vec<(String, String, u64)> {
    let listing = shop.call("cache ls --format json").exits(0).json();
    let other = |other: &Value| {
        let text = |key: &str| other[key].as_str().unwrap_or_default().to_owned();
        (text("kind"), text("name"), other["bytes"].as_u64().unwrap())
    };
    listing["others"].as_array().unwrap().iter().map(other).collect()
}

fn set_time(path: &std::path::Path, time: SystemTime) {
    let times = std::fs::FileTimes::new().set_accessed(time).set_modified(time);
    std::fs::File::open(path).unwrap().set_times(times).unwrap();
}

/// Makes a file that was just written two days old.
fn make_old(path: &std::path::Path) {
    let written = std::fs::metadata(path).unwrap().modified().unwrap();
    set_time(path, written - std::time::Duration::from_hours(48));
}

#[test]
fn cache_mounts_and_notes_are_listed_and_go_by_age_and_size() {
    let dockerfile = "FROM local/base:1\nCOPY Dockerfile /d\n\
        RUN --mount=type=cache,target=/a,id=old dd if=/dev/zero of=/a/zeros bs=65536 count=1\n\
        RUN --mount=type=cache,target=/b,id=young dd if=/dev/zero of=/b/zeros bs=4096 count=1\n";
    let Some(shop) = Shop::with_dockerfile(dockerfile) else { return };
    shop.ledger("build", 0);
    let kinds: Vec<String> =
        others(&shop).into_iter().map(|(kind, name, _)| format!("{kind} {name}")).collect();
    for kind in ["cache-mount old", "cache-mount young", "step-inputs ", "context-digests ", "index "] {
        assert!(kinds.iter().any(|found| found == kind), "{kind} is not in {kinds:?}");
    }
    let text = shop.call("cache ls").exits(0).stdout;
    assert!(text.contains("cache-mount") && text.contains("young"), "{text}");
    let is_old =
        |lock: &std::path::PathBuf| std::fs::read_to_string(lock.with_file_name("id")).unwrap() == "old";
    let mounts = files_in(&shop.root("build"))
        .into_iter()
        .find(|path| path.to_string_lossy().contains("/caches-"))
        .unwrap();
    let lock = files_in(&mounts).into_iter().map(|mount| mount.join("lock")).find(is_old).unwrap();
    make_old(&lock);
    let planned = shop.call("cache prune --max-age 1d --dry-run --format json").exits(0).json();
    assert_eq!(
        (planned["others"].as_array().unwrap().len(), &planned["others"][0]["name"]),
        (1, &"old".into())
    );
    assert!(lock.exists(), "a dry run removes nothing");
    let pruned = shop.call("cache prune --max-age 1d --format json").exits(0).json();
    assert_eq!(planned["freed_bytes"], pruned["freed_bytes"]);
    assert!(pruned["freed_bytes"].as_u64().unwrap() >= 65536, "{pruned}");
    assert!(!lock.exists() && files_in(&mounts).len() == 1);
    shop.call("cache prune --all").exits(0).says_not("error");
    assert_eq!(others(&shop), []);
    for folder in ["places", "variants", "contexts", "indexes", "work", "steps"] {
        assert_eq!(files_in(&shop.root("build").join(folder)), [] as [std::path::PathBuf; 0], "{folder}");
    }
    shop.ledger("build", 0);
    shop.check_root();
}

#[test]
fn what_killed_processes_left_always_goes() {
    let shop = Shop::without_base(&[("plimsoll.toml", "")]);
    shop.call("cache ls").exits(0);
    let (orphan, used) = (shop.root("build/work/step-orphan"), shop.root("build/work/step-used"));
    for folder in [&orphan, &used, &shop.root("scratch/old"), &shop.root("scratch/young")] {
        std::fs::create_dir_all(folder.join("upper")).unwrap();
        std::fs::write(folder.join("upper/file"), "some bytes").unwrap();
    }
    let lock = std::fs::File::create(shop.root("build/work/step-used.lock")).unwrap();
    lock.lock().unwrap();
    make_old(&shop.root("scratch/old"));
    assert_eq!(others(&shop), [("leftover".to_owned(), String::new(), 20)]);
    shop.call("cache prune").exits(0);
    assert!(!orphan.exists() && used.exists(), "somebody is at it");
    assert!(!shop.root("scratch/old").exists() && shop.root("scratch/young").exists());
}

#[test]
fn a_layer_in_another_compression_goes_with_its_layer() {
    let Some(shop) = Shop::with_dockerfile(DOCKERFILE) else { return };
    shop.call("build -q -t local/app:1 .").exits(0);
    shop.call("build -q -t local/app:2 --compression zstd .").exits(0);
    assert_eq!(files_in(&shop.root("build/variants")).len(), 2);
    assert!(
        others(&shop).iter().all(|(kind, ..)| kind != "variant"),
        "they are part of layers that are listed"
    );
    shop.call("cache prune --all").exits(0);
    assert_eq!(files_in(&shop.root("build/variants")).len(), 0);
    shop.call("build -q -t local/app:3 --compression zstd .").exits(0);
    shop.check_root();
}
