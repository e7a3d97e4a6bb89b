//! Where things are put.

use std::sync::Arc;

use layer::LayerIndex;
use oci::{DiffId, Digest};

use super::*;
use crate::engine::items::Items;

fn entry(path: &str, kind: Kind) -> Entry {
    let (path, xattrs) = (path.as_bytes().to_vec(), BTreeMap::new());
    Entry { path, kind, mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs }
}

fn below() -> Tree {
    let entries = vec![
        entry("app", Kind::Directory),
        entry("app/old", Kind::File { size: 0, digest: None, offset: 0 }),
        entry("link", Kind::Symlink(b"/app".to_vec())),
    ];
    let index = LayerIndex { diff_id: DiffId(Digest::of(b"")), size: 0, entries };
    Tree::new(&[Arc::new(index)])
}

fn item(relative: &str, kind: ItemKind) -> Item {
    let (relative, xattrs) = (relative.as_bytes().to_vec(), BTreeMap::new());
    Item { relative, kind, mode: 0o640, uid: 7, gid: 8, mtime: None, first_name: None, xattrs }
}

fn file(offset: u64) -> ItemKind {
    ItemKind::File { size: 1, digest: Digest::of(b"x"), content: Content::Layer { layer: 0, offset } }
}

fn single(name: &str) -> Group<'static> {
    Group { name: name.into(), is_folder: false, items: Items::Listed(vec![item("", file(1))]) }
}

fn placed(
    destination: &str,
    groups: &[Group<'_>],
    attributes: &Attributes,
) -> Result<Vec<Placed>, PlaceError> {
    let folder = tempfile::tempdir().unwrap();
    let list = place(&below(), destination, groups, attributes, folder.path())?;
    Ok(list.iter().map(|placed| placed.unwrap().into_owned()).collect())
}

#[track_caller]
fn check(destination: &str, groups: &[Group<'_>], expected: &[&str]) {
    let placed = placed(destination, groups, &Attributes::default()).unwrap();
    let paths: Vec<String> =
        placed.iter().map(|placed| String::from_utf8_lossy(&placed.entry.path).into_owned()).collect();
    assert_eq!(paths, expected, "{destination}");
}

#[test]
fn a_file_goes_into_a_folder_or_takes_the_name() {
    check("/new", &[single("f")], &["new"]);
    check("/new/", &[single("f")], &["new", "new/f"]);
    check("/app", &[single("f")], &["app", "app/f"]);
    check("/link", &[single("f")], &["app", "app/f"]);
    check("/a/b/c", &[single("f")], &["a", "a/b", "a/b/c"]);
}

#[test]
fn a_folder_gives_its_content() {
    let items = vec![item("", ItemKind::Directory), item("s", ItemKind::Directory), item("s/f", file(1))];
    let group = Group { name: b"src".to_vec(), is_folder: true, items: Items::Listed(items) };
    check("/app", std::slice::from_ref(&group), &["app", "app/s", "app/s/f"]);
    check("/new/", &[group], &["new", "new/s", "new/s/f"]);
}

#[test]
fn conflicts_are_errors() {
    let nothing = Attributes::default();
    let folder_over_file = vec![item("old", ItemKind::Directory)];
    let group = Group { name: b"src".to_vec(), is_folder: true, items: Items::Listed(folder_over_file) };
    let Err(PlaceError::Refused(reason)) = placed("/app", &[group], &nothing) else {
        panic!("it is accepted")
    };
    assert!(reason.contains("/app/old is not a folder"), "{reason}");
    assert!(folder(&below(), "/app/old/x", &nothing).is_err());
}

#[test]
fn the_second_name_of_a_file_is_a_link() {
    let items =
        vec![item("", ItemKind::Directory), item("a", file(5)), item("b", file(5)), item("c", file(2))];
    let group = Group { name: b"src".to_vec(), is_folder: true, items: Items::Listed(items) };
    let placed = placed("/app", &[group], &nothing()).unwrap();
    let kinds: Vec<_> = placed.iter().map(|placed| (&placed.entry.path[..], &placed.entry.kind)).collect();
    assert_eq!(kinds[1].0, b"app/c");
    assert_eq!(kinds[2].0, b"app/a");
    assert_eq!(kinds[3], (&b"app/b"[..], &Kind::Hardlink(b"app/a".to_vec())));
}

#[test]
fn names_of_one_file_are_links_within_a_source_and_lead_to_a_name_that_stays() {
    let named = |relative: &str, first_name| {
        let digest = Digest::of(b"x");
        let kind = ItemKind::File { size: 1, digest, content: Content::Context(relative.into()) };
        Item { first_name, ..item(relative, kind) }
    };
    let group = |items: Vec<Item>| {
        let items = std::iter::once(item("", ItemKind::Directory)).chain(items).collect();
        Group { name: b"src".to_vec(), is_folder: true, items: Items::Listed(items) }
    };
    let groups = [
        group(vec![
            named("a", Some(7)),
            named("s/x", Some(7)),
            named("s-", Some(7)),
            named("b", Some(9)),
            named("c", None),
        ]),
        group(vec![named("a", None), named("z", Some(7)), named("zz", Some(7))]),
    ];
    let kinds = placed("/n/", &groups, &nothing()).unwrap().into_iter().map(|placed| placed.entry);
    let kinds: Vec<(String, Option<String>)> = kinds
        .filter(|entry| entry.kind != Kind::Directory)
        .map(|entry| {
            let text = |path: Vec<u8>| String::from_utf8(path).unwrap();
            let first = match entry.kind {
                Kind::Hardlink(first) => Some(text(first)),
                _ => None,
            };
            (text(entry.path), first)
        })
        .collect();
    let expected = [
        ("n/a", None),
        ("n/b", None),
        ("n/c", None),
        ("n/s-", None),
        ("n/z", None),
        ("n/s/x", Some("n/s-")),
        ("n/zz", Some("n/z")),
    ];
    let expected = expected.map(|(path, first)| (path.to_owned(), first.map(str::to_owned)));
    assert_eq!(kinds, expected);
}

fn nothing() -> Attributes {
    Attributes::default()
}

#[test]
fn owner_and_time_are_given_to_what_is_made() {
    let attributes = Attributes { owner: Some((3, 4)), ..nothing() };
    let placed = placed("/n/", &[single("f")], &attributes).unwrap();
    assert!(placed.iter().all(|placed| (placed.entry.uid, placed.entry.gid) == (3, 4)));
    assert!(placed.iter().all(|placed| placed.entry.mtime == LAYER_TIME));
}

#[test]
fn a_folder_that_is_there_needs_no_entry() {
    assert!(folder(&below(), "/app", &nothing()).unwrap().is_empty());
    assert_eq!(folder(&below(), "/app/x/y", &nothing()).unwrap().len(), 3);
    assert!(folder(&below(), "/", &nothing()).unwrap().is_empty());
}

#[test]
fn the_content_key_sees_modes_and_content() {
    let key = |mode: u32| {
        let items = Items::Listed(vec![Item { mode, ..item("", file(1)) }]);
        let group = Group { items, ..single("f") };
        content_key(&PlacedList::Few(placed("/x", &[group], &nothing()).unwrap())).unwrap()
    };
    assert_eq!(key(0o644), key(0o644));
    assert_ne!(key(0o644), key(0o600));
}
