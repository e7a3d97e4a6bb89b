//! Folders of steps that run now, and what becomes of them.
//!
//! A folder is locked while its process lives. What a step that ended well leaves is a handful of empty
//! folders, whose removal takes a journaling file system longer than the step took to set up; so it is left to
//! a thread beside the build, which is waited for only at the end. What a killed process left is removed by the
//! same thread of the next process.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::workspace::io_error;
use crate::BuildError;
use crate::sandbox::{Sandbox, SandboxError};

/// Makes the sandbox at its first use: a build whose steps are all known needs none.
pub type SandboxMaker = Box<dyn Fn() -> Result<Sandbox, SandboxError> + Send + Sync>;

/// A sandbox that is made when it is needed.
pub(crate) struct LazySandbox {
    make: SandboxMaker,
    made: Mutex<Option<Arc<Sandbox>>>,
}

impl LazySandbox {
    pub fn new(make: SandboxMaker) -> Self {
        Self { make, made: Mutex::default() }
    }

    /// Returns the sandbox, made at the first call.
    pub fn get(&self) -> Result<Arc<Sandbox>, SandboxError> {
        let mut made = self.made.lock().expect("no holder panics");
        match &*made {
            Some(sandbox) => Ok(Arc::clone(sandbox)),
            None => Ok(Arc::clone(made.insert(Arc::new((self.make)()?)))),
        }
    }

    /// Removes a folder with whatever owners its files have; whether it is gone.
    pub fn remove_tree(&self, path: &Path) -> bool {
        match fs::remove_dir_all(path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            // Files of other owners, made in a user namespace, are removed from within it.
            Err(_) => self.get().is_ok_and(|sandbox| sandbox.remove_tree(path).is_ok()),
        }
    }
}

/// The folder of all steps that run.
pub(crate) struct WorkFolders {
    parent: PathBuf,
    sandbox: Arc<LazySandbox>,
    remover: Mutex<Option<Remover>>,
}

/// The thread that removes.
struct Remover {
    leftovers: Sender<Leftover>,
    thread: JoinHandle<()>,
}

/// A folder that nobody needs any more. What cannot be removed is left for the next process; a leftover costs
/// space and nothing else.
struct Leftover {
    lock_path: PathBuf,
    _lock: File,
}

impl WorkFolders {
    /// Opens `parent`, making it where it is not there, and has what killed processes left removed.
    pub fn open(parent: PathBuf, sandbox: Arc<LazySandbox>) -> Result<Self, BuildError> {
        fs::create_dir_all(&parent).map_err(|source| io_error("create", &parent, source))?;
        let entries = fs::read_dir(&parent).map_err(|source| io_error("read", &parent, source))?;
        let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        let folders = Self { parent, sandbox, remover: Mutex::default() };
        for lock_path in paths.into_iter().filter(|path| path.extension().is_some_and(|word| word == "lock"))
        {
            let Ok(lock) = File::open(&lock_path) else { continue };
            if lock.try_lock().is_ok() {
                folders.remove_later(Leftover { lock_path, _lock: lock });
            }
        }
        Ok(folders)
    }

    /// Returns a new folder, on the file system of the trees. It goes when dropped.
    pub fn make(&self) -> Result<WorkFolder<'_>, BuildError> {
        loop {
            let (lock, lock_path) = new_lock(&self.parent)?;
            // Another process may have taken the new lock for a stale one and removed it in between.
            if !lock_path.exists() {
                continue;
            }
            let path = lock_path.with_extension("");
            fs::create_dir(&path).map_err(|source| io_error("create", &path, source))?;
            let leftover = Some(Leftover { lock_path, _lock: lock });
            return Ok(WorkFolder { path, leftover, folders: self });
        }
    }

    fn remove_later(&self, leftover: Leftover) {
        let mut remover = self.remover.lock().expect("no holder panics");
        if remover.is_none() {
            *remover = start_remover(Arc::clone(&self.sandbox));
        }
        // Without a thread it waits for the next process.
        if let Some(remover) = &*remover {
            let _ = remover.leftovers.send(leftover);
        }
    }
}

impl Drop for WorkFolders {
    fn drop(&mut self) {
        if let Some(Remover { leftovers, thread }) = self.remover.get_mut().ok().and_then(Option::take) {
            drop(leftovers);
            let _ = thread.join();
        }
    }
}

fn start_remover(sandbox: Arc<LazySandbox>) -> Option<Remover> {
    let (leftovers, received) = channel::<Leftover>();
    let remove = move || received.into_iter().for_each(|leftover| leftover.remove(&sandbox));
    let thread = std::thread::Builder::new().name("leftovers".to_owned()).spawn(remove).ok()?;
    Some(Remover { leftovers, thread })
}

impl Leftover {
    fn remove(self, sandbox: &LazySandbox) {
        if sandbox.remove_tree(&self.lock_path.with_extension("")) {
            let _ = fs::remove_file(&self.lock_path);
        }
    }
}

fn new_lock(parent: &Path) -> Result<(File, PathBuf), BuildError> {
    let file = tempfile::Builder::new().prefix("step-").suffix(".lock").tempfile_in(parent);
    let (lock, lock_path) = file
        .and_then(|file| file.keep().map_err(|error| error.error))
        .map_err(|source| io_error("create a file in", parent, source))?;
    lock.lock().map_err(|source| io_error("lock", &lock_path, source))?;
    Ok((lock, lock_path))
}

/// A folder of a running step.
pub(crate) struct WorkFolder<'a> {
    path: PathBuf,
    leftover: Option<Leftover>,
    folders: &'a WorkFolders,
}

impl WorkFolder<'_> {
    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder inside and returns its path.
    pub fn create(&self, name: &str) -> Result<PathBuf, BuildError> {
        let path = self.path.join(name);
        fs::create_dir(&path).map_err(|source| io_error("create", &path, source))?;
        Ok(path)
    }

    /// Writes a file inside that may be executed and returns its path.
    pub fn write_executable(&self, name: &str, content: &[u8]) -> Result<PathBuf, BuildError> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path.join(name);
        fs::write(&path, content).map_err(|source| io_error("write", &path, source))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .map_err(|source| io_error("change the mode of", &path, source))?;
        Ok(path)
    }

    /// Has the folder removed when there is time, now that what it held was moved away.
    pub fn leave(mut self) {
        self.leftover.take().into_iter().for_each(|leftover| self.folders.remove_later(leftover));
    }
}

impl Drop for WorkFolder<'_> {
    fn drop(&mut self) {
        // What a step that failed left may be large, so it goes before anything else is done.
        if let Some(leftover) = self.leftover.take() {
            leftover.remove(&self.folders.sandbox);
        }
    }
}

impl std::fmt::Debug for WorkFolder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WorkFolder({})", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(parent: &Path) -> WorkFolders {
        let none: SandboxMaker = Box::new(|| Err(SandboxError::EmptyCommand));
        WorkFolders::open(parent.to_owned(), Arc::new(LazySandbox::new(none))).unwrap()
    }

    fn names(parent: &Path) -> usize {
        fs::read_dir(parent).unwrap().count()
    }

    #[test]
    fn a_dropped_folder_is_gone_and_one_that_is_left_goes() {
        let parent = tempfile::tempdir().unwrap();
        let folders = folders(parent.path());
        let dropped = folders.make().unwrap();
        dropped.create("upper").unwrap();
        drop(dropped);
        assert_eq!(names(parent.path()), 0);
        let left = folders.make().unwrap();
        left.create("work").unwrap();
        left.leave();
        drop(folders);
        assert_eq!(names(parent.path()), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let first = folders(parent.path());
        let used = first.make().unwrap();
        fs::create_dir(parent.path().join("step-old")).unwrap();
        fs::write(parent.path().join("step-old.lock"), "").unwrap();
        drop(folders(parent.path()));
        assert_eq!(names(parent.path()), 2);
        assert!(used.path().is_dir());
    }
}
