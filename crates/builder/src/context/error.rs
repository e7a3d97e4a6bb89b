//! Why a context cannot be read or a source cannot be selected.

use std::io;
use std::path::PathBuf;

/// A context cannot be read, or a source is not what it must be.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The folder itself cannot be read.
    #[error("cannot open the context {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in it cannot be read.
    #[error("cannot read {path} in {place}; a line in .dockerignore leaves it out")]
    Unreadable {
        /// The path in the context.
        path: String,
        /// What the context is called.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it was when the context was walked.
    #[error("{path} in {place} changed while it was read; build again once nothing writes to it")]
    Changed {
        /// The path in the context.
        path: String,
        /// What the context is called.
        place: String,
    },
    /// A source without wildcards that is not there.
    #[error("{source_path} is not in {place}{reason}")]
    NotFound {
        /// The source as it was asked for.
        source_path: String,
        /// What the tree is called.
        place: String,
        /// Empty, or `: ` and what is known about it.
        reason: String,
    },
    /// A source whose links go in circles.
    #[error("{source_path} in {place} leads through more than {} symbolic links", super::select::MAX_LINKS)]
    TooManyLinks {
        /// The source as it was asked for.
        source_path: String,
        /// What the tree is called.
        place: String,
    },
    /// A source with wildcards that are none.
    #[error("{source_path} is not a pattern: {reason}")]
    BadPattern {
        /// The source as it was asked for.
        source_path: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A file whose digest the tree does not know.
    #[error("the digest of {path} in {place} is not known")]
    NoDigest {
        /// The path.
        path: String,
        /// What the tree is called.
        place: String,
    },
    /// What is known about the files cannot be kept.
    #[error("cannot write the stat cache {}", path.display())]
    StatCache {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
