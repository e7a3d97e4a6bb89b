//! One entry of a layer: what a tar header says, decoded, with whiteouts told apart.

use std::collections::BTreeMap;

use oci::Digest;
use serde::{Deserialize, Serialize};

/// A path inside a layer: bytes, relative, normalised (no `.`, no `..`, no empty component, no
/// leading or trailing slash). The root folder is the empty path.
pub type LayerPath = Vec<u8>;

/// One entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it lies.
    pub path: LayerPath,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky (the low twelve bits of `st_mode`).
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Time of modification, seconds since 1970-01-01 UTC.
    pub mtime: i64,
    /// Extended attributes by full name, such as `security.capability`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Entry {
    /// Returns a file of `size` bytes that everybody may read and that says nothing of who made it when: a member of an
    /// archive of images.
    pub fn member(path: &str, size: u64) -> Self {
        Self {
            path: path.as_bytes().to_vec(),
            kind: Kind::File { size, digest: None, offset: 0 },
            mode: 0o444,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: BTreeMap::new(),
        }
    }
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file.
    File {
        /// Size in bytes.
        size: u64,
        /// SHA-256 of the content, where it was read.
        digest: Option<Digest>,
        /// Position of the content in the uncompressed tar, in bytes.
        offset: u64,
    },
    /// A folder.
    Directory,
    /// A symbolic link and its target, as written.
    Symlink(Vec<u8>),
    /// A second name of an earlier entry of the same layer.
    Hardlink(LayerPath),
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
    /// A named pipe.
    Fifo,
    /// The path was removed from the layers below (`.wh.NAME` in the tar; `path` is without the prefix).
    Whiteout,
    /// What the layers below have in this folder is hidden (`.wh..wh..opq` in the folder `path`).
    Opaque,
}
