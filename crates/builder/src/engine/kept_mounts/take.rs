//! The folder of a cache mount out of a cache elsewhere, for a step that runs where there is none.

use std::collections::VecDeque;
use std::error::Error;
use std::fs;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::Digest;
use store::ImageStore;

use super::DATA;
use super::content::{Bounds, Watch};
use crate::BuildError;
use crate::cache::{CacheKey, MountEntry, OnCacheError, Tier};
use crate::engine::build::Build;
use crate::engine::elsewhere::with_causes;
use crate::engine::work::WorkFolder;
use crate::request::BuildEvent;

type Failure = Box<dyn Error + Send + Sync>;

impl Build<'_> {
    /// Returns the folder that the first cache has for a mount, extracted below `work`; `None` where none has it or
    /// none was asked for. One that cannot be used is told, and the next is asked.
    pub fn take_mount(
        &self,
        key: &CacheKey,
        id: &str,
        work: &WorkFolder<'_>,
    ) -> Result<Option<PathBuf>, BuildError> {
        let Some(limit) = self.request.options.kept_mounts else { return Ok(None) };
        let fails =
            self.request.options.tiers.as_ref().is_some_and(|tiers| tiers.on_error == OnCacheError::Fail);
        let mut tries = 0;
        self.ask_tiers(|tier, found| {
            let Some(entry) = found.artifact.mounts.get(&key.digest()) else { return Ok(None) };
            tries += 1;
            let folder = work.create(&format!("taken-{tries}"))?;
            match self.extract_mount(tier, entry, limit, &folder) {
                Ok(()) => {
                    let message = format!("the cache mount {id} was taken from {}", tier.label);
                    (self.observer)(BuildEvent::Note(message));
                    Ok(Some(folder.join(DATA)))
                }
                Err(error) if fails => {
                    Err(BuildError::layer(format!("take the cache mount {id} from {}", tier.label), error))
                }
                Err(error) => {
                    let reason = with_causes(error.as_ref());
                    let message = format!("the cache mount {id} of {} is not used: {reason}", tier.label);
                    (self.observer)(BuildEvent::Warning(message));
                    Ok(None)
                }
            }
        })
    }

    fn extract_mount(
        &self,
        tier: &Tier,
        entry: &MountEntry,
        limit: u64,
        folder: &Path,
    ) -> Result<(), Failure> {
        if entry.bytes > limit {
            return Err(format!("it has {} bytes, {limit} are allowed", entry.bytes).into());
        }
        let pieces = entry.pieces.iter().map(|piece| piece.digest).collect();
        let whole = Gathered { store: Arc::clone(&tier.store), pieces, open: None };
        let mut tar = Watched { tar: whole, watch: Watch::new(Bounds { bytes: entry.bytes, foreign: true }) };
        self.workspace.sandbox()?.apply_layer(&mut tar, folder, None)?;
        // Digests are checked at the end of each piece.
        io::copy(&mut tar, &mut io::sink())?;
        let (content, _) = tar.watch.finish()?;
        if content != entry.content {
            return Err(format!("its content is {content}, expected {}", entry.content).into());
        }
        match fs::symlink_metadata(folder.join(DATA)) {
            Ok(found) if found.is_dir() => Ok(()),
            _ => Err("it has no folder with the mount's files".into()),
        }
    }
}

/// The blobs of a store one behind the other, uncompressed.
struct Gathered {
    store: Arc<dyn ImageStore>,
    pieces: VecDeque<Digest>,
    open: Option<Box<dyn Read + Send>>,
}

impl Read for Gathered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(open) = &mut self.open {
                match open.read(buffer)? {
                    0 if !buffer.is_empty() => self.open = None,
                    count => return Ok(count),
                }
            }
            let Some(digest) = self.pieces.pop_front() else { return Ok(0) };
            let blob = self.store.open_blob(&digest).map_err(io::Error::other)?;
            self.open = Some(layer::decompress(blob)?);
        }
    }
}

/// A tar that is looked at before anybody gets its bytes.
struct Watched<R> {
    tar: R,
    watch: Watch,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.tar.read(buffer)?;
        self.watch.write_all(&buffer[..count])?;
        Ok(count)
    }
}
