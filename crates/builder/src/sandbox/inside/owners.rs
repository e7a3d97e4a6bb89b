//! Changes of owner where there is a single id: noted beside the file instead of refused.
//!
//! A user namespace of one id has nobody to give a file to, so `chown` fails there, and with it `dpkg`, `tar`,
//! `install` and what else gives files away. Here the kernel asks init about these calls. It makes the part of
//! the call that it can, so that set-user-id bits go as they should, and notes the owner beside the file, from
//! where it goes into the layer. What the command sees is still root. Links and devices cannot carry a note and
//! stay root's.
//!
//! A path is followed as the command would follow it: from its folder or the one it names, below its root. What
//! the command changes meanwhile changes what it hits, never beyond the sandbox, since init sees no more than it.
//!
//! Source: chown(2); seccomp_unotify(2).

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fstat, open, openat, openat2, readlink,
    stat,
};
use rustix::io::Errno;

use crate::sandbox::seccomp::{self, Question};

/// The calls that init is asked about.
#[cfg(target_arch = "x86_64")]
pub(super) const CALLS: &[i64] = &[libc::SYS_chown, libc::SYS_lchown, libc::SYS_fchown, libc::SYS_fchownat];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const CALLS: &[i64] = &[libc::SYS_fchown, libc::SYS_fchownat];

/// Answers one question; false where nobody is left to ask any.
pub(super) fn answer_next(listener: &OwnedFd) -> bool {
    match seccomp::receive(listener.as_fd()) {
        Ok(Some(question)) => {
            let result = Change::read(&question).and_then(|change| {
                let file = change.open(question.process)?;
                if !seccomp::is_waiting(listener.as_fd(), &question) {
                    return Err(Errno::INTR);
                }
                change.make(&file)
            });
            seccomp::answer(listener.as_fd(), &question, result);
            true
        }
        Ok(None) => true,
        Err(_) => false,
    }
}

/// One call of the family.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    /// The folder a path starts from, or the file itself; `None` for the working folder.
    from: Option<u32>,
    /// Empty where `from` is the file.
    path: Vec<u8>,
    follow: bool,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Change {
    fn read(question: &Question) -> Result<Self, Errno> {
        let [first, second, third, fourth, fifth, _] = question.arguments;
        let path = |address| seccomp::read_path(question.process, address);
        // The highest number leaves the owner as it is.
        let id = |number: u64| Some(number as u32).filter(|id| *id != u32::MAX);
        let of_path = |path: Vec<u8>, follow, from| {
            if path.is_empty() { Err(Errno::NOENT) } else { Ok((from, path, follow)) }
        };
        let ((from, path, follow), uid, gid) = match question.call {
            #[cfg(target_arch = "x86_64")]
            libc::SYS_chown => (of_path(path(first)?, true, None)?, second, third),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_lchown => (of_path(path(first)?, false, None)?, second, third),
            libc::SYS_fchown => ((Some(descriptor(first)?), Vec::new(), true), second, third),
            _ => {
                let flags = AtFlags::from_bits_retain(fifth as u32);
                if !(AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH).contains(flags) {
                    return Err(Errno::INVAL);
                }
                let path = path(second)?;
                let follow = !flags.contains(AtFlags::SYMLINK_NOFOLLOW);
                let is_working_folder = first as i32 == libc::AT_FDCWD;
                let from =
                    if path.starts_with(b"/") || is_working_folder { None } else { Some(descriptor(first)?) };
                let target = match flags.contains(AtFlags::EMPTY_PATH) && path.is_empty() {
                    true => (from, path, follow),
                    false => of_path(path, follow, from)?,
                };
                (target, third, fourth)
            }
        };
        Ok(Self { from, path, follow, uid: id(uid), gid: id(gid) })
    }

    /// Finds the file, as the process would.
    fn open(&self, process: u32) -> Result<OwnedFd, Errno> {
        let of_process = |what: &str| PathBuf::from(format!("/proc/{process}/{what}"));
        let start = match self.from {
            Some(number) => of_process(&format!("fd/{number}")),
            None => of_process("cwd"),
        };
        let found = |path: &Path| open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let bad = |errno| if errno == Errno::NOENT { Errno::BADF } else { errno };
        if self.path.is_empty() {
            return found(&start).map_err(bad);
        }
        let follow = if self.follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::PATH | OFlags::CLOEXEC | follow;
        let root = of_process("root");
        if is_our_root(&root)? {
            let start = if self.path.starts_with(b"/") {
                found(Path::new("/"))?
            } else {
                found(&start).map_err(bad)?
            };
            return openat(start, &self.path[..], flags, Mode::empty());
        }
        // It has another root: the path is put together as text and followed within that.
        let path = match self.path.starts_with(b"/") {
            true => self.path.clone(),
            false => [inside(&root, &start)?, self.path.clone()].join(&b'/'),
        };
        openat2(found(&root)?, &path[..], flags, Mode::empty(), ResolveFlags::IN_ROOT)
    }

    fn make(&self, file: &OwnedFd) -> Result<(), Errno> {
        // Every owner is the same one here; what is left of the call is what it does to the mode.
        let uid = self.uid.map(|_| Uid::ROOT);
        let gid = self.gid.map(|_| Gid::ROOT);
        chownat(file, "", uid, gid, AtFlags::EMPTY_PATH)?;
        match FileType::from_raw_mode(fstat(file)?.st_mode) {
            FileType::RegularFile | FileType::Directory => {
                layer::owner::note_change(file.as_fd(), self.uid, self.gid)
            }
            _ => Ok(()),
        }
    }
}

fn descriptor(argument: u64) -> Result<u32, Errno> {
    u32::try_from(argument as i32).map_err(|_| Errno::BADF)
}

fn is_our_root(root: &Path) -> Result<bool, Errno> {
    let (theirs, ours) = (stat(root)?, stat("/")?);
    Ok((theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino))
}

/// Returns what a process with another root calls one of its folders.
fn inside(root: &Path, folder: &Path) -> Result<Vec<u8>, Errno> {
    let [root, folder] = [root, folder].map(|link| readlink(link, Vec::new()));
    let (root, folder) = (root?.into_bytes(), folder?.into_bytes());
    folder.strip_prefix(&root[..]).map(<[u8]>::to_vec).ok_or(Errno::NOENT)
}

/// Makes init be asked about this process and what it starts, and tells it where.
pub(super) fn ask_init(init: &crate::sandbox::channel::Channel) {
    // Where the kernel cannot, changes of owner fail as they did.
    if let Ok(listener) = seccomp::ask_about(CALLS) {
        let _ = init.send_with(&(), &[listener.as_fd()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(call: i64, arguments: [u64; 6]) -> Question {
        Question::of(std::process::id(), call, arguments)
    }

    #[test]
    fn calls_are_read_as_the_manual_has_them() {
        let path = c"/etc/passwd";
        let address = path.as_ptr() as u64;
        let working_folder = libc::AT_FDCWD as u64;
        let nofollow = libc::AT_SYMLINK_NOFOLLOW as u64;
        let read = |call, arguments| Change::read(&question(call, arguments));
        let named = |follow, uid, gid| Change { from: None, path: b"/etc/passwd".to_vec(), follow, uid, gid };
        let at = |folder, flags| read(libc::SYS_fchownat, [folder, address, 7, u64::MAX, flags, 0]);
        assert_eq!(at(working_folder, 0), Ok(named(true, Some(7), None)));
        assert_eq!(at(9, nofollow), Ok(named(false, Some(7), None)));
        assert_eq!(at(9, 1), Err(Errno::INVAL));
        let itself = Change { from: Some(5), path: Vec::new(), follow: true, uid: None, gid: Some(8) };
        assert_eq!(read(libc::SYS_fchown, [5, u64::from(u32::MAX), 8, 0, 0, 0]), Ok(itself));
        assert_eq!(read(libc::SYS_fchown, [u64::MAX, 1, 8, 0, 0, 0]), Err(Errno::BADF));
        let empty = c"".as_ptr() as u64;
        assert_eq!(read(libc::SYS_fchownat, [5, empty, 1, 1, 0, 0]), Err(Errno::NOENT));
        let by_empty_path = read(libc::SYS_fchownat, [5, empty, 1, 1, libc::AT_EMPTY_PATH as u64, 0]);
        assert_eq!(by_empty_path.map(|change| (change.from, change.path)), Ok((Some(5), Vec::new())));
        assert_eq!(read(libc::SYS_fchownat, [5, 8, 1, 1, 0, 0]), Err(Errno::FAULT));
    }

    #[test]
    fn files_are_found_as_the_process_finds_them() {
        let own = std::process::id();
        let change = |path: &str, from| Change {
            from,
            path: path.as_bytes().to_vec(),
            follow: true,
            uid: None,
            gid: None,
        };
        let found = |path: &str| fstat(change(path, None).open(own).unwrap()).unwrap().st_ino;
        assert_eq!(found("/proc/self/cwd"), stat(".").unwrap().st_ino);
        assert_eq!(found("."), stat(".").unwrap().st_ino);
        assert_eq!(change("x", Some(99_999)).open(own).unwrap_err(), Errno::BADF);
        assert_eq!(change("not-there", None).open(own).unwrap_err(), Errno::NOENT);
    }
}
