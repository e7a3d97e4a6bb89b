//! The tar format: blocks, numbers, extension records, entries.
//!
//! [`TarWriter`] makes archives whose bytes depend on the entries alone; [`TarReader`] pulls entries
//! from a stream. Both, and [`crate::Observer`], which is pushed, share the decoder of headers.
//! Meaning of whiteouts is `whiteout`'s, putting files on disk is `apply`'s.
//!
//! Source: POSIX.1-2001, pax, "ustar Interchange Format" and "pax Interchange Format"; GNU tar
//! manual, "Basic Tar Format", for base-256 numbers and long names; star's `SCHILY.xattr` records.

mod decode;
mod header;
mod pax;
mod raw;
mod reader;
mod sparse;
mod writer;

pub(crate) use decode::{Decoder, Next};
pub(crate) use header::{BLOCK, padding};
pub use reader::{Content, TarReader};
pub use writer::TarWriter;

#[cfg(test)]
mod tests;
