//! Where nothing can be mounted and no namespace made: a copy of the layers, and what changed found by looking.

use std::fs;

use builder::sandbox::{Command, Content, Mount, Network, PackSettings, SandboxError, Wanted};
use layer::{Kind, LayerIndex, Observer};

use crate::rooms::{Room, shell};

fn room() -> Option<Room> {
    Room::of_kind(Wanted::Chroot)
}

fn packed(room: &Room) -> LayerIndex {
    let mut observer = Observer::new();
    room.sandbox.pack_upper(&room.root.upper, &PackSettings::default(), &mut observer).unwrap();
    observer.finish().unwrap().index
}

/// What a layer holds: whiteouts begin with a minus, opaque folders with an exclamation mark.
fn shown(index: &LayerIndex) -> Vec<String> {
    let mut shown: Vec<_> = index
        .entries
        .iter()
        .map(|entry| {
            let path = String::from_utf8_lossy(&entry.path);
            match &entry.kind {
                Kind::Whiteout => format!("-{path}"),
                Kind::Opaque => format!("!{path}"),
                Kind::Directory => format!("{path}/"),
                Kind::Symlink(target) => format!("{path}->{}", String::from_utf8_lossy(target)),
                Kind::Hardlink(target) => format!("{path}={}", String::from_utf8_lossy(target)),
                _ => path.into_owned(),
            }
        })
        .collect();
    shown.sort();
    shown
}

#[test]
fn what_a_step_changes_is_its_layer_and_nothing_else() {
    let Some(mut room) = room() else { return };
    room.script(
        "mkdir -p /data/old/deep /data/kept /data/moved && echo 1 > /data/old/deep/a && echo 2 > /data/kept/b && \
         echo 3 > /data/moved/c && echo 4 > /data/mode && echo 5 > /data/gone && echo 6 > /data/rewritten && \
         ln /data/mode /data/second",
    );
    room.next_step();
    assert!(room.script("cat /data/old/deep/a /etc/motd") == "1\nwelcome\n");
    assert!(room.changed().is_empty(), "{:?}", room.changed());
    room.script(
        "mkdir /data/new && rm -r /data/old && mv /data/new /data/old && echo new > /data/old/x && mv /data/moved /data/elsewhere && \
         chmod 600 /data/mode && rm /data/gone && echo 7 > /data/rewritten && ln -s kept /data/link && \
         echo p > /data/pair && ln /data/pair /data/twin && echo more >> /etc/motd && chmod 711 /srv && \
         rm -r /root",
    );
    let layer = packed(&room);
    assert_eq!(
        shown(&layer),
        [
            "!data/old",
            "-data/gone",
            "-data/moved",
            "-root",
            "data/",
            "data/elsewhere/",
            "data/elsewhere/c",
            "data/link->kept",
            "data/mode",
            "data/old/",
            "data/old/x",
            "data/pair",
            "data/rewritten",
            "data/second=data/mode",
            "data/twin=data/pair",
            "etc/",
            "etc/motd",
            "srv/",
        ]
    );
    let of = |path: &[u8]| layer.entries.iter().find(|entry| entry.path == path).unwrap();
    assert_eq!((of(b"srv").mode, of(b"data/mode").mode), (0o711, 0o600));
    // The next step sees all of it.
    room.next_step();
    let seen = room.script("ls /data /data/old; cat /data/rewritten; stat -c %a /srv; ls -d /root || true");
    let expected =
        "/data:\nelsewhere\nkept\nlink\nmode\nold\npair\nrewritten\nsecond\ntwin\n\n/data/old:\nx\n7\n711\n";
    assert_eq!(seen, expected);
}

#[test]
fn owners_are_the_containers() {
    let Some(mut room) = room() else { return };
    if fs::read_to_string("/proc/self/uid_map").unwrap().trim().ends_with(" 1") {
        return crate::rooms::skip("a single id cannot be given away").unwrap_or(());
    }
    room.script("chown 12:13 /srv && touch /srv/x && chmod 4755 /srv/x && chown app:app /srv/x");
    let layer = packed(&room);
    let owners: Vec<_> = layer.entries.iter().map(|entry| (entry.uid, entry.gid, entry.mode)).collect();
    assert_eq!(owners, [(12, 13, 0o755), (1000, 1001, 0o755)]);
    room.next_step();
    let mut command = shell("id -u; touch /srv/y || echo closed; stat -c %u:%g /srv /srv/x");
    command.user = "app".to_owned();
    assert_eq!(room.run(&command).unwrap().stdout, "1000\nclosed\n12:13\n1000:1001\n");
}

#[test]
fn layers_with_whiteouts_and_opaque_folders_are_merged() {
    let Some(mut room) = room() else { return };
    let mut tar = Vec::new();
    let mut writer = layer::TarWriter::new(&mut tar);
    let entry = |path: &str, kind| layer::Entry {
        path: path.into(),
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 1_000_000,
        xattrs: Default::default(),
    };
    for (path, kind) in [("etc/motd", Kind::Whiteout), ("srv", Kind::Directory), ("srv", Kind::Opaque)] {
        writer.append(&entry(path, kind), &mut std::io::empty()).unwrap();
    }
    writer.finish().unwrap();
    let target = room.folder("layer");
    room.sandbox.apply_layer(&mut &tar[..], &target, None).unwrap();
    room.root.lowers.push(target);
    assert_eq!(room.script("ls /srv; ls /etc | grep motd || stat -c %Y /srv"), "1000000\n");
}

#[test]
fn what_is_mounted_elsewhere_is_lent_and_leaves_no_trace() {
    let Some(room) = room() else { return };
    let cache = room.folder("cache");
    fs::write(cache.join("before"), "kept\n").unwrap();
    let mut command = shell(
        "cat /etc/motd /run/secret /cache/before && echo after > /cache/after && rm /cache/before && \
         echo x > /tmp/t/x && ls /etc/hosts && echo sink > /dev/null && ls /var/run/../../cache",
    );
    let bind = |target: &str| Mount::Bind { source: cache.clone(), target: target.into(), read_only: false };
    let file = |text: &str, target: &str| Mount::File {
        content: Content(text.into()),
        mode: 0o400,
        uid: 0,
        gid: 0,
        target: target.into(),
    };
    command.mounts = vec![
        bind("/cache"),
        file("secret\n", "/run/secret"),
        file("covered\n", "/etc/motd"),
        Mount::Tmpfs { target: "/tmp/t".into(), size: None },
    ];
    let ran = room.run(&command).unwrap();
    assert_eq!(ran.stdout, "covered\nsecret\nkept\n/etc/hosts\nafter\n", "{}", ran.stderr);
    assert_eq!(fs::read_to_string(cache.join("after")).unwrap(), "after\n");
    assert!(!cache.join("before").exists());
    assert!(room.changed().is_empty(), "{:?}", room.changed());
    // A folder that was made for a mount is the step's when it puts something there.
    command.arguments[2] = "echo x > /run/own".to_owned();
    room.run(&command).unwrap();
    assert_eq!(shown(&packed(&room)), ["run/", "run/own"]);
}

#[test]
fn merged_layers_serve_the_next_step_as_they_should_be() {
    let Some(mut room) = room() else { return };
    let merged = room.folder("keep").join("merged");
    room.root.merged = Some(merged.clone());
    let time_of =
        |path: &std::path::Path| std::os::unix::fs::MetadataExt::mtime(&fs::metadata(path).unwrap());
    let etc = time_of(&room.root.lowers[0].join("etc"));
    // What is put into folders of the image is no change of them.
    assert_eq!(room.script("stat -c %Y /etc; ls /run/secrets 2>/dev/null; true"), format!("{etc}\n"));
    assert_eq!(time_of(&merged.join("etc")), etc);
    let mut command =
        shell("echo 1 > /srv/a && ln /srv/a /srv/b && rm /etc/motd && cat /etc/hostname /run/secrets/k");
    let content = Content(b"secret\n".to_vec());
    command.mounts =
        vec![Mount::File { content, mode: 0o400, uid: 0, gid: 0, target: "/run/secrets/k".into() }];
    let ran = room.run(&command).unwrap();
    assert_eq!(ran.stdout, "buildkitsandbox\nsecret\n", "{}", ran.stderr);
    assert_eq!(shown(&packed(&room)), ["-etc/motd", "etc/", "srv/", "srv/a", "srv/b=srv/a"]);
    for gone in ["run", "etc/motd", "etc/hosts", "etc/resolv.conf", "dev", "proc"] {
        assert!(!merged.join(gone).exists(), "{gone} is left");
    }
    room.next_step();
    // Two names of one file stay two names, and what the layer has is not what the next step writes to.
    let first = room.root.lowers[1].join("srv/a");
    assert_eq!(
        room.script("echo 2 >> /srv/a && cat /srv/b && ls /etc"),
        "1\n2\ngroup\nhostname\nhosts\npasswd\nresolv.conf\n"
    );
    assert_eq!(fs::read_to_string(first).unwrap(), "1\n");
    assert_eq!(shown(&packed(&room)), ["srv/", "srv/a", "srv/b=srv/a"]);
}

#[test]
fn the_container_is_not_seen_and_not_left() {
    let Some(room) = room() else { return };
    for forbidden in
        ["chroot / true", "mknod /tmp/disk b 8 0", "ls /proc/1", "ls /sys/kernel", "mount -t tmpfs x /tmp"]
    {
        assert!(!room.run(&shell(forbidden)).unwrap().exit.success(), "{forbidden} went through");
    }
    assert_eq!(room.script("env | sort"), "HOME=/root\nPATH=/bin\nPWD=/\nSHLVL=1\n");
}

#[test]
fn nothing_a_step_starts_outlives_it() {
    let Some(room) = room() else { return };
    // Its own session, its own parents gone, and the output held open: the run ends when they do.
    let ran = room.run(&shell("(sleep 1000 & (sleep 1000 &) ); trap '' TERM; sleep 1000 & echo up")).unwrap();
    assert_eq!((ran.stdout.as_str(), ran.exit.success()), ("up\n", true));
    let mut command = shell("(sleep 1000 &); echo up; sleep 1000");
    command.limits.timeout = Some(std::time::Duration::from_millis(500));
    let ran = room.run(&command).unwrap();
    assert!(ran.exit.timed_out && ran.stdout == "up\n", "{ran:?}");
}

#[test]
fn what_needs_namespaces_is_refused_by_name() {
    let Some(room) = room() else { return };
    let command = Command { network: Network::None, ..shell("true") };
    let error = room.run(&command).unwrap_err();
    assert!(matches!(error, SandboxError::NeedsNamespaces { .. }), "{error}");
}

#[test]
fn what_is_asked_about_the_machine_is_there_and_no_part_of_the_layer() {
    let Some(room) = room() else { return };
    assert_ne!(room.script("grep -c ^processor /proc/cpuinfo").trim(), "0");
    assert!(room.script("cat /proc/meminfo").starts_with("MemTotal:"));
    assert_eq!(room.script("ls -d /proc/[0-9]* /proc/self /proc/mounts 2>/dev/null | wc -l").trim(), "0");
    assert!(packed(&room).entries.is_empty());
}
