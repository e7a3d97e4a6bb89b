//! Folders of `RUN --mount=type=cache` in caches outside this machine: put there after a build, where their content is
//! another one than the cache has, and taken from there by the first step that runs with a folder that is not here.
//!
//! A folder is one tar with `data` and what lies in it, as layers are packed: owners as the image sees them, times in
//! seconds. The tar is cut where its content says so (`pieces`), so that a folder of which little changed is sent by
//! few of its pieces. Whether it changed is told by the content without times (`content`).
//!
//! What is taken comes from elsewhere: it is extracted into a folder of its own, devices and whiteouts are refused, its
//! size is bounded, and it gets its place only when all of it had the right digests.

mod content;
mod pieces;
mod put;
mod take;

pub(crate) use put::{MountWriter, Outgoing};

use layer::LayerPath;

/// The name of the folder that steps see, in the folder of a cache mount and in the tar.
pub(crate) const DATA: &str = "data";
/// A folder with more files is not kept.
const MAX_ENTRIES: u64 = 500_000;

/// What lies beside `data` and is not packed.
fn beside() -> [LayerPath; 2] {
    [LayerPath::from("lock"), LayerPath::from("id")]
}
