//! Removing what stands in the way of an entry, or what whiteouts name.

use rustix::fs::{AtFlags, Dir, FileType, unlinkat};
use rustix::io::Errno;

use super::folders::{Folder, Folders};
use crate::error::LayerError;
use crate::path::join;

/// What a removal spares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spare {
    Nothing,
    /// What this layer put there, and the folders it lies in.
    Own,
}

impl Folders<'_> {
    /// Removes a name with all it holds.
    pub(super) fn remove(&mut self, parent: &Folder, name: &[u8]) -> Result<(), LayerError> {
        self.remove_tree(parent, name, Spare::Nothing)
    }

    /// Removes what the layers below have at a name.
    pub(super) fn remove_below(&mut self, parent: &Folder, name: &[u8]) -> Result<(), LayerError> {
        self.remove_tree(parent, name, Spare::Own)
    }

    /// Removes what the layers below have in a folder, which becomes this layer's own.
    pub(super) fn clear_below(&mut self, folder: &Folder) -> Result<(), LayerError> {
        self.keep(folder.path.clone());
        self.clear(folder, Spare::Own)
    }

    fn remove_tree(&mut self, parent: &Folder, name: &[u8], spare: Spare) -> Result<(), LayerError> {
        let Some(found) = self.stat(parent, name)? else { return Ok(()) };
        let path = join(&parent.path, name);
        let spared = spare == Spare::Own && self.own.contains(&path);
        if found.is_folder() {
            let folder = self.open_child(parent, name)?;
            self.clear(&folder, spare)?;
        }
        if spared {
            return Ok(());
        }
        match found.file_type() {
            FileType::Directory => return self.remove_folder(parent, name, spare),
            // It may have been on the way to an open folder.
            FileType::Symlink => self.forget(),
            _ => {}
        }
        unlinkat(&parent.fd, name, AtFlags::empty())
            .map_err(|error| self.failed("remove", parent, name, error))
    }

    fn remove_folder(&mut self, parent: &Folder, name: &[u8], spare: Spare) -> Result<(), LayerError> {
        match unlinkat(&parent.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) => {
                self.later.remove(&join(&parent.path, name));
                Ok(())
            }
            // Something in it was spared.
            Err(Errno::NOTEMPTY | Errno::EXIST) if spare == Spare::Own => Ok(()),
            Err(error) => Err(self.failed("remove the folder", parent, name, error)),
        }
    }

    fn clear(&mut self, folder: &Folder, spare: Spare) -> Result<(), LayerError> {
        self.forget();
        for name in self.names(folder)? {
            self.remove_tree(folder, &name, spare)?;
        }
        Ok(())
    }

    fn names(&self, folder: &Folder) -> Result<Vec<Vec<u8>>, LayerError> {
        let read = || -> rustix::io::Result<Vec<Vec<u8>>> {
            let entries = Dir::read_from(folder.reopen()?)?;
            let names = entries.map(|entry| Ok(entry?.file_name().to_bytes().to_vec()));
            names.filter(|name| !matches!(name.as_deref(), Ok(b"." | b".."))).collect()
        };
        read().map_err(|error| LayerError::file("list", &self.full_path(&folder.path), error))
    }
}
