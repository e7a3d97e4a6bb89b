//! Folders of `RUN --mount=type=cache` in caches outside this machine.

use crate::cache_tiers::{Asked, BOTH, Machines, lose};
use crate::shop::Shop;
use crate::unreliable::Fault;

const MOUNT: &str = "--mount=type=cache,target=/c,id=packages,mode=0700,uid=5,gid=6";

/// A step that runs whenever `late` changes, with the mount.
fn dockerfile(command: &str) -> String {
    format!("FROM local/base:1\nCOPY late /late\nRUN {MOUNT} {command}\n")
}

fn machines(command: &str) -> Option<Machines> {
    let shop = Shop::open(&[("Dockerfile", &dockerfile(command)), ("late", "one")])?;
    Some(Machines::with(shop))
}

fn asked_for() -> String {
    format!("{BOTH} --cache-mounts")
}

impl Machines {
    /// The mounts that the cache has.
    fn mounts(&self) -> Vec<serde_json::Value> {
        let cache = format!("registry:{}/acme/app:cache", self.registry.address);
        let seen = self.shop.call(&format!("cache ls {cache} --format json")).exits(0);
        seen.json()["mounts"].as_array().unwrap().clone()
    }

    fn pieces(&self) -> Vec<String> {
        let mounts = self.mounts();
        let pieces = mounts.iter().flat_map(|mount| mount["pieces"].as_array().unwrap());
        pieces.map(|piece| piece.as_str().unwrap().to_owned()).collect()
    }

    fn next(self, command: &str, late: &str) -> Self {
        let next = self.another_with_base();
        next.shop.write("Dockerfile", dockerfile(command));
        next.shop.write("late", late);
        next
    }
}

const FILL: &str = "mkdir -p /c/a/b && echo one >/c/a/b/log && chmod 0640 /c/a/b/log && touch -d 2001-02-03 /c/old \
    && ln -s a/b/log /c/link && chmod 2711 /c/a";
const CHECK: &str = "test $(stat -c %a:%u:%g /c) = 700:5:6 && test $(stat -c %a:%u:%g /c/a) = 2711:0:0 \
    && test $(stat -c %a /c/a/b/log) = 640 && test $(cat /c/link) = one && test $(stat -c %Y /c/old) -lt 1000000000";

#[test]
fn a_fresh_machine_gets_what_another_left() {
    let Some(first) = machines(FILL) else { return };
    let (_, seen) = first.build(&asked_for());
    seen.says("has the cache mount packages anew");
    assert_eq!(first.mounts()[0]["id"], "packages");
    let second = first.next(CHECK, "two");
    let (_, seen) = second.build(&asked_for());
    // The step did not change a byte of it, so nothing is sent.
    let seen = seen.says("the cache mount packages was taken from registry:");
    seen.says_not("packages anew").says_not("warning");
    second.shop.check_root();
    let third = second.next("! test -e /c/a", "three");
    third.build(BOTH).1.says_not("was taken");
}

#[test]
fn a_step_that_is_known_fetches_nothing_of_its_mount() {
    let Some(first) = machines(FILL) else { return };
    first.build(&asked_for());
    let pieces = first.pieces();
    assert_eq!(pieces.len(), 1);
    let second = first.another_with_base();
    let asked = Asked::of(&second.registry);
    let (_, seen) = second.build(&asked_for());
    seen.says("cached in registry:").says_not("was taken");
    assert!(!asked.blobs().contains(&pieces[0]));
    assert_eq!(second.pieces(), pieces, "what is named stays");
}

#[test]
fn a_mount_that_changed_is_sent_anew() {
    let Some(first) = machines("echo one >>/c/log") else { return };
    first.build(&asked_for());
    let before = first.mounts()[0]["content"].clone();
    let second = first.next("cat /late >>/c/log", "two");
    second.build(&asked_for()).1.says("packages anew");
    assert_ne!(second.mounts()[0]["content"], before);
    assert_eq!(second.mounts().len(), 1);
    let third = second.next("test \"$(cat /c/log)\" = \"$(echo one; cat /late)\"", "two");
    third.build(&asked_for());
}

#[test]
fn a_damaged_mount_is_a_warning_and_empty() {
    for fault in [|| Fault::Answer(404, ""), || Fault::Lie, || Fault::Truncate(10)] {
        let Some(first) = machines(FILL) else { return };
        first.build(&asked_for());
        let pieces = first.pieces();
        let second = first.next("! test -e /c/a && echo two >/c/new", "two");
        lose(&second.registry, pieces, fault);
        let (_, seen) = second.build(&format!("{} --set defaults.push.retry.attempts=1", asked_for()));
        seen.says("warning").says("the cache mount packages of registry:").says("is not used");
        second.shop.check_root();
    }
}

#[test]
fn mounts_without_a_cache_are_told() {
    let files = [
        ("Dockerfile", "FROM scratch\nCOPY late /late\n"),
        ("late", "one"),
        ("plimsoll.toml", "[service.app]\n"),
    ];
    let shop = Shop::without_base(&files);
    for line in ["build -t local/app:1 --cache-mounts .", "build --cache-mounts", "run --cache-mounts"] {
        shop.call(line).exits(0).says("--cache-mounts has no effect");
    }
}

#[test]
fn what_is_too_large_is_not_kept_and_named() {
    let Some(first) = machines("dd if=/dev/zero of=/c/zeros bs=1048576 count=3") else { return };
    let (_, seen) = first.build(&format!("{BOTH} --cache-mounts=2MiB"));
    seen.says("warning").says("is without the cache mount packages: it has 3 MiB, 2 are allowed");
    assert!(first.mounts().is_empty());
    first.shop.write("late", "two");
    first.build(&asked_for());
    assert_eq!(first.mounts().len(), 1);
    let second = first.next("test -e /c/zeros || echo empty >/c/new", "three");
    second.build(&format!("{BOTH} --cache-mounts=2MiB")).1.says("are allowed").says("is not used");
}

#[test]
fn services_keep_mounts_where_the_configuration_says_so() {
    let cache = "[service.app]\n[defaults.cache]\nread = [\"registry:{image}:cache-{branch}\", \
        \"registry:{image}:cache-{default}\"]\nwrite = [\"registry:{image}:cache-{branch}\"]\nmounts = true\n";
    let dockerfile = dockerfile(FILL);
    let Some(shop) = Shop::open(&[("Dockerfile", &dockerfile), ("late", "one"), ("plimsoll.toml", cache)])
    else {
        return;
    };
    let run = |machines: &Machines, event: &str| {
        let registry = &machines.registry.address;
        machines
            .shop
            .call(&format!("run --set registry={registry}/acme --progress plain --as {event}"))
            .exits(0)
    };
    let first = Machines::with(shop);
    run(&first, "branch:main").says("cache-main has the cache mount packages anew");
    let second = first.next(CHECK, "two");
    run(&second, "branch:feature/x").says("was taken from registry:").says("cache-main");
    let third = second.next(CHECK, "three");
    run(&third, "branch:feature/x").says("cache-feature-x");
}

#[test]
fn mounts_travel_between_kinds_of_sandboxes() {
    for kind in ["single", "subids", "chroot"] {
        let Some(first) = machines(FILL) else { return };
        if first.shop.call(&format!("doctor --sandbox {kind}")).code != Some(0) {
            crate::shop::skip(&format!("{kind} is not possible here")).unwrap_or(());
            continue;
        }
        let flags = format!("{} --sandbox {kind}", asked_for());
        first.build(&flags).1.says("packages anew").says_not("warning");
        let content = first.mounts()[0]["content"].clone();
        let second = first.next(CHECK, "two");
        second.build(&asked_for()).1.says("was taken from registry:").says_not("warning");
        let third = second.next("test $(cat /c/link) = one", "three");
        third.build(&flags).1.says("was taken from registry:").says_not("warning");
        assert_eq!(third.mounts()[0]["content"], content, "owners are the same for {kind}");
        third.shop.check_root();
    }
}
