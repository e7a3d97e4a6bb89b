//! Where COPY, ADD and WORKDIR put things: from what was selected and the merged view of the layers
//! below to the entries of a new layer. Nothing is read here but indexes, and nothing is written.
//!
//! | source | destination | result |
//! |---|---|---|
//! | file | ends in `/`, or is a folder | `destination/name` |
//! | file | anything else | `destination` |
//! | folder | anything | its content in `destination` |
//!
//! Names of one file stay names of one file within what one source selects, as they do for BuildKit.
//!
//! Folders that are made on the way get the owner of `--chown` and the mode of `--chmod` where that is a
//! number. Links on the way to the destination are followed inside the image. A folder in the place of a
//! file, or the other way round, is an error, as it is for BuildKit.
//!
//! Source: Dockerfile reference, "COPY"; behaviour of BuildKit's file operations.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use layer::{Entry, FollowLast, Kind, LayerPath, Tree};

use super::items::{Content, Group, Item, ItemKind};
use super::placed::{Placed, PlacedList};
use super::run::LAYER_TIME;
use super::sorted::{Merged, Sorter};
use crate::BuildError;
use crate::cache::{CacheKey, KeyBuilder};
use crate::dockerfile::Chmod;

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

/// Why entries cannot be placed.
#[derive(Debug)]
pub(crate) enum PlaceError {
    /// What stands in the way, for people.
    Refused(String),
    /// The list does not fit into memory, and cannot be kept on disk.
    List(io::Error),
}

impl From<io::Error> for PlaceError {
    fn from(error: io::Error) -> Self {
        Self::List(error)
    }
}

impl From<String> for PlaceError {
    fn from(reason: String) -> Self {
        Self::Refused(reason)
    }
}

impl PlaceError {
    /// Returns it as an error of the build; `refuse` says where what stands in the way does.
    pub fn or(self, refuse: impl FnOnce(String) -> BuildError) -> BuildError {
        match self {
            Self::Refused(reason) => refuse(reason),
            Self::List(error) => BuildError::layer("keep the list of what is copied", error),
        }
    }
}

/// Returns the entries of the layer that puts `groups` at `destination`, in an order that a tar can
/// have: folders before what is in them, links after what they name. Very many are kept in a file without a
/// name in `folder`.
///
/// # Errors
/// What stands in the way.
pub(crate) fn place(
    below: &Tree,
    destination: &str,
    groups: &[Group<'_>],
    attributes: &Attributes,
    folder: &Path,
) -> Result<PlacedList, PlaceError> {
    let mut placing = Placing::new(below, destination, attributes, folder)?;
    for group in groups {
        // Asked for each source: what an earlier one made counts as well.
        let is_folder = destination.ends_with('/') || placing.is_target_folder;
        let root = match (group.is_folder, is_folder) {
            (false, true) => join(&placing.target, &group.name),
            _ => placing.target.clone(),
        };
        placing.files.clear();
        if group.is_folder {
            placing.make_folder(&root)?;
        }
        for item in group.items.iter() {
            placing.put(&root, &item)?;
        }
    }
    placing.finish()
}

/// Returns the folders that have to be made so that `path` is one; empty where it is there.
///
/// # Errors
/// What stands in the way, for people.
pub(crate) fn folder(below: &Tree, path: &str, attributes: &Attributes) -> Result<Vec<Placed>, String> {
    let resolved = resolve(below, path)?;
    if is_folder(below, &resolved) {
        return Ok(Vec::new());
    }
    let mut folders = Vec::new();
    for folder in folders_of(&resolved) {
        folders.extend(Resolving { below, attributes }.folder(folder, None)?);
    }
    Ok(folders)
}

/// Returns the key of a layer with these entries: what is equal here is equal to the byte.
pub(crate) fn content_key(placed: &PlacedList) -> Result<CacheKey, BuildError> {
    let mut key = KeyBuilder::new("entries");
    for placed in placed.iter() {
        let placed = placed.map_err(|error| BuildError::layer("read the list of what is copied", error))?;
        let entry = &placed.entry;
        let (kind, detail) = match &entry.kind {
            Kind::File { size, digest, .. } => ("file", format!("{size} {digest:?}").into_bytes()),
            Kind::Directory => ("folder", Vec::new()),
            Kind::Symlink(target) => ("symlink", target.clone()),
            Kind::Hardlink(target) => ("link", target.clone()),
            other => ("special", format!("{other:?}").into_bytes()),
        };
        let numbers = format!("{:o} {} {} {}", entry.mode, entry.uid, entry.gid, entry.mtime);
        let xattrs = entry.xattrs.iter().flat_map(|(name, value)| [name, value]);
        key = key
            .field("path", &entry.path)
            .field(kind, detail)
            .field("numbers", numbers)
            .list("xattrs", xattrs);
    }
    Ok(key.finish())
}

/// What tells a file from others of the same source.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Identity {
    /// The number of its first name.
    Context(u32),
    /// Where its content lies.
    Layer(usize, u64),
}

/// Tells a file from all others that are placed; 0 stands for one that has no other name.
type FileNumber = u32;

/// Tells what is wanted, path by path and in the order of wishes; what comes of the wishes for one path is
/// found when all are known.
struct Placing<'a> {
    attributes: &'a Attributes,
    below: &'a Tree,
    folder: &'a Path,
    wishes: Sorter<'a>,
    target: LayerPath,
    is_target_folder: bool,
    /// The folder that was wanted last, with all above it.
    last_folder: LayerPath,
    /// Numbers for the files of the current source that have several names, or may have.
    files: HashMap<Identity, FileNumber>,
    last_file: FileNumber,
    reads_layers: bool,
    bytes: Vec<u8>,
}

impl<'a> Placing<'a> {
    fn new(
        below: &'a Tree,
        destination: &str,
        attributes: &'a Attributes,
        folder: &'a Path,
    ) -> Result<Self, PlaceError> {
        let target = resolve(below, destination)?;
        Ok(Self {
            attributes,
            below,
            folder,
            wishes: Sorter::new(folder),
            is_target_folder: is_folder(below, &target),
            target,
            last_folder: LayerPath::new(),
            files: HashMap::new(),
            last_file: 0,
            reads_layers: false,
            bytes: Vec::new(),
        })
    }

    fn put(&mut self, root: &[u8], item: &Item) -> io::Result<()> {
        let path = join(root, &item.relative);
        let is_folder = matches!(item.kind, ItemKind::Directory);
        if path.is_empty() || is_folder && item.relative.is_empty() {
            return self.make_folder(&path);
        }
        let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&path[..0], |at| &path[..at]);
        self.make_folder(parent)?;
        self.is_target_folder |= is_folder && path == self.target;
        self.bytes.clear();
        let file = self.file_number(item);
        self.bytes.extend_from_slice(&file.to_le_bytes());
        let placed = self.placed_item(path, item);
        placed.put(&mut self.bytes);
        self.wishes.push(&placed.entry.path, &self.bytes)
    }

    fn placed_item(&self, path: LayerPath, item: &Item) -> Placed {
        let (kind, content) = match &item.kind {
            ItemKind::Directory => (Kind::Directory, None),
            ItemKind::Symlink(target) => (Kind::Symlink(target.clone()), None),
            ItemKind::Special(kind) => (kind.clone(), None),
            ItemKind::File { size, digest, content } => {
                let kind = Kind::File { size: *size, digest: Some(*digest), offset: 0 };
                (kind, Some(content.clone()))
            }
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

    fn file_number(&mut self, item: &Item) -> FileNumber {
        let identity = match &item.kind {
            ItemKind::File { content: Content::Layer { layer, offset }, .. } => {
                self.reads_layers = true;
                Identity::Layer(*layer, *offset)
            }
            _ => match item.first_name {
                Some(first) => Identity::Context(first),
                None => return 0,
            },
        };
        *self.files.entry(identity).or_insert_with(|| {
            self.last_file += 1;
            self.last_file
        })
    }

    /// Makes a folder and those above it, where they are not there.
    fn make_folder(&mut self, path: &[u8]) -> io::Result<()> {
        for folder in folders_of(path) {
            let is_wanted = self.last_folder == folder || is_in(&self.last_folder, folder);
            if !is_wanted {
                self.wishes.push(folder, b"")?;
            }
            self.is_target_folder |= self.target == folder;
        }
        if self.last_folder != path && !is_in(&self.last_folder, path) {
            self.last_folder = path.to_vec();
        }
        Ok(())
    }

    fn finish(self) -> Result<PlacedList, PlaceError> {
        let is_small = self.wishes.is_small();
        let resolving = Resolving { below: self.below, attributes: self.attributes };
        let mut placed =
            Resolved { resolving, wishes: self.wishes.finish()?.peekable(), names: HashMap::new() };
        if !is_small && !self.reads_layers {
            return PlacedList::in_file(self.folder, placed);
        }
        let mut list: Vec<Placed> = placed.by_ref().collect::<Result<_, _>>()?;
        // Stable: within a rank, paths stay in ascending order; files of layers are in the order in
        // which one pass over the source layer meets them.
        list.sort_by_key(|placed| match (&placed.entry.kind, &placed.content) {
            (Kind::Hardlink(_), _) => (2, 0, 0),
            (_, Some(Content::Layer { layer, offset })) => (1, *layer, *offset),
            _ => (0, 0, 0),
        });
        Ok(PlacedList::Few(list))
    }
}

/// What comes of the wishes, path by path.
struct Resolved<'a> {
    resolving: Resolving<'a>,
    wishes: std::iter::Peekable<Merged>,
    /// The first name of each file that has a number.
    names: HashMap<FileNumber, LayerPath>,
}

impl Iterator for Resolved<'_> {
    type Item = Result<Placed, PlaceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.path() {
                Ok(Some(Some((placed, file)))) => return Some(Ok(self.named(placed, file))),
                // A folder of the layers below that needs no entry.
                Ok(Some(None)) => {}
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Resolved<'_> {
    /// Takes the wishes for the next path; `None` where there are none left.
    fn path(&mut self) -> Result<Option<Option<(Placed, FileNumber)>>, PlaceError> {
        let Some(first) = self.wishes.next() else { return Ok(None) };
        let (path, wish) = first?;
        let mut placed = self.resolving.wish(&path, &wish, None)?;
        let is_same = |next: &io::Result<(Vec<u8>, _)>| next.as_ref().map_or(true, |(next, _)| *next == path);
        while let Some(next) = self.wishes.next_if(is_same) {
            placed = self.resolving.wish(&path, &next?.1, placed)?;
        }
        Ok(Some(placed))
    }

    /// Makes a further name of a file a link to its first. Only now is it known which names were not
    /// taken by something else; and what is named comes before what names it.
    fn named(&mut self, mut placed: Placed, file: FileNumber) -> Placed {
        if file != 0 {
            match self.names.entry(file) {
                MapEntry::Vacant(none) => drop(none.insert(placed.entry.path.clone())),
                MapEntry::Occupied(first) => {
                    placed.entry.kind = Kind::Hardlink(first.get().clone());
                    placed.content = None;
                }
            }
        }
        placed
    }
}

struct Resolving<'a> {
    below: &'a Tree,
    attributes: &'a Attributes,
}

impl Resolving<'_> {
    /// Returns what is at a path after one more wish; no bytes stand for a folder.
    fn wish(
        &self,
        path: &[u8],
        wish: &[u8],
        before: Option<(Placed, FileNumber)>,
    ) -> Result<Option<(Placed, FileNumber)>, PlaceError> {
        let Some((file, wish)) = wish.split_first_chunk() else {
            let folder = self.folder(path, before.map(|(placed, _)| placed))?;
            return Ok(folder.map(|folder| (folder, 0)));
        };
        let wanted = Placed::take(wish).ok_or_else(|| io::Error::other("the list of entries is damaged"))?;
        let is_folder = wanted.entry.kind == Kind::Directory;
        match self.has_folder(path, before.as_ref().map(|(placed, _)| placed)) {
            Some(true) if !is_folder => Err(conflict(path, "a folder", "a file"))?,
            Some(false) if is_folder => Err(conflict(path, "not a folder", "a folder"))?,
            _ => {}
        }
        Ok(Some((wanted, FileNumber::from_le_bytes(*file))))
    }

    fn folder(&self, path: &[u8], before: Option<Placed>) -> Result<Option<Placed>, String> {
        match self.has_folder(path, before.as_ref()) {
            Some(true) if before.is_some() => Ok(before),
            // Folders of the layers below are repeated, so that the new layer says everything about the
            // folders it uses and can be unpacked alone.
            Some(true) => Ok(self.below.get(path).and_then(|node| {
                let entry = Entry { path: path.to_vec(), ..Entry::clone(&node.entry) };
                (!node.is_implied).then_some(Placed { entry, content: None })
            })),
            Some(false) => Err(conflict(path, "not a folder", "a folder")),
            None => Ok(Some(made_folder(path, self.attributes))),
        }
    }

    /// Whether what is at a path is a folder; `None` where nothing is.
    fn has_folder(&self, path: &[u8], before: Option<&Placed>) -> Option<bool> {
        match before {
            Some(placed) => Some(placed.entry.kind == Kind::Directory),
            None => self.below.get(path).map(|node| node.entry.kind == Kind::Directory),
        }
    }
}

/// Returns a folder that is made because something lies in it.
pub(crate) fn made_folder(path: &[u8], attributes: &Attributes) -> Placed {
    let (uid, gid) = attributes.owner.unwrap_or((0, 0));
    let entry = Entry {
        path: path.to_vec(),
        kind: Kind::Directory,
        mode: attributes.chmod.as_ref().and_then(Chmod::exact).unwrap_or(0o755),
        uid,
        gid,
        mtime: attributes.time(),
        xattrs: BTreeMap::new(),
    };
    Placed { entry, content: None }
}

fn resolve(below: &Tree, path: &str) -> Result<LayerPath, String> {
    let resolved = below.resolve(path.as_bytes(), FollowLast::Yes);
    resolved.map(|resolved| resolved.path).map_err(|error| error.to_string())
}

fn is_folder(below: &Tree, path: &[u8]) -> bool {
    path.is_empty() || below.get(path).is_some_and(|node| node.entry.kind == Kind::Directory)
}

/// Returns the folders on the way to a path and itself, outermost first; none for the root.
fn folders_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    ends.chain([path.len()]).filter(|end| *end > 0).map(|end| &path[..end])
}

/// Whether a path lies in a folder.
fn is_in(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| folder.is_empty() || rest.first() == Some(&b'/'))
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
mod tests;
