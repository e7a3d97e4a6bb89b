//! Owners of files that this user may not give away, noted beside the files.
//!
//! An ordinary user with a single id extracts layers of many owners. The note goes with the file wherever
//! overlayfs copies it, and becomes its owner again when the file is packed. It stands for owners other
//! than root alone: to root of the image belongs what has none.

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
