//! Contexts and archives that reach for what is not theirs.

use testkit::tar::{Header, TarBuilder};

use crate::shop::Shop;

const CONFIGURATION: (&str, &str) = ("plimsoll.toml", "[service.app]\ncontext = \"app\"\n");

/// A context in a folder of the project, with a secret beside it.
fn shop(dockerfile: &str) -> Option<Shop> {
    let files = [CONFIGURATION, ("app/Dockerfile", dockerfile), ("app/ours", "ours"), ("secret", "hidden")];
    Shop::open(&files)
}

#[track_caller]
fn check_refused(instruction: &str, words: &[&str]) {
    let Some(shop) = shop(&format!("FROM local/base:1\n{instruction}\n")) else { return };
    let seen = shop.call("build").exits(1).says("app/Dockerfile:2");
    words.iter().fold(seen, |seen, words| seen.says(words));
}

/// Builds; a step after the instruction demands what it should have come to.
#[track_caller]
fn check_built(shop: Option<Shop>) {
    let Some(shop) = shop else { return };
    shop.call("build --progress none").exits(0);
}

#[test]
fn a_source_is_not_there() {
    check_refused("COPY missing /x", &["missing"]);
    check_refused("COPY ours missing /x/", &["missing"]);
    check_refused("ADD missing.tar /x", &["missing.tar"]);
}

#[test]
fn a_pattern_may_match_nothing_as_buildkit_has_it() {
    check_built(shop("FROM local/base:1\nCOPY ours *.nothing /x/\nRUN test -f /x/ours\n"));
}

#[test]
fn a_source_outside_of_the_context_is_looked_for_inside() {
    check_refused("COPY ../secret /x", &["secret"]);
    check_refused("COPY /secret /x", &["secret"]);
    check_refused("COPY a/../../../../secret /x", &["secret"]);
    check_refused("COPY ../app/ours /x", &["ours"]);
}

#[test]
fn an_excluded_source_is_told_as_excluded() {
    let Some(shop) = shop("FROM local/base:1\nCOPY ours /x\n") else { return };
    shop.write("app/.dockerignore", "ours\n");
    shop.call("build").exits(1).says("app/Dockerfile:2").says("ours").says(".dockerignore");
}

#[test]
fn links_of_the_context_do_not_lead_out() {
    let Some(shop) = shop("FROM local/base:1\nCOPY way-out/secret /x\n") else { return };
    std::os::unix::fs::symlink("..", shop.path("app/way-out")).unwrap();
    shop.call("build").exits(1).says("app/Dockerfile:2").says("way-out");
    std::os::unix::fs::symlink("../secret", shop.path("app/link")).unwrap();
    shop.write("app/Dockerfile", "FROM local/base:1\nCOPY link /x\n");
    shop.call("build").exits(1).says("app/Dockerfile:2").says("link");
}

#[test]
fn links_inside_of_a_copied_folder_stay_links() {
    let dockerfile =
        "FROM local/base:1\nCOPY . /all\nRUN ls -l /all && test -L /all/link && ! test -e /all/link\n";
    let shop = shop(dockerfile);
    if let Some(shop) = &shop {
        std::os::unix::fs::symlink("../secret", shop.path("app/link")).unwrap();
    }
    check_built(shop);
}

#[test]
fn links_of_the_image_are_followed_inside_of_the_image() {
    check_built(shop(
        "FROM local/base:1\nRUN mkdir /real && busybox ln -s /real /absolute && busybox ln -s ../../../real /up\n\
         COPY ours /absolute/one\nCOPY ours /up/two\nRUN test -f /real/one && test -f /real/two\n",
    ));
}

/// Adds an archive to the image.
#[track_caller]
fn add(archive: &[u8], step: &str) -> Option<Shop> {
    let shop = shop(&format!("FROM local/base:1\nADD evil.tar /here/\nRUN {step}\n"))?;
    shop.write("app/evil.tar", archive);
    Some(shop)
}

#[track_caller]
fn check_archive_refused(archive: &[u8], words: &str) {
    let Some(shop) = add(archive, "true") else { return };
    shop.call("build").exits(1).says("app/Dockerfile:2").says("evil.tar").says(words);
    shop.check_root();
}

#[test]
fn names_of_an_archive_that_lead_upward_are_refused() {
    check_archive_refused(&TarBuilder::new().file("../up", b"x").finish(), "../up");
    check_archive_refused(&TarBuilder::new().file("a/../../up", b"x").finish(), "a/../../up");
}

#[test]
fn absolute_names_of_an_archive_are_below_the_target() {
    let archive = TarBuilder::new().file("/etc/passwd", b"evil").finish();
    check_built(add(&archive, "test -f /here/etc/passwd && grep -q root /etc/passwd"));
}

#[test]
fn a_path_through_a_link_of_the_archive_stays_in_the_image() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let archive = TarBuilder::new().symlink("out", target).file("out/file", b"x").finish();
    let Some(shop) = add(&archive, "true") else { return };
    let seen = shop.call("build");
    assert_eq!(crate::shop::files_in(outside.path()), [] as [std::path::PathBuf; 0], "it came out\n{seen}");
    assert!(matches!(seen.code, Some(0 | 1)), "{seen}");
    if seen.code == Some(1) {
        seen.says("app/Dockerfile:2").says("out");
    }
}

#[test]
fn a_hard_link_to_what_is_outside_is_refused() {
    let archive = TarBuilder::new().entry(&Header::hardlink("mine", "../../../etc/passwd"), b"").finish();
    check_archive_refused(&archive, "as a hard link: `..`");
}

#[test]
fn devices_of_an_archive_never_become_devices_of_this_machine() {
    let device = Header { kind: b'3', device: (1, 3), ..Header::file("null") };
    let archive = TarBuilder::new().entry(&device, b"").finish();
    let Some(shop) = add(&archive, "ls -l /here && ! cat /here/null") else { return };
    let seen = shop.call("build");
    // Root of this machine may keep a node that no sandbox opens; others cannot make one and say so.
    if seen.code != Some(0) {
        seen.exits(1).says("app/Dockerfile:2").says("null");
    }
}

#[test]
fn an_archive_that_breaks_off_is_refused() {
    let archive = TarBuilder::new().file("whole", &[7; 4096]).finish();
    check_archive_refused(&archive[..2048], "evil.tar");
}

#[test]
fn an_imported_archive_that_leads_out_is_refused() {
    let shop = Shop::without_base(&[CONFIGURATION]);
    for (name, archive) in [
        ("../up", TarBuilder::new().file("../up", b"x").finish()),
        ("a/../../up", TarBuilder::new().file("a/../../up", b"x").finish()),
    ] {
        let file = shop.beside("evil.tar");
        std::fs::write(&file, archive).unwrap();
        shop.call(&format!("import {} local/evil:1", file.display())).exits(1).says(name);
        shop.call("digest local/evil:1").exits(1);
        shop.check_root();
    }
}
