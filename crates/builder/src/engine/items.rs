//! What COPY, ADD and mounts selected: groups of items, each with where its bytes lie.
//!
//! What is selected in a context is not listed but looked up again whenever it is gone through: a context
//! can have a million files.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use layer::{Kind, LayerPath};
use oci::Digest;

use crate::context::{Context, NodeKind, Selected, SelectedItem};

/// One thing selected, with its path below the destination.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Below the source folder; empty for the folder itself and for a single file.
    pub relative: LayerPath,
    pub kind: ItemKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// `None` where the source's time says nothing about its content, as in a checkout.
    pub mtime: Option<i64>,
    /// A number that the names of one file have in common, where a file of a context has several.
    pub first_name: Option<u32>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(crate) enum ItemKind {
    Directory,
    File {
        size: u64,
        digest: Digest,
        content: Content,
    },
    Symlink(Vec<u8>),
    /// A device or pipe, as its layer has it.
    Special(Kind),
}

/// Where the bytes of a file come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A file of the context, by its path in it.
    Context(LayerPath),
    /// A here-document.
    Inline(Vec<u8>),
    /// A file of this machine that the step itself made.
    File(std::path::PathBuf),
    /// A file in a layer of the source image.
    Layer { layer: usize, offset: u64 },
}

/// What one source word selected.
#[derive(Clone, Debug)]
pub(crate) struct Group<'a> {
    /// The last component of the source.
    pub name: Vec<u8>,
    pub is_folder: bool,
    pub items: Items<'a>,
}

/// The items of a group, in order.
#[derive(Clone)]
pub(crate) enum Items<'a> {
    Listed(Vec<Item>),
    /// What is selected in a context, all of whose files have known digests.
    Selected(&'a Context, Selected),
}

impl Group<'_> {
    /// Returns the single file of the group; `None` where it is a folder.
    pub fn single(&self) -> Option<Item> {
        let first = self.items.iter().next()?;
        (!self.is_folder).then(|| first.into_owned())
    }
}

impl Items<'_> {
    pub fn iter(&self) -> Box<dyn Iterator<Item = Cow<'_, Item>> + '_> {
        match self {
            Self::Listed(items) => Box::new(items.iter().map(Cow::Borrowed)),
            Self::Selected(context, selected) => {
                let item = |item| Cow::Owned(context_item(context, selected, item));
                Box::new(selected.items(*context).map(item))
            }
        }
    }
}

impl fmt::Debug for Items<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(items) => f.debug_list().entries(items).finish(),
            Self::Selected(_, selected) => selected.fmt(f),
        }
    }
}

fn context_item(context: &Context, selected: &Selected, item: SelectedItem) -> Item {
    let digest = context.known_digest(&item.node);
    let content = Content::Context(selected.path_of(&item));
    let node = item.node;
    Item {
        relative: item.relative,
        kind: kind(&node.kind, digest, Some(content)).expect("the digests of selected files are known"),
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        mtime: None,
        first_name: node.first_name,
        xattrs: node.xattrs,
    }
}

/// Returns what a node becomes; `None` for a file without digest or content.
pub(crate) fn kind(kind: &NodeKind, digest: Option<Digest>, content: Option<Content>) -> Option<ItemKind> {
    Some(match kind {
        NodeKind::File { size } => ItemKind::File { size: *size, digest: digest?, content: content? },
        NodeKind::Directory => ItemKind::Directory,
        NodeKind::Symlink(target) => ItemKind::Symlink(target.clone()),
        NodeKind::Fifo => ItemKind::Special(Kind::Fifo),
        NodeKind::CharDevice { major, minor } => {
            ItemKind::Special(Kind::CharDevice { major: *major, minor: *minor })
        }
        NodeKind::BlockDevice { major, minor } => {
            ItemKind::Special(Kind::BlockDevice { major: *major, minor: *minor })
        }
    })
}
