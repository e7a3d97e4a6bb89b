//! Gzip copies of zstd layers, for readers that know only gzip.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use layer::{Hashed, Settings};
use oci::{Compression, Descriptor, Digest};

use super::writer::{OldReaders, Origin};
use crate::{ImageStore, StoreError};

/// The copies made for one archive.
pub(super) struct Twins {
    spool: Option<PathBuf>,
    made: BTreeMap<Digest, Twin>,
}

struct Twin {
    digest: Digest,
    size: u64,
    file: File,
}

impl Twins {
    pub fn new(old_readers: &OldReaders) -> Self {
        let spool = match old_readers {
            OldReaders::Ignore => None,
            OldReaders::GzipTwins { spool } => Some(spool.clone()),
        };
        Self { spool, made: BTreeMap::new() }
    }

    /// Returns the digest of what stands for `layer` in Docker's list: a copy where one is needed.
    pub fn of(&mut self, source: &dyn ImageStore, layer: &Descriptor) -> Result<Digest, StoreError> {
        let zstd = layer.media_type.layer_compression() == Some(Compression::Zstd);
        let Some(spool) = self.spool.as_ref().filter(|_| zstd) else { return Ok(layer.digest) };
        if let Some(twin) = self.made.get(&layer.digest) {
            return Ok(twin.digest);
        }
        let content = source.open_blob(&layer.digest)?;
        let twin = make(content, spool).map_err(|source| {
            StoreError::io("compress again", format!("layer {} in {}", layer.digest, spool.display()), source)
        })?;
        let digest = twin.digest;
        self.made.insert(layer.digest, twin);
        Ok(digest)
    }

    /// Returns the copies with their sizes.
    pub fn into_blobs<'a>(self) -> impl Iterator<Item = (Digest, (u64, Origin<'a>))> {
        self.made.into_values().map(|twin| (twin.digest, (twin.size, Origin::File(twin.file))))
    }
}

fn make(content: impl Read + Send + 'static, spool: &Path) -> io::Result<Twin> {
    let sink = Hashed::new(tempfile::tempfile_in(spool)?);
    let mut compressor = layer::compressor(Settings::new(Compression::Gzip), sink)?;
    io::copy(&mut layer::decompress(content)?, &mut compressor)?;
    let (mut file, digest, size) = compressor.finish()?.finish();
    file.rewind()?;
    Ok(Twin { digest, size, file })
}
