//! Saving an archive under a name: whole or not at all.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use super::writer::{ArchiveFormat, ArchiveImage, ArchiveOptions, Output, Saved, write_archive};
use crate::StoreError;

/// Writes `images` as the archive `path`; what was there is replaced when the new one is complete.
/// A process that is killed on the way leaves nothing where the file system knows files without names.
///
/// The archive is not synced: it can be made again from the store, which is.
///
/// # Errors
/// What the stores say; `Unreachable`, naming `path`, where it cannot be written. Nothing is kept then.
pub fn save_to_path(
    images: &[ArchiveImage<'_>],
    format: ArchiveFormat,
    options: &ArchiveOptions,
    path: &Path,
) -> Result<Saved, StoreError> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |source| StoreError::io("write", path.display().to_string(), source);
    let unnamed =
        rustix::fs::open(folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::from(0o644));
    match unnamed.map(File::from) {
        // Neither does a file with a name go there.
        Err(error @ (Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::ROFS)) => {
            Err(failed(error.into()))
        }
        Ok(file) if File::open(by_number(&file)).is_ok() => {
            let saved = write(images, format, options, &file, path)?;
            named(&file, folder).and_then(|name| replace(name, path)).map_err(failed)?;
            Ok(saved)
        }
        _ => {
            let file = random_name().tempfile_in(folder).map_err(failed)?;
            let saved = write(images, format, options, file.as_file(), path)?;
            replace(file, path).map_err(failed)?;
            Ok(saved)
        }
    }
}

fn write(
    images: &[ArchiveImage<'_>],
    format: ArchiveFormat,
    options: &ArchiveOptions,
    file: &File,
    path: &Path,
) -> Result<Saved, StoreError> {
    write_archive(images, format, options, Output::File(file)).map_err(|error| match error {
        StoreError::Unreachable { action: "write", what, transient, source } => {
            let what = format!("{what} {}, nothing was kept", path.display());
            StoreError::Unreachable { action: "write", what, transient, source }
        }
        error => error,
    })
}

/// Gives a file without a name a random one beside its real one, because a link cannot replace a file.
fn named(file: &File, folder: &Path) -> io::Result<NamedTempFile<()>> {
    random_name()
        .make_in(folder, |name| Ok(linkat(CWD, by_number(file), CWD, name, AtFlags::SYMLINK_FOLLOW)?))
}

fn replace<F>(file: NamedTempFile<F>, path: &Path) -> io::Result<()> {
    file.persist(path).map(|_| ()).map_err(|error| error.error)
}

fn random_name() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".saving-").permissions(Permissions::from_mode(0o644));
    builder
}

fn by_number(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
