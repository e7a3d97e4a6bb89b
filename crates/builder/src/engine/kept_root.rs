//! The merged layers that the last step left, where there is no overlayfs: the next step of the stage begins with them
//! instead of copying every layer once more.
//!
//! Folders are kept under the chain id of their layers, so that whatever has that name is what is wanted. Whoever
//! takes one has it alone, because it is renamed away: stages side by side never work in the same folder, and a step whose
//! folder was taken by another merges its layers anew. It is given back when the step ended well and goes with the
//! step's own folder otherwise. The oldest go when there are more than a few.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::work::WorkFolder;
use super::workspace::{LayerRef, Workspace, chain, io_error};
use crate::BuildError;
use crate::sandbox::Mode;

/// Most folders that are kept, for as many stages side by side. Each is as large as an image.
const MOST_KEPT: usize = 3;

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
    take_from(&kept, &place).map_err(|error| io_error("take", &kept, error))?;
    Ok(Some(place))
}

/// Moves what is kept to `place`, where it is there.
fn take_from(kept: &Path, place: &Path) -> io::Result<()> {
    match fs::rename(kept, place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Keeps a folder with `layers` merged, the topmost of which is in `upper` too.
pub(crate) fn keep(
    workspace: &Workspace,
    merged: &Path,
    upper: &Path,
    layers: &[LayerRef],
) -> Result<(), BuildError> {
    settle(upper, merged).map_err(|source| io_error("set times in", merged, source))?;
    let folder = folder(workspace)?;
    give(merged, &folder, &chain(layers).hex()).map_err(|source| io_error("read", &folder, source))
}

/// Puts `merged` into `folder` under `name`, and the oldest that are there beside `merged`, with which they are removed
/// when there is time.
fn give(merged: &Path, folder: &Path, name: &str) -> io::Result<()> {
    let kept_at = |entry: &fs::DirEntry| {
        // A folder that is renamed changes its ctime.
        let found = entry.metadata().ok()?;
        Some((
            std::os::unix::fs::MetadataExt::ctime(&found),
            std::os::unix::fs::MetadataExt::ctime_nsec(&found),
        ))
    };
    let mut kept: Vec<_> = fs::read_dir(folder)?.flatten().collect();
    kept.sort_by_key(|entry| std::cmp::Reverse(kept_at(entry)));
    for old in kept.iter().skip(MOST_KEPT - 1) {
        let away = merged.with_file_name(format!("old-{}", old.file_name().to_string_lossy()));
        let _ = fs::rename(old.path(), away);
    }
    // Another step may have kept the same meanwhile; then this one goes with the step's folder.
    let _ = fs::rename(merged, folder.join(name));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn step(room: &Path, number: usize, content: &str) -> PathBuf {
        let merged = room.join(format!("step-{number}/merged"));
        fs::create_dir_all(&merged).unwrap();
        fs::write(merged.join("file"), content).unwrap();
        merged
    }

    #[test]
    fn two_stages_never_have_the_same_folder() {
        let room = tempfile::tempdir().unwrap();
        let folder = room.path().join("kept");
        fs::create_dir(&folder).unwrap();
        give(&step(room.path(), 0, "base"), &folder, "base").unwrap();
        let places = [1, 2].map(|number| room.path().join(format!("stage-{number}")));
        std::thread::scope(|threads| {
            for place in &places {
                let kept = folder.join("base");
                threads.spawn(move || take_from(&kept, place).unwrap());
            }
        });
        assert_eq!(
            places.iter().filter(|place| place.is_dir()).count(),
            1,
            "the other merges its layers anew"
        );
        // Both end with the same layers: what is kept is one of the two, whole.
        for (number, content) in [(3, "one"), (4, "other")] {
            give(&step(room.path(), number, content), &folder, "same").unwrap();
        }
        assert_eq!(fs::read_to_string(folder.join("same/file")).unwrap(), "one");
    }

    #[test]
    fn stages_side_by_side_do_not_drive_each_other_out_and_the_oldest_go() {
        let room = tempfile::tempdir().unwrap();
        let folder = room.path().join("kept");
        fs::create_dir(&folder).unwrap();
        for number in 0..MOST_KEPT + 2 {
            give(&step(room.path(), number, "x"), &folder, &number.to_string()).unwrap();
            // The clock that stamps files goes in steps.
            let stamp = || {
                fs::metadata(tempfile::NamedTempFile::new_in(room.path()).unwrap())
                    .unwrap()
                    .modified()
                    .unwrap()
            };
            let before = stamp();
            while stamp() == before {}
        }
        let mut kept: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        kept.sort();
        assert_eq!(kept, ["2", "3", "4"]);
    }
}
