//! Extended attributes of a file that is packed: those that mean the same on every machine, and what
//! overlayfs keeps.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use rustix::fs::{fgetxattr, flistxattr};
use rustix::io::Errno;

use crate::overlay::{self, is_own_attribute};
use crate::owner::OwnerNote;

const CAPABILITY: &[u8] = b"security.capability";
/// The kernel's largest list and largest value.
const MAX_BYTES: usize = 64 << 10;

/// What was found at one file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    /// File capabilities and attributes of users. All else (SELinux labels, IMA hashes, ACLs with this
    /// machine's users) is a policy of this machine.
    pub(super) kept: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Whether overlayfs hides what is below this folder.
    pub(super) opaque: bool,
    /// Who the file should belong to, where that was noted.
    pub(super) owner: Option<OwnerNote>,
    /// An attribute by which overlayfs says that the file's place or content is elsewhere.
    pub(super) unsupported: Option<&'static str>,
}

impl Attributes {
    pub(super) fn read(file: &OwnedFd) -> rustix::io::Result<Self> {
        let mut attributes = Self::default();
        let names = match grown(|buffer| flistxattr(file, buffer)) {
            Ok(names) => names,
            Err(Errno::OPNOTSUPP) => return Ok(attributes),
            Err(error) => return Err(error),
        };
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            if is_own_attribute(name) {
                attributes.read_overlay(file, name)?;
            } else if name == OwnerNote::NAME {
                attributes.owner = OwnerNote::parse(&grown(|buffer| fgetxattr(file, name, buffer))?);
            } else if name == CAPABILITY {
                let value = grown(|buffer| fgetxattr(file, name, buffer))?;
                attributes.kept.insert(name.to_vec(), without_namespace(value));
            } else if name.starts_with(b"user.") {
                let value = grown(|buffer| fgetxattr(file, name, buffer))?;
                attributes.kept.insert(name.to_vec(), value);
            }
        }
        Ok(attributes)
    }

    fn read_overlay(&mut self, file: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
        if name.ends_with(b".opaque") {
            self.opaque = grown(|buffer| fgetxattr(file, name, buffer))? == overlay::OPAQUE;
        } else if name.ends_with(b".overlay.redirect") {
            self.unsupported = Some("redirect");
        } else if name.ends_with(b".overlay.metacopy") {
            self.unsupported = Some("metacopy");
        }
        Ok(())
    }
}

/// Returns file capabilities as they are for root of the image. In a user namespace the kernel notes
/// (revision 3) who is root there, which is of no meaning anywhere else.
///
/// Source: capabilities(7), "File capability extended attribute versioning".
fn without_namespace(mut value: Vec<u8>) -> Vec<u8> {
    const REVISION_2_BYTES: usize = 20;
    if value.len() == REVISION_2_BYTES + 4 && value[3] == 3 {
        value.truncate(REVISION_2_BYTES);
        value[3] = 2;
    }
    value
}

/// Calls with a buffer that grows once to the kernel's bound.
fn grown(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut small = [0; 256];
    match call(&mut small) {
        Err(Errno::RANGE) => {}
        result => return Ok(small[..result?].to_vec()),
    }
    let mut large = vec![0; MAX_BYTES];
    let count = call(&mut large)?;
    large.truncate(count);
    Ok(large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_lose_the_namespace_they_were_set_in() {
        let revision_3 = [&[1, 0, 0, 3][..], &[7; 16], &[1, 0, 0, 0]].concat();
        let revision_2 = [&[1, 0, 0, 2][..], &[7; 16]].concat();
        assert_eq!(without_namespace(revision_3), revision_2);
        assert_eq!(without_namespace(revision_2.clone()), revision_2);
    }
}
