//! What goes wrong with layers. One enum for the crate; every message names the entry, the byte or
//! the file it is about.

use std::io;
use std::path::{Path, PathBuf};

/// Why a layer could not be read, written, extracted or indexed.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The bytes are not a tar, or end in its middle.
    #[error("damaged tar at byte {position}: {reason}")]
    Damaged {
        /// Position in the uncompressed tar, in bytes.
        position: u64,
        /// What was expected and found.
        reason: String,
    },
    /// One entry cannot be used.
    #[error("entry {entry:?} at byte {position} of the tar: {reason}")]
    Entry {
        /// The entry's name, as far as it can be shown.
        entry: String,
        /// Position of its header in the uncompressed tar, in bytes.
        position: u64,
        /// Why not.
        reason: String,
    },
    /// One entry cannot be written into a tar.
    #[error("{entry:?} cannot be put into a layer: {reason}")]
    Unwritable {
        /// The entry's path, as far as it can be shown.
        entry: String,
        /// Why not.
        reason: String,
    },
    /// A bound that protects us from hostile input was passed.
    #[error("the layer has more than {limit} {what}")]
    TooLarge {
        /// The largest number that is accepted.
        limit: u64,
        /// What there is too much of.
        what: &'static str,
    },
    /// A compression level that the format does not have.
    #[error("{format} has no compression level {level}: it goes from {lowest} to {highest}")]
    Level {
        /// `gzip` or `zstd`.
        format: &'static str,
        /// What was asked for.
        level: i32,
        /// The fastest level.
        lowest: i32,
        /// The level that compresses most.
        highest: i32,
    },
    /// A stored index cannot be used; it can be made again from the layer.
    #[error("damaged layer index: {reason}")]
    Index {
        /// What was expected and found.
        reason: String,
    },
    /// A path of the merged tree leads nowhere.
    #[error("cannot follow {path:?} in the image: {reason}")]
    Unresolvable {
        /// The path as it was asked for.
        path: String,
        /// Too many links, or a file in the place of a folder.
        reason: String,
    },
    /// The stream that a layer comes from or goes to failed.
    #[error("cannot {action} the layer")]
    Stream {
        /// `read` or `write`.
        action: &'static str,
        /// What the stream said.
        #[source]
        source: io::Error,
    },
    /// A file of the tree that is extracted or packed failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// `create`, `read`, `set the owner of`, ...
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl LayerError {
    pub(crate) fn entry(name: &[u8], position: u64, reason: impl Into<String>) -> Self {
        Self::Entry { entry: shown(name), position, reason: reason.into() }
    }

    pub(crate) fn unwritable(name: &[u8], reason: impl Into<String>) -> Self {
        Self::Unwritable { entry: shown(name), reason: reason.into() }
    }

    pub(crate) fn read(source: io::Error) -> Self {
        Self::Stream { action: "read", source }
    }

    pub(crate) fn write(source: io::Error) -> Self {
        Self::Stream { action: "write", source }
    }

    pub(crate) fn file(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::File { action, path: path.to_owned(), source: source.into() }
    }
}

/// Returns a name from a tar as text for messages: at most 200 bytes of it, lossy.
pub(crate) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(&name[..name.len().min(200)]).into_owned()
}
