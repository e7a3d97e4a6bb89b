//! Folders packed and extracted again; the kernel's own overlay where namespaces are allowed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::Arc;

use rustix::fs::{Timespec, Timestamps, XattrFlags, mknodat, utimensat};

use super::*;
use crate::{
    ApplyOptions, Devices, LayerIndex, Observer, OverlayAttributes, Whiteouts as Extracted, apply, sample,
};

const OVERLAY: ApplyOptions<'_> = ApplyOptions {
    whiteouts: Extracted::Overlay(OverlayAttributes::User),
    owners: Owners::Ignore,
    devices: Devices::Skip,
    lower: None,
};

fn options() -> PackOptions<'static> {
    PackOptions { owners: Owners::Ignore, ..PackOptions::default() }
}

fn index(tar: &[u8]) -> LayerIndex {
    let mut observer = Observer::new();
    observer.write_all(tar).unwrap();
    observer.finish().unwrap().index
}

fn packed(upper: &Path, options: &PackOptions<'_>) -> (Vec<u8>, Packed) {
    let mut tar = Vec::new();
    let packed = write_upper(upper, &mut tar, options).unwrap();
    (tar, packed)
}

/// Returns the entries in order, in the notation of `sample` without content.
fn words(tar: &[u8]) -> String {
    let word = |entry: Entry| {
        let path = String::from_utf8(entry.path).unwrap();
        match entry.kind {
            Kind::Directory => path + "/",
            Kind::Whiteout => format!("-{path}"),
            Kind::Opaque => format!("!{path}"),
            Kind::Symlink(target) => format!("{path}->{}", String::from_utf8(target).unwrap()),
            Kind::Hardlink(target) => format!("{path}=>{}", String::from_utf8(target).unwrap()),
            _ => path,
        }
    };
    index(tar).entries.into_iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Extracts a layer as an overlay's folder and packs it again.
#[track_caller]
fn check(layer: &str, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    apply(&sample::tar(layer)[..], folder.path(), &OVERLAY).unwrap();
    let (tar, packed) = packed(folder.path(), &options());
    assert_eq!(words(&tar), expected);
    assert_eq!(packed.entries, index(&tar).entries.len() as u64);
    assert_eq!(packed.problems, []);
}

#[test]
fn folders_come_back_sorted_with_whiteouts_first() {
    check("b=1 a/ a/z=1 a/b/ a/b/c=1 -a/y l->x", "a/ -a/y a/b/ a/b/c a/z b l->x");
    check("a/ !a a/x=1 -z", "-z a/ !a a/x");
    check("b=1 a=>b c/d=>b", "a b=>a c/ c/d=>a");
    check("a-b=1 a/ a/c=1 a.b=1", "a/ a/c a-b a.b");
    check("", "");
}

#[test]
fn packing_twice_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    apply(&sample::tar("a/ a/x=text b->c -d")[..], folder.path(), &OVERLAY).unwrap();
    let times = Some(Times { newer_than: 1_650_000_000, becomes: 1_650_000_000 });
    let options = PackOptions { times, ..options() };
    assert_eq!(packed(folder.path(), &options).0, packed(folder.path(), &options).0);
    let again = tempfile::tempdir().unwrap();
    apply(&packed(folder.path(), &options).0[..], again.path(), &OVERLAY).unwrap();
    assert_eq!(packed(again.path(), &options).0, packed(folder.path(), &options).0);
}

fn set_mtime(path: &Path, mtime: i64) {
    let time = Timespec { tv_sec: mtime, tv_nsec: 999_999_999 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn new_times_are_replaced_and_old_ones_kept() {
    let folder = tempfile::tempdir().unwrap();
    for (name, mtime) in [("old", 1_000), ("edge", 2_000), ("new", 2_001)] {
        fs::write(folder.path().join(name), name).unwrap();
        set_mtime(&folder.path().join(name), mtime);
    }
    let times = Some(Times { newer_than: 2_000, becomes: 1_500 });
    let (tar, _) = packed(folder.path(), &PackOptions { times, ..options() });
    let settled = PackOptions { times, settle: true, ..options() };
    assert_eq!(packed(folder.path(), &settled).0, tar);
    let kept = PackOptions { times: None, ..options() };
    assert_eq!(packed(folder.path(), &kept).0, tar, "the files themselves have the new times");
    let found: Vec<_> = index(&tar).entries.iter().map(|entry| entry.mtime).collect();
    assert_eq!(found, [2_000, 1_500, 1_000]);
}

#[test]
fn modes_and_attributes_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "x").unwrap();
    for (name, value) in [("user.kept", &b"\0value"[..]), ("user.overlay.origin", b"gone")] {
        rustix::fs::setxattr(&path, name, value, XattrFlags::empty()).unwrap();
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4750)).unwrap();
    let (tar, _) = packed(folder.path(), &options());
    let entry = &index(&tar).entries[0];
    assert_eq!((entry.mode, entry.uid), (0o4750, 0));
    assert_eq!(entry.xattrs.iter().collect::<Vec<_>>(), [(&b"user.kept".to_vec(), &b"\0value".to_vec())]);
}

#[test]
fn owners_that_were_noted_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut tar = Vec::new();
    let mut writer = TarWriter::new(&mut tar);
    let directory = Entry { uid: 33, gid: 7, ..entry("a", Kind::Directory) };
    let file = Entry { uid: 1000, gid: 0, ..entry("a/b", Kind::File { size: 1, digest: None, offset: 0 }) };
    let link = Entry { uid: 5, gid: 5, ..entry("c", Kind::Symlink(b"a".to_vec())) };
    let roots = entry("d", Kind::Directory);
    for (entry, content) in [(&directory, ""), (&file, "x"), (&link, ""), (&roots, "")] {
        writer.append(entry, &mut content.as_bytes()).unwrap();
    }
    writer.finish().unwrap();
    let record = ApplyOptions { owners: Owners::Record, ..OVERLAY };
    let applied = apply(&tar[..], folder.path(), &record).unwrap();
    assert_eq!(applied.problems[0].to_string(), "c: the owner 5:5 was left out");
    let found = |owners| {
        let (tar, _) = packed(folder.path(), &PackOptions { owners, ..options() });
        let entries = index(&tar).entries.into_iter();
        assert!(entries.clone().all(|entry| entry.xattrs.is_empty()));
        entries.map(|entry| (entry.uid, entry.gid)).collect::<Vec<_>>()
    };
    assert_eq!(found(Owners::Record), [(33, 7), (1000, 0), (0, 0), (0, 0)]);
    assert_eq!(found(Owners::Ignore), [(0, 0); 4]);
}

fn entry(path: &str, kind: Kind) -> Entry {
    let path = path.as_bytes().to_vec();
    Entry { path, kind, mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: Default::default() }
}

#[test]
fn sockets_are_left_out_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let _socket = UnixListener::bind(folder.path().join("socket")).unwrap();
    symlink("x", folder.path().join("link")).unwrap();
    let (tar, packed) = packed(folder.path(), &options());
    assert_eq!(words(&tar), "link->x");
    assert_eq!(packed.problems[0].path, b"socket");
}

#[test]
fn what_no_layer_can_say_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".wh.file"), "").unwrap();
    let error = write_upper(folder.path(), Vec::new(), &options()).unwrap_err().to_string();
    assert!(error.contains(".wh.file"), "{error}");
    let moved = tempfile::tempdir().unwrap();
    let path = moved.path().join("moved");
    fs::create_dir(&path).unwrap();
    rustix::fs::setxattr(&path, "user.overlay.redirect", b"/old", XattrFlags::empty()).unwrap();
    let error = write_upper(moved.path(), Vec::new(), &options()).unwrap_err().to_string();
    assert!(error.contains("redirect_dir=off"), "{error}");
    assert!(write_folder(moved.path(), Vec::new(), &options()).is_ok());
    assert!(write_folder(&moved.path().join("nothing"), Vec::new(), &options()).is_err());
}

#[test]
fn excluded_paths_and_folders_copied_up_for_them_are_left_out() {
    let lower = Tree::new(&[Arc::new(index(&sample::tar("etc/ etc/x=1 run/ var/ var/lib/")))]);
    let folder = tempfile::tempdir().unwrap();
    apply(
        &sample::tar("etc/ etc/hosts=1 run/ run/new=1 run/secrets/a=1 var/ var/lib/ opt/")[..],
        folder.path(),
        &OVERLAY,
    )
    .unwrap();
    let exclude = [b"etc/hosts".to_vec(), b"run/secrets".to_vec()].into();
    let without = PackOptions { exclude, ..options() };
    assert_eq!(words(&packed(folder.path(), &without).0), "etc/ opt/ run/ run/new var/ var/lib/");
    let with = PackOptions { lower: Some(&lower), ..without };
    set_mtime(&folder.path().join("etc"), 1_700_000_000);
    assert_eq!(words(&packed(folder.path(), &with).0), "opt/ run/ run/new");
    set_mtime(&folder.path().join("var/lib"), 1_700_000_000);
    assert_eq!(words(&packed(folder.path(), &with).0), "opt/ run/ run/new var/ var/lib/");
    fs::set_permissions(folder.path().join("etc"), fs::Permissions::from_mode(0o711)).unwrap();
    assert_eq!(words(&packed(folder.path(), &with).0), "etc/ opt/ run/ run/new var/ var/lib/");
}

#[test]
fn plain_folders_have_no_whiteouts() {
    let folder = tempfile::tempdir().unwrap();
    mknodat(CWD, folder.path().join("zero"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    let mut tar = Vec::new();
    write_folder(folder.path(), &mut tar, &options()).unwrap();
    assert_eq!(index(&tar).entries[0].kind, Kind::CharDevice { major: 0, minor: 0 });
}

/// Runs a script in an overlay over `lower`, with its changes in `upper`; `None` where the machine
/// does not allow it.
fn in_overlay(lower: &Path, upper: &Path, script: &str) -> Option<String> {
    let work = tempfile::tempdir_in(upper.parent().unwrap()).unwrap();
    let mount = format!(
        "mount -t overlay overlay -o userxattr,lowerdir={},upperdir={},workdir={} /mnt && cd /mnt && {script}",
        lower.display(),
        upper.display(),
        work.path().display()
    );
    let output = Command::new("unshare").args(["-Urm", "sh", "-ec", &mount]).output();
    // The kernel leaves a folder of mode 0 behind.
    let _ = fs::set_permissions(work.path().join("work"), fs::Permissions::from_mode(0o700));
    match output {
        Ok(output) if output.status.success() => Some(String::from_utf8(output.stdout).unwrap()),
        other => {
            println!("skipped: no overlay in a user namespace here: {other:?}");
            None
        }
    }
}

#[test]
fn changes_of_a_real_overlay_are_seen_by_it_again() {
    let space = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let path = space.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let (lower, upper, copy, second) = (folder("lower"), folder("upper"), folder("copy"), folder("second"));
    let base = "etc/ etc/a=1 etc/b=1 old/ old/x=1 old/sub/y=1 keep/k=1 file=1 link->etc";
    apply(&sample::tar(base)[..], &lower, &OVERLAY).unwrap();
    let script = "rm etc/a; rm -r old; mkdir old; echo 2 >old/new; mv file etc/file; ln etc/file hard; rm link; mkdir link; find . | sort";
    let Some(expected) = in_overlay(&lower, &upper, script) else { return };
    let (tar, _) = packed(&upper, &options());
    assert_eq!(words(&tar), "-file etc/ -etc/a etc/file hard=>etc/file link/ !link old/ !old old/new");
    apply(&tar[..], &copy, &OVERLAY).unwrap();
    let lowers = std::path::PathBuf::from(format!("{}:{}", copy.display(), lower.display()));
    let seen = in_overlay(&lowers, &second, "find . | sort").unwrap();
    assert_eq!(seen, expected);
    let tree = Tree::new(&[Arc::new(index(&sample::tar(base))), Arc::new(index(&tar))]);
    let mut paths: Vec<_> = tree.walk(b"").map(|(path, _)| String::from_utf8(path).unwrap()).collect();
    paths.sort();
    let mut expected: Vec<_> =
        expected.lines().map(|line| line.trim_start_matches('.').trim_start_matches('/')).collect();
    expected.sort();
    assert_eq!(paths, expected);
}
