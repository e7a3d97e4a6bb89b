//! Parts of blobs that come from elsewhere, for places that are not the local store: a folder of somebody else's,
//! content on its way to a registry. What arrived stays when the process ends, and the next one asks for the rest.
//!
//! A part is a file named by the digest that the content is to have, locked by whoever writes it. As in the local
//! store (`layout::partial`) what is there is hashed again, so nothing has to be believed.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::{Descriptor, Digest};

use crate::Blob;
use crate::layout::TemporaryFile;

/// Of smaller blobs nothing is kept: they are fetched again sooner than looked for.
pub const MIN_PART_BYTES: u64 = 1 << 20;
/// How long a part is kept by who comes by: a week.
const KEEP_SECONDS: i64 = 7 * 24 * 60 * 60;
const BUFFER: usize = 256 << 10;

/// A folder in which parts of blobs wait for the rest.
#[derive(Clone, Debug)]
pub struct PartFolder {
    path: PathBuf,
    prefix: &'static str,
}

/// The part of one blob, which nobody else writes. It stays when this is dropped, unless it is of no use.
pub struct Part {
    file: TemporaryFile,
}

impl PartFolder {
    /// Returns a folder whose files are all parts, such as that of the local store. It need not be there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), prefix: "" }
    }

    /// Returns a folder that has other files too; the names of parts begin so.
    pub(crate) fn among_others(path: &Path) -> Self {
        Self { path: path.to_owned(), prefix: ".partial-" }
    }

    /// Opens the part of a blob, or begins it. `None` where nothing is kept of the blob: it is small, does not come
    /// from elsewhere, is being written by another process, or no file can be made.
    pub fn take(&self, descriptor: &Descriptor, content: &Blob) -> Option<Part> {
        let fits = content.is_resumable()
            && descriptor.size >= MIN_PART_BYTES
            && content.size() == descriptor.size
            && content.verified_as() == Some(descriptor.digest);
        let open = || TemporaryFile::lasting(&self.path(&descriptor.digest)).ok().flatten();
        fits.then(open).flatten().map(|file| Part { file })
    }

    /// Removes parts that nobody wrote to for a week. What cannot be removed is in nobody's way.
    pub(crate) fn forget_old(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        let is_part = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(self.prefix))
        };
        let parts: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| is_part(path)).collect();
        if parts.is_empty() {
            return;
        }
        // The file system's own clock, so that nobody has to be asked.
        let now = TemporaryFile::create(&self.path).and_then(|file| file.file().metadata());
        let Ok(now) = now.map(|metadata| metadata.ctime()) else { return };
        for path in parts {
            let age = fs::symlink_metadata(&path).map(|metadata| now - metadata.ctime());
            if age.is_ok_and(|age| age > KEEP_SECONDS)
                && let Ok(Some(mut file)) = TemporaryFile::lasting(&path)
            {
                file.keep(false);
            }
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.path.join(format!("{}{}-{}", self.prefix, digest.algorithm().as_str(), digest.hex()))
    }
}

impl Part {
    /// Makes the part whole: fetches what lies behind what arrived before, and checks both together. Where the whole
    /// is wrong, what arrived before may be, and all of it comes once more.
    ///
    /// # Errors
    /// What reading the content or writing the file says. What arrived stays where it may be of use.
    pub fn fill(&mut self, content: &mut Blob) -> io::Result<()> {
        let filled = self.go_on(content).and_then(|had| match self.copy(content) {
            Err(error) if had > 0 && error.kind() == io::ErrorKind::InvalidData => {
                tracing::debug!(%error, "what arrived before is of no use");
                self.restart(content)?;
                self.copy(content)
            }
            copied => copied,
        });
        let is_wrong = filled.as_ref().is_err_and(|error| {
            matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        });
        self.file.keep(!is_wrong);
        filled
    }

    /// Makes the content go on behind what the file has of it; returns how much that is.
    fn go_on(&mut self, content: &mut Blob) -> io::Result<u64> {
        let mut head: &File = self.file.file();
        let had = head.metadata()?.len();
        if had == 0 {
            return Ok(0);
        }
        head.seek(SeekFrom::Start(0))?;
        match content.resume(head) {
            Ok(count) if count == had => {
                tracing::debug!(had, "a blob goes on behind what came before");
                Ok(had)
            }
            _ => self.restart(content).map(|()| 0),
        }
    }

    fn restart(&mut self, content: &mut Blob) -> io::Result<()> {
        content.restart();
        let mut file: &File = self.file.file();
        file.set_len(0)?;
        file.rewind()
    }

    fn copy(&mut self, content: &mut Blob) -> io::Result<()> {
        let mut file: &File = self.file.file();
        let mut buffer = vec![0; BUFFER];
        loop {
            match content.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => file.write_all(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the file; its position is anywhere.
    pub fn file(&self) -> Arc<File> {
        self.file.shared()
    }

    /// Removes the part: it has served its purpose.
    pub fn remove(mut self) {
        self.file.keep(false);
    }

    /// Gives the file, once it is whole, its real name and permissions.
    pub(crate) fn persist(self, target: &Path, mode: u32) -> io::Result<Arc<File>> {
        self.file.persist(target, mode)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use oci::MediaType;

    use super::*;
    use crate::Resumable;

    /// Content that breaks off at a place and notes from where it was asked for.
    struct Remote {
        content: Vec<u8>,
        at: usize,
        breaks_at: usize,
        begun: Arc<Mutex<Vec<u64>>>,
    }

    impl io::Read for Remote {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.at >= self.breaks_at {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let count = buffer.len().min(self.breaks_at - self.at).min(self.content.len() - self.at);
            buffer[..count].copy_from_slice(&self.content[self.at..self.at + count]);
            self.at += count;
            Ok(count)
        }
    }

    impl Resumable for Remote {
        fn resume_at(&mut self, offset: u64) {
            self.at = usize::try_from(offset).unwrap();
            self.begun.lock().unwrap().push(offset);
        }
    }

    struct Scene {
        folder: tempfile::TempDir,
        content: Vec<u8>,
        descriptor: Descriptor,
        begun: Arc<Mutex<Vec<u64>>>,
    }

    impl Scene {
        fn new() -> Self {
            let content: Vec<u8> = (0..2_000_000_u32).map(|at| (at % 251) as u8).collect();
            let descriptor = Descriptor::of(MediaType::OciLayer, &content);
            Self { folder: tempfile::tempdir().unwrap(), content, descriptor, begun: Arc::default() }
        }

        fn parts(&self) -> PartFolder {
            PartFolder::among_others(self.folder.path())
        }

        /// Fetches until the content breaks off.
        fn fetch(&self, breaks_at: usize) -> io::Result<Part> {
            let begun = self.begun.clone();
            let stream = Remote { content: self.content.clone(), at: 0, breaks_at, begun };
            let mut blob = Blob::resumable(self.descriptor.digest, self.descriptor.size, stream);
            let mut part = self.parts().take(&self.descriptor, &blob).unwrap();
            part.fill(&mut blob).map(|()| part)
        }

        fn files(&self) -> usize {
            fs::read_dir(self.folder.path()).unwrap().count()
        }
    }

    #[test]
    fn what_broke_off_goes_on_where_it_was() {
        let scene = Scene::new();
        assert!(scene.fetch(1_500_000).is_err());
        let part = scene.fetch(usize::MAX).unwrap();
        assert_eq!(*scene.begun.lock().unwrap(), [0, 1_500_000]);
        let target = scene.folder.path().join("target");
        part.persist(&target, 0o644).unwrap();
        assert!(fs::read(&target).unwrap() == scene.content);
        assert_eq!(scene.files(), 1);
    }

    #[test]
    fn a_part_that_is_wrong_or_too_long_begins_again() {
        for wrong in [vec![7; 1_000_000], vec![0; 3_000_000]] {
            let scene = Scene::new();
            fs::write(scene.parts().path(&scene.descriptor.digest), wrong).unwrap();
            let part = scene.fetch(usize::MAX).unwrap();
            assert_eq!(part.file().metadata().unwrap().len(), scene.descriptor.size);
            part.remove();
            assert_eq!(scene.files(), 0);
        }
    }

    #[test]
    fn nothing_stays_of_content_that_is_wrong_itself() {
        let mut scene = Scene::new();
        scene.content[5] ^= 1;
        assert_eq!(scene.fetch(usize::MAX).err().unwrap().kind(), io::ErrorKind::InvalidData);
        assert_eq!(scene.files(), 0);
    }

    #[test]
    fn nobody_else_writes_a_part_and_small_ones_are_not_kept() {
        let scene = Scene::new();
        let blob = |size| {
            let stream = Remote { content: Vec::new(), at: 0, breaks_at: 0, begun: Arc::default() };
            Blob::resumable(scene.descriptor.digest, size, stream)
        };
        let size = scene.descriptor.size;
        let first = scene.parts().take(&scene.descriptor, &blob(size));
        assert!(first.is_some() && scene.parts().take(&scene.descriptor, &blob(size)).is_none());
        let small = Descriptor { size: 1000, ..scene.descriptor.clone() };
        drop(first);
        assert!(scene.parts().take(&small, &blob(1000)).is_none());
        let whole = Blob::from_bytes(scene.content.clone());
        assert!(scene.parts().take(&scene.descriptor, &whole).is_none());
        // Young parts are not forgotten.
        scene.parts().forget_old();
        assert_eq!(scene.files(), 1);
    }
}
