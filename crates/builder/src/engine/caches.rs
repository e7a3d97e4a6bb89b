//! Folders of `RUN --mount=type=cache`: they outlive the build and end in no layer and no key.
//!
//! ```text
//! ROOT/caches-<kind>/<hash>[-N]/data    what steps see
//! ROOT/caches-<kind>/<hash>[-N]/lock    held while a step uses it; its time is that of the last use
//! ROOT/caches-<kind>/<hash>[-N]/id      the id, for people
//! ```
//!
//! The hash is over the id and what the folder was made of: owner, mode, and first content. N is there where
//! a private cache was in use and the next one got a folder of its own.
//!
//! | sharing | lock |
//! |---|---|
//! | `shared` | shared with all others that share; waits for one that is locked |
//! | `locked` | alone; waits |
//! | `private` | alone; where it is in use, the next number |

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use layer::{Entry, Kind, LayerPath};

use super::build::Build;
use super::fill::{Sources, unfold};
use super::items::Group;
use super::kept_mounts::DATA;
use super::place::{Attributes, place};
use super::placed::{Placed, PlacedList};
use super::workspace::{Workspace, io_error};
use crate::BuildError;
use crate::cache::{CacheKey, KeyBuilder};
use crate::dockerfile::{Access, Sharing};

/// A cache as a step asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Cache<'a> {
    pub id: String,
    pub sharing: Sharing,
    pub access: Access,
    /// What a new folder is filled with.
    pub first: Vec<Group<'a>>,
}

/// A cache that a step holds, until dropped.
#[derive(Debug)]
pub(crate) struct HeldCache {
    /// What the step sees.
    pub data: PathBuf,
    /// The folder that it lies in.
    pub folder: PathBuf,
    _lock: File,
}

impl Cache<'_> {
    /// Returns what the folder goes by.
    pub fn key(&self) -> CacheKey {
        KeyBuilder::new("cache mount")
            .field("id", &self.id)
            .field("access", format!("{:?}", self.access))
            .list("first", super::source::fields(&self.first))
            .finish()
    }

    /// Waits for the folder and makes it where it is not there, of what a cache elsewhere has or of what it begins with.
    pub fn hold(&self, build: &Build<'_>, sources: Sources<'_>) -> Result<HeldCache, BuildError> {
        let parent = build.workspace.folder_of_kind("caches")?;
        let name = self.key().hex();
        for number in 0.. {
            let name = if number == 0 { name.clone() } else { format!("{name}-{number}") };
            let folder = parent.join(name);
            if let Some(lock) = self.lock(&folder)? {
                return self.fill(build, sources, folder, lock);
            }
        }
        unreachable!("there are more numbers than caches in use")
    }

    /// Returns the lock; `None` where a private cache is in use.
    fn lock(&self, folder: &Path) -> Result<Option<File>, BuildError> {
        fs::create_dir_all(folder).map_err(|error| io_error("create", folder, error))?;
        let path = folder.join("lock");
        let failed = |error| io_error("lock", &path, error);
        let lock = File::create(&path).map_err(failed)?;
        match self.sharing {
            Sharing::Private => match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            },
            Sharing::Shared => lock_to_share(&lock, &folder.join(DATA)).map_err(failed)?,
            Sharing::Locked => lock.lock().map_err(failed)?,
        }
        // The time of the file is that of its last use.
        lock.set_len(0).map_err(failed)?;
        Ok(Some(lock))
    }

    /// Makes the folder's content where there is none; the lock is then held alone.
    fn fill(
        &self,
        build: &Build<'_>,
        sources: Sources<'_>,
        folder: PathBuf,
        lock: File,
    ) -> Result<HeldCache, BuildError> {
        let data = folder.join(DATA);
        if !data.is_dir() {
            let work = build.workspace.work_folder()?;
            let made = match build.take_mount(&self.key(), &self.id, &work)? {
                Some(taken) => taken,
                None => {
                    let made = work.create("made")?;
                    unfold(build.workspace, &self.entries(build.workspace)?, sources, &made)?;
                    made.join(DATA)
                }
            };
            let id = folder.join("id");
            fs::write(&id, &self.id).map_err(|error| io_error("write", &id, error))?;
            fs::rename(made, &data).map_err(|error| io_error("write", &data, error))?;
        }
        if self.sharing == Sharing::Shared {
            // It may have been held alone to make it.
            lock.lock_shared().map_err(|error| io_error("lock", &folder, error))?;
        }
        Ok(HeldCache { data, folder, _lock: lock })
    }

    /// The folder `data` with its owner and mode, and what it is filled with.
    fn entries(&self, workspace: &Workspace) -> Result<PlacedList, BuildError> {
        let (below, attributes) = (layer::Tree::new(&[]), Attributes::default());
        let failed = |error| BuildError::layer("fill a cache mount", error);
        let first = place(&below, "/data", &self.first, &attributes, workspace.root())
            .map_err(|error| error.or(|reason| failed(std::io::Error::other(reason))))?;
        let entry = Entry {
            path: LayerPath::from(DATA),
            kind: Kind::Directory,
            mode: self.access.mode.unwrap_or(0o755),
            uid: self.access.uid.unwrap_or(0),
            gid: self.access.gid.unwrap_or(0),
            mtime: super::run::LAYER_TIME,
            xattrs: std::collections::BTreeMap::new(),
        };
        let data = std::iter::once(Ok(Placed { entry, content: None }));
        let first = first.iter().map(|placed| placed.map(std::borrow::Cow::into_owned));
        let first =
            first.filter(|placed| !placed.as_ref().is_ok_and(|placed| placed.entry.path == DATA.as_bytes()));
        let all = data.chain(first).collect::<Result<_, std::io::Error>>();
        all.map(PlacedList::Few).map_err(failed)
    }
}

/// Shares a lock with others, or holds it alone where `data` is still to be made. Whoever waits here must not
/// wait for those that share.
fn lock_to_share(lock: &File, data: &Path) -> std::io::Result<()> {
    while !data.is_dir() {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            // Somebody makes it just now, or failed to.
            Err(TryLockError::WouldBlock) => {
                lock.lock_shared()?;
                if !data.is_dir() {
                    lock.unlock()?;
                }
            }
        }
    }
    lock.lock_shared()
}
