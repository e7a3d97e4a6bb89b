//! Stages, ONBUILD, platforms and named contexts with the real engine.

use crate::shop::Shop;

const BUILD: &str = "build -t local/app:1 .";

#[track_caller]
fn shop(dockerfile: &str) -> Option<Shop> {
    let files = [
        ("plimsoll.toml", "[service.app]\n"),
        ("a.txt", "a"),
        ("other/b.txt", "b"),
        ("Dockerfile", dockerfile),
    ];
    Shop::open(&files)
}

#[track_caller]
fn check(dockerfile: &str) {
    let Some(shop) = shop(dockerfile) else { return };
    shop.call(BUILD).exits(0);
}

#[test]
fn triggers_run_in_the_stage_that_starts_from_theirs_and_no_further() {
    check(
        "FROM local/base:1 AS base\nONBUILD RUN echo one >>/x\nONBUILD WORKDIR /w\nRUN ! test -e /x\n\
         FROM base AS child\nRUN test $(cat /x) = one && touch here && test -e /w/here\n\
         FROM child\nRUN test $(cat /x) = one",
    );
    check(
        "FROM local/base:1 AS other\nRUN echo o >/o\nFROM local/base:1 AS base\nONBUILD COPY --from=other /o /x\n\
         ONBUILD ARG A=1\nONBUILD ENV B=$A\nFROM base\nRUN test $(cat /x) = o && test $A$B = 11",
    );
}

#[test]
fn triggers_of_an_image_run_as_well() {
    let Some(shop) = shop("FROM local/base:1\nONBUILD COPY a.txt /x\nONBUILD RUN <<END\ntest -f /x\nEND\n")
    else {
        return;
    };
    shop.call("build -t local/parent:1 .").exits(0);
    shop.write("Dockerfile", "FROM local/parent:1\nRUN test $(cat /x) = a\n");
    shop.call(BUILD).exits(0).says("2/3 | COPY").says("3/3 | RUN").says("1/3 | RUN test");
    shop.write("a.txt", "");
    std::fs::remove_file(shop.path("a.txt")).unwrap();
    shop.call(BUILD).exits(1).says("Dockerfile:1").says("a.txt is not in");
}

#[test]
fn of_env_and_arg_the_later_one_is_seen() {
    check(
        "FROM local/base:1\nENV A=env\nARG A=arg\nRUN test $A = arg\nENV A=$A-again\nRUN test $A = arg-again",
    );
}

#[test]
fn a_stage_may_be_for_another_platform_than_the_image() {
    let dockerfile = "FROM --platform=$BUILDPLATFORM local/base:1 AS made\nARG TARGETARCH\nRUN test $TARGETARCH = s390x\n\
        FROM scratch\nCOPY --from=made /etc/passwd /x\n";
    let Some(shop) = shop(dockerfile) else { return };
    shop.call("build -t local/app:1 --platform linux/s390x .").exits(0);
    let image = shop.call("inspect local/app:1 --format json").exits(0).json();
    assert_eq!(image["platform"], "linux/s390x");
}

#[test]
fn contexts_stand_in_the_place_of_images() {
    let dockerfile = "FROM alpine\nCOPY --from=files b.txt /x\nRUN --mount=from=files,target=/f test -f /f/b.txt && test -f /x\n";
    let Some(shop) = shop(dockerfile) else { return };
    let flags = "--build-context alpine=docker-image://local/base:1 --build-context files=other";
    shop.call(&format!("{BUILD} {flags}")).exits(0);
    shop.write("Dockerfile", "FROM files\nCOPY a.txt /\n");
    shop.call(&format!("{BUILD} {flags} -o out")).exits(0);
    assert!(shop.path("out/b.txt").is_file() && shop.path("out/a.txt").is_file());
    let history = shop.call("inspect local/app:1").exits(0).stdout;
    assert!(history.contains("FROM files") && history.contains("COPY a.txt /"), "{history}");
}
