//! Layers unpacked in overlay form, each in a folder of its own that steps share.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use layer::Tree;
use oci::Digest;

use super::workspace::{LayerRef, Workspace, chain, io_error};
use crate::BuildError;

impl Workspace {
    /// Returns the folders with the layers unpacked in overlay form, lowest first, unpacking those
    /// that are not.
    pub(crate) fn tree_stack(&self, layers: &[LayerRef]) -> Result<Vec<PathBuf>, BuildError> {
        self.bring_for_trees(layers)?;
        let mut stack = Vec::with_capacity(layers.len());
        for (at, layer) in layers.iter().enumerate() {
            // Overlayfs takes no folder twice. Of a layer that comes again, such as the empty one, the
            // upper place is what counts: everything it says is said again there.
            let comes_again = layers[at + 1..].iter().any(|above| above.diff_id == layer.diff_id);
            if !comes_again {
                stack.push(self.tree(layer, &layers[..at])?);
            }
        }
        Ok(stack)
    }

    /// Unpacks layers where nobody has looked into one of them yet, and something can be unpacked: asking for that
    /// tries out a sandbox, and says so.
    pub(crate) fn unpack_new(&self, layers: &[LayerRef]) -> Result<(), BuildError> {
        let is_new = layers.iter().any(|layer| !self.has_index(layer.diff_id));
        match is_new && self.sandbox().is_ok() {
            true => self.tree_stack(layers).map(drop),
            false => Ok(()),
        }
    }

    /// Returns the folder that a layer over those `below` is unpacked to, and whether it takes anything from them.
    fn tree_path(&self, layer: &LayerRef, below: &[LayerRef]) -> Result<(PathBuf, bool), BuildError> {
        let own = self.own_tree(layer)?;
        if own.is_dir() {
            return Ok((own, true));
        }
        // A layer that uses folders without naming them takes their owners and modes from below.
        let is_closed = self.is_closed(layer)?;
        let path = if is_closed { own } else { self.trees()?.join(chain_with(below, layer).hex()) };
        Ok((path, is_closed))
    }

    /// Brings the blobs of layers that have to be unpacked.
    fn bring_for_trees(&self, layers: &[LayerRef]) -> Result<(), BuildError> {
        let mut needed = Vec::new();
        for (at, layer) in layers.iter().enumerate() {
            // The tree of a step that ran just now is there before its blob.
            if self.has_tree(layer, &layers[..at])? {
                continue;
            }
            let blob = layer.descriptor()?;
            if self.store.blob_size(&blob.digest)? != Some(blob.size) {
                needed.push(layer);
            }
        }
        self.bring(&needed)
    }

    /// Whether a layer over those `below` is unpacked. One that nobody has looked into is not.
    fn has_tree(&self, layer: &LayerRef, below: &[LayerRef]) -> Result<bool, BuildError> {
        let is_new = !self.has_index(layer.diff_id) && !self.own_tree(layer)?.is_dir();
        Ok(!is_new && self.tree_path(layer, below)?.0.is_dir())
    }

    /// Returns where a layer is unpacked that takes nothing from those below it.
    fn own_tree(&self, layer: &LayerRef) -> Result<PathBuf, BuildError> {
        Ok(self.trees()?.join(layer.diff_id.0.hex()))
    }

    /// Returns the folder with a layer unpacked over those `below`.
    fn tree(&self, layer: &LayerRef, below: &[LayerRef]) -> Result<PathBuf, BuildError> {
        let own = self.own_tree(layer)?;
        if !self.has_index(layer.diff_id) {
            self.make_tree(&own, || match self.has_index(layer.diff_id) {
                true => Ok(()),
                false => self.take_in(layer, &own),
            })?;
        }
        let (path, is_closed) = self.tree_path(layer, below)?;
        let lower = if is_closed || path.is_dir() { None } else { Some(self.merged(below)?) };
        self.make_tree(&path, || self.unpack(layer, lower.as_deref(), &path))?;
        Ok(path)
    }

    /// Does `work`, which makes the folder `path`, where it is not there and nobody else makes it.
    fn make_tree(
        &self,
        path: &Path,
        work: impl FnOnce() -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        if path.is_dir() {
            return Ok(());
        }
        let lock = path.with_extension("lock");
        let file = File::create(&lock).map_err(|source| io_error("create", &lock, source))?;
        file.lock().map_err(|source| io_error("lock", &lock, source))?;
        if !path.is_dir() {
            work()?;
        }
        // Whoever waited for the lock as well may have removed it; it is found again by its name.
        let _ = fs::remove_file(&lock);
        Ok(())
    }

    fn unpack(&self, layer: &LayerRef, lower: Option<&Tree>, path: &Path) -> Result<(), BuildError> {
        let work = self.work_folder()?;
        let target = work.create("tree")?;
        let digest = layer.descriptor()?.digest;
        let action = || format!("unpack the layer {digest}");
        let blob = self.open_layer(layer)?;
        let mut tar = layer::decompress(blob).map_err(|error| BuildError::layer(action(), error))?;
        self.layer_sandbox()?
            .apply_layer(&mut tar, &target, lower)
            .map_err(|error| BuildError::layer(action(), error))?;
        fs::rename(&target, path).map_err(|source| io_error("write", path, source))?;
        work.leave();
        Ok(())
    }
}

fn chain_with(below: &[LayerRef], layer: &LayerRef) -> Digest {
    let layers: Vec<LayerRef> = below.iter().chain([layer]).cloned().collect();
    chain(&layers)
}
