//! Stacks of layers in the notation of `sample`, and paths in them.

use oci::{DiffId, Digest};
use proptest::prelude::*;

use super::pages::Pages;
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

/// Returns everything that a tree has.
fn told(tree: &Tree) -> Vec<String> {
    tree.walk(b"").map(|(path, node)| format!("{} {node:?}", String::from_utf8_lossy(&path))).collect()
}

/// Returns the same tree with hardly any of it in memory.
fn on_disk(layers: &[Arc<LayerIndex>], folder: &Path) -> Tree {
    let slots = Slots::in_pages(Pages::aside(folder, 0), Pages::aside(folder, 0));
    let mut tree = Tree { layers: 0, slots: Mutex::new(slots) };
    layers.iter().for_each(|layer| tree.push(&**layer).unwrap());
    tree
}

#[test]
fn a_tree_on_disk_is_the_one_in_memory() {
    let names = |folders: usize| (0..folders * 50).map(|at| format!("f{}/name-of-file-{at}=text", at / 50));
    let lower: Vec<String> = names(60).chain(["l->f3".to_owned()]).collect();
    let upper: Vec<String> =
        names(3).chain(["-f7 !f8 f8/new=1 f9->f10 l/more=2 f5=file".to_owned()]).collect();
    let layers = [layer(&lower.join(" ")), layer(&upper.join(" "))];
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (Tree::new(&layers), on_disk(&layers, folder.path()));
    assert_eq!(told(&other), told(&one));
    // A copy goes its own way.
    let mut copy = other.clone();
    copy.push(&*layer("-f20 f21/only=here")).unwrap();
    assert_eq!(told(&other), told(&one));
    assert!(copy.get(b"f20").is_none() && copy.get(b"f21/only").is_some());
    assert_eq!(copy.children(b"f11").count(), 50);
}

#[test]
fn a_tree_comes_to_another_process_whole() {
    let many: Vec<String> = (0..3000).map(|at| format!("a/{at}/b=text")).collect();
    let tree = tree(&[&many.join(" "), "c/ c/d->e h=>c/d -a/7 a/8=>a/9/b"]);
    let mut bytes = Vec::new();
    tree.write_to(&mut bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut input = [&bytes[..], b"what follows"].concat();
    let mut rest = &input[..];
    let again = Tree::read_from(&mut rest, folder.path()).unwrap();
    assert_eq!(rest, b"what follows");
    let shown = |tree: &Tree| -> Vec<_> { tree.walk(b"").map(|(path, node)| (path, node.content)).collect() };
    assert_eq!(shown(&again), shown(&tree));
    input.truncate(bytes.len() - 5);
    assert!(Tree::read_from(&input[..], folder.path()).is_err());
}

proptest! {
    #[test]
    fn any_layers_give_the_same_tree_on_disk(
        layers in prop::collection::vec(prop::collection::vec(
            ("[!-]?", "[ab](/[ab]){0,3}", "(/|=1|->[ab]|=>[ab](/[ab])?)"), 0..8), 0..4),
    ) {
        let word = |(sign, path, kind): &(String, String, String)| match sign.as_str() {
            "" => format!("{path}{kind}"),
            sign => format!("{sign}{path}"),
        };
        let text = |words: &Vec<_>| words.iter().map(word).collect::<Vec<_>>().join(" ");
        let layers: Vec<_> = layers.iter().map(|words| layer(&text(words))).collect();
        let folder = tempfile::tempdir().unwrap();
        prop_assert_eq!(told(&on_disk(&layers, folder.path())), told(&Tree::new(&layers)));
    }

    #[test]
    fn broken_streams_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), length in 0_u32..200) {
        if let Some(start) = bytes.get_mut(..4) {
            start.copy_from_slice(&length.to_le_bytes());
        }
        let folder = tempfile::tempdir().unwrap();
        let _ = Tree::read_from(&bytes[..], folder.path());
    }
}
