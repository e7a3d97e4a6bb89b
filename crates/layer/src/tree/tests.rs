//! Stacks of layers in the notation of `sample`, and paths in them.

use oci::{DiffId, Digest};

use super::*;
use crate::sample;

fn layer(text: &str) -> Arc<LayerIndex> {
    let diff_id = DiffId(Digest::of(text.as_bytes()));
    let entries = sample::entries(text).into_iter().map(|(entry, _)| entry).collect();
    Arc::new(LayerIndex { diff_id, size: 0, entries })
}

fn tree(layers: &[&str]) -> Tree {
    Tree::new(&layers.iter().map(|text| layer(text)).collect::<Vec<_>>())
}

/// Checks all paths of the merged view; folders end in a slash.
#[track_caller]
fn check(layers: &[&str], expected: &str) {
    let tree = tree(layers);
    let paths = tree.walk(b"").skip(1).map(|(path, node)| {
        let slash = if node.entry.kind == Kind::Directory { "/" } else { "" };
        String::from_utf8(path).unwrap() + slash
    });
    assert_eq!(paths.collect::<Vec<_>>().join(" "), expected);
}

#[test]
fn layers_merge() {
    check(&["a/ a/x=1", "a/ a/y=2"], "a/ a/x a/y");
    check(&["a/ a/x=1", "a=file"], "a");
    check(&["a=file", "a/ a/y=2"], "a/ a/y");
    check(&["a/b/c=1"], "a/ a/b/ a/b/c");
    check(&[], "");
}

#[test]
fn whiteouts_hide_the_layers_below_only() {
    check(&["a/ a/x=1 a/y=1", "-a/x"], "a/ a/y");
    check(&["a/ a/x=1", "-a"], "");
    check(&["a/ a/x=1", "a/ a/z=2 -a"], "a/ a/z");
    check(&["a/ a/x=1", "-a a/ a/z=2"], "a/ a/z");
    check(&["a/ a/x=1", "a/ a/z=2 !a"], "a/ a/z");
    check(&["a/ a/x=1", "!a"], "a/");
    check(&["a=1 b/ b/c=2", "!"], "");
    check(&["a=1", "-b -b/c !d"], "a d/");
    check(&["etc/ etc/a=1 link->etc", "link/ !link"], "etc/ etc/a link/");
}

#[test]
fn entries_behind_links_lie_where_the_links_lead() {
    check(&["usr/ usr/bin/ bin->usr/bin", "bin/sh=1"], "bin usr/ usr/bin/ usr/bin/sh");
    check(&["usr/ usr/bin/ usr/bin/sh=1 bin->/usr/bin", "-bin/sh"], "bin usr/ usr/bin/");
    check(&["a->../../b", "a/x=1"], "a b/ b/x");
    check(&["a->b b->a", "a/x=1"], "a b/ b/x");
}

#[test]
fn hard_links_have_their_targets_content() {
    let tree = tree(&["a=text b=>a c=>b", "a=new"]);
    let digest = |path: &str| match &tree.get(path.as_bytes()).unwrap().content.kind {
        Kind::File { digest, .. } => *digest,
        other => panic!("{other:?}"),
    };
    assert_eq!(digest("b"), Some(Digest::of(b"text")));
    assert_eq!(digest("c"), Some(Digest::of(b"text")));
    assert_eq!(digest("a"), Some(Digest::of(b"new")));
    assert_eq!(tree.get(b"c").unwrap().content_layer, 0);
    assert!(matches!(tree.get(b"c").unwrap().entry.kind, Kind::Hardlink(_)));
}

#[test]
fn the_newest_entry_and_its_layer_are_given() {
    let tree = tree(&["a/ a/x=1", "a/ a/y=2", "b/c=3"]);
    assert_eq!(tree.get(b"a").unwrap().layer, 1);
    assert_eq!(tree.get(b"a/x").unwrap().layer, 0);
    assert_eq!((tree.get(b"b").unwrap().layer, tree.get(b"b").unwrap().entry.mode), (2, 0o755));
    assert!(tree.get(b"a/z").is_none() && tree.get(b"a/x/y").is_none());
    let names: Vec<_> = tree.children(b"a").map(|(name, _)| name).collect();
    assert_eq!(names, [b"x", b"y"]);
    assert_eq!(tree.children(b"nothing").count(), 0);
}

#[track_caller]
fn check_resolve(path: &str, last: FollowLast, expected: &str, exists: bool) {
    let tree = tree(&[
        "usr/bin/sh=1 bin->usr/bin abs->/usr up->../../../usr loop->loop dangling->none/x sh->bin/sh",
    ]);
    let resolved = tree.resolve(path.as_bytes(), last).unwrap();
    assert_eq!(String::from_utf8(resolved.path).unwrap(), expected);
    assert_eq!(resolved.node.is_some(), exists);
}

#[test]
fn paths_are_followed_inside_the_image() {
    check_resolve("/bin/sh", FollowLast::No, "usr/bin/sh", true);
    check_resolve("sh", FollowLast::Yes, "usr/bin/sh", true);
    check_resolve("sh", FollowLast::No, "sh", true);
    check_resolve("abs/bin/../bin/sh", FollowLast::Yes, "usr/bin/sh", true);
    check_resolve("up/bin", FollowLast::Yes, "usr/bin", true);
    check_resolve("../../usr", FollowLast::Yes, "usr", true);
    check_resolve("dangling/y", FollowLast::Yes, "none/x/y", false);
    check_resolve("dangling/../y", FollowLast::Yes, "none/y", false);
    check_resolve("new/a/b", FollowLast::Yes, "new/a/b", false);
    check_resolve("/", FollowLast::Yes, "", true);
}

#[test]
fn circles_and_files_in_the_way_are_errors() {
    let tree = tree(&["loop->loop file=1"]);
    for path in ["loop", "loop/x", "file/x"] {
        assert!(tree.resolve(path.as_bytes(), FollowLast::Yes).is_err(), "{path}");
    }
    assert!(tree.resolve(b"loop", FollowLast::No).is_ok());
}

#[test]
fn a_part_of_the_tree_is_walked() {
    let tree = tree(&["a/b/c=1 a/d=2 e=3"]);
    let paths: Vec<_> = tree.walk(b"a").map(|(path, _)| path).collect();
    assert_eq!(paths, [&b"a"[..], b"a/b", b"a/b/c", b"a/d"]);
    assert_eq!(tree.walk(b"e").count(), 1);
    assert_eq!(tree.walk(b"x").count(), 0);
}
