//! A folder as the entries of a layer: sorted by name, hard links kept, times no newer than asked.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use layer::{Entry, Kind, LayerPath};
use rustix::fs::{lgetxattr, llistxattr, major, minor};

use super::{ImportError, LayerTar, read_error};

/// Who owns the files of a folder in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Whoever owns them here.
    AsFound,
    /// Root, because whoever unpacked the folder was not root and owns everything.
    Root,
}

/// Extended attributes that mean the same on every machine; the others are this machine's policy.
const KEPT_ATTRIBUTES: [&[u8]; 2] = [b"security.capability", b"user."];

pub(super) struct Folder<'a> {
    pub root: &'a Path,
    /// Times of modification are cut off here, seconds since 1970.
    pub newest: i64,
    pub owners: Owners,
}

/// Device and inode of files that have several names, and the name they were written under.
type Links = HashMap<(u64, u64), LayerPath>;

impl Folder<'_> {
    /// Writes everything in the folder and returns what no layer can hold.
    pub fn append_to(&self, tar: &mut LayerTar) -> Result<Vec<PathBuf>, ImportError> {
        let mut skipped = Vec::new();
        let mut links = Links::new();
        let mut waiting = self.children(Path::new(""))?;
        while let Some(path) = waiting.pop() {
            let Some(entry) = self.entry(&path, &mut links)? else {
                skipped.push(path);
                continue;
            };
            self.append(&path, &entry, tar)?;
            if entry.kind == Kind::Directory {
                waiting.extend(self.children(&path)?);
            }
        }
        Ok(skipped)
    }

    /// Returns the paths in a folder, the last by name first, as a stack wants them.
    fn children(&self, folder: &Path) -> Result<Vec<PathBuf>, ImportError> {
        let full = self.root.join(folder);
        let cannot = |source| read_error(&full, source);
        let names: io::Result<Vec<OsString>> =
            std::fs::read_dir(&full).map_err(cannot)?.map(|entry| Ok(entry?.file_name())).collect();
        let mut names = names.map_err(cannot)?;
        names.sort_by(|a, b| b.cmp(a));
        Ok(names.into_iter().map(|name| folder.join(name)).collect())
    }

    fn append(&self, path: &Path, entry: &Entry, tar: &mut LayerTar) -> Result<(), ImportError> {
        let full = self.root.join(path);
        let written = if matches!(entry.kind, Kind::File { .. }) {
            let mut file = File::open(&full).map_err(|source| read_error(&full, source))?;
            tar.append(entry, &mut file)
        } else {
            tar.append(entry, &mut io::empty())
        };
        written.map_err(|source| ImportError::Layer { path: full, source })
    }

    /// Returns the entry of a path; `None` where a layer cannot hold it.
    fn entry(&self, path: &Path, links: &mut Links) -> Result<Option<Entry>, ImportError> {
        let full = self.root.join(path);
        let cannot = |source| read_error(&full, source);
        let metadata = std::fs::symlink_metadata(&full).map_err(cannot)?;
        let name = path.as_os_str().as_bytes().to_vec();
        let Some(kind) = kind(&full, &metadata, &name, links).map_err(cannot)? else { return Ok(None) };
        let (uid, gid) = match self.owners {
            Owners::AsFound => (metadata.uid(), metadata.gid()),
            Owners::Root => (0, 0),
        };
        Ok(Some(Entry {
            path: name,
            kind,
            mode: metadata.mode() & 0o7777,
            uid,
            gid,
            mtime: metadata.mtime().min(self.newest),
            xattrs: attributes(&full).map_err(cannot)?,
        }))
    }
}

fn kind(full: &Path, metadata: &Metadata, name: &[u8], links: &mut Links) -> io::Result<Option<Kind>> {
    let file_type = metadata.file_type();
    let device = || (major(metadata.rdev()), minor(metadata.rdev()));
    Ok(Some(if file_type.is_dir() {
        Kind::Directory
    } else if file_type.is_symlink() {
        Kind::Symlink(std::fs::read_link(full)?.into_os_string().into_vec())
    } else if let Some(first) = links.get(&(metadata.dev(), metadata.ino())) {
        Kind::Hardlink(first.clone())
    } else if file_type.is_file() {
        if metadata.nlink() > 1 {
            links.insert((metadata.dev(), metadata.ino()), name.to_vec());
        }
        Kind::File { size: metadata.len(), digest: None, offset: 0 }
    } else if file_type.is_fifo() {
        Kind::Fifo
    } else if file_type.is_char_device() {
        let (major, minor) = device();
        Kind::CharDevice { major, minor }
    } else if file_type.is_block_device() {
        let (major, minor) = device();
        Kind::BlockDevice { major, minor }
    } else {
        return Ok(None);
    }))
}

fn attributes(path: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let names = match grown(|buffer| llistxattr(path, buffer)) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut attributes = BTreeMap::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if KEPT_ATTRIBUTES.iter().any(|kept| name.to_bytes().starts_with(kept)) {
            attributes.insert(name.to_bytes().to_vec(), grown(|buffer| lgetxattr(path, name, buffer))?);
        }
    }
    Ok(attributes)
}

/// Calls with a buffer that grows until the answer fits; the kernel's largest is 64 KiB.
fn grown(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Vec<u8>> {
    for size in [1 << 10, 64 << 10] {
        let mut buffer = vec![0; size];
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(rustix::io::Errno::RANGE) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(io::ErrorKind::ArgumentListTooLong.into())
}
