//! What is in each layer, without its bytes: kept on disk by diff id, taken from the cache that has it, or made of
//! the layer itself, in this order.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use layer::index::IndexWriter;
use layer::{LayerIndex, Observer as LayerObserver};
use oci::DiffId;
use tempfile::SpooledTempFile;

use super::workspace::{LayerRef, Workspace, io_error};
use crate::BuildError;
use crate::cache::MAX_INDEX_BYTES;

/// Indexes of layers that are being made are in memory up to here.
const INDEX_BYTES_IN_MEMORY: usize = 1 << 20;

impl Workspace {
    /// Returns what is in a layer, reading its blob only where that was never done before.
    pub(crate) fn index(&self, layer: &LayerRef) -> Result<Arc<LayerIndex>, BuildError> {
        if let Some(index) = self.known_index(layer.diff_id) {
            return Ok(index);
        }
        let index = self.read_or_make_index(layer)?;
        let index = Arc::new(index);
        self.indexes.lock().expect("no holder panics").insert(layer.diff_id, Arc::clone(&index));
        Ok(index)
    }

    /// Whether the index of a layer is here or lies in a cache.
    pub(super) fn has_index(&self, diff_id: DiffId) -> bool {
        self.index_path(diff_id).exists() || self.elsewhere.index(diff_id).is_some()
    }

    /// Returns the indexes of layers, the unknown ones read two at a time: the first is mostly that of a base
    /// image, as large as all others together.
    pub(super) fn indexes_of(&self, layers: &[LayerRef]) -> Result<Vec<Arc<LayerIndex>>, BuildError> {
        let unknown: Vec<_> =
            layers.iter().filter(|layer| self.known_index(layer.diff_id).is_none()).collect();
        let next = AtomicUsize::new(0);
        let read = || {
            while let Some(layer) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
                // What goes wrong is said below, in the order of the layers.
                let _ = self.index(layer);
            }
        };
        if unknown.len() > 1 {
            std::thread::scope(|threads| {
                threads.spawn(read);
                read();
            });
        }
        layers.iter().map(|layer| self.index(layer)).collect()
    }

    fn known_index(&self, diff_id: DiffId) -> Option<Arc<LayerIndex>> {
        self.indexes.lock().expect("no holder panics").get(&diff_id).cloned()
    }

    fn read_or_make_index(&self, layer: &LayerRef) -> Result<LayerIndex, BuildError> {
        let path = self.index_path(layer.diff_id);
        match File::open(&path).map(LayerIndex::read_from) {
            Ok(Ok(index)) if index.diff_id == layer.diff_id => return Ok(index),
            // A damaged index is made again from the blob, which is the truth.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(io_error("read", &path, source)),
        }
        if let Some(index) = self.fetch_index(layer.diff_id) {
            self.save_index(&index)?;
            return Ok(index);
        }
        let digest = layer.descriptor()?.digest;
        let action = || format!("read the layer {digest}");
        let blob = self.open_layer(layer)?;
        let mut tar = layer::decompress(blob).map_err(|error| BuildError::layer(action(), error))?;
        let mut observer = LayerObserver::new();
        io::copy(&mut tar, &mut observer).map_err(|error| BuildError::layer(action(), error))?;
        let observed = observer.finish().map_err(|error| BuildError::layer(action(), error))?;
        self.check_diff_id(layer, observed.diff_id)?;
        self.save_index(&observed.index)?;
        Ok(observed.index)
    }

    /// Returns the index of a layer from the cache that has it; `None` where none has, or it is not that layer's.
    fn fetch_index(&self, diff_id: DiffId) -> Option<LayerIndex> {
        let (descriptor, origin) = self.elsewhere.index(diff_id)?;
        let fetched = origin.store.open_blob(&descriptor.digest).map_err(|error| error.to_string());
        let index = fetched.and_then(|blob| {
            let mut bytes = Vec::new();
            let read = blob.take(MAX_INDEX_BYTES + 1).read_to_end(&mut bytes);
            read.map_err(|error| error.to_string())?;
            LayerIndex::read_from(&bytes[..]).map_err(|error| error.to_string())
        });
        match index {
            Ok(index) if index.diff_id == diff_id => Some(index),
            found => {
                // It is made again from the layer, which is the truth.
                let reason = found.err().unwrap_or_else(|| "it is another layer's".to_owned());
                tracing::warn!(%diff_id, reason, "the index of a layer in a cache cannot be used");
                self.elsewhere.forget_index(diff_id);
                None
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
        let (path, folder) = (self.index_path(diff_id), self.root().join("indexes"));
        let failed = |error| BuildError::layer("write a layer index", error);
        let (mut body, entries) = index.finish().map_err(failed)?;
        body.rewind().map_err(|source| io_error("read a file in", &folder, source))?;
        let mut file = tempfile::NamedTempFile::new_in(&folder)
            .map_err(|source| io_error("create a file in", &folder, source))?;
        LayerIndex::write_whole(&mut file, diff_id, size, entries, body).map_err(failed)?;
        file.persist(&path).map_err(|error| io_error("write", &path, error.error))?;
        Ok(())
    }

    pub(super) fn save_index(&self, index: &LayerIndex) -> Result<(), BuildError> {
        let path = self.index_path(index.diff_id);
        let folder = self.root().join("indexes");
        let mut file = tempfile::NamedTempFile::new_in(&folder)
            .map_err(|source| io_error("create a file in", &folder, source))?;
        index.write_to(&mut file).map_err(|error| BuildError::layer("write a layer index", error))?;
        file.persist(&path).map_err(|error| io_error("write", &path, error.error))?;
        Ok(())
    }

    pub(super) fn index_path(&self, diff_id: DiffId) -> PathBuf {
        self.root().join("indexes").join(diff_id.0.hex())
    }
}
