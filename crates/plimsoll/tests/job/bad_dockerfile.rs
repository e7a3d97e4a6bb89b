//! Dockerfiles that cannot be built: the message names file and line, and what to do.

use crate::seen::Seen;
use crate::shop::{Shop, skip};

/// Builds a Dockerfile that fails with this exit code and these words.
#[track_caller]
fn check(dockerfile: &str, code: i32, words: &[&str]) {
    let Some(shop) = Shop::with_dockerfile(dockerfile) else { return };
    demand(shop.call("build"), code, words);
    demand(shop.call("build -f Dockerfile -t local/app:1 ."), code, words);
}

#[track_caller]
fn demand(seen: Seen, code: i32, words: &[&str]) {
    let seen = seen.exits(code);
    assert_eq!(seen.stdout, "", "what was not built has no result\n{seen}");
    words.iter().fold(seen, |seen, words| seen.says(words));
}

#[test]
fn there_is_none() {
    let shop = Shop::without_base(&[("plimsoll.toml", "[service.app]\ncontext = \"services/app\"\n")]);
    for line in ["build", "run", "build -f services/app/Dockerfile -t local/app:1 ."] {
        shop.call(line).exits(2).says("there is no Dockerfile at services/app/Dockerfile");
    }
}

#[test]
fn an_instruction_is_unknown() {
    check("FROM local/base:1\nRUM echo hello\n", 2, &["Dockerfile:2", "RUM echo hello", "^^^", "RUN"]);
}

#[test]
fn instructions_make_no_sense() {
    check("", 2, &["Dockerfile"]);
    check("RUN true\n", 2, &["Dockerfile:1"]);
    check("FROM\n", 2, &["Dockerfile:1"]);
    check("FROM local/base:1\nCOPY one\n", 2, &["Dockerfile:2"]);
    check("FROM local/base:1\nENV\n", 2, &["Dockerfile:2"]);
    check("FROM local/base:1\nEXPOSE eighty\n", 1, &["Dockerfile:2", "eighty"]);
    check("FROM local/base:1\nRUN <<END\necho hello\n", 2, &["Dockerfile:2", "END"]);
    check("FROM local/base:1\nCOPY --frm=x a b\n", 2, &["Dockerfile:2", "frm"]);
}

#[test]
fn the_base_is_not_there() {
    check("# a comment\nFROM local/nothing:9\n", 1, &["Dockerfile:2", "local/nothing:9"]);
    check("FROM local/base:1\nCOPY --from=local/nothing:9 /a /b\n", 1, &["Dockerfile:2", "local/nothing:9"]);
}

#[test]
fn the_stage_is_not_there() {
    let Some(shop) = Shop::with_dockerfile("FROM local/base:1 AS one\nFROM one AS two\n") else { return };
    shop.call("build --target three").exits(2).says("three").says("one, two");
}

#[test]
fn parts_of_the_language_that_are_not_done_name_their_line() {
    let unsupported = |instruction: &str, name: &str| {
        let dockerfile = format!("FROM local/base:1\n\n{instruction}\n");
        check(&dockerfile, 2, &["Dockerfile:3", name, "not supported"]);
    };
    unsupported("RUN --device=vendor.com/gpu,required true", "--device");
}

#[test]
fn a_step_fails_with_its_last_lines() {
    let Some(shop) = Shop::with_dockerfile(
        "FROM local/base:1\nRUN echo fine\nRUN echo one; \\\n    echo two >&2; exit 42\n",
    ) else {
        return;
    };
    for line in ["build", "run", "build -q -t local/app:1 ."] {
        let seen = shop.call(line).exits(1).says("Dockerfile:3").says("exited with code 42");
        let seen = seen.says("  | one\n").says("  | two\n").says_not("  | fine\n");
        assert!(line == "run" || seen.stdout.is_empty(), "{seen}");
    }
    assert_eq!(shop.tagged("app:1"), None);
    shop.check_root();
}

#[test]
fn a_step_is_killed_or_has_no_program() {
    check("FROM local/base:1\nRUN kill -9 $$\n", 1, &["Dockerfile:2", "signal 9"]);
    check("FROM local/base:1\nRUN [\"/nowhere\", \"x\"]\n", 1, &["Dockerfile:2", "/nowhere"]);
    check("FROM scratch\nRUN true\n", 1, &["Dockerfile:2", "/bin/sh"]);
    check("FROM local/base:1\nUSER nobody-here\nRUN true\n", 1, &["Dockerfile:3", "nobody-here"]);
}

#[test]
fn a_step_hangs() {
    let dockerfile = "FROM local/base:1\nRUN echo begun; (sleep 100000 & wait)\n";
    let Some(shop) = Shop::with_dockerfile(dockerfile) else { return };
    for line in ["build --step-timeout 1s", "run --step-timeout 1s"] {
        shop.call(line).exits(1).says("Dockerfile:2").says("took longer than 1 s").says("  | begun\n");
    }
    shop.check_root();
}

#[test]
fn a_step_fills_the_disk() {
    let dockerfile = "FROM local/base:1\nRUN echo begun; dd if=/dev/urandom of=/big bs=1M count=64\n";
    let Some(shop) = Shop::with_dockerfile(dockerfile) else { return };
    let Some(disk) = SmallDisk::mount(&shop, 24) else { return };
    shop.import_base();
    shop.call("build").exits(1).says("Dockerfile:2").says("No space left on device");
    shop.check_root();
    shop.write("Dockerfile", "FROM local/base:1\nRUN echo small >/small\n");
    shop.call("build").exits(0);
    drop(disk);
}

#[test]
fn the_layer_of_a_step_fills_the_disk() {
    let dockerfile = "FROM local/base:1\nRUN dd if=/dev/urandom of=/big bs=1M count=14\n";
    let Some(shop) = Shop::with_dockerfile(dockerfile) else { return };
    let Some(disk) = SmallDisk::mount(&shop, 24) else { return };
    shop.import_base();
    shop.call("build").exits(1).says("No space left on device");
    shop.check_root();
    shop.write("Dockerfile", "FROM local/base:1\nRUN echo small >/small\n");
    shop.call("build").exits(0);
    drop(disk);
}

#[test]
fn the_disk_is_full_when_a_layer_is_finished_beside_the_next_step() {
    // Of what is free, a third is left: a layer of noise does not fit. Its tar is in memory before its blob is written.
    let big = "RUN set -- $(busybox df -m / | busybox tail -n 1); \\\n dd if=/dev/urandom of=/big bs=1M count=$(($4 * 2 / 3))\n";
    let Some(shop) = Shop::with_dockerfile(&format!("FROM local/base:1\n{big}RUN test -f /big\n")) else {
        return;
    };
    let Some(disk) = SmallDisk::mount(&shop, 40) else { return };
    shop.import_base();
    for line in ["build --compression gzip:12", "build --compression zstd:9"] {
        // The step that works meanwhile may be the first that finds no room.
        let seen = shop.call(line).exits(1).says("No space left on device").says("cannot write");
        seen.says(shop.root("").to_str().unwrap()).says("--root");
        assert_eq!(shop.tagged("app:1"), None);
        shop.check_root();
    }
    shop.write("Dockerfile", "FROM local/base:1\nRUN echo small >/small\nRUN cat /small\n");
    shop.call("build").exits(0);
    shop.check_root();
    drop(disk);
}

/// The root on a file system of its own, with room for the base image and little more.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(shop: &Shop, mebibytes: u32) -> Option<Self> {
        let path = shop.root("");
        std::fs::create_dir_all(&path).unwrap();
        let mut mount = std::process::Command::new("mount");
        let mount =
            mount.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "none"]).arg(&path).output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(path)),
            _ => skip("a small disk cannot be mounted here"),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let done = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}
