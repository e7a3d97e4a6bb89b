//! What steps get and leave, and copies that are made before their turn, with the real binary.

use serde_json::Value;

use crate::shop::{Shop, files_in};

const BUILD: &str = "build -t local/app:1 .";

fn shop(lines: &str) -> Option<Shop> {
    let dockerfile = format!("FROM local/base:1\n{lines}\n");
    let files = [
        ("plimsoll.toml", "[service.app]\n"),
        ("a.txt", "a"),
        ("token", "s3cr3t-v4lue\n"),
        ("Dockerfile", &dockerfile),
    ];
    Shop::open(&files)
}

#[test]
fn a_secret_that_is_left_in_a_layer_is_warned_about() {
    let lines = "RUN --mount=type=secret,id=token cat /run/secrets/token >/etc/token; echo none >/etc/other";
    let Some(shop) = shop(lines) else { return };
    let seen = shop.call(&format!("{BUILD} --secret id=token,src=token")).exits(0);
    seen.says("Dockerfile:2: the secret token is in /etc/token")
        .says_not("is in /etc/other")
        .says_not("s3cr3t");
    shop.write(
        "Dockerfile",
        "FROM local/base:1\nRUN --mount=type=secret,id=token test -f /run/secrets/token\n",
    );
    shop.call(&format!("{BUILD} --secret id=token,src=token")).exits(0).says_not("the secret token");
}

#[test]
fn limits_are_those_that_are_asked_for() {
    let lines = "RUN test $(ulimit -n) = 99 && ! dd if=/dev/zero of=/dev/shm/x bs=1024 count=2048";
    let Some(shop) = shop(lines) else { return };
    shop.call(&format!("{BUILD} --ulimit nofile=99 --shm-size 1m")).exits(0);
    shop.call(BUILD).exits(1).says("exited with code 1");
    shop.call(&format!("{BUILD} --ulimit files=99")).exits(2).says("is no limit");
    shop.call(&format!("{BUILD} --provenance=false --sbom=false --ulimit nofile=99 --shm-size 1m")).exits(0);
    shop.call(&format!("{BUILD} --provenance=mode=max")).exits(2).says("--provenance=mode=max");
}

#[test]
fn a_device_that_is_not_required_is_left_out() {
    let Some(shop) = shop("RUN --device=vendor.com/gpu=all true") else { return };
    shop.call(BUILD).exits(0).says("Dockerfile:2").says("vendor.com/gpu=all is not required");
}

fn records(shop: &Shop) -> usize {
    let is_record = |path: &std::path::PathBuf| path.extension().is_some_and(|ending| ending == "json");
    files_in(&shop.root("build/steps")).iter().filter(|path| is_record(path)).count()
}

fn answer(shop: &Shop, flags: &str) -> Value {
    let answer = shop.call(&format!("{BUILD} {flags} --format json")).exits(0).json();
    answer["services"]["app"].clone()
}

/// A build with one record of the RUN and two of the COPY, by what was asked for and by what it gives, whether it
/// was made ahead or not.
#[test]
fn a_copy_made_ahead_is_the_same_layer() {
    let lines = "RUN sleep 1; touch /x\nENV D=/d\nWORKDIR /w\nCOPY --chmod=600 a.txt $D/\nCOPY a.txt .\n\
                 RUN test $(stat -c %a /d/a.txt) = 600 && test -f /w/a.txt";
    let Some(shop) = shop(lines) else { return };
    let first = answer(&shop, "");
    assert_eq!((&first["steps"], &first["cached"]), (&Value::from(5), &Value::from(0)), "{first}");
    let before = records(&shop);
    let again = answer(&shop, "");
    assert_eq!((&again["digest"], &again["cached"]), (&first["digest"], &Value::from(5)));
    let anew = answer(&shop, "--no-cache");
    assert_eq!((&anew["digest"], &anew["cached"]), (&first["digest"], &Value::from(0)), "{anew}");
    assert_eq!(records(&shop), before);
    shop.check_root();
}

/// The first RUN changes the time of a folder of the base that the copy repeats: what was made beside it would be in
/// vain, so it is made beside the last one only. Where a step made the folder, it is made beside the first.
#[test]
fn a_copy_is_made_ahead_where_it_is_likely_to_count() {
    let lines =
        "RUN touch /etc/x; sleep 1\nRUN touch /etc/y; sleep 1\nCOPY a.txt /etc/\nRUN test -f /etc/a.txt";
    let Some(shop) = shop(lines) else { return };
    let first = answer(&shop, "");
    assert_eq!(records(&shop), 5, "{first}");
    shop.check_root();
    assert_eq!(answer(&shop.with_other_root(), "")["digest"], first["digest"]);
}

#[test]
fn a_copy_made_ahead_is_made_again_where_the_run_changed_its_place() {
    let lines = "RUN mkdir -m 700 /d && mkdir /real && ln -s real /link && sleep 1\nCOPY a.txt /d/\n\
                 COPY a.txt /link/\nRUN test $(stat -c %a /d) = 700 && test -f /real/a.txt";
    let Some(shop) = shop(lines) else { return };
    let seen = shop.call(&format!("{BUILD} --explain")).exits(0);
    seen.says("COPY a.txt /d/: no such step ran here before");
    let first = answer(&shop, "");
    let other = shop.with_other_root();
    assert_eq!(answer(&other, "")["digest"], first["digest"]);
}
