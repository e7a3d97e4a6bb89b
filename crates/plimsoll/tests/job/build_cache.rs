//! The same input gives the same digest, and only what changed is done again.

use serde_json::Value;

use crate::shop::Shop;

const DOCKERFILE: &str = "\
FROM local/base:1 AS made
COPY source /source
RUN date=$(cat /source) && mkdir -p /out && echo \"$date\" >/out/made && touch /out/now
FROM local/base:1
RUN echo always the same >/same
COPY --from=made /out /out
COPY late /late
RUN chmod 600 /late
";

fn shop() -> Option<Shop> {
    Shop::open(&[
        ("plimsoll.toml", "[service.app]\n"),
        ("Dockerfile", DOCKERFILE),
        ("source", "one"),
        ("late", "two"),
    ])
}

fn app(ledger: &Value) -> &Value {
    &ledger["services"]["app"]
}

fn steps(ledger: &Value) -> (u64, u64) {
    let steps = &app(ledger)["steps"];
    (steps["cached"].as_u64().unwrap(), steps["total"].as_u64().unwrap())
}

#[test]
fn two_clean_roots_give_one_digest() {
    let Some(shop) = shop() else { return };
    let first = shop.ledger("run", 0);
    let shop = shop.with_other_root();
    let second = shop.ledger("run", 0);
    assert_eq!(app(&first)["digest"], app(&second)["digest"]);
    assert_eq!(steps(&second).0, 0, "a root of its own knows nothing\n{second}");
    assert_eq!(app(&second)["status"], "built");
}

#[test]
fn nothing_changed_and_nothing_is_done() {
    let Some(shop) = shop() else { return };
    let first = shop.ledger("run", 0);
    let second = shop.ledger("run", 0);
    assert_eq!(app(&first)["digest"], app(&second)["digest"]);
    let (cached, total) = steps(&second);
    assert_eq!(cached, total, "{second}");
    assert_eq!(app(&second)["status"], "cached");
    assert_eq!(app(&second)["platforms"], app(&first)["platforms"]);
}

#[test]
fn files_written_anew_with_the_same_content_change_nothing() {
    let Some(shop) = shop() else { return };
    let first = shop.ledger("run", 0);
    for (file, content) in [("source", "one"), ("late", "two")] {
        std::fs::remove_file(shop.path(file)).unwrap();
        shop.write(file, content);
    }
    let second = shop.ledger("run", 0);
    assert_eq!(
        (app(&first)["digest"].clone(), app(&second)["status"].as_str()),
        (app(&second)["digest"].clone(), Some("cached"))
    );
}

#[test]
fn a_changed_file_does_again_what_reads_it() {
    let Some(shop) = shop() else { return };
    let first = shop.ledger("run", 0);
    let (_, total) = steps(&first);
    shop.write("late", "changed");
    let late = shop.ledger("run", 0);
    assert_eq!(steps(&late), (total - 2, total), "COPY late and what follows\n{late}");
    shop.write("late", "two");
    let back = shop.ledger("run", 0);
    assert_eq!((app(&back)["digest"].clone(), steps(&back)), (app(&first)["digest"].clone(), (total, total)));
    shop.write("source", "changed");
    let early = shop.ledger("run", 0);
    assert!(steps(&early).0 >= 1 && steps(&early).0 < total - 2, "RUN echo always is kept\n{early}");
    assert_ne!(app(&early)["digest"], app(&first)["digest"]);
}

#[test]
fn no_cache_does_all_again_and_comes_to_the_same() {
    let Some(shop) = shop() else { return };
    let first = shop.ledger("run", 0);
    let again = shop.ledger("run --no-cache", 0);
    assert_eq!(steps(&again).0, 0, "{again}");
    assert_eq!(app(&first)["digest"], app(&again)["digest"]);
}

#[test]
fn build_and_run_share_what_they_know() {
    let Some(shop) = shop() else { return };
    let built = shop.call("build --format json").exits(0).json();
    let ran = shop.ledger("run", 0);
    assert_eq!(built["services"]["app"]["digest"], app(&ran)["digest"]);
    assert_eq!(app(&ran)["status"], "cached");
}
