//! From a root file system, as a tar or a folder, to an image of one layer.
//!
//! The tar streams by once: it is decompressed, read entry by entry, written in our own canonical
//! form, compressed and hashed in the same pass. The same content gives the same digest: names of
//! users, access times and padding of the tar's writer leave no trace.

mod folder;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use layer::{Entry, LayerError, LayerWriter, Settings, TarReader, TarWriter, Written, decompress};
use oci::{
    Compression, Descriptor, Document, History, ImageConfig, ImageManifest, MediaType, Platform, RootFs,
    RuntimeConfig,
};
use store::{Blob, BlobStore, ImageStore, Ingest, LayoutRepository, StoreError};

pub use folder::Owners;

/// What an imported image says of itself.
#[derive(Clone, Debug)]
pub struct Import {
    /// What it runs on.
    pub platform: Platform,
    /// When it was made. Files of a folder are never younger.
    pub created: Timestamp,
    /// How it is run.
    pub runtime: RuntimeConfig,
    /// How the layer is compressed.
    pub compression: Compression,
    /// Who owns the files of a folder.
    pub owners: Owners,
}

/// What came of an import.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The manifest, which is in the repository.
    pub document: Document,
    /// Number of entries of the layer.
    pub entries: usize,
    /// Size of the layer's tar in bytes.
    pub uncompressed_size: u64,
    /// Size of the layer's blob in bytes.
    pub size: u64,
    /// Sockets and the like, which no layer can hold.
    pub skipped: Vec<PathBuf>,
}

/// Why something could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not a root file system that can become a layer.
    #[error("cannot make a layer of {}", path.display())]
    Layer {
        /// What was read.
        path: PathBuf,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// There is nothing in it; an image of it would be a mistake.
    #[error("there are no files in {}", path.display())]
    Empty {
        /// What was read.
        path: PathBuf,
    },
    /// It is an archive of images, which have configurations of their own: load it.
    #[error("{} is an archive of images and no root file system", path.display())]
    Archive {
        /// What was read.
        path: PathBuf,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type LayerTar = TarWriter<LayerWriter<Ingest>>;

impl Import {
    /// Makes an image of the tar, in whatever compression, or of the folder at `path` in `repository`.
    ///
    /// # Errors
    /// Where it cannot be read, is not a tar, is empty, or the store fails. No image is there then.
    pub fn run(&self, path: &Path, repository: &LayoutRepository) -> Result<Imported, ImportError> {
        let metadata = std::fs::metadata(path).map_err(|source| read_error(path, source))?;
        let layer_error = |source| ImportError::Layer { path: path.to_owned(), source };
        let ingest = repository.store().ingest()?;
        let writer = LayerWriter::new(ingest, Settings::new(self.compression)).map_err(layer_error)?;
        let mut tar = TarWriter::new(writer);
        let skipped = if metadata.is_dir() {
            let newest = self.created.as_second();
            folder::Folder { root: path, newest, owners: self.owners }.append_to(&mut tar)?
        } else {
            append_tar(path, &mut tar)?;
            Vec::new()
        };
        let (ingest, written) = tar.finish().and_then(LayerWriter::finish).map_err(layer_error)?;
        if written.index.entries.is_empty() {
            return Err(ImportError::Empty { path: path.to_owned() });
        }
        if is_archive(&written.index.entries) {
            return Err(ImportError::Archive { path: path.to_owned() });
        }
        ingest.commit(&written.descriptor.digest, written.descriptor.size)?;
        let document = self.store_image(&written, repository)?;
        Ok(Imported {
            document,
            entries: written.index.entries.len(),
            uncompressed_size: written.uncompressed_size,
            size: written.descriptor.size,
            skipped,
        })
    }

    fn store_image(&self, layer: &Written, repository: &LayoutRepository) -> Result<Document, ImportError> {
        repository.adopt_blob(&layer.descriptor.digest)?;
        let config = serde_json::to_vec(&self.config(layer)).expect("a configuration has only string keys");
        let descriptor = Descriptor::of(MediaType::OciConfig, &config);
        repository.put_blob(&descriptor, Blob::from_bytes(config))?;
        let document =
            Document::from_manifest(ImageManifest::new(descriptor, vec![layer.descriptor.clone()]));
        repository.put_document(&document)?;
        Ok(document)
    }

    fn config(&self, layer: &Written) -> ImageConfig {
        let created = Some(self.created.to_string());
        ImageConfig {
            architecture: self.platform.architecture.clone(),
            os: self.platform.os.clone(),
            variant: self.platform.variant.clone(),
            created: created.clone(),
            config: self.runtime.clone(),
            history: vec![History {
                created,
                created_by: Some("plimsoll import".to_owned()),
                ..History::default()
            }],
            rootfs: RootFs { diff_ids: vec![layer.diff_id], ..RootFs::default() },
            ..ImageConfig::default()
        }
    }
}

fn append_tar(path: &Path, tar: &mut LayerTar) -> Result<(), ImportError> {
    let file = File::open(path).map_err(|source| read_error(path, source))?;
    let input = decompress(file).map_err(|source| read_error(path, source))?;
    let mut reader = TarReader::new(input);
    let mut copy = || {
        while let Some(entry) = reader.next_entry()? {
            tar.append(&entry, &mut reader.content())?;
        }
        Ok(())
    };
    copy().map_err(|source| ImportError::Layer { path: path.to_owned(), source })
}

/// Whether these are the files of an image archive and of no root file system.
fn is_archive(entries: &[Entry]) -> bool {
    let has = |name: &[u8]| entries.iter().any(|entry| entry.path == name);
    let has_list = has(b"oci-layout") || has(b"manifest.json");
    has_list && ![&b"bin"[..], b"etc", b"usr", b"lib"].iter().any(|folder| has(folder))
}

fn read_error(path: &Path, source: io::Error) -> ImportError {
    ImportError::Read { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
