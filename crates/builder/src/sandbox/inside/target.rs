//! Where a mount's target really lies in a root file system: its links resolved inside that root.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, readlinkat, statat};
use rustix::io::Errno;

use crate::sandbox::error::{Cause, SandboxError};

/// As many links as the kernel follows in one path.
const MOST_LINKS: usize = 40;

/// A target inside a root folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Relative to the root, free of links and of `..`.
    pub(super) path: PathBuf,
    /// How many of its last components are not there.
    pub(super) missing: usize,
    /// Whether it is there as a folder.
    pub(super) directory: bool,
}

impl Target {
    /// Follows `path` below `root`, never leaving it. Nothing may change below `root` meanwhile.
    pub(super) fn resolve(root: impl AsFd, path: &Path) -> Result<Self, SandboxError> {
        Walk { root: root.as_fd(), target: path, done: PathBuf::new(), links: 0 }.finish()
    }

    /// Returns its parents that are there, shortest first, without the root itself.
    pub(super) fn present_parents(&self) -> Vec<PathBuf> {
        let parents = self.path.ancestors().skip(self.missing.max(1));
        let mut parents: Vec<_> =
            parents.filter(|path| !path.as_os_str().is_empty()).map(PathBuf::from).collect();
        parents.reverse();
        parents
    }
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    target: &'a Path,
    done: PathBuf,
    links: usize,
}

impl Walk<'_> {
    fn finish(mut self) -> Result<Target, SandboxError> {
        let mut ahead = names(self.target);
        let mut directory = true;
        // What is not there holds no links, so `..` in it takes back a name.
        let mut missing: Vec<OsString> = Vec::new();
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                directory = true;
                if missing.pop().is_none() {
                    self.done.pop();
                }
            } else if !missing.is_empty() {
                missing.push(name);
            } else if !directory {
                return Err(self.error(format!("{} is no folder", self.inside())));
            } else {
                let next = self.done.join(&name);
                match statat(self.root, &next, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => missing.push(name),
                    Err(errno) => return Err(self.error(Cause::from(errno).message)),
                    Ok(found) => match FileType::from_raw_mode(found.st_mode) {
                        FileType::Symlink => self.follow(&next, &mut ahead)?,
                        kind => {
                            directory = kind == FileType::Directory;
                            self.done = next;
                        }
                    },
                }
            }
        }
        self.done.extend(&missing);
        Ok(Target { path: self.done, missing: missing.len(), directory: directory && missing.is_empty() })
    }

    fn follow(&mut self, link: &Path, ahead: &mut VecDeque<OsString>) -> Result<(), SandboxError> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(self.error("too many symbolic links".to_owned()));
        }
        let to = readlinkat(self.root, link, Vec::new())
            .map_err(|errno| self.error(Cause::from(errno).message))?;
        let to = PathBuf::from(OsString::from_vec(to.into_bytes()));
        if to.is_absolute() {
            self.done = PathBuf::new();
        }
        for name in names(&to).into_iter().rev() {
            ahead.push_front(name);
        }
        Ok(())
    }

    fn inside(&self) -> String {
        format!("/{}", self.done.display())
    }

    fn error(&self, reason: String) -> SandboxError {
        SandboxError::MountTarget { target: self.target.display().to_string(), reason }
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let named = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("run/lock")).unwrap();
        fs::create_dir(at("etc")).unwrap();
        fs::create_dir(at("var")).unwrap();
        File::create(at("etc/hosts")).unwrap();
        symlink("/run", at("var/run")).unwrap();
        symlink("../../../../run/systemd/stub.conf", at("etc/resolv.conf")).unwrap();
        symlink("loop", at("loop")).unwrap();
        root
    }

    #[track_caller]
    fn check(target: &str, path: &str, missing: usize, directory: bool) {
        let root = tree();
        let folder = File::open(root.path()).unwrap();
        let found = Target::resolve(&folder, Path::new(target)).unwrap();
        assert_eq!(found, Target { path: path.into(), missing, directory });
    }

    #[test]
    fn targets_are_followed_inside_the_root() {
        check("/", "", 0, true);
        check("/etc/hosts", "etc/hosts", 0, false);
        check("/var/run/lock", "run/lock", 0, true);
        check("/var/run/secrets/key", "run/secrets/key", 2, false);
        check("/etc/resolv.conf", "run/systemd/stub.conf", 2, false);
        check("/proc", "proc", 1, false);
        check("/../../etc", "etc", 0, true);
        check("/absent/../etc", "etc", 0, true);
        check("/a/b/../../etc/../c/d", "c/d", 2, false);
        check("/etc/hosts/..", "etc", 0, true);
    }

    #[test]
    fn loops_and_files_on_the_way_are_named() {
        let root = tree();
        let folder = File::open(root.path()).unwrap();
        let message = |path| Target::resolve(&folder, Path::new(path)).unwrap_err().to_string();
        assert_eq!(message("/loop/x"), "cannot mount on /loop/x: too many symbolic links");
        assert_eq!(message("/etc/hosts/x"), "cannot mount on /etc/hosts/x: /etc/hosts is no folder");
    }

    #[test]
    fn present_parents_stop_where_the_path_does() {
        let target = |path: &str, missing| Target { path: path.into(), missing, directory: false };
        assert_eq!(target("a/b/c", 0).present_parents(), [Path::new("a"), Path::new("a/b")]);
        assert_eq!(target("a/b/c", 1).present_parents(), [Path::new("a"), Path::new("a/b")]);
        assert_eq!(target("a/b/c", 2).present_parents(), [Path::new("a")]);
        assert!(target("a", 1).present_parents().is_empty());
    }
}
