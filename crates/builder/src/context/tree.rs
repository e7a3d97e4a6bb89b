//! What COPY and ADD read from: a context folder, or the merged layers of a stage or an image.

use std::collections::BTreeMap;

use layer::{Kind, LayerPath, Tree};
use oci::Digest;

use super::ContextError;

/// A tree of files that can be selected from. Paths are relative to its root, whose own path is empty;
/// no method follows links.
pub trait SourceTree {
    /// Returns what messages call it, such as `the context ./app`.
    fn name(&self) -> String;

    /// Returns what lies at a path.
    fn node(&self, path: &[u8]) -> Option<Node>;

    /// Returns what a folder holds, names ascending; empty where there is no such folder.
    fn children(&self, folder: &[u8]) -> Vec<(LayerPath, Node)>;

    /// Returns all that lies below a folder with paths relative to it: folders before what they hold,
    /// names ascending.
    fn below<'a>(&'a self, folder: &[u8]) -> Box<dyn Iterator<Item = (LayerPath, Node)> + 'a> {
        let folder = folder.to_vec();
        let mut pending: Vec<_> = self.children(&folder).into_iter().rev().collect();
        Box::new(std::iter::from_fn(move || {
            let (relative, node) = pending.pop()?;
            if node.kind == NodeKind::Directory {
                let inner = self.children(&join(&folder, &relative)).into_iter().rev();
                pending.extend(inner.map(|(name, node)| (join(&relative, &name), node)));
            }
            Some((relative, node))
        }))
    }

    /// Returns the SHA-256 of the contents of files, in the order of the paths.
    ///
    /// # Errors
    /// A path that is no file or cannot be read.
    fn digests(&self, paths: &[LayerPath]) -> Result<Vec<Digest>, ContextError>;

    /// Says why a path is not there although one might expect it.
    fn why_missing(&self, _path: &[u8]) -> Option<String> {
        None
    }
}

/// One name in a source tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// The low twelve bits of `st_mode`.
    pub mode: u32,
    /// Owner's number; 0 for everything in a context.
    pub uid: u32,
    /// Group's number; 0 for everything in a context.
    pub gid: u32,
    /// Time of modification, seconds since 1970; 0 for everything in a context, whose times say when it
    /// was checked out.
    pub mtime: i64,
    /// Its number in a context; what is in layers has none.
    pub record: Option<u32>,
    /// The number in a context of the first name of a file that has several there. In layers, the place of its
    /// content tells what is one file.
    pub first_name: Option<u32>,
    /// Extended attributes by full name; a context has none.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File {
        /// Size in bytes.
        size: u64,
    },
    /// A folder.
    Directory,
    /// A symbolic link and its target, as written.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// Puts a name below a folder.
pub(super) fn join(folder: &[u8], name: &[u8]) -> LayerPath {
    match (folder, name) {
        (b"", _) => name.to_vec(),
        (_, b"") => folder.to_vec(),
        _ => [folder, b"/", name].concat(),
    }
}

/// The merged layers of a stage or an image, with what messages call them.
#[derive(Clone, Copy, Debug)]
pub struct LayerTree<'a> {
    /// The layers.
    pub tree: &'a Tree,
    /// Such as `stage build`.
    pub name: &'a str,
}

impl SourceTree for LayerTree<'_> {
    fn name(&self) -> String {
        self.name.to_owned()
    }

    fn node(&self, path: &[u8]) -> Option<Node> {
        self.tree.get(path).and_then(|node| node_of(&node))
    }

    fn children(&self, folder: &[u8]) -> Vec<(LayerPath, Node)> {
        let children = self.tree.children(folder);
        children.filter_map(|(name, node)| Some((name, node_of(&node)?))).collect()
    }

    fn digests(&self, paths: &[LayerPath]) -> Result<Vec<Digest>, ContextError> {
        let digest = |path: &LayerPath| match self.tree.get(path).map(|node| node.content.kind.clone()) {
            Some(Kind::File { digest: Some(digest), .. }) => Ok(digest),
            _ => Err(ContextError::NoDigest { path: shown(path), place: self.name.to_owned() }),
        };
        paths.iter().map(digest).collect()
    }
}

fn node_of(node: &layer::Node) -> Option<Node> {
    let kind = match &node.content.kind {
        Kind::File { size, .. } => NodeKind::File { size: *size },
        Kind::Directory => NodeKind::Directory,
        Kind::Symlink(target) => NodeKind::Symlink(target.clone()),
        Kind::CharDevice { major, minor } => NodeKind::CharDevice { major: *major, minor: *minor },
        Kind::BlockDevice { major, minor } => NodeKind::BlockDevice { major: *major, minor: *minor },
        Kind::Fifo => NodeKind::Fifo,
        Kind::Hardlink(_) | Kind::Whiteout | Kind::Opaque => return None,
    };
    let entry = &node.content;
    Some(Node {
        kind,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        record: None,
        first_name: None,
        xattrs: entry.xattrs.clone(),
    })
}

/// More of a path is not shown: the beginning tells where to look.
const MOST_SHOWN: usize = 400;

/// Returns a path as messages show it.
pub(super) fn shown(path: &[u8]) -> String {
    match path {
        b"" => "/".to_owned(),
        _ if path.len() > MOST_SHOWN => {
            let beginning = String::from_utf8_lossy(&path[..MOST_SHOWN]).into_owned();
            format!("{beginning}... ({} bytes)", path.len())
        }
        _ => String::from_utf8_lossy(path).into_owned(),
    }
}
