//! COPY with the real engine: the last step of each Dockerfile looks at what the ones before it made.

use crate::shop::Shop;

const FILES: &[(&str, &str)] = &[
    ("plimsoll.toml", "[service.app]\n"),
    ("a.txt", "a"),
    ("b.txt", "b"),
    ("src/one.o", "1"),
    ("src/two", "2"),
    ("src/deep/three.o", "3"),
];

/// Builds `lines` over the base image; a step that fails fails the test.
#[track_caller]
fn check(lines: &str) {
    let Some(shop) = Shop::open(FILES) else { return };
    shop.write("Dockerfile", format!("FROM local/base:1\n{lines}\n"));
    shop.call("build -t local/app:1 .").exits(0);
}

#[test]
fn what_is_excluded_is_not_there() {
    check("COPY --exclude=**/*.o src /x\nRUN test -f /x/two && test -d /x/deep && ! test -e /x/one.o");
    check("COPY --exclude=deep --exclude=!deep/three.o src /x\nRUN test -f /x/deep/three.o");
    check("FROM local/base:1\nCOPY --from=0 --exclude=passwd /etc /x\nRUN test -d /x && ! test -e /x/passwd");
}

#[test]
fn parents_keep_their_folders() {
    check("COPY --parents src/deep/*.o /x/\nRUN test -f /x/src/deep/three.o && ! test -e /x/src/two");
    check("COPY --parents src/./**/*.o /x/\nRUN test -f /x/deep/three.o && test -f /x/one.o");
    check("COPY --parents src/deep a.txt /x\nRUN test -f /x/src/deep/three.o && test -f /x/a.txt");
}

#[test]
fn a_linked_layer_does_not_look_below() {
    check("RUN mkdir /real\nCOPY --link a.txt /real\nRUN test -f /real");
    check("RUN mkdir -m 700 /p\nCOPY --link a.txt /p/\nRUN test $(stat -c %a /p) = 755 && test -f /p/a.txt");
}

#[test]
fn a_linked_layer_is_known_over_another_base() {
    let Some(shop) = Shop::open(FILES) else { return };
    shop.write("Dockerfile", "FROM local/base:1\nCOPY --link src /x\n");
    shop.call("build -t local/app:1 .").exits(0);
    shop.write("Dockerfile", "FROM local/base:1\nRUN mkdir -p /x/deep\nCOPY --link src /x\n");
    shop.call("build -t local/app:1 .")
        .exits(0)
        .says("2/2 | COPY --link src /x\n")
        .says("image 2 | cached\n");
}

#[test]
fn several_sources_need_no_slash_where_a_folder_is() {
    check("COPY a.txt b.txt /tmp\nRUN test -f /tmp/a.txt && test -f /tmp/b.txt");
    check("COPY a.txt b.txt /x\nRUN test $(cat /x) = b");
    check("COPY src a.txt /x\nRUN test -f /x/a.txt && test -f /x/two");
}

#[test]
fn a_mode_in_numbers_is_for_folders_on_the_way_as_well() {
    check("COPY --chmod=750 a.txt /p/q/\nRUN test $(stat -c %a /p/q) = 750 && test $(stat -c %a /p) = 750");
    check("COPY --chmod=u+s a.txt /p/q/\nRUN test $(stat -c %a /p/q) = 755");
}
