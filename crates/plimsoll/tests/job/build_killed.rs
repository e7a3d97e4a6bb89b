//! Runs that are killed, and runs beside each other: the next one completes and nothing is half there.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::seen::Seen;
use crate::shop::Shop;

const CONFIGURATION: &str = "[service.app]\n[suite.smoke]\nimage = \"app\"\nrun = \"test -f /made\"\n";
const DOCKERFILE: &str = "FROM local/base:1\nCOPY late /late\nRUN echo begun; sleep 1; cat /late >/made\n";

fn shop() -> Option<Shop> {
    Shop::open(&[("plimsoll.toml", CONFIGURATION), ("Dockerfile", DOCKERFILE), ("late", "late")])
}

fn start(mut command: Command) -> Child {
    command.process_group(0).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Kills the run and all it started in its group, as soon as `is_it` says so of a line; whether it was killed.
fn kill_at(command: Command, mut is_it: impl FnMut(&str) -> bool) -> bool {
    let mut child = start(command);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let found = lines.any(|line| is_it(&line.unwrap()));
    if found {
        let group = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    }
    // Processes of the group hold the other end; it closes when the last of them is gone.
    lines.for_each(drop);
    child.wait().unwrap();
    found
}

fn digest(ledger: &Value) -> &Value {
    &ledger["services"]["app"]["digest"]
}

#[test]
fn a_run_killed_in_a_step_is_completed_by_the_next() {
    let Some(shop) = shop() else { return };
    assert!(kill_at(shop.command("run"), |line| line.ends_with("begun")));
    let completed = shop.ledger("run", 0);
    assert_eq!(completed["services"]["app"]["suites"]["smoke"]["status"], "passed");
    shop.check_root();
    let shop = shop.with_other_root();
    assert_eq!(digest(&completed), digest(&shop.ledger("run", 0)), "as if nothing had happened");
}

#[test]
fn a_run_killed_after_any_line_is_completed_by_the_next() {
    let Some(shop) = shop() else { return };
    shop.write("Dockerfile", DOCKERFILE.replace("sleep 1; ", ""));
    let mut killed = 0;
    loop {
        shop.write("late", format!("late {killed}"));
        let mut left = killed;
        let is_it = |_: &str| {
            left -= i32::from(left > 0);
            left == 0
        };
        if !kill_at(shop.command("run"), is_it) {
            break;
        }
        killed += 1;
        if killed % 4 == 0 {
            shop.ledger("run", 0);
            shop.check_root();
        }
        assert!(killed < 100, "a run says less than this");
    }
    assert!(killed > 8, "it was killed after {killed} lines");
    shop.ledger("run", 0);
    shop.check_root();
}

#[test]
fn a_killed_import_leaves_no_image() {
    let Some(shop) = shop() else { return };
    let before = crate::shop::files_in(&shop.root("store/blobs/sha256")).len();
    let tar = shop.beside("big.tar");
    let noise: Vec<u8> = (0..8_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    std::fs::write(&tar, testkit::tar::TarBuilder::new().file("noise", &noise).finish()).unwrap();
    let line = format!("import {} local/big:1", tar.display());
    let mut child = start(shop.command(&line));
    while crate::shop::files_in(&shop.root("store/temporary")).is_empty()
        && child.try_wait().unwrap().is_none()
    {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    if child.wait().unwrap().success() {
        return;
    }
    shop.call("digest local/big:1").exits(1);
    assert_eq!(crate::shop::files_in(&shop.root("store/blobs/sha256")).len(), before);
    shop.call(&line).exits(0);
    shop.check_root();
}

#[test]
fn two_runs_at_the_same_time_both_succeed() {
    let Some(shop) = shop() else { return };
    let both = [(); 2].map(|()| {
        let mut command = shop.command("run --format json");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    let [first, second] = both.map(|child| Seen::of(&child.wait_with_output().unwrap()).exits(0).json());
    assert_eq!(digest(&first), digest(&second));
    for ledger in [&first, &second] {
        assert_eq!(ledger["services"]["app"]["suites"]["smoke"]["status"], "passed", "{ledger}");
    }
    shop.check_root();
    assert_eq!(shop.ledger("run", 0)["services"]["app"]["status"], "cached");
}

#[test]
fn a_load_killed_after_any_line_is_completed_by_the_next() {
    let files = [
        ("plimsoll.toml", "[service.app]\n"),
        ("Dockerfile", "FROM scratch\nCOPY one /one\nCOPY two /two\nCOPY three /three\n"),
        ("one", "1"),
        ("two", "2"),
        ("three", "3"),
    ];
    let shop = Shop::without_base(&files);
    shop.ledger("run", 0);
    let tar = shop.beside("app.tar");
    shop.call(&format!("save local/repository/app:main -o {}", tar.display())).exits(0);
    let digest = shop.tagged("app:main").unwrap();
    let mut killed = 0;
    loop {
        // Everything that was loaded before is gone with the root.
        let other = Shop::without_base(&[]);
        let line = format!("load {} --tag local/app:1 --progress plain", tar.display());
        let mut left = killed;
        let is_it = |_: &str| {
            left -= i32::from(left > 0);
            left == 0
        };
        let was_killed = kill_at(other.command(&line), is_it);
        other.call(&line).exits(0);
        assert_eq!(other.call("digest local/app:1").exits(0).stdout.trim(), digest);
        other.check_root();
        if !was_killed {
            break;
        }
        killed += 1;
    }
    assert!(killed > 3, "it was killed after {killed} lines");
}
