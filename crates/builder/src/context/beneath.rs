//! Opening paths below a folder without ever leaving it, whatever is renamed or linked meanwhile.
//!
//! Source: openat2(2), `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::{Errno, Result};

/// Opens `path` below `root`; no component of it may be a link. An empty path is the folder itself.
pub(super) fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = if path.is_empty() { b"." } else { path };
    for _ in 0..8 {
        match openat2(root, path, flags, Mode::empty(), resolve) {
            // The kernel could not rule out a rename from under it, or a signal came.
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Kernels before 5.6, and sandboxes that do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => return open_by_component(root, path, flags),
            result => return result,
        }
    }
    open_by_component(root, path, flags)
}

fn open_by_component(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(root, ".", folder, Mode::empty())?;
    let mut names = path.split(|byte| *byte == b'/').peekable();
    while let Some(name) = names.next() {
        if name == b".." {
            return Err(Errno::XDEV);
        }
        if names.peek().is_none() {
            return openat(at.as_fd(), name, flags, Mode::empty());
        }
        at = openat(at.as_fd(), name, folder, Mode::empty())?;
    }
    Err(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    type Open = fn(BorrowedFd<'_>, &[u8], OFlags) -> Result<OwnedFd>;

    #[test]
    fn never_leaves_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "in").unwrap();
        fs::write(outside.path().join("secret"), "out").unwrap();
        symlink("../../secret", root.join("a/up")).unwrap();
        symlink("/etc", root.join("etc")).unwrap();
        symlink("b", root.join("a/inner")).unwrap();
        let root = fs::File::open(&root).unwrap();
        let direct: Open =
            |root, path, flags| open_by_component(root, path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC);
        for open in [open as Open, direct] {
            let opened = |path: &[u8]| open(root.as_fd(), path, OFlags::RDONLY).is_ok();
            assert!(opened(b"a/b/file") && opened(b"a") && opened(b"."));
            for path in [
                &b"a/up"[..],
                b"etc/passwd",
                b"a/inner/file",
                b"../secret",
                b"a/../../secret",
                b"/etc",
                b"no",
            ] {
                assert!(!opened(path), "{}", String::from_utf8_lossy(path));
            }
        }
    }
}
