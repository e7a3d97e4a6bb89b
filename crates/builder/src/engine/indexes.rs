//! What is in each layer, without its bytes: kept on disk by diff id, taken from the cache that has it, or made of
//! the layer itself, in this order.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::PathBuf;

use layer::index::IndexWriter;
use layer::{LayerError, LayerIndex, Listing as _, Observer as LayerObserver, StoredIndex};
use oci::DiffId;
use tempfile::{NamedTempFile, SpooledTempFile};

use super::workspace::{LayerRef, Workspace, io_error};
use crate::BuildError;
use crate::cache::MAX_INDEX_BYTES;

/// Indexes of layers that are being made are in memory up to here.
const INDEX_BYTES_IN_MEMORY: usize = 1 << 20;

impl Workspace {
    /// Returns what `read` makes of the index of a layer. The layer's blob is read only where there is no index
    /// yet, or a damaged one.
    pub(crate) fn with_index<T>(
        &self,
        layer: &LayerRef,
        mut read: impl FnMut(&StoredIndex) -> Result<T, LayerError>,
    ) -> Result<T, BuildError> {
        if let Ok(found) = read(&self.index(layer)?) {
            return Ok(found);
        }
        // The blob is the truth.
        self.make_index(layer)?;
        self.index(layer).and_then(|index| read(&index).map_err(unreadable))
    }

    /// Opens the index of a layer, which comes from elsewhere or is made where it is not here. That it is whole
    /// is known when it was read.
    pub(super) fn index(&self, layer: &LayerRef) -> Result<StoredIndex, BuildError> {
        let path = self.index_path(layer.diff_id);
        match File::open(&path).map(StoredIndex::new) {
            Ok(Ok(index)) if index.diff_id() == layer.diff_id => return Ok(index),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(io_error("read", &path, source)),
        }
        if !self.fetch_index(layer.diff_id)? {
            self.make_index(layer)?;
        }
        StoredIndex::open(&path).map_err(unreadable)
    }

    /// Whether every folder that the layer uses has an entry in it.
    pub(super) fn is_closed(&self, layer: &LayerRef) -> Result<bool, BuildError> {
        if let Some(known) = self.closed.lock().expect("no holder panics").get(&layer.diff_id) {
            return Ok(*known);
        }
        let is_closed = self.with_index(layer, StoredIndex::is_closed)?;
        self.closed.lock().expect("no holder panics").insert(layer.diff_id, is_closed);
        Ok(is_closed)
    }

    /// Whether the index of a layer is here or lies in a cache.
    pub(super) fn has_index(&self, diff_id: DiffId) -> bool {
        self.index_path(diff_id).exists() || self.elsewhere.index(diff_id).is_some()
    }

    /// Makes the index of a layer from its blob.
    pub(super) fn make_index(&self, layer: &LayerRef) -> Result<(), BuildError> {
        let digest = layer.descriptor()?.digest;
        let action = || format!("read the layer {digest}");
        let blob = self.open_layer(layer)?;
        let mut tar = layer::decompress(blob).map_err(|error| BuildError::layer(action(), error))?;
        let mut index = self.new_index()?;
        let mut observer = LayerObserver::with_tap(&mut index).without_index();
        io::copy(&mut tar, &mut observer).map_err(|error| BuildError::layer(action(), error))?;
        let observed = observer.finish().map_err(|error| BuildError::layer(action(), error))?;
        self.check_diff_id(layer, observed.diff_id)?;
        self.keep_index(index, observed.diff_id, observed.size)
    }

    /// Fetches the index of a layer from the cache that has it; says whether one has, and it is that layer's.
    fn fetch_index(&self, diff_id: DiffId) -> Result<bool, BuildError> {
        let Some((descriptor, origin)) = self.elsewhere.index(diff_id) else { return Ok(false) };
        let mut file = self.new_index_file()?;
        let fetched = origin.store.open_blob(&descriptor.digest).map_err(|error| error.to_string());
        let index = fetched.and_then(|blob| {
            io::copy(&mut blob.take(MAX_INDEX_BYTES + 1), &mut file).map_err(|error| error.to_string())?;
            let index = StoredIndex::open(file.path());
            let index = index.and_then(|index| index.check().map(|()| index));
            index.map_err(|error| error.to_string())
        });
        match index {
            Ok(index) if index.diff_id() == diff_id => self.persist_index(file, diff_id).map(|()| true),
            found => {
                // It is made again from the layer, which is the truth.
                let reason = found.err().unwrap_or_else(|| "it is another layer's".to_owned());
                tracing::warn!(%diff_id, reason, "the index of a layer in a cache cannot be used");
                self.elsewhere.forget_index(diff_id);
                Ok(false)
            }
        }
    }

    /// Returns a writer for the index of a layer that is being made: in memory while it is small.
    pub(super) fn new_index(&self) -> Result<IndexWriter<SpooledTempFile>, BuildError> {
        let folder = self.root().join("indexes");
        let body = tempfile::spooled_tempfile_in(INDEX_BYTES_IN_MEMORY, &folder);
        IndexWriter::new(body).map_err(|source| io_error("create a file in", &folder, source))
    }

    /// Keeps the index of a layer that was made.
    pub(super) fn keep_index(
        &self,
        index: IndexWriter<SpooledTempFile>,
        diff_id: DiffId,
        size: u64,
    ) -> Result<(), BuildError> {
        let folder = self.root().join("indexes");
        let failed = |error| BuildError::layer("write a layer index", error);
        let (mut body, entries) = index.finish().map_err(failed)?;
        body.rewind().map_err(|source| io_error("read a file in", &folder, source))?;
        let mut file = self.new_index_file()?;
        LayerIndex::write_whole(&mut file, diff_id, size, entries, body).map_err(failed)?;
        self.persist_index(file, diff_id)
    }

    fn new_index_file(&self) -> Result<NamedTempFile, BuildError> {
        let folder = self.root().join("indexes");
        NamedTempFile::new_in(&folder).map_err(|source| io_error("create a file in", &folder, source))
    }

    fn persist_index(&self, file: NamedTempFile, diff_id: DiffId) -> Result<(), BuildError> {
        let path = self.index_path(diff_id);
        file.persist(&path).map(drop).map_err(|error| io_error("write", &path, error.error))
    }

    pub(super) fn index_path(&self, diff_id: DiffId) -> PathBuf {
        self.root().join("indexes").join(diff_id.0.hex())
    }
}

fn unreadable(error: LayerError) -> BuildError {
    BuildError::layer("read a layer index", error)
}
