//! What a command sees of files, and what of its changes ends in the upper folder.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use builder::sandbox::Mode;

use crate::rooms::Room;

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
