//! The mark on a blob file that says its content was hashed and not touched since.
//!
//! A write to the file changes its time of modification, a replacement its inode: either way the
//! stamp no longer fits. Hard links keep it. It does not notice a disk that changes bits silently;
//! [`super::LayoutStore::verify_blob`] does.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

const NAME: &str = "user.plimsoll.verified";

/// Size, time of modification in nanoseconds and inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub size: u64,
    mtime: i128,
    inode: u64,
}

impl Stamp {
    /// Returns what the stamp of `file` has to be now.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let mtime = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Ok(Self { size: metadata.len(), mtime, inode: metadata.ino() })
    }

    /// Whether `file` carries this stamp.
    pub fn is_on(&self, file: &File) -> bool {
        let mut value = [0; 96];
        match fgetxattr(file, NAME, &mut value) {
            Ok(length) => value[..length] == *self.text().as_bytes(),
            Err(_) => false,
        }
    }

    /// Writes the stamp on `file`; `false` where the file system or the file's owner does not allow it.
    pub fn put_on(&self, file: &File) -> bool {
        let text = self.text();
        let set = || fsetxattr(file, NAME, text.as_bytes(), XattrFlags::empty());
        if set().is_ok() {
            return true;
        }
        // A file without write permission takes no attribute, except from the superuser.
        let Ok(metadata) = file.metadata() else { return false };
        if file.set_permissions(Permissions::from_mode(0o644)).is_err() {
            return false;
        }
        let done = set().is_ok();
        file.set_permissions(metadata.permissions()).is_ok() && done
    }

    fn text(&self) -> String {
        format!("{}:{}:{}", self.size, self.mtime, self.inode)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn a_stamp_fits_until_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        fs::write(&path, b"content").unwrap();
        let file = File::open(&path).unwrap();
        let stamp = Stamp::of(&file).unwrap();
        assert!(!stamp.is_on(&file));
        if !stamp.put_on(&file) {
            eprintln!("skipped: no extended attributes in the temporary folder");
            return;
        }
        assert!(Stamp::of(&file).unwrap().is_on(&file));
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"!").unwrap();
        assert!(!Stamp::of(&file).unwrap().is_on(&file));
    }

    #[test]
    fn a_copy_under_the_same_name_does_not_inherit_it() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        fs::write(&one, b"same").unwrap();
        fs::write(&two, b"same").unwrap();
        let (one, two) = (File::open(one).unwrap(), File::open(two).unwrap());
        Stamp::of(&one).unwrap().put_on(&two);
        assert!(!Stamp::of(&two).unwrap().is_on(&two));
    }
}
