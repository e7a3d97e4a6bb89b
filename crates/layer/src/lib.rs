//! Filesystem trees and tar layers.
//!
//! This crate owns the tar format, whiteouts, compression, and the taps that learn everything
//! about a layer while it streams by once. It leaves where layers are kept to `store`.
//!
//! Source: image-spec v1.1, layer.md; POSIX.1-2001 pax; the overlayfs documentation of Linux.

pub mod entry;

pub use entry::{Entry, Kind, LayerPath};
