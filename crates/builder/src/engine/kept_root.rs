//! The merged layers that the last step left, where there is no overlayfs: the next step of the stage begins with them
//! instead of copying every layer once more.
//!
//! One folder is kept, under the chain id of its layers. Whoever takes it has it alone; it is given back when the
//! step ended well and goes with the step's own folder otherwise.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::work::WorkFolder;
use super::workspace::{LayerRef, Workspace, chain, io_error};
use crate::BuildError;
use crate::sandbox::Mode;

/// Returns where a step has the layers `below` merged, or has to merge them; `None` where overlayfs does it.
pub(crate) fn take(
    workspace: &Workspace,
    work: &WorkFolder<'_>,
    below: &[LayerRef],
) -> Result<Option<PathBuf>, BuildError> {
    let sandbox = workspace.sandbox().map_err(|error| BuildError::layer("prepare a step", error))?;
    if *sandbox.mode() != Mode::Chroot {
        return Ok(None);
    }
    let place = work.path().join("merged");
    let kept = folder(workspace)?.join(chain(below).hex());
    match fs::rename(&kept, &place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("take", &kept, error)),
        _ => Ok(Some(place)),
    }
}

/// Keeps a folder with `layers` merged, the topmost of which is in `upper` too, in the place of what was kept before.
pub(crate) fn keep(
    workspace: &Workspace,
    merged: &Path,
    upper: &Path,
    layers: &[LayerRef],
) -> Result<(), BuildError> {
    settle(upper, merged).map_err(|source| io_error("set times in", merged, source))?;
    let folder = folder(workspace)?;
    let entries = fs::read_dir(&folder).map_err(|source| io_error("read", &folder, source))?;
    for old in entries.flatten() {
        // Beside the step's folder in `merged`, with which it is removed when there is time.
        let away = merged.with_file_name(format!("old-{}", old.file_name().to_string_lossy()));
        let _ = fs::rename(old.path(), away);
    }
    // Another step may have kept the same meanwhile; then this one goes with the step's folder.
    let _ = fs::rename(merged, folder.join(chain(layers).hex()));
    Ok(())
}

fn folder(workspace: &Workspace) -> Result<PathBuf, BuildError> {
    workspace.folder_of_kind("merged")
}

/// Gives what a step changed the times that its layer has.
fn settle(upper: &Path, merged: &Path) -> io::Result<()> {
    for entry in fs::read_dir(upper)? {
        let entry = entry?;
        let place = merged.join(entry.file_name());
        let found = entry.metadata()?;
        if layer::overlay::is_whiteout(mode(&found), 1) {
            continue;
        }
        if found.is_dir() {
            settle(&entry.path(), &place)?;
        }
        let modified = Timespec { tv_sec: std::os::unix::fs::MetadataExt::mtime(&found), tv_nsec: 0 };
        let times = Timestamps { last_access: modified, last_modification: modified };
        utimensat(CWD, &place, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn mode(found: &fs::Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::mode(found)
}
