//! Owners of files that this user may not give away, noted beside the files.
//!
//! An ordinary user with a single id extracts layers of many owners. The note goes with the file wherever
//! overlayfs copies it, and becomes its owner again when the file is packed. It stands for owners other
//! than root alone: to root of the image belongs what has none.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::fs::{XattrFlags, getxattr, removexattr, setxattr};
use rustix::io::Errno;

/// Notes a new owner of a file or folder, or half of one: what is `None` stays as it is. The file may be open
/// for its path alone. Where the file system takes no notes nothing happens: it is none that layers are made of.
///
/// # Errors
/// What the file system refused: a note on a file that cannot be written to.
pub fn note_change(file: BorrowedFd<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut value = [0; 64];
    let found = match getxattr(&path, OwnerNote::NAME, &mut value) {
        Ok(length) => OwnerNote::parse(value.get(..length).unwrap_or_default()),
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(_) => None,
    };
    let old = found.unwrap_or(OwnerNote { uid: 0, gid: 0 });
    let new = OwnerNote { uid: uid.unwrap_or(old.uid), gid: gid.unwrap_or(old.gid) };
    let noted = match new.value() {
        _ if new == old => Ok(()),
        Some(value) => setxattr(&path, OwnerNote::NAME, value.as_bytes(), XattrFlags::empty()),
        None => removexattr(&path, OwnerNote::NAME),
    };
    if noted == Err(Errno::OPNOTSUPP) { Ok(()) } else { noted }
}

/// The extended attribute of the note. Linux allows such ones at files and folders only.
const NAME: &[u8] = b"user.plimsoll.owner";

/// The note for an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnerNote {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl OwnerNote {
    pub(crate) const NAME: &[u8] = NAME;

    /// Returns the value of the attribute; `None` where root needs no note.
    pub(crate) fn value(self) -> Option<String> {
        let Self { uid, gid } = self;
        ((uid, gid) != (0, 0)).then(|| format!("{uid}:{gid}"))
    }

    /// Reads the value of an attribute; `None` where it is not one of ours.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let (uid, gid) = std::str::from_utf8(value).ok()?.split_once(':')?;
        Some(Self { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        use std::os::fd::AsFd as _;
        let folder = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(folder.path().join("file")).unwrap();
        let note = || {
            let mut value = [0; 64];
            let length = rustix::fs::fgetxattr(&file, OwnerNote::NAME, &mut value);
            length.map(|length| String::from_utf8(value[..length].to_vec()).unwrap()).ok()
        };
        let change = |uid, gid| note_change(file.as_fd(), uid, gid).unwrap();
        change(Some(33), None);
        if note().is_none() {
            return;
        }
        assert_eq!(note().as_deref(), Some("33:0"));
        change(None, Some(44));
        assert_eq!(note().as_deref(), Some("33:44"));
        change(Some(0), None);
        assert_eq!(note().as_deref(), Some("0:44"));
        change(None, Some(0));
        assert_eq!(note(), None);
    }

    #[test]
    fn notes_are_read_as_they_are_written() {
        let note = OwnerNote { uid: 1000, gid: u32::MAX };
        assert_eq!(OwnerNote::parse(note.value().unwrap().as_bytes()), Some(note));
        assert_eq!(OwnerNote { uid: 0, gid: 0 }.value(), None);
        for value in ["", "1", "1:", ":1", "1:2:3", "a:b", "4294967296:0", "\u{e9}:1"] {
            assert_eq!(OwnerNote::parse(value.as_bytes()), None, "{value:?}");
        }
        assert_eq!(OwnerNote::parse(b"\xff:1"), None);
    }
}
