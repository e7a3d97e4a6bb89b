//! Images in one file: what `docker save`, buildx, skopeo, crane and regctl write, and what we write
//! for them.
//!
//! Reading never extracts: one pass learns where each member lies ([`members`]), then blobs are read
//! in place. Only an archive that is compressed as a whole is unpacked first, into a file without a
//! name. Writing is the hybrid form: an OCI layout with Docker's `manifest.json` beside it, which every
//! program known to us loads and which keeps the digest wherever the reader can keep one.
//!
//! | form | images from | names from |
//! |---|---|---|
//! | hybrid, `docker save` since 25, buildx, regctl | `index.json` | its annotations, else `manifest.json` |
//! | OCI archive (skopeo, buildx `type=oci`) | `index.json` | its annotations; may be a tag alone |
//! | `docker save` before 25, skopeo docker-archive, crane | `manifest.json`; a manifest is made ([`docker`]) | `RepoTags` |
//!
//! Source: image-spec v1.1, image-layout.md; Docker image specification v1.2, "Combined Image JSON +
//! Filesystem Changeset Format"; containerd's annotations of image indexes.

mod docker;
pub(crate) mod layout;
mod members;
mod name;
mod reader;
mod save;
mod twin;
mod writer;

pub use layout::principal;
pub use name::ArchivedName;
pub use reader::{ArchiveStore, ArchivedImage};
pub use save::save_to_path;
pub use writer::{ArchiveFormat, ArchiveImage, ArchiveOptions, OldReaders, Output, Saved, write_archive};

#[cfg(test)]
mod tests;
