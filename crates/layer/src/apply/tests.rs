//! Layers extracted into folders, hostile ones too, against the merged view and the kernel's overlay.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{LayerIndex, Observer, TarWriter, sample};

const REMOVE: ApplyOptions<'_> = ApplyOptions {
    whiteouts: Whiteouts::Remove,
    owners: Owners::Ignore,
    devices: Devices::Skip,
    lower: None,
};
const OVERLAY: ApplyOptions<'_> =
    ApplyOptions { whiteouts: Whiteouts::Overlay(OverlayAttributes::User), ..REMOVE };

fn index(tar: &[u8]) -> Arc<LayerIndex> {
    let mut observer = Observer::new();
    observer.write_all(tar).unwrap();
    Arc::new(observer.finish().unwrap().index)
}

/// Lists a folder in the notation of `sample`, without content: folders end in a slash, links show their target,
/// whiteouts begin with a minus, opaque folders with an exclamation mark.
fn listed(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let metadata = path.symlink_metadata().unwrap();
            let file_type = FileType::from_raw_mode(metadata.mode());
            found.push(match file_type {
                FileType::Directory => name + "/",
                FileType::Symlink => format!("{name}->{}", fs::read_link(&path).unwrap().display()),
                FileType::CharacterDevice => format!("-{name}"),
                _ => name,
            });
            if file_type == FileType::Directory {
                if rustix::fs::lgetxattr(&path, "user.overlay.opaque", &mut [0; 4][..]).is_ok() {
                    found.push(format!("!{}", path.strip_prefix(root).unwrap().display()));
                }
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Extracts layers one over the other into one folder, beside which nothing may appear.
#[track_caller]
fn check_stack(layers: &[&str], options: &ApplyOptions<'_>, expected: &str) {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    fs::create_dir(&root).unwrap();
    for layer in layers {
        apply(&sample::tar(layer)[..], &root, options).unwrap();
    }
    assert_eq!(listed(&root).join(" "), expected);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1, "something was written outside");
}

#[test]
fn layers_in_one_folder_merge() {
    check_stack(&["a/ a/x=1", "a/ a/y=2"], &REMOVE, "a/ a/x a/y");
    check_stack(&["a/ a/x=1", "a=file"], &REMOVE, "a");
    check_stack(&["a=file", "a/ a/y=2"], &REMOVE, "a/ a/y");
    check_stack(&["a=file", "a/y=2"], &REMOVE, "a/ a/y");
    check_stack(&["a/ a/x=1 a/b/c/d=1", "-a/x -a/b"], &REMOVE, "a/");
    check_stack(&["a/ a/x=1", "a/z=2 -a"], &REMOVE, "a/ a/z");
    check_stack(&["a/ a/x=1", "-a a/z=2"], &REMOVE, "a/ a/z");
    check_stack(&["a/ a/x=1 a/b/y=1", "a/ a/b/z=2 !a"], &REMOVE, "a/ a/b/ a/b/z");
    check_stack(&["a=1", "-b -b/c"], &REMOVE, "a");
}

#[test]
fn whiteouts_become_what_overlayfs_reads() {
    check_stack(&["-x a/ -a/b"], &OVERLAY, "-a/b -x a/");
    check_stack(&["a/ !a"], &OVERLAY, "!a a/");
    check_stack(&["!a/b"], &OVERLAY, "!a/b a/ a/b/");
    check_stack(&["-a a/ a/x=1"], &OVERLAY, "!a a/ a/x");
    check_stack(&["-a a/x=1"], &OVERLAY, "!a a/ a/x");
    check_stack(&["a/x=1 -a"], &OVERLAY, "!a a/ a/x");
    check_stack(&["-a a=1"], &OVERLAY, "a");
    check_stack(&["a=1 -a"], &OVERLAY, "a");
}

#[test]
fn links_lead_nowhere_but_inside() {
    check_stack(&["up->../.. up/x=1"], &REMOVE, "up->../.. x");
    check_stack(&["abs->/ abs/x=1"], &REMOVE, "abs->/ x");
    check_stack(&["abs->/tmp/evil abs/x=1"], &REMOVE, "abs->/tmp/evil tmp/ tmp/evil/ tmp/evil/x");
    check_stack(&["a/ a/l->../../.. a/l/b/"], &REMOVE, "a/ a/l->../../.. b/");
    check_stack(&["l->/etc", "-l/passwd -l"], &REMOVE, "");
    check_stack(&["d/ d/x=1 l->d", "!l"], &REMOVE, "d/ l->d");
    // The last component is never followed: the link itself is replaced.
    check_stack(&["l->../outside l=1"], &REMOVE, "l");
    check_stack(&["l->../outside l/"], &REMOVE, "l/");
    check_stack(&["l->/etc/passwd h=>l"], &REMOVE, "h->/etc/passwd l->/etc/passwd");
}

#[test]
fn folders_that_were_open_are_not_used_after_they_are_replaced() {
    check_stack(&["a/ a/x=1 a->b a/y=2"], &REMOVE, "a->b b/ b/y");
    check_stack(&["a->b a/x=1 a/ a/y=2"], &REMOVE, "a/ a/y b/ b/x");
}

#[track_caller]
fn check_refused(layer: &str, expected: &str) {
    let root = tempfile::tempdir().unwrap();
    let error = apply(&sample::tar(layer)[..], root.path(), &REMOVE).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn layers_that_make_no_sense_are_refused() {
    check_refused("a->b b->a a/x=1", "more than 255 symbolic links");
    check_refused("h=>nothing", "hard link to \"nothing\"");
    check_refused("d/ h=>d", "hard link to \"d\"");
    check_refused(&("d/".repeat(300) + "x=1"), "deeper than 256 folders");
}

#[test]
fn hard_links_share_their_file() {
    let root = tempfile::tempdir().unwrap();
    apply(&sample::tar("a/b=text c=>a/b c=>a/b")[..], root.path(), &REMOVE).unwrap();
    let inode = |path: &str| root.path().join(path).metadata().unwrap().ino();
    assert_eq!(inode("a/b"), inode("c"));
    assert_eq!(fs::read(root.path().join("c")).unwrap(), b"text");
}

#[test]
fn modes_and_times_are_those_of_the_layer() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = TarWriter::new(Vec::new());
    for (mut entry, content) in sample::entries("ro/ ro/sub/ ro/sub/suid=x ro/link->x implied/x=1") {
        entry.mode = match &entry.path[..] {
            b"ro" | b"ro/sub" => 0o555,
            b"ro/sub/suid" => 0o4711,
            _ => entry.mode,
        };
        writer.append(&entry, &mut &content[..]).unwrap();
    }
    apply(&writer.finish().unwrap()[..], root.path(), &REMOVE).unwrap();
    for (path, mode, mtime) in [
        ("ro", 0o555, 1_600_000_000),
        ("ro/sub", 0o555, 1_600_000_000),
        ("ro/sub/suid", 0o4711, 1_600_000_000),
        ("ro/link", 0o777, 1_600_000_000),
        ("implied", 0o755, 0),
    ] {
        let metadata = root.path().join(path).symlink_metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (mode, mtime), "{path}");
    }
    // So that the folder can be removed by whoever runs the tests.
    for path in ["ro", "ro/sub"] {
        fs::set_permissions(root.path().join(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn what_cannot_be_made_is_reported() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = TarWriter::new(Vec::new());
    let (mut device, _) = sample::entries("null=").remove(0);
    device.kind = Kind::CharDevice { major: 1, minor: 3 };
    let (mut file, _) = sample::entries("file=").remove(0);
    file.xattrs.insert(b"trusted.overlay.redirect".to_vec(), b"/etc".to_vec());
    let mut whiteout = device.clone();
    (whiteout.kind, whiteout.path) = (Kind::CharDevice { major: 0, minor: 0 }, b"zero".to_vec());
    for entry in [&device, &file, &whiteout] {
        writer.append(entry, &mut &b""[..]).unwrap();
    }
    let applied = apply(&writer.finish().unwrap()[..], root.path(), &OVERLAY).unwrap();
    assert_eq!(applied.entries, 3);
    let problems: Vec<_> = applied.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "null: the device was left out",
            "file: the attribute \"trusted.overlay.redirect\" belongs to overlayfs and was left out",
            "zero: a device 0:0 would be a whiteout and was left out",
        ]
    );
    assert_eq!(listed(root.path()), ["file"]);
}

#[test]
fn folders_below_lend_their_mode_and_links_below_are_followed() {
    let lower = Tree::new(&[index(&sample::tar("tmp/ usr/bin/ bin->usr/bin"))]);
    let options = ApplyOptions { lower: Some(&lower), ..OVERLAY };
    let root = tempfile::tempdir().unwrap();
    apply(&sample::tar("tmp/x=1 bin/sh=1 -bin/gone h=>bin/sh")[..], root.path(), &options).unwrap();
    assert_eq!(listed(root.path()), ["h", "tmp/", "tmp/x", "usr/", "usr/bin/", "usr/bin/sh"]);
    let metadata = root.path().join("tmp").metadata().unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o700, 1_600_000_000));
}

#[test]
fn a_layer_that_breaks_off_is_an_error() {
    let tar = sample::tar("a=text b=text");
    let root = tempfile::tempdir().unwrap();
    for keep in [100, 515, 700, 1030] {
        assert!(apply(&tar[..keep], root.path(), &REMOVE).is_err(), "{keep}");
    }
}

#[test]
fn targets_that_are_no_folders_are_named() {
    let root = tempfile::tempdir().unwrap();
    symlink("nowhere", root.path().join("link")).unwrap();
    let error = apply(&[][..], &root.path().join("link"), &REMOVE).unwrap_err();
    assert!(error.to_string().contains("link"), "{error}");
}

/// Words for layers that get in each other's way.
fn any_layer() -> impl Strategy<Value = String> {
    let name = prop_oneof!["[ab]", "[ab]/[ab]", "[ab]/[ab]/[ab]"];
    let word =
        (name, 0..9_u8, "[ab]", "(/|\\.\\./)?[ab](/[ab])?").prop_map(
            |(path, kind, other, target)| match kind {
                0..=2 => format!("{path}={other}"),
                3 | 4 => format!("{path}/"),
                5 => format!("{path}->{target}"),
                6 => format!("-{path}"),
                7 => format!("{path}/ !{path}"),
                _ => format!("{path}={target}"),
            },
        );
    // Whiteouts first, as the specification asks: entries before them may have gone through a link they name.
    prop::collection::vec(word, 0..8).prop_map(|mut words| {
        words.sort_by_key(|word| match word {
            whiteout if whiteout.starts_with('-') => (0, String::new()),
            opaque if opaque.contains('!') => (1, opaque.clone()),
            _ => (2, String::new()),
        });
        words.join(" ")
    })
}

/// Returns the paths of a merged view as `listed` does.
fn paths(tree: &Tree) -> Vec<String> {
    let shown = |(path, node): (LayerPath, crate::tree::Node)| {
        let path = String::from_utf8(path).unwrap();
        match &node.entry.kind {
            Kind::Directory => path + "/",
            Kind::Symlink(target) => format!("{path}->{}", String::from_utf8_lossy(target)),
            _ => path,
        }
    };
    let mut paths: Vec<_> = tree.walk(b"").skip(1).map(shown).collect();
    paths.sort();
    paths
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_folder_holds_what_the_merged_view_shows(layers in prop::collection::vec(any_layer(), 1..4)) {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        fs::create_dir(&root).unwrap();
        let mut tree = Tree::new(&[]);
        for layer in &layers {
            let tar = sample::tar(layer);
            // Links in circles are refused by the one and shown by the other.
            prop_assume!(apply(&tar[..], &root, &REMOVE).is_ok());
            tree.push(&*index(&tar)).unwrap();
        }
        prop_assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        prop_assert_eq!(listed(&root), paths(&tree));
    }
}
