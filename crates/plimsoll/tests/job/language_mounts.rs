//! `RUN --mount` with the real engine: the steps themselves look at what they see.

use std::ffi::OsStr;

use crate::shop::Shop;

const FILES: &[(&str, &str)] = &[
    ("plimsoll.toml", "[service.app]\n"),
    ("a.txt", "a"),
    ("src/one", "1"),
    (".dockerignore", "hidden\n"),
    ("hidden", "h"),
];

fn shop(lines: &str) -> Option<Shop> {
    let shop = Shop::open(FILES)?;
    shop.write("Dockerfile", format!("FROM local/base:1\n{lines}\n"));
    Some(shop)
}

const BUILD: &str = "build -t local/app:1 .";

/// Builds `lines` over the base image; a step that fails fails the test.
#[track_caller]
fn check(lines: &str) {
    let Some(shop) = shop(lines) else { return };
    shop.call(BUILD).exits(0);
}

#[test]
fn the_context_is_seen_without_what_is_ignored() {
    check("RUN --mount=target=/c test -f /c/a.txt && ! test -e /c/hidden && ! touch /c/x\nRUN ! test -e /c");
    check("RUN --mount=source=src,target=c test -f /c/one");
    check("RUN --mount=source=a.txt,target=/x/y test $(cat /x/y) = a\nRUN ! test -e /x");
    check("RUN --mount=target=/c,rw touch /c/x && test -f /c/x");
}

#[test]
fn stages_and_images_are_seen() {
    check(
        "FROM local/base:1 AS made\nRUN echo one >/one && mkdir /d && echo two >/d/two\nFROM local/base:1\n\
         RUN --mount=from=made,target=/s test -f /s/one && test -f /s/bin/sh && ! touch /s/x\n\
         RUN --mount=from=made,source=/d,target=/s,rw test -f /s/two && touch /s/x\n\
         RUN --mount=from=made,source=/d/two,target=/s test $(cat /s) = two\n\
         RUN --mount=from=local/base:1,source=/etc,target=/s test -f /s/passwd\n\
         RUN ! test -e /s",
    );
}

#[test]
fn what_is_mounted_is_part_of_the_key() {
    let Some(shop) = shop("RUN --mount=source=src,target=/c cat /c/one >/x") else { return };
    shop.call(BUILD).exits(0);
    shop.write("a.txt", "changed");
    shop.call(BUILD).exits(0).says("cached");
    shop.write("src/one", "2");
    shop.call(BUILD).exits(0).says_not("cached");
}

#[test]
fn a_cache_outlives_the_build_and_is_in_no_layer() {
    let Some(shop) = shop("RUN --mount=type=cache,target=/c echo one >>/c/x && cat /c/x >/seen") else {
        return;
    };
    shop.call(BUILD).exits(0);
    shop.write(
        "Dockerfile",
        "FROM local/base:1\nRUN --mount=type=cache,target=/c,id=/c test -f /c/x && ! test -f /seen\n\
         RUN --mount=type=cache,target=/c,id=other ! test -e /c/x\n\
         RUN --mount=type=cache,target=/c,mode=0700,uid=5,gid=6 test $(stat -c %a:%u:%g /c) = 700:5:6\n\
         RUN --mount=type=cache,target=/c,ro ! touch /c/y\n\
         RUN --mount=type=cache,target=/c,id=x,from=local/base:1,source=/etc test -f /c/passwd\n\
         RUN ! test -e /c\n",
    );
    shop.call(BUILD).exits(0);
}

#[test]
fn a_private_cache_in_use_has_a_second_one() {
    let lines = "FROM local/base:1 AS a\n\
         RUN --mount=type=cache,target=/c,sharing=private --mount=type=cache,target=/m,sharing=shared \\\n\
         touch /m/a; i=0; until test -e /m/b; do sleep 0.05; done; ! test -e /c/x; touch /c/x /a\n\
         FROM local/base:1 AS b\n\
         RUN --mount=type=cache,target=/c,sharing=private --mount=type=cache,target=/m,sharing=shared \\\n\
         touch /m/b; until test -e /m/a; do sleep 0.05; done; ! test -e /c/x; touch /c/x /b\n\
         FROM local/base:1\nCOPY --from=a /a /\nCOPY --from=b /b /";
    check(lines);
}

#[test]
fn memory_is_empty_and_small() {
    check(
        "RUN --mount=type=tmpfs,target=/m,size=64k ! dd if=/dev/zero of=/m/x bs=1k count=128\nRUN ! test -e /m",
    );
}

#[test]
fn secrets_are_seen_and_in_no_layer_and_no_key() {
    let lines = "RUN --mount=type=secret,id=t test $(cat /run/secrets/t) = hush && ! echo x >/run/secrets/t\n\
        RUN --mount=type=secret,id=t,target=/x,mode=0444,uid=5,gid=6 test $(stat -c %a:%u:%g /x) = 444:5:6\n\
        RUN --mount=type=secret,id=t,env=T test $T = hush && ! test -e /run/secrets/t\n\
        RUN --mount=type=secret,id=none ! test -e /run/secrets/none\n\
        RUN ! test -e /run/secrets && ! test -e /x && test -z \"$T\"";
    let Some(shop) = shop(lines) else { return };
    shop.write("token", "hush");
    let by_file = format!("{BUILD} --secret id=t,src=token");
    shop.call(&by_file).exits(0);
    let seen =
        shop.call_with(&format!("{BUILD} --secret id=t,env=OTHER"), &[("OTHER", OsStr::new("another"))]);
    seen.exits(0).says("cached").says_not("RUN --mount failed");
    shop.call(&format!("{BUILD} --secret id=t,env=UNSET")).exits(2).says("$UNSET is not set");
    shop.check_root();
}

#[test]
fn a_secret_that_must_be_there_is_asked_for() {
    let Some(shop) = shop("RUN --mount=type=secret,id=t,required true") else { return };
    shop.call(BUILD).exits(1).says("Dockerfile:2").says("--secret id=t,src=FILE");
}

#[test]
fn secrets_of_the_configuration_reach_the_steps() {
    let Some(shop) = shop(
        "RUN --mount=type=secret,id=t --mount=type=secret,id=f cat /run/secrets/t /run/secrets/f >/x && test $(cat /x) = hushhash",
    ) else {
        return;
    };
    shop.write(
        "plimsoll.toml",
        "[service.app]\nsecrets = { t = { env = \"TOKEN\" }, f = { file = \"token\" } }\n",
    );
    shop.write("token", "hash");
    shop.call_with("build", &[("TOKEN", OsStr::new("hush"))]).exits(0);
}

#[test]
fn the_socket_of_an_agent_is_seen() {
    let Some(shop) = shop(
        "RUN --mount=type=ssh test -S $SSH_AUTH_SOCK && test $(stat -c %a $SSH_AUTH_SOCK) = 600\nRUN ! test -e /run/buildkit",
    ) else {
        return;
    };
    let socket = shop.beside("agent");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    shop.call(&format!("{BUILD} --ssh default={}", socket.display())).exits(0);
    shop.write("Dockerfile", "FROM local/base:1\nRUN --mount=type=ssh,required true\n");
    shop.call(BUILD).exits(1).says("Dockerfile:2").says("--ssh default=SOCKET");
    shop.call(&format!("{BUILD} --ssh default=a.txt")).exits(2).says("ssh-add");
}

#[test]
fn what_is_not_there_cannot_be_mounted() {
    for (mount, words) in [
        ("source=nowhere,target=/x", "nowhere is not in"),
        ("from=local/base:1,source=/nowhere,target=/x", "nowhere is not in"),
        ("type=tmpfs,target=/", "the whole root"),
    ] {
        let Some(shop) = shop(&format!("RUN --mount={mount} true")) else { return };
        shop.call(BUILD).exits(1).says("Dockerfile:2").says(words);
    }
}

#[test]
fn privileges_are_given_where_they_are_allowed() {
    let Some(shop) = shop(
        "RUN --security=insecure grep CapBnd /proc/self/status >/caps\nRUN grep CapBnd /proc/self/status >/less; ! test \"$(cat /caps)\" = \"$(cat /less)\"",
    ) else {
        return;
    };
    shop.call(BUILD).exits(1).says("--allow security.insecure");
    shop.call(&format!("{BUILD} --allow security.insecure")).exits(0);
}

#[test]
fn the_network_and_the_hosts_of_steps_are_chosen() {
    let Some(shop) = shop(
        "RUN grep -q 10.1.2.3 /etc/hosts && grep -q shop /etc/hosts\nRUN test $(ls /sys/class/net) = lo",
    ) else {
        return;
    };
    shop.call(&format!("{BUILD} --network none --add-host shop:10.1.2.3")).exits(0);
}
