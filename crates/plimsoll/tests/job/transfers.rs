//! What is set for single registries, and what broken transfers leave behind.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::shop::Shop;
use crate::unreliable::{Fault, Unreliable};

/// Counts the tries of one request by a configuration in which HOST is the registry, which is never well.
fn tries(configuration: &str) -> u32 {
    let shop = Shop::without_base(&[("a", "")]);
    let registry = Unreliable::start(&shop.beside("registry"));
    shop.write("plimsoll.toml", configuration.replace("HOST", &registry.address));
    let count = Arc::new(AtomicU32::new(0));
    let asked = count.clone();
    registry.does(move |_| {
        asked.fetch_add(1, Ordering::SeqCst);
        Fault::Answer(503, "")
    });
    shop.call(&format!("digest {}/x:1", registry.address)).exits(5);
    count.load(Ordering::SeqCst)
}

#[test]
fn one_registry_has_its_own_patience() {
    let all = "[defaults.push]\nretry = { attempts = 4, wait = \"1ms\" }\n";
    assert_eq!(tries(all), 4);
    assert_eq!(tries(&format!("{all}[defaults.push.host.\"HOST\"]\nretry = {{ attempts = 2 }}\n")), 2);
    assert_eq!(tries(&format!("{all}[defaults.push.host.\"HOST\".retry]\nbudget = 1\n")), 2);
    assert_eq!(tries(&format!("{all}[defaults.push.host.\"example.com\"]\nretry = {{ attempts = 2 }}\n")), 4);
}

/// Puts a file into the root as a transfer leaves it, last written so many days ago.
fn leave(shop: &Shop, name: &str, bytes: usize, days: u64) -> PathBuf {
    let path = shop.root(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, vec![0; bytes]).unwrap();
    let now = std::fs::metadata(&path).unwrap().modified().unwrap();
    let when = now - Duration::from_secs(days * 24 * 60 * 60);
    File::options().write(true).open(&path).unwrap().set_modified(when).unwrap();
    path
}

fn kinds(answer: &serde_json::Value) -> serde_json::Value {
    let others = answer["others"].as_array().unwrap().iter();
    others.map(|other| json!([other["kind"], other["count"], other["bytes"]])).collect()
}

#[test]
fn parts_and_notes_of_transfers_are_listed_and_go_by_age_and_size() {
    let shop = Shop::without_base(&[("a", "")]);
    let part = |digit: char, bytes, days| {
        leave(&shop, &format!("store/partial/sha256-{}", digit.to_string().repeat(64)), bytes, days)
    };
    let (old, young, taken) = (part('a', 3000, 3), part('b', 2000, 0), part('c', 1000, 3));
    let note = leave(&shop, "uploads/1.json", 100, 3);
    // Somebody is writing this one.
    let lock = File::open(&taken).unwrap();
    lock.lock().unwrap();
    let listing = shop.call("cache ls --format json").exits(0).json();
    assert_eq!(kinds(&listing), json!([["partial-download", 2, 5000], ["upload-note", 1, 100]]));
    assert_eq!(listing["total_bytes"], 5100);
    assert!(shop.call("cache ls").exits(0).stdout.contains("partial-download"));

    let planned = shop.call("cache prune --max-age 2d --dry-run --format json").exits(0).json();
    assert_eq!(kinds(&planned), json!([["partial-download", 1, 3000], ["upload-note", 1, 100]]));
    assert!(old.exists() && note.exists());
    let pruned = shop.call("cache prune --max-age 2d --format json").exits(0).json();
    assert_eq!((&pruned["freed_bytes"], &pruned["kept_bytes"]), (&json!(3100), &json!(2000)));
    assert!(!old.exists() && !note.exists() && young.exists() && taken.exists());
    shop.call("cache prune --max-size 1KB").exits(0);
    assert!(!young.exists() && taken.exists());
    drop(lock);
    shop.call("cache prune --all").exits(0);
    assert!(!taken.exists());
}
