//! The folders of cache mounts made ready for caches elsewhere: read once for all of them, and only where the content
//! is another one than a cache has.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use oci::{Descriptor, Digest};
use store::{Blob, Source};

use super::beside;
use super::content::{Bounds, Watch};
use super::pieces::{Piece, Pieces};
use crate::cache::{MountEntry, UsedMount};
use crate::engine::clean::size_of;
use crate::engine::elsewhere::with_causes;
use crate::engine::work::LazySandbox;
use crate::sandbox::PackSettings;

/// Makes folders of cache mounts ready; shared by all caches that are written.
pub(crate) struct MountWriter {
    sandbox: Arc<LazySandbox>,
    /// Where pieces are kept while they are sent.
    folder: PathBuf,
    known: Mutex<BTreeMap<Digest, Arc<Mutex<Known>>>>,
}

/// What is known of a folder by now.
#[derive(Default)]
struct Known {
    content: Option<Digest>,
    packed: Option<Arc<Packed>>,
}

/// A folder in pieces.
struct Packed {
    content: Digest,
    bytes: u64,
    pieces: Vec<Piece>,
}

/// What is sent and lies in no store.
#[derive(Clone, Default)]
pub(crate) struct Outgoing {
    small: BTreeMap<Digest, Bytes>,
    files: BTreeMap<Digest, (u64, PathBuf)>,
    packed: Vec<Arc<Packed>>,
}

impl Outgoing {
    /// Adds bytes and returns their blob.
    pub fn add(&mut self, descriptor: &Descriptor, bytes: impl Into<Bytes>) {
        self.small.insert(descriptor.digest, bytes.into());
    }

    /// Adds the file that has the bytes of a blob.
    pub fn add_file(&mut self, blob: &Descriptor, path: PathBuf) {
        self.files.insert(blob.digest, (blob.size, path));
    }

    /// Opens a blob; `None` where it is in none of this.
    pub fn open(&self, digest: &Digest) -> Option<io::Result<Blob>> {
        if let Some(bytes) = self.small.get(digest) {
            return Some(Ok(Blob::from_bytes(bytes.clone())));
        }
        if let Some((size, path)) = self.files.get(digest) {
            return Some(File::open(path).map(|file| Blob::unverified(*digest, *size, file)));
        }
        let pieces = self.packed.iter().flat_map(|packed| &packed.pieces);
        pieces.into_iter().find(|piece| piece.descriptor.digest == *digest).map(open_piece)
    }
}

/// Opens the file once more, so that several may read it from its start.
fn open_piece(piece: &Piece) -> io::Result<Blob> {
    let file = File::open(format!("/proc/self/fd/{}", piece.file.as_raw_fd()))?;
    let Descriptor { digest, size, .. } = piece.descriptor;
    Ok(Blob::verified(digest, size, Source::File(file)))
}

impl MountWriter {
    pub fn new(sandbox: Arc<LazySandbox>, folder: PathBuf) -> Self {
        Self { sandbox, folder, known: Mutex::default() }
    }

    /// Returns what a cache is to have of a mount that a build of `scope` used, where it has something else: `before`.
    ///
    /// # Errors
    /// Why it is not kept, for people.
    pub fn news(
        &self,
        (key, mount): (&Digest, &UsedMount),
        before: Option<&MountEntry>,
        scope: &str,
        outgoing: &mut Outgoing,
    ) -> Result<Option<MountEntry>, String> {
        let Some(folder) = &mount.folder else { return Ok(None) };
        let known =
            Arc::clone(self.known.lock().unwrap_or_else(PoisonError::into_inner).entry(*key).or_default());
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(before), None) = (before, known.content) {
            known.content = Some(self.read(folder, mount.limit, None)?.0);
            if known.content == Some(before.content) {
                return Ok(None);
            }
        }
        if before.is_some_and(|before| known.content == Some(before.content)) {
            return Ok(None);
        }
        let packed = match &known.packed {
            Some(packed) => Arc::clone(packed),
            None => Arc::new(self.pack(folder, mount.limit)?),
        };
        known.content = Some(packed.content);
        known.packed = Some(Arc::clone(&packed));
        let pieces = packed.pieces.iter().map(|piece| piece.descriptor.clone()).collect();
        let (content, bytes) = (packed.content, packed.bytes);
        outgoing.packed.push(packed);
        let usage = crate::cache::Usage::now(scope);
        Ok(Some(MountEntry { key: *key, id: mount.id.clone(), content, bytes, pieces, usage }))
    }

    fn pack(&self, folder: &Path, limit: u64) -> Result<Packed, String> {
        let mut pieces = Pieces::new(&self.folder);
        let (content, bytes) = self.read(folder, limit, Some(&mut pieces))?;
        let pieces = pieces.finish().map_err(|error| error.to_string())?;
        Ok(Packed { content, bytes, pieces })
    }

    /// Reads a folder whole and returns its content and the size of its tar.
    fn read(&self, folder: &Path, limit: u64, pieces: Option<&mut Pieces>) -> Result<(Digest, u64), String> {
        let lock = File::open(folder.join("lock")).map_err(|error| error.to_string())?;
        lock.try_lock_shared().map_err(|_| "another build uses it just now".to_owned())?;
        let size = size_of(folder);
        if size > limit {
            return Err(format!("it has {} MiB, {} are allowed (mount-limit)", size >> 20, limit >> 20));
        }
        let sandbox = self.sandbox.get().map_err(|error| error.to_string())?;
        let mut split = Split { watch: Watch::new(Bounds { bytes: limit, foreign: false }), pieces };
        let settings = PackSettings { exclude: beside().into(), ..PackSettings::default() };
        sandbox.pack_upper(folder, &settings, &mut split).map_err(|error| with_causes(&error))?;
        split.watch.finish().map_err(|error| with_causes(&error))
    }
}

/// Is written a tar and passes it on.
struct Split<'a> {
    watch: Watch,
    pieces: Option<&'a mut Pieces>,
}

impl Write for Split<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.watch.write_all(bytes)?;
        if let Some(pieces) = &mut self.pieces {
            pieces.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
