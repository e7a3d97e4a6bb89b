//! Layers in, changes out: whoever runs this, owners are those of the image.

use std::io::Write;
use std::sync::Arc;

use builder::sandbox::{PackSettings, SandboxError};
use layer::{Entry, Kind, LayerIndex, Observer, TarWriter, Tree};

use crate::rooms::Room;

fn entry(path: &str, kind: Kind, owner: (u32, u32)) -> Entry {
    let path = path.as_bytes().to_vec();
    Entry {
        path,
        kind,
        mode: 0o644,
        uid: owner.0,
        gid: owner.1,
        mtime: 1_600_000_000,
        xattrs: Default::default(),
    }
}

fn folder(path: &str, owner: (u32, u32)) -> Entry {
    Entry { mode: 0o755, ..entry(path, Kind::Directory, owner) }
}

fn file(path: &str, owner: (u32, u32), size: u64) -> Entry {
    entry(path, Kind::File { size, digest: None, offset: 0 }, owner)
}

fn tar(entries: &[(Entry, &str)]) -> Vec<u8> {
    let mut tar = Vec::new();
    let mut writer = TarWriter::new(&mut tar);
    for (entry, content) in entries {
        writer.append(entry, &mut content.as_bytes()).unwrap();
    }
    writer.finish().unwrap();
    tar
}

fn index(tar: &[u8]) -> LayerIndex {
    let mut observer = Observer::new();
    observer.write_all(tar).unwrap();
    observer.finish().unwrap().index
}

/// Path, kind of owner, for what was packed.
fn owners(index: &LayerIndex) -> Vec<(String, u32, u32)> {
    let shown = |entry: &Entry| (String::from_utf8(entry.path.clone()).unwrap(), entry.uid, entry.gid);
    index.entries.iter().map(shown).collect()
}

fn packed(room: &Room, settings: &PackSettings<'_>) -> LayerIndex {
    let mut tar = Vec::new();
    let packed = room.sandbox.pack_upper(&room.root.upper, settings, &mut tar).unwrap();
    let index = index(&tar);
    assert_eq!(packed.entries, index.entries.len() as u64);
    index
}

#[test]
fn owners_survive_extraction_a_step_and_packing() {
    let Some(mut room) = Room::new() else { return };
    let layer = tar(&[
        (folder("data", (1000, 1001)), ""),
        (file("data/app", (1000, 1001), 4), "app\n"),
        (file("data/other", (33, 7), 6), "other\n"),
        (entry("data/link", Kind::Symlink(b"app".to_vec()), (0, 0)), ""),
    ]);
    let target = room.folder("layer");
    let applied = room.sandbox.apply_layer(&mut &layer[..], &target, None).unwrap();
    assert_eq!((applied.entries, applied.problems), (4, vec![]));
    room.root.lowers.push(target);
    room.script("echo more >> /data/app; echo new > /data/new; rm /data/other; mkdir -p /opt/x; rm -r /tmp");
    let index = packed(&room, &PackSettings::default());
    let expected = [
        ("data", 1000, 1001),
        ("data/other", 0, 0),
        ("data/app", 1000, 1001),
        ("data/new", 0, 0),
        ("opt", 0, 0),
        ("opt/x", 0, 0),
    ];
    let mut found = owners(&index);
    assert_eq!(found.remove(0), ("tmp".to_owned(), 0, 0));
    assert_eq!(found, expected.map(|(path, uid, gid)| (path.to_owned(), uid, gid)));
    let of = |path: &[u8]| index.entries.iter().find(|entry| entry.path == path).unwrap();
    assert_eq!((&of(b"tmp").kind, &of(b"data/other").kind), (&Kind::Whiteout, &Kind::Whiteout));
    assert!(matches!(of(b"data/app").kind, Kind::File { size: 9, .. }));
}

#[test]
fn a_step_sees_and_changes_owners() {
    let Some(mut room) = Room::new() else { return };
    if room.is_single() {
        return crate::rooms::skip("a single id cannot be given away").unwrap_or(());
    }
    let layer = tar(&[(file("theirs", (1000, 1001), 0), ""), (file("mine", (0, 0), 0), "")]);
    let target = room.folder("layer");
    room.sandbox.apply_layer(&mut &layer[..], &target, None).unwrap();
    room.root.lowers.push(target);
    assert_eq!(room.script("stat -c %u:%g /theirs; chown 65533:5 /mine"), "1000:1001\n");
    assert_eq!(owners(&packed(&room, &PackSettings::default())), [("mine".to_owned(), 65533, 5)]);
}

#[test]
fn changes_of_owner_end_in_the_layer() {
    let Some(mut room) = Room::new() else { return };
    let layer = tar(&[(folder("data", (7, 8)), ""), (file("data/old", (1000, 1001), 1), "x")]);
    let target = room.folder("layer");
    room.sandbox.apply_layer(&mut &layer[..], &target, None).unwrap();
    room.root.lowers.push(target);
    // (Busybox gives the half that is not named the number it sees, which is root's.)
    // By name and number, whole trees, one half, back to root, through links, from within a folder, by the
    // group alone, and in a root of its own.
    room.script(
        "mkdir -p /srv/a/b /jail/bin && echo 1 > /srv/a/b/c && ln -s /srv/a/b/c /srv/link && \
         chown -R app:app /srv && chown 33:1001 /srv/a && chown 0:0 /data/old && echo y >> /data/old && \
         cd /srv/a/b && touch d e && chown 12:13 ./d ../../../srv/a/b/e && chown 12:99 d && \
         cp /bin/busybox /jail/bin/ && touch /jail/f && ln -s /f /jail/g && \
         chroot /jail /bin/busybox chown 5:6 /g && chroot /jail /bin/busybox sh -c 'cd /bin; busybox chown 1:2 .' && \
         touch /srv/x && chmod 4755 /srv/x && chown app /srv/x && ! chown 1:1 /not-there && tar -C /srv -cf /t a && \
         mkdir /out && tar -C /out -xf /t && rm /t",
    );
    let index = packed(&room, &PackSettings::default());
    let owner =
        |path: &str| owners(&index).into_iter().find(|(known, ..)| known == path).map(|(_, u, g)| (u, g));
    assert_eq!(owner("srv/a/b/c"), Some((1000, 1001)));
    assert_eq!(owner("srv/a"), Some((33, 1001)));
    assert_eq!(owner("data/old"), Some((0, 0)));
    assert_eq!(owner("srv/a/b/d"), Some((12, 99)));
    assert_eq!(owner("srv/a/b/e"), Some((12, 13)));
    assert_eq!(owner("jail/f"), Some((5, 6)));
    assert_eq!(owner("jail/bin"), Some((1, 2)));
    let of = |path: &[u8]| index.entries.iter().find(|entry| entry.path == path).unwrap();
    assert_eq!((of(b"srv/x").mode & 0o7777, of(b"srv/x").uid), (0o755, 1000));
    // What is not root gives nothing away.
    let mut command = crate::rooms::shell("touch /tmp/mine && ! chown 0:0 /tmp/mine");
    command.user = "app".to_owned();
    assert!(room.run(&command).unwrap().exit.success());
}

#[test]
fn layers_below_are_known_in_the_other_process_too() {
    let Some(room) = Room::new() else { return };
    // Mode and owner of a folder that the second layer uses without naming it come from the first.
    let first = tar(&[(Entry { mode: 0o711, ..folder("deep", (8, 9)) }, "")]);
    let second = tar(&[(file("deep/file", (0, 0), 0), "")]);
    let tree = Tree::new(&[Arc::new(index(&first))]);
    let target = room.folder("layer");
    room.sandbox.apply_layer(&mut &second[..], &target, Some(&tree)).unwrap();
    let mut again = room.another();
    again.root.upper = target;
    let index = packed(&again, &PackSettings { lower: None, ..PackSettings::default() });
    let deep = index.entries.iter().find(|entry| entry.path == b"deep").unwrap();
    assert_eq!((deep.mode, deep.uid, deep.gid, deep.mtime), (0o711, 8, 9, 1_600_000_000));
    // The same folder, with the layers below known and its file excluded, is no change.
    let settings = PackSettings {
        lower: Some(&tree),
        exclude: [b"deep/file".to_vec()].into(),
        ..PackSettings::default()
    };
    assert!(packed(&again, &settings).entries.is_empty());
}

#[test]
fn a_damaged_layer_is_named_and_trees_of_anyone_are_removed() {
    let Some(room) = Room::new() else { return };
    let target = room.folder("layer");
    let mut layer = tar(&[(file("a", (5, 5), 1_000_000), &"x".repeat(1_000_000))]);
    layer.truncate(500_000);
    let error = room.sandbox.apply_layer(&mut &layer[..], &target, None).unwrap_err();
    let SandboxError::Tree { path, reason, .. } = &error else { panic!("{error:?}") };
    assert_eq!(path, &target);
    assert!(reason.contains("breaks off at byte 500000"), "{reason}");
    let locked =
        tar(&[(Entry { mode: 0, ..folder("locked", (77, 77)) }, ""), (file("locked/file", (78, 78), 0), "")]);
    room.sandbox.apply_layer(&mut &locked[..], &target, None).unwrap();
    room.sandbox.remove_tree(&target).unwrap();
    assert!(!target.exists());
    room.sandbox.remove_tree(&target).unwrap();
}

#[test]
fn an_output_that_fails_ends_the_packing() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let Some(room) = Room::new() else { return };
    room.script("dd if=/dev/zero of=/big bs=1M count=2 2>/dev/null");
    let error = room.sandbox.pack_upper(&room.root.upper, &PackSettings::default(), &mut Full).unwrap_err();
    assert!(error.to_string().contains("no storage space"), "{error}");
}
