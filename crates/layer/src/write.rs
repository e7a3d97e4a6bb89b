//! Making a layer in one pass: the bytes of a tar go in; the compressed blob goes to the sink, and its
//! descriptor, the diff id and the index come out together.
//!
//! The caller's thread takes the digests of files and writes; compression (see `compress`) and the diff id
//! of a large layer have threads of their own.

use std::io::{self, Write};

use oci::{Descriptor, DiffId, Hasher, MediaType};

use crate::compress::{Compressor, Settings, compressor};
use crate::error::LayerError;
use crate::index::LayerIndex;
use crate::observe::{Observer, Tap};

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The compressed blob, with the layer media type of the OCI family.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// The size of the uncompressed tar in bytes.
    pub uncompressed_size: u64,
    /// All entries in the order of the tar; none where the writer was to keep none.
    pub index: LayerIndex,
}

/// Is written the bytes of an uncompressed tar and makes a layer of them.
#[derive(Debug)]
pub struct LayerWriter<W: Write, T: Tap = ()> {
    observer: Observer<T>,
    output: Compressor<Counted<W>>,
    settings: Settings,
}

impl<W: Write> LayerWriter<W> {
    /// Returns a writer of a layer into `sink`.
    ///
    /// # Errors
    /// `Stream` where the compressor cannot start.
    pub fn new(sink: W, settings: Settings) -> Result<Self, LayerError> {
        Self::with_tap(sink, settings, ())
    }
}

impl<W: Write, T: Tap> LayerWriter<W, T> {
    /// Returns a writer that shows every entry to `tap` as well.
    ///
    /// # Errors
    /// `Stream` where the compressor cannot start.
    pub fn with_tap(sink: W, settings: Settings, tap: T) -> Result<Self, LayerError> {
        // An uncompressed blob is the tar: its digest is the diff id and need not be taken twice.
        let hasher = (settings.format() != oci::Compression::None).then(Hasher::default);
        let output = compressor(settings, Counted { sink, hasher, size: 0 }).map_err(LayerError::write)?;
        Ok(Self { observer: Observer::with_tap(tap), output, settings })
    }

    /// Returns the writer without a list of entries in memory: the index of what was written is then empty,
    /// and the tap, such as an [`crate::index::IndexWriter`], has the entries.
    #[must_use]
    pub fn without_index(self) -> Self {
        Self { observer: self.observer.without_index(), ..self }
    }

    /// Writes the end of the blob and returns the sink, not flushed, with what was written.
    ///
    /// # Errors
    /// `Damaged`, `Entry` or `TooLarge` where the bytes were not a tar; `Stream` where the sink fails.
    pub fn finish(self) -> Result<(W, Written), LayerError> {
        let (index, rest) = self.seal()?;
        let (sink, descriptor) = rest.finish()?;
        let written = Written { descriptor, diff_id: index.diff_id, uncompressed_size: index.size, index };
        Ok((sink, written))
    }

    /// Ends the tar and returns its index (empty where the writer was to keep none): what is in the layer is known from here on. Some of its blob is still to be compressed, which
    /// can be waited for in another thread.
    ///
    /// # Errors
    /// `Damaged`, `Entry` or `TooLarge` where the bytes were not a tar.
    pub fn seal(self) -> Result<(LayerIndex, Sealed<W>), LayerError> {
        let observed = self.observer.finish()?;
        let Self { output, settings, .. } = self;
        Ok((observed.index, Sealed { output, settings, diff_id: observed.diff_id }))
    }
}

/// The blob of a layer whose tar is complete, on its way through the compressor.
#[derive(Debug)]
pub struct Sealed<W: Write> {
    output: Compressor<Counted<W>>,
    settings: Settings,
    diff_id: DiffId,
}

impl<W: Write> Sealed<W> {
    /// Writes what is left of the blob and returns the sink, not flushed, with the blob's descriptor.
    ///
    /// # Errors
    /// `Stream` where the sink fails.
    pub fn finish(self) -> Result<(W, Descriptor), LayerError> {
        let Counted { sink, hasher, size } = self.output.finish().map_err(LayerError::write)?;
        let digest = hasher.map_or(self.diff_id.0, Hasher::finish);
        Ok((sink, Descriptor::new(MediaType::layer(self.settings.format()), digest, size)))
    }
}

impl<W: Write, T: Tap> Write for LayerWriter<W, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write_all(bytes)?;
        self.observer.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hashes and counts what goes into the sink.
#[derive(Debug)]
struct Counted<W> {
    sink: W,
    hasher: Option<Hasher>,
    size: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes[..count]);
        }
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use oci::{Compression, Digest};

    use super::*;
    use crate::{Entry, Kind, TarWriter, decompress};

    fn tar(size: u64) -> Vec<u8> {
        let kind = Kind::File { size, digest: None, offset: 0 };
        let path = b"a".to_vec();
        let entry = Entry { path, kind, mode: 0o644, uid: 0, gid: 0, mtime: 0, xattrs: Default::default() };
        let mut writer = TarWriter::new(Vec::new());
        writer.append(&entry, &mut std::io::repeat(7).take(size)).unwrap();
        writer.finish().unwrap()
    }

    #[track_caller]
    fn check(format: Compression, tar: &[u8]) {
        let mut writer = LayerWriter::new(Vec::new(), Settings::new(format)).unwrap();
        writer.write_all(tar).unwrap();
        let (blob, written) = writer.finish().unwrap();
        assert_eq!(written.descriptor, Descriptor::of(MediaType::layer(format), &blob));
        assert_eq!(written.diff_id.0, Digest::of(tar));
        assert_eq!(written.uncompressed_size, tar.len() as u64);
        assert_eq!(written.index.entries.len(), usize::from(tar.len() > 1024));
        let mut plain = Vec::new();
        decompress(std::io::Cursor::new(blob)).unwrap().read_to_end(&mut plain).unwrap();
        assert!(plain == tar);
    }

    #[test]
    fn digests_sizes_and_index_are_those_of_the_bytes() {
        for format in [Compression::None, Compression::Gzip, Compression::Zstd] {
            check(format, &tar(3_000_000));
            check(format, &[0; 1024]);
            check(format, &[]);
        }
    }

    #[test]
    fn what_is_no_tar_is_refused() {
        let mut writer = LayerWriter::new(Vec::new(), Settings::new(Compression::Gzip)).unwrap();
        assert!(writer.write_all(&[1; 600]).is_err());
        assert!(matches!(writer.finish(), Err(LayerError::Damaged { position: 0, .. })));
    }

    #[derive(Default)]
    struct Names(Vec<(Vec<u8>, usize)>);

    impl Tap for Names {
        fn entry(&mut self, entry: &Entry) {
            self.0.push((entry.path.clone(), 0));
        }

        fn data(&mut self, bytes: &[u8]) {
            self.0.last_mut().expect("content follows its entry").1 += bytes.len();
        }
    }

    #[test]
    fn taps_see_entries_and_content() {
        let mut names = Names::default();
        let settings = Settings::new(Compression::Zstd);
        let mut writer = LayerWriter::with_tap(io::sink(), settings, &mut names).unwrap();
        writer.write_all(&tar(100_000)).unwrap();
        writer.finish().unwrap();
        assert_eq!(names.0, [(b"a".to_vec(), 100_000)]);
    }
}
