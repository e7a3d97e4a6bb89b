//! What a command sees of files, and what of its changes ends in the upper folder.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use builder::sandbox::{Command, Mode, Mount, SandboxError};

use crate::rooms::{Room, shell};

#[test]
fn changes_lie_in_the_upper_folder_and_nothing_else_does() {
    let Some(room) = Room::new() else { return };
    assert_eq!(room.script("cat /etc/hosts /etc/hostname >/dev/null; ls / >/dev/null; true"), "");
    assert!(room.changed().is_empty(), "{:?}", room.changed());
    room.script("echo one > /tmp/file; ln /tmp/file /tmp/second; rm /etc/motd; rm -r /srv; mkdir /srv");
    assert_eq!(room.changed(), ["etc", "etc/motd", "srv", "tmp", "tmp/file", "tmp/second"]);
    let upper = |path: &str| fs::symlink_metadata(room.root.upper.join(path)).unwrap();
    let whiteout = upper("etc/motd");
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    assert_eq!(upper("tmp/file").ino(), upper("tmp/second").ino());
    assert_eq!(upper("tmp").mode() & 0o7777, 0o1777);
    let namespace = if *room.sandbox.mode() == Mode::Root { "trusted" } else { "user" };
    let attribute = format!("{namespace}.overlay.opaque");
    assert_eq!(rustix::fs::getxattr(room.root.upper.join("srv"), attribute, &mut [0; 1][..]), Ok(1));
}

#[test]
fn folders_on_the_way_to_mount_points_keep_their_time() {
    let Some(room) = Room::new() else { return };
    let before = fs::metadata(room.root.lowers[0].join("etc")).unwrap();
    let seen = room.script("stat -c '%Y %a' /etc");
    assert_eq!(seen.trim(), format!("{} {:o}", before.mtime(), before.mode() & 0o7777));
}

#[test]
fn steps_build_on_each_other_also_a_hundred_of_them() {
    let Some(mut room) = Room::new() else { return };
    room.script("echo first > /tmp/kept; echo gone > /tmp/gone");
    room.next_step();
    room.script("rm /tmp/gone; echo second >> /tmp/kept");
    room.next_step();
    for number in 0..100 {
        let layer = room.folder(&format!("layer{number}"));
        fs::write(layer.join(format!("file{number}")), "x").unwrap();
        room.root.lowers.push(layer);
    }
    assert_eq!(room.script("ls -d /file* | wc -l; cat /tmp/kept; ls /tmp"), "100\nfirst\nsecond\nkept\n");
    assert!(room.changed().is_empty());
}

#[test]
fn all_files_seem_to_lie_on_one_file_system() {
    let Some(mut room) = Room::new() else { return };
    room.script("echo low > /tmp/low");
    room.next_step();
    let devices = "stat -c %d / /etc /etc/motd /tmp/low /bin/busybox /tmp/new | sort -u | wc -l";
    assert_eq!(room.script(&format!("echo new > /tmp/new; {devices}")), "1\n");
    assert_eq!(room.script("find / -xdev -name busybox; find / -xdev -name low"), "/bin/busybox\n/tmp/low\n");
}

fn bind(source: &Path, target: &str, read_only: bool) -> Mount {
    Mount::Bind { source: source.to_owned(), target: target.into(), read_only }
}

#[test]
fn mounts_are_seen_and_leave_no_trace() {
    let Some(room) = Room::new() else { return };
    let folder = room.folder("cache");
    fs::write(folder.join("kept"), "kept\n").unwrap();
    let secret = folder.join("secret");
    fs::write(&secret, "hidden\n").unwrap();
    let mut command = shell(
        "cat /root/.cache/tool/kept /run/secrets/token; echo more > /root/.cache/tool/new; \
         echo x > /var/run/secrets/token || echo refused; echo y > /mnt/scratch/z; stat -c %a /mnt/scratch",
    );
    command.mounts = vec![
        bind(&folder, "/root/.cache/tool", false),
        bind(&secret, "/run/secrets/token", true),
        Mount::Tmpfs { target: "/mnt/scratch".into(), size: Some(1 << 20) },
    ];
    let ran = room.run(&command).unwrap();
    assert_eq!(ran.stdout, "kept\nhidden\nrefused\n1777\n", "{}", ran.stderr);
    assert_eq!(fs::read_to_string(folder.join("new")).unwrap(), "more\n");
    assert_eq!(room.changed(), [""; 0]);
    // What the command itself puts beside a mount point is its own.
    command.arguments[2] = "echo mine > /root/.cache/mine".to_owned();
    room.run(&command).unwrap();
    assert_eq!(room.changed(), ["root", "root/.cache", "root/.cache/mine"]);
}

#[test]
fn mounts_lie_on_each_other_in_their_order() {
    let Some(room) = Room::new() else { return };
    let folder = room.folder("inner");
    fs::write(folder.join("file"), "inner\n").unwrap();
    let mut command = shell("cat /deep/er/still/file; ls /deep; cat /dev/shm/here/file");
    command.mounts = vec![
        Mount::Tmpfs { target: "/deep".into(), size: None },
        bind(&folder, "/deep/er/still", true),
        bind(&folder, "/dev/shm/here", true),
    ];
    assert_eq!(room.run(&command).unwrap().stdout, "inner\ner\ninner\n");
    assert_eq!(room.changed(), [""; 0]);
}

#[test]
fn mounts_that_cannot_be_are_named() {
    let Some(room) = Room::new() else { return };
    let check = |mount: Mount, expected: &str| {
        let mut command = shell("true");
        command.mounts.push(mount);
        assert_eq!(room.run(&command).unwrap_err().to_string(), expected);
    };
    let folder = room.folder("source");
    check(bind(&folder, "/etc/motd", true), "cannot mount on /etc/motd: the image has a file there");
    check(bind(&folder, "/etc/motd/x", true), "cannot mount on /etc/motd/x: /etc/motd is no folder");
    let absent = folder.join("absent");
    let expected = format!("cannot mount {} on /x in the sandbox", absent.display());
    check(bind(&absent, "/x", true), &expected);
}

#[test]
fn links_of_the_image_do_not_lead_mounts_outside() {
    let Some(mut room) = Room::new() else { return };
    let outside = room.folder("outside");
    let layer = room.folder("layer");
    let away = |name: &str, target: &Path| symlink(target, layer.join(name)).unwrap();
    away("mnt", &Path::new("../../../../../..").join(outside.strip_prefix("/").unwrap()));
    fs::create_dir(layer.join("etc")).unwrap();
    away("etc/resolv.conf", &outside.join("resolv.conf"));
    away("etc/hosts", Path::new("/run/systemd/hosts"));
    room.root.lowers.push(layer.clone());
    let mut command = shell("cat /mnt/file; grep -c localhost /etc/hosts");
    fs::write(outside.join("file"), "of the machine\n").unwrap();
    let source = room.folder("source");
    fs::write(source.join("file"), "mounted\n").unwrap();
    command.mounts.push(bind(&source, "/mnt", true));
    assert_eq!(room.run(&command).unwrap().stdout, "mounted\n2\n");
    // Too much else depends on where these are.
    for name in ["proc", "sys", "dev"] {
        away(name, &outside);
        let expected = format!("cannot mount on /{name}: the image has a symbolic link there");
        assert_eq!(room.run(&command).unwrap_err().to_string(), expected);
        fs::remove_file(layer.join(name)).unwrap();
    }
    let left: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["file"]);
}

#[test]
fn an_image_of_nothing_runs_what_is_mounted() {
    let (Some(room), Some(image)) = (Room::empty(), Room::new()) else { return };
    let mut command = Command::new(&["/tools/bin/busybox", "sh", "-c", "echo hello > /made; ls /"]);
    command.mounts.push(bind(&image.root.lowers[0], "/tools", true));
    // The command's own applets are found by the path of the mount.
    command.environment.push(("PATH".to_owned(), "/tools/bin".to_owned()));
    let ran = room.run(&command).unwrap();
    assert_eq!(ran.stdout, "dev\netc\nmade\nproc\nsys\ntools\n", "{}", ran.stderr);
    assert_eq!(room.changed(), ["made"]);
    let missing = room.run(&Command::new(&["/bin/sh"])).unwrap_err();
    assert_eq!(missing.shell_code(), Some(127));
}

#[test]
fn a_read_only_image_can_be_written_where_something_is_mounted() {
    let Some(mut room) = Room::new() else { return };
    room.root.read_only = true;
    let mut command = shell("echo x > /file || echo refused; echo y > /tmp/file && cat /tmp/file");
    command.mounts.push(Mount::Tmpfs { target: "/tmp".into(), size: None });
    assert_eq!(room.run(&command).unwrap().stdout, "refused\ny\n");
    assert_eq!(room.changed(), [""; 0]);
}

#[test]
fn a_full_disk_is_the_commands_error() {
    let Some(room) = Room::new() else { return };
    let mut command = shell("dd if=/dev/zero of=/small/file bs=64k count=100; echo $?; echo still here");
    command.mounts.push(Mount::Tmpfs { target: "/small".into(), size: Some(1 << 20) });
    let ran = room.run(&command).unwrap();
    assert_eq!(ran.stdout, "1\nstill here\n");
    assert!(ran.stderr.contains("No space left"), "{}", ran.stderr);
}

#[test]
fn folders_that_cannot_be_layers_are_named() {
    let Some(mut room) = Room::new() else { return };
    room.root.lowers.push(room.root.work.join("absent"));
    let error = room.run(&shell("true")).unwrap_err();
    let SandboxError::RootFs { path, source } = &error else { panic!("{error}") };
    assert_eq!((path, source.errno), (&room.root.work.join("absent"), Some(2)));
}
