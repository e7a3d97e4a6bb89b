//! Filesystem trees and tar layers.
//!
//! This crate owns the tar format, whiteouts, compression, and the taps that learn everything
//! about a layer while it streams by once. It leaves where layers are kept to `store`.
//!
//! Source: image-spec v1.1, layer.md; POSIX.1-2001 pax; the overlayfs documentation of Linux.

pub mod apply;
pub mod compress;
pub mod diff;
pub mod entry;
mod error;
mod hash;
mod hashed;
pub mod index;
pub mod observe;
pub mod overlay;
pub mod owner;
mod path;
#[cfg(test)]
mod sample;
pub mod tar;
pub mod tree;
mod whiteout;
pub mod write;

pub use apply::{Applied, ApplyOptions, Devices, Owners, Problem, Whiteouts, apply};
pub use compress::{Compressor, Settings, compressor, decompress, told_bytes};
pub use diff::{PackOptions, Packed, Times, write_folder, write_upper};
pub use entry::{Entry, Kind, LayerPath};
pub use error::LayerError;
pub use hashed::Hashed;
pub use index::{LayerIndex, Listing, StoredIndex};
pub use observe::{Observed, Observer, Tap};
pub use overlay::OverlayAttributes;
pub use tar::{TarReader, TarWriter};
pub use tree::{FollowLast, Node, Resolved, Tree};
pub use write::{LayerWriter, Sealed, Written};
