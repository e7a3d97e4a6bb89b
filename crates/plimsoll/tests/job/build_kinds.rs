//! Whoever builds, and whatever the kernel allows: the same Dockerfile gives the same image.

use std::ffi::OsStr;

use crate::shop::Shop;

/// What differs from kind to kind if anything does: owners, modes, removals, replaced folders, links, mounts.
const DOCKERFILE: &str = "\
FROM local/base:1
COPY --chown=7:8 source /data/source
RUN mkdir /data/deep /data/gone && echo 1 >/data/deep/a && busybox chown 1000:1001 /data/deep/a
RUN rm -r /data/gone && busybox chown -R 33:33 /data/deep && busybox ln -s deep /data/link && rm /data/source
RUN --mount=type=cache,target=/cache --mount=type=secret,id=key,target=/run/key \\
    echo more >>/data/deep/a && chmod 4711 /data/deep/a && echo x >/cache/x && busybox ln /data/deep/a /data/b
WORKDIR /srv/app
RUN echo y >y && busybox mv /tmp /temporary && test \"$(cat y)\" = y
";

fn digest(shop: &Shop, flags: &str) -> String {
    let line = format!("build -t local/app:1 --no-cache {flags} . --format json");
    let answer = shop.call(&line).exits(0).json();
    answer["services"]["app"]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn every_kind_of_sandbox_gives_the_same_image() {
    let files = [("plimsoll.toml", "[service.app]\n"), ("Dockerfile", DOCKERFILE), ("source", "one")];
    let Some(shop) = Shop::open(&files) else { return };
    let usual = digest(&shop, "");
    for kind in ["single", "chroot"] {
        let kind = format!("--sandbox {kind}");
        if shop.call(&format!("doctor {kind}")).code == Some(0) {
            assert_eq!(digest(&shop, &kind), usual, "{kind}");
            // What one kind unpacked is no other's, and the cache is everyone's.
            assert_eq!(digest(&shop, ""), usual, "after {kind}");
        } else {
            crate::shop::skip(&format!("{kind} is not possible here")).unwrap_or(())
        }
    }
    shop.check_root();
}

#[test]
fn the_kind_is_told_and_can_be_asked_for() {
    let Some(shop) = Shop::with_dockerfile("FROM local/base:1\nRUN echo here >/here\n") else { return };
    shop.call("build -t local/app:1 --progress plain .").exits(0).says("steps run in ");
    shop.call("build -t local/app:1 --progress plain .").exits(0).says_not("steps run in ");
    shop.call("build -t local/app:1 --sandbox docker .")
        .exits(2)
        .says("auto, root, subids, single or chroot");
    let asked = |value: &str| {
        shop.call_with("build -t local/app:1 --no-cache .", &[("PLIMSOLL_SANDBOX", OsStr::new(value))])
    };
    asked("none").exits(2).says("PLIMSOLL_SANDBOX");
    if shop.call("doctor --sandbox chroot").code == Some(0) {
        asked("chroot").exits(0).says("steps run in a changed root without namespaces (root that may");
    }
}
