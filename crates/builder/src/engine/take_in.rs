//! The first reading of a layer that a step needs unpacked: its index and its tree are made in one pass over its blob.
//!
//! Whether a layer is closed is known when it has been read. It is unpacked as if it were; when an entry uses a folder
//! that was not named before, unpacking ends there, the rest is read for the index alone, and the layer is
//! unpacked over those below it like any other whose index is known.

use std::fs;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use layer::index::UsedFolders;
use layer::observe::{Observed, Tap};
use layer::{Entry, LayerError, Observer};

use super::workspace::{LayerRef, Workspace, io_error};
use crate::BuildError;

const BLOCK_BYTES: usize = 256 << 10;
/// Blocks that wait for the index to be made.
const BLOCKS_AHEAD: usize = 4;

impl Workspace {
    /// Makes the index of a layer, and its tree at `path` where the layer is closed, as far as that shows in time.
    pub(super) fn take_in(&self, layer: &LayerRef, path: &Path) -> Result<(), BuildError> {
        let digest = layer.descriptor()?.digest;
        let reading = || format!("read the layer {digest}");
        let work = self.work_folder()?;
        let target = work.create("tree")?;
        let sandbox = self.layer_sandbox()?;
        let tar = layer::decompress(self.open_layer(layer)?);
        let tar = tar.map_err(|error| BuildError::layer(reading(), error))?;
        let mut index = self.new_index()?;
        let is_open = AtomicBool::new(false);
        let taps = (&mut index, Closed { folders: UsedFolders::default(), is_open: &is_open });
        let observer = Observer::with_tap(taps).without_index();
        let (applied, observed) =
            observe_beside(tar, observer, &is_open, |tar| sandbox.apply_layer(tar, &target, None));
        let observed = observed.map_err(|error| BuildError::layer(reading(), error))?;
        let is_open = is_open.into_inner();
        if !is_open {
            applied.map_err(|error| BuildError::layer(format!("unpack the layer {digest}"), error))?;
        }
        self.check_diff_id(layer, observed.diff_id)?;
        self.keep_index(index, observed.diff_id, observed.size)?;
        if !is_open {
            fs::rename(&target, path).map_err(|source| io_error("write", path, source))?;
            work.leave();
        }
        Ok(())
    }
}

/// Raises `is_open` when an entry uses a folder that was not named before.
struct Closed<'a> {
    folders: UsedFolders,
    is_open: &'a AtomicBool,
}

impl Tap for Closed<'_> {
    fn entry(&mut self, entry: &Entry) {
        self.folders.see(entry);
        if !self.folders.all_named() {
            self.is_open.store(true, Ordering::Relaxed);
        }
    }
}

/// Gives `tar` to `work` until `stop` is raised, and all of it to the observer, which has a thread of its own.
fn observe_beside<T, R: Read, Tapped: Tap + Send>(
    tar: R,
    observer: Observer<Tapped>,
    stop: &AtomicBool,
    work: impl FnOnce(&mut dyn Read) -> T,
) -> (T, Result<Observed, LayerError>) {
    std::thread::scope(|threads| {
        let (full, blocks) = sync_channel(BLOCKS_AHEAD);
        let (used, spare) = sync_channel(BLOCKS_AHEAD + 2);
        let observed = threads.spawn(move || observe(observer, blocks, &used));
        let mut shared = Shared { tar, stop, full, spare, block: Vec::new(), failure: None };
        let done = work(&mut shared);
        let failure = shared.read_rest();
        let observed = observed.join().expect("an observer returns its errors and does not panic");
        // A tar that breaks off looks damaged; why it breaks off says more.
        (done, failure.map_or(observed, |source| Err(LayerError::Stream { action: "read", source })))
    })
}

fn observe<T: Tap>(
    mut observer: Observer<T>,
    blocks: Receiver<Vec<u8>>,
    used: &SyncSender<Vec<u8>>,
) -> Result<Observed, LayerError> {
    for mut block in blocks {
        if observer.write_all(&block).is_err() {
            // Finishing gives the reason.
            break;
        }
        block.clear();
        // More blocks than fit are not needed.
        let _ = used.try_send(block);
    }
    observer.finish()
}

/// A tar that is read here and seen by an observer.
struct Shared<'a, R> {
    tar: R,
    stop: &'a AtomicBool,
    full: SyncSender<Vec<u8>>,
    spare: Receiver<Vec<u8>>,
    block: Vec<u8>,
    failure: Option<io::Error>,
}

impl<R: Read> Shared<'_, R> {
    /// Reads what is left for the observer, which has all of it then. Returns why reading failed, now or before.
    fn read_rest(mut self) -> Option<io::Error> {
        let mut buffer = vec![0; BLOCK_BYTES];
        while self.failure.is_none() && self.pull(&mut buffer).is_ok_and(|count| count > 0) {}
        let _ = self.full.send(self.block);
        self.failure
    }

    fn pull(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = loop {
            match self.tar.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        if let Err(error) = &read {
            self.failure = Some(io::Error::new(error.kind(), error.to_string()));
        }
        let count = read?;
        let mut bytes = &buffer[..count];
        while !bytes.is_empty() {
            let count = bytes.len().min(BLOCK_BYTES - self.block.len());
            self.block.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            if self.block.len() == BLOCK_BYTES {
                let next = self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(BLOCK_BYTES));
                let block = std::mem::replace(&mut self.block, next);
                // An observer that saw enough has an error to tell, and nobody needs the rest.
                self.full.send(block).map_err(|_| io::Error::other("the layer is damaged"))?;
            }
        }
        Ok(count)
    }
}

impl<R: Read> Read for Shared<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("a folder of the layer is not named in it"));
        }
        self.pull(buffer)
    }
}

#[cfg(test)]
mod tests {
    use layer::{ApplyOptions, Kind, LayerIndex, TarWriter};

    use super::*;

    fn tar(paths: &[&str]) -> Vec<u8> {
        let mut tar = TarWriter::new(Vec::new());
        for path in paths {
            let content = vec![7; 3 * BLOCK_BYTES / 2];
            let kind = match path.ends_with('/') {
                true => Kind::Directory,
                false => Kind::File { size: content.len() as u64, digest: None, offset: 0 },
            };
            let path = path.trim_end_matches('/').as_bytes().to_vec();
            let entry =
                Entry { path, kind, mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: Default::default() };
            tar.append(&entry, &mut &content[..]).unwrap();
        }
        tar.finish().unwrap()
    }

    fn index(tar: &[u8]) -> LayerIndex {
        let mut observer = Observer::new();
        observer.write_all(tar).unwrap();
        observer.finish().unwrap().index
    }

    /// Unpacks a tar into a new folder; returns what came of it, what was observed and whether the layer was open.
    fn taken_in(
        tar: impl Read,
        target: &Path,
    ) -> (Result<(), LayerError>, Result<Observed, LayerError>, bool) {
        let is_open = AtomicBool::new(false);
        let observer = Observer::with_tap(Closed { folders: UsedFolders::default(), is_open: &is_open });
        let options = ApplyOptions {
            whiteouts: layer::Whiteouts::Remove,
            owners: layer::Owners::Ignore,
            devices: layer::Devices::Skip,
            lower: None,
        };
        let (applied, observed) =
            observe_beside(tar, observer, &is_open, |tar| layer::apply(tar, target, &options).map(drop));
        (applied, observed, is_open.into_inner())
    }

    #[test]
    fn what_is_unpacked_is_what_is_observed() {
        let tar = tar(&["a/", "a/one", "a/b/", "a/b/two"]);
        let target = tempfile::tempdir().unwrap();
        let (applied, observed, is_open) = taken_in(&tar[..], target.path());
        applied.unwrap();
        assert_eq!(observed.unwrap().index, index(&tar));
        assert!(!is_open);
        assert_eq!(fs::metadata(target.path().join("a/b/two")).unwrap().len(), 3 * BLOCK_BYTES as u64 / 2);
    }

    #[test]
    fn a_layer_that_does_not_name_its_folders_is_observed_to_its_end() {
        // More than are on their way when the observer sees the first.
        let paths: Vec<String> = (0..40).map(|number| format!("a/{number}")).collect();
        let tar = tar(&paths.iter().map(String::as_str).collect::<Vec<_>>());
        let target = tempfile::tempdir().unwrap();
        let (applied, observed, is_open) = taken_in(&tar[..], target.path());
        assert!(is_open);
        assert!(applied.is_err(), "it was not unpacked to the end");
        assert_eq!(observed.unwrap().index, index(&tar));
    }

    #[test]
    fn a_tar_that_cannot_be_read_to_its_end_says_why() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("the disk says no"))
            }
        }
        let tar = tar(&["a/", "a/one"]);
        for length in [0, 700, tar.len() / 2] {
            let target = tempfile::tempdir().unwrap();
            let (applied, observed, _) = taken_in((&tar[..length]).chain(Broken), target.path());
            assert!(applied.is_err());
            match observed {
                Err(LayerError::Stream { source, .. }) => assert_eq!(source.to_string(), "the disk says no"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_tar_is_an_error_of_both() {
        let noise: Vec<u8> = (0..10 * BLOCK_BYTES).map(|number| (number % 251) as u8).collect();
        let target = tempfile::tempdir().unwrap();
        let (applied, observed, _) = taken_in(&noise[..], target.path());
        assert!(applied.is_err());
        assert!(matches!(observed, Err(LayerError::Damaged { position: 0, .. })), "{observed:?}");
    }
}
