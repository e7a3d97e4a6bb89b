//! Content in files of a folder that belongs to others too: hashed while it is read, written aside and
//! renamed, made to survive a crash when a manifest needs it.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oci::manifest::MAX_DOCUMENT_BYTES;
use oci::{Descriptor, Digest, Document};

use crate::children::children;
use crate::layout::{Stamp, TemporaryFile, copy_in_kernel, sweep};
use crate::part::PartFolder;
use crate::{Blob, BlobStore, CheckedReader, Put, Source, StoreError};

/// Size of the buffer with which content is hashed.
const BUFFER: usize = 256 << 10;

/// The files of one folder.
pub(crate) struct Files {
    root: PathBuf,
    /// What the folder is, for messages.
    kind: &'static str,
    /// Where a blob lies in it.
    place: fn(&Digest) -> PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Blobs whose content was found to have their digest, as they were then.
    verified: HashMap<Digest, Stamp>,
    /// Files written and not synced yet.
    written: HashSet<PathBuf>,
}

impl Files {
    pub fn new(root: &Path, kind: &'static str, place: fn(&Digest) -> PathBuf) -> Self {
        Self { root: root.to_owned(), kind, place, state: Mutex::default() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folder with what it is, for messages.
    pub fn called(&self) -> String {
        format!("the {} {}", self.kind, self.root.display())
    }

    /// Replaces a file of the folder; it survives a crash.
    pub fn write_file(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let path = self.root.join(name);
        let write = || -> io::Result<()> {
            let temporary = TemporaryFile::create(&self.root)?;
            temporary.file().write_all(content)?;
            temporary.file().sync_data()?;
            temporary.persist(&path, 0o644)?;
            File::open(&self.root)?.sync_all()
        };
        write().map_err(|source| StoreError::io("write", path.display().to_string(), source))
    }

    /// Returns a file of the folder whole; `None` where it is not there.
    pub fn read_file(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.root.join(name);
        let failed = |source| StoreError::io("read", path.display().to_string(), source);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        let mut raw = Vec::new();
        file.take(most + 1).read_to_end(&mut raw).map_err(failed)?;
        if raw.len() as u64 > most {
            let reason = format!("it has more than the {most} bytes allowed");
            return Err(StoreError::Corrupt { what: path.display().to_string(), reason });
        }
        Ok(Some(raw))
    }

    /// Reads a manifest that lies where blobs do.
    pub fn document(&self, digest: &Digest) -> Result<Document, StoreError> {
        let mut blob = self.open_blob(digest)?;
        let corrupt = |reason| StoreError::Corrupt { what: self.what(digest), reason };
        if blob.size() > MAX_DOCUMENT_BYTES {
            return Err(corrupt(format!("it has {} bytes, too many for a manifest", blob.size())));
        }
        let mut raw = Vec::new();
        blob.read_to_end(&mut raw).map_err(|error| self.failed("read", digest, error))?;
        Document::parse(raw.into(), None).map_err(|error| corrupt(error.to_string()))
    }

    /// Refuses a manifest whose blobs are not here; `has` is asked for its other children.
    pub fn check_children(
        &self,
        document: &Document,
        has: impl Fn(&Descriptor) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        for child in children(document).iter().filter(|child| !child.optional) {
            if !has(child.descriptor)? {
                let what = format!(
                    "{}, part of manifest {},",
                    self.what(&child.descriptor.digest),
                    document.digest()
                );
                return Err(StoreError::NotFound { what });
            }
        }
        Ok(())
    }

    /// Makes what was written survive a crash.
    pub fn sync(&self) -> Result<(), StoreError> {
        let written = std::mem::take(&mut self.state().written);
        for path in &written {
            let folder = path.parent().expect("blobs lie in a folder");
            File::open(path)
                .and_then(|file| file.sync_data())
                .and_then(|()| File::open(folder)?.sync_all())
                .map_err(|source| StoreError::io("sync", path.display().to_string(), source))?;
        }
        Ok(())
    }

    pub fn what(&self, digest: &Digest) -> String {
        format!("blob {digest} in {}", self.called())
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join((self.place)(digest))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the file carries the local store's stamp or was hashed before.
    fn is_verified(&self, digest: &Digest, file: &File) -> io::Result<bool> {
        let stamp = Stamp::of(file)?;
        Ok(self.state().verified.get(digest) == Some(&stamp) || stamp.is_on(file))
    }

    /// Whether the blob is there, with this size and its own content.
    fn has_intact(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let present = match self.open_blob(digest) {
            Ok(blob) if blob.size() == size => blob,
            Ok(_) | Err(StoreError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let Source::Stream(mut present) = present.into_source() else { return Ok(true) };
        let mut buffer = vec![0; BUFFER];
        loop {
            match present.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(false),
                Err(error) => return Err(self.failed("read", digest, error)),
            }
        }
    }

    fn write_blob(&self, descriptor: &Descriptor, content: Blob) -> io::Result<Stamp> {
        let Descriptor { digest, size, .. } = descriptor;
        let known = content.verified_as() == Some(*digest) && content.size() == *size;
        if let Some(mut part) = self.parts().take(descriptor, &content) {
            part.fill(&mut { content })?;
            return self.named(digest, |path| part.persist(path, 0o644));
        }
        let temporary = TemporaryFile::create(&self.root)?;
        let content_size = content.size();
        match content.into_source() {
            Source::File(mut file) if known => {
                let offset = file.stream_position()?;
                copy_in_kernel(&file, offset, *size, temporary.file())?;
            }
            source => {
                let blob = Blob::new(content_size, source);
                io::copy(&mut CheckedReader::new(blob, *digest, *size), &mut temporary.file())?;
            }
        }
        self.named(digest, |path| temporary.persist(path, 0o644))
    }

    /// Has a file get the name of a blob.
    fn named(
        &self,
        digest: &Digest,
        persist: impl FnOnce(&Path) -> io::Result<Arc<File>>,
    ) -> io::Result<Stamp> {
        let path = self.path(digest);
        fs::create_dir_all(path.parent().expect("blobs lie in a folder"))?;
        Stamp::of(&*persist(&path)?)
    }

    /// Clears away what killed processes left: temporary files, and parts of blobs that nobody came back for.
    pub fn clear_leftovers(&self) -> Result<(), StoreError> {
        self.parts().forget_old();
        sweep(&self.root)
    }

    fn parts(&self) -> PartFolder {
        PartFolder::among_others(&self.root)
    }

    fn failed(&self, action: &'static str, digest: &Digest, error: io::Error) -> StoreError {
        let error = match error.downcast::<StoreError>() {
            // The other store failed while it was read.
            Ok(of_source) => return of_source,
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                StoreError::Corrupt { what: self.what(digest), reason: error.to_string() }
            }
            _ => StoreError::io(action, self.what(digest), error),
        }
    }
}

impl BlobStore for Files {
    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        match fs::metadata(self.path(digest)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::io("read", self.what(digest), source)),
        }
    }

    fn open_blob(&self, digest: &Digest) -> Result<Blob, StoreError> {
        let file = File::open(self.path(digest)).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound { what: self.what(digest) },
            _ => StoreError::io("read", self.what(digest), source),
        })?;
        let unreadable = |source| StoreError::io("read", self.what(digest), source);
        let size = file.metadata().map_err(unreadable)?.len();
        if self.is_verified(digest, &file).map_err(unreadable)? {
            return Ok(Blob::verified(*digest, size, Source::File(file)));
        }
        Ok(Blob::unverified(*digest, size, file))
    }

    fn put_blob(&self, descriptor: &Descriptor, content: Blob) -> Result<Put, StoreError> {
        let digest = &descriptor.digest;
        if self.has_intact(digest, descriptor.size)? {
            return Ok(Put::Present);
        }
        let stamp =
            self.write_blob(descriptor, content).map_err(|error| self.failed("write", digest, error))?;
        let mut state = self.state();
        state.verified.insert(*digest, stamp);
        state.written.insert(self.path(digest));
        Ok(Put::Written)
    }
}
