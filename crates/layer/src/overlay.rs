//! How overlayfs writes down in a folder what whiteouts say in a tar.
//!
//! Source: the kernel's documentation of overlayfs, "whiteouts and opaque directories" and
//! "User xattr".

/// Under which names overlayfs keeps its extended attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlayAttributes {
    /// `trusted.overlay.*`: mounts of the real root.
    Trusted,
    /// `user.overlay.*`: mounts with the option `userxattr`, as in user namespaces.
    User,
}

impl OverlayAttributes {
    /// Returns the name of the attribute that makes a folder opaque.
    pub fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }
}

/// The value of the attribute of an opaque folder.
pub(crate) const OPAQUE: &[u8] = b"y";

/// Whether an extended attribute is one of overlayfs' own. Such a one never comes from a layer or
/// goes into one: `trusted.overlay.redirect` in a layer would show any folder of the layers below.
pub(crate) fn is_own_attribute(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}
