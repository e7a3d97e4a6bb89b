//! How overlayfs writes down in a folder what whiteouts say in a tar.
//!
//! Where there is no overlayfs, as in a container that may not mount, the same is said by what such a container
//! may make: a socket without permissions is a whiteout, since no layer has sockets.
//!
//! Source: the kernel's documentation of overlayfs, "whiteouts and opaque directories" and
//! "User xattr".

use rustix::fs::FileType;

/// Under which names overlayfs keeps its extended attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlayAttributes {
    /// `trusted.overlay.*`: mounts of the real root.
    Trusted,
    /// `user.overlay.*`: mounts with the option `userxattr`, as in user namespaces.
    User,
    /// There is no overlayfs, whoever merges the folders knows these notes.
    Plain,
}

impl OverlayAttributes {
    /// Returns the name of the attribute that makes a folder opaque.
    pub fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
            Self::Plain => PLAIN_OPAQUE,
        }
    }

    /// Returns what a whiteout is.
    pub(crate) fn whiteout(self) -> FileType {
        match self {
            Self::Trusted | Self::User => FileType::CharacterDevice,
            Self::Plain => FileType::Socket,
        }
    }
}

const PLAIN_OPAQUE: &str = "user.plimsoll.opaque";

/// Whether a file of this mode and device number is a whiteout, in any of the forms.
pub fn is_whiteout(mode: u32, device: u64) -> bool {
    match FileType::from_raw_mode(mode) {
        FileType::CharacterDevice => device == 0,
        FileType::Socket => mode & 0o7777 == 0,
        _ => false,
    }
}

/// The value of the attribute of an opaque folder.
pub const OPAQUE: &[u8] = b"y";

/// Whether an extended attribute is one of overlayfs' own. Such a one never comes from a layer or
/// goes into one: `trusted.overlay.redirect` in a layer would show any folder of the layers below.
pub fn is_own_attribute(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.")
        || name.starts_with(b"user.overlay.")
        || name == PLAIN_OPAQUE.as_bytes()
}
