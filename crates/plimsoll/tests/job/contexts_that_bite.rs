//! Contexts that no sane project has and some machine does: each is built right, or refused with its reason.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mkdirat, mknodat, openat};

use crate::shop::Shop;

const BUILD: &str = "--offline build -f Dockerfile -t local/app:1 --progress none";

/// A project whose context is the folder `app`, all of which is copied.
fn shop() -> Shop {
    Shop::without_base(&[("Dockerfile", "FROM scratch\nCOPY . /\n"), ("app/d/f", "file")])
}

/// Returns the paths of what is in the image, sorted, as a listing writes them.
#[track_caller]
fn copied(shop: &Shop) -> Vec<String> {
    shop.call(&format!("{BUILD} app")).exits(0);
    let target = shop.path("out");
    let _ = fs::remove_dir_all(&target);
    shop.call(&format!("{BUILD} --output type=tar,dest={} app", target.display())).exits(0);
    let listed = std::process::Command::new("tar").arg("-tf").arg(&target).output().unwrap();
    let mut paths: Vec<_> = String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect();
    paths.sort();
    paths
}

#[test]
fn links_in_circles_stay_links() {
    let shop = shop();
    symlink("two", shop.path("app/one")).unwrap();
    symlink("one", shop.path("app/two")).unwrap();
    symlink(".", shop.path("app/d/self")).unwrap();
    symlink("../../..", shop.path("app/d/up")).unwrap();
    assert_eq!(copied(&shop), ["d/", "d/f", "d/self", "d/up", "one", "two"]);
    shop.write("Dockerfile", "FROM scratch\nCOPY one /\n");
    let seen = shop.call(&format!("{BUILD} app")).exits(1);
    seen.says("Dockerfile:2").says("leads through more than 255 symbolic links");
    shop.write("Dockerfile", "FROM scratch\nCOPY d/self/self/self/f /\n");
    shop.call(&format!("{BUILD} app")).exits(0);
}

#[test]
fn sockets_are_left_out_and_pipes_are_not_read() {
    let shop = shop();
    let _socket = std::os::unix::net::UnixListener::bind(shop.path("app/socket")).unwrap();
    mknodat(CWD, shop.path("app/pipe"), FileType::Fifo, Mode::from(0o644), 0).unwrap();
    assert_eq!(copied(&shop), ["d/", "d/f", "pipe"]);
}

#[test]
fn a_pipe_in_the_place_of_the_ignore_file_is_not_waited_for() {
    let shop = shop();
    mknodat(CWD, shop.path("app/.dockerignore"), FileType::Fifo, Mode::from(0o644), 0).unwrap();
    shop.call(&format!("{BUILD} app")).exits(1).says("app/.dockerignore").says("it is no file");
}

#[test]
fn names_hold_whatever_they_hold() {
    let shop = shop();
    let names: [&[u8]; 6] = [b"two\nlines", b"no\xffutf-8", b"-rf", b" ", b"tab\t\"quote'", &[b'n'; 255]];
    for name in names {
        fs::write(shop.path("app").join(OsStr::from_bytes(name)), "x").unwrap();
    }
    assert_eq!(copied(&shop).len(), 2 + names.len());
    shop.write("app/.dockerignore", "two*\n**/*utf-8\nn*n\n");
    assert_eq!(copied(&shop).len(), 2 + names.len() - 3 + 1, "less what is ignored, with the ignore file");
}

#[test]
fn a_tree_deeper_than_a_path_can_say_is_refused_and_can_be_ignored() {
    let shop = shop();
    let mut folder = openat(CWD, shop.path("app"), rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    let name = "d".repeat(200);
    for _ in 0..30 {
        mkdirat(&folder, name.as_str(), Mode::from(0o755)).unwrap();
        folder = openat(&folder, name.as_str(), rustix::fs::OFlags::PATH, Mode::empty()).unwrap();
    }
    let seen = shop.call(&format!("{BUILD} app")).exits(1);
    let seen = seen.says("File name too long").says("a line in .dockerignore leaves it out");
    assert!(seen.stderr.len() < 2000, "the beginning of the path is enough");
    shop.write("app/.dockerignore", "ddd*\n");
    shop.call(&format!("{BUILD} app")).exits(0);
}

#[test]
fn what_is_no_folder_is_no_context() {
    let shop = shop();
    shop.call(&format!("{BUILD} app/d/f")).exits(1).says("cannot open the context").says("Not a directory");
    shop.call(&format!("{BUILD} app/nothing")).exits(1).says("app/nothing");
}

#[test]
fn an_ignore_file_of_a_megabyte_is_read() {
    let shop = shop();
    let mut lines: String = (0..40_000).map(|number| format!("none/{number}/**/x*y?z\n")).collect();
    lines += &"*a".repeat(60);
    lines += "b\nd/f\n";
    shop.write(&format!("app/{}", "a".repeat(250)), "x");
    shop.write("app/.dockerignore", lines);
    assert_eq!(copied(&shop).len(), 3, "d, the ignore file and the one of many a");
}
