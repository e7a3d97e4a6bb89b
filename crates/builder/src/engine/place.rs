//! Where COPY, ADD and WORKDIR put things: from what was selected and the merged view of the layers
//! below to the entries of a new layer. Nothing is read here but indexes, and nothing is written.
//!
//! | source | destination | result |
//! |---|---|---|
//! | file | ends in `/`, or is a folder | `destination/name` |
//! | file | anything else | `destination` |
//! | folder | anything | its content in `destination` |
//!
//! Folders that are made on the way get the owner of `--chown` and the mode of `--chmod` where that is a
//! number. Links on the way to the destination are followed inside the image. A folder in the place of a
//! file, or the other way round, is an error, as it is for BuildKit.
//!
//! Source: Dockerfile reference, "COPY"; behaviour of BuildKit's file operations.

use std::collections::{BTreeMap, HashMap};

use layer::{Entry, FollowLast, Kind, LayerPath, Tree};

use super::items::{Content, Group, Item, ItemKind};
use super::run::LAYER_TIME;
use crate::cache::{CacheKey, KeyBuilder};
use crate::dockerfile::Chmod;

/// An entry of the new layer and where its bytes come from.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub entry: Entry,
    pub content: Option<Content>,
}

/// Owner and mode that an instruction gives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    pub owner: Option<(u32, u32)>,
    pub chmod: Option<Chmod>,
    /// The time of what has none of its own.
    pub source_date_epoch: Option<i64>,
}

impl Attributes {
    fn time(&self) -> i64 {
        self.source_date_epoch.unwrap_or(LAYER_TIME)
    }
}

/// Returns the entries of the layer that puts `groups` at `destination`, in an order that a tar can
/// have: folders before what is in them, links after what they name.
///
/// # Errors
/// What stands in the way, for people.
pub(crate) fn place(
    below: &Tree,
    destination: &str,
    groups: &[Group<'_>],
    attributes: &Attributes,
) -> Result<Vec<Placed>, String> {
    let mut placing = Placing { below, attributes, placed: BTreeMap::new(), first_names: HashMap::new() };
    let target = placing.resolve(destination)?;
    for group in groups {
        // Asked for each source: what an earlier one made counts as well.
        let is_folder = destination.ends_with('/') || placing.is_folder(&target);
        let root = match (group.is_folder, is_folder) {
            (false, true) => join(&target, &group.name),
            _ => target.clone(),
        };
        if group.is_folder {
            placing.make_folder(&root)?;
        }
        for item in group.items.iter() {
            placing.put(&root, &item)?;
        }
    }
    Ok(placing.finish())
}

/// Returns the folders that have to be made so that `path` is one; empty where it is there.
///
/// # Errors
/// What stands in the way, for people.
pub(crate) fn folder(below: &Tree, path: &str, attributes: &Attributes) -> Result<Vec<Placed>, String> {
    let mut placing = Placing { below, attributes, placed: BTreeMap::new(), first_names: HashMap::new() };
    let target = placing.resolve(path)?;
    if placing.is_folder(&target) {
        return Ok(Vec::new());
    }
    placing.make_folder(&target)?;
    Ok(placing.finish())
}

/// Returns the key of a layer with these entries: what is equal here is equal to the byte.
pub(crate) fn content_key(placed: &[Placed]) -> CacheKey {
    placed
        .iter()
        .fold(KeyBuilder::new("entries"), |key, Placed { entry, .. }| {
            let (kind, detail) = match &entry.kind {
                Kind::File { size, digest, .. } => ("file", format!("{size} {digest:?}").into_bytes()),
                Kind::Directory => ("folder", Vec::new()),
                Kind::Symlink(target) => ("symlink", target.clone()),
                Kind::Hardlink(target) => ("link", target.clone()),
                other => ("special", format!("{other:?}").into_bytes()),
            };
            let numbers = format!("{:o} {} {} {}", entry.mode, entry.uid, entry.gid, entry.mtime);
            let xattrs = entry.xattrs.iter().flat_map(|(name, value)| [name, value]);
            key.field("path", &entry.path)
                .field(kind, detail)
                .field("numbers", numbers)
                .list("xattrs", xattrs)
        })
        .finish()
}

struct Placing<'a> {
    below: &'a Tree,
    attributes: &'a Attributes,
    placed: BTreeMap<LayerPath, Placed>,
    /// The first name of each file of a source layer, for hard links.
    first_names: HashMap<(usize, u64), LayerPath>,
}

impl Placing<'_> {
    fn resolve(&self, path: &str) -> Result<LayerPath, String> {
        let resolved = self.below.resolve(path.as_bytes(), FollowLast::Yes);
        resolved.map(|resolved| resolved.path).map_err(|error| error.to_string())
    }

    fn is_folder(&self, path: &[u8]) -> bool {
        match self.placed.get(path) {
            Some(placed) => placed.entry.kind == Kind::Directory,
            None => path.is_empty() || self.kind_below(path).is_some_and(|kind| *kind == Kind::Directory),
        }
    }

    fn kind_below(&self, path: &[u8]) -> Option<&Kind> {
        self.below.get(path).map(|node| &node.entry.kind)
    }

    fn put(&mut self, root: &[u8], item: &Item) -> Result<(), String> {
        let path = join(root, &item.relative);
        if path.is_empty() || matches!(item.kind, ItemKind::Directory) && item.relative.is_empty() {
            return self.make_folder(&path);
        }
        let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&path[..0], |at| &path[..at]);
        self.make_folder(parent)?;
        let is_folder = matches!(item.kind, ItemKind::Directory);
        let known =
            self.placed.get(&path).map(|placed| &placed.entry.kind).or_else(|| self.kind_below(&path));
        match known {
            Some(Kind::Directory) if !is_folder => Err(conflict(&path, "a folder", "a file")),
            Some(Kind::Directory) | None => Ok(()),
            Some(_) if is_folder => Err(conflict(&path, "not a folder", "a folder")),
            Some(_) => Ok(()),
        }?;
        let placed = self.placed_item(path.clone(), item);
        self.placed.insert(path, placed);
        Ok(())
    }

    fn placed_item(&mut self, path: LayerPath, item: &Item) -> Placed {
        let (kind, content) = match &item.kind {
            ItemKind::Directory => (Kind::Directory, None),
            ItemKind::Symlink(target) => (Kind::Symlink(target.clone()), None),
            ItemKind::Special(kind) => (kind.clone(), None),
            ItemKind::File { size, digest, content } => match self.first_name(content, &path) {
                Some(first) => (Kind::Hardlink(first), None),
                None => {
                    let kind = Kind::File { size: *size, digest: Some(*digest), offset: 0 };
                    (kind, Some(content.clone()))
                }
            },
        };
        let mode = match (&self.attributes.chmod, &kind) {
            (_, Kind::Symlink(_)) => 0o777,
            (Some(chmod), kind) => chmod.apply(item.mode, *kind == Kind::Directory),
            (None, _) => item.mode,
        };
        let (uid, gid) = self.attributes.owner.unwrap_or((item.uid, item.gid));
        let mtime = item.mtime.unwrap_or(self.attributes.time());
        Placed { entry: Entry { path, kind, mode, uid, gid, mtime, xattrs: item.xattrs.clone() }, content }
    }

    /// Returns the name under which the same file of a source layer was placed before.
    fn first_name(&mut self, content: &Content, path: &LayerPath) -> Option<LayerPath> {
        let Content::Layer { layer, offset } = content else { return None };
        let first = self.first_names.entry((*layer, *offset)).or_insert_with(|| path.clone());
        (first != path).then(|| first.clone())
    }

    /// Makes a folder and those above it, where they are not there.
    fn make_folder(&mut self, path: &[u8]) -> Result<(), String> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]).filter(|end| *end > 0) {
            let folder = &path[..end];
            if self.is_folder(folder) {
                self.name_folder(folder);
                continue;
            }
            if self.placed.contains_key(folder) || self.kind_below(folder).is_some() {
                return Err(conflict(folder, "not a folder", "a folder"));
            }
            let (uid, gid) = self.attributes.owner.unwrap_or((0, 0));
            let entry = Entry {
                path: folder.to_vec(),
                kind: Kind::Directory,
                mode: self.attributes.chmod.as_ref().and_then(Chmod::exact).unwrap_or(0o755),
                uid,
                gid,
                mtime: self.attributes.time(),
                xattrs: BTreeMap::new(),
            };
            self.placed.insert(folder.to_vec(), Placed { entry, content: None });
        }
        Ok(())
    }

    /// Repeats a folder of the layers below, so that the new layer says everything about the folders
    /// it uses and can be unpacked alone.
    fn name_folder(&mut self, folder: &[u8]) {
        let Some(node) = self.below.get(folder).filter(|_| !self.placed.contains_key(folder)) else { return };
        if !node.entry.path.is_empty() {
            let entry = Entry { path: folder.to_vec(), ..node.entry.clone() };
            self.placed.insert(folder.to_vec(), Placed { entry, content: None });
        }
    }

    fn finish(self) -> Vec<Placed> {
        let mut list: Vec<Placed> = self.placed.into_values().collect();
        // Stable: within a rank, paths stay in ascending order; files of layers are in the order in
        // which one pass over the source layer meets them.
        list.sort_by_key(|placed| match (&placed.entry.kind, &placed.content) {
            (Kind::Hardlink(_), _) => (2, 0, 0),
            (_, Some(Content::Layer { layer, offset })) => (1, *layer, *offset),
            _ => (0, 0, 0),
        });
        list
    }
}

fn conflict(path: &[u8], found: &str, wanted: &str) -> String {
    format!("/{} is {found} in the image and cannot become {wanted}", String::from_utf8_lossy(path))
}

fn join(parent: &[u8], name: &[u8]) -> LayerPath {
    match (parent, name) {
        ([], name) => name.to_vec(),
        (parent, []) => parent.to_vec(),
        (parent, name) => [parent, b"/", name].concat(),
    }
}

#[cfg(test)]
mod tests {
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
        Item { relative, kind, mode: 0o640, uid: 7, gid: 8, mtime: None, xattrs }
    }

    fn file(offset: u64) -> ItemKind {
        ItemKind::File { size: 1, digest: Digest::of(b"x"), content: Content::Layer { layer: 0, offset } }
    }

    fn single(name: &str) -> Group<'static> {
        Group { name: name.into(), is_folder: false, items: Items::Listed(vec![item("", file(1))]) }
    }

    #[track_caller]
    fn check(destination: &str, groups: &[Group<'_>], expected: &[&str]) {
        let placed = place(&below(), destination, groups, &Attributes::default()).unwrap();
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
        let error = place(&below(), "/app", &[group], &nothing).unwrap_err();
        assert!(error.contains("/app/old is not a folder"), "{error}");
        assert!(folder(&below(), "/app/old/x", &nothing).is_err());
    }

    #[test]
    fn the_second_name_of_a_file_is_a_link() {
        let items =
            vec![item("", ItemKind::Directory), item("a", file(5)), item("b", file(5)), item("c", file(2))];
        let group = Group { name: b"src".to_vec(), is_folder: true, items: Items::Listed(items) };
        let placed = place(&below(), "/app", &[group], &nothing()).unwrap();
        let kinds: Vec<_> =
            placed.iter().map(|placed| (&placed.entry.path[..], &placed.entry.kind)).collect();
        assert_eq!(kinds[1].0, b"app/c");
        assert_eq!(kinds[2].0, b"app/a");
        assert_eq!(kinds[3], (&b"app/b"[..], &Kind::Hardlink(b"app/a".to_vec())));
    }

    fn nothing() -> Attributes {
        Attributes::default()
    }

    #[test]
    fn owner_and_time_are_given_to_what_is_made() {
        let attributes = Attributes { owner: Some((3, 4)), ..nothing() };
        let placed = place(&below(), "/n/", &[single("f")], &attributes).unwrap();
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
            content_key(&place(&below(), "/x", &[group], &nothing()).unwrap())
        };
        assert_eq!(key(0o644), key(0o644));
        assert_ne!(key(0o644), key(0o600));
    }
}
