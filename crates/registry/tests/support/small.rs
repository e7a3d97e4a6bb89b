//! A disk that is soon full.

use std::path::Path;
use std::process::Command;

/// A file system of two megabytes in memory; gone when dropped.
pub struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    /// Mounts it; `None` where that is not allowed here, which is told.
    pub fn mount(path: &'a Path) -> Option<Self> {
        let words = ["-t", "tmpfs", "-o", "size=2m", "tmpfs"];
        let mounted = Command::new("mount").args(words).arg(path).output();
        let mounted = mounted.is_ok_and(|output| output.status.success()).then_some(Self(path));
        if mounted.is_none() {
            eprintln!("skipped: file systems cannot be mounted here");
        }
        mounted
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}
