//! What the cache holds, and taking some of it away.

mod others;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use layer::LayerIndex;
use oci::{Descriptor, DiffId};
use store::StoreLock;

pub(super) use others::size_of;

use super::workspace::{Workspace, io_error};
use crate::BuildError;
use crate::cache::{CachedLayer, PrunePlan};

impl Workspace {
    /// Returns every layer that steps gave or that lies here unpacked, in no order.
    ///
    /// # Errors
    /// A folder of the cache cannot be read.
    pub fn cached_layers(&self) -> Result<Vec<CachedLayer>, BuildError> {
        let mut layers = BTreeMap::new();
        self.add_records(&mut layers)?;
        self.add_trees(&mut layers)?;
        self.add_variants(&mut layers)?;
        for (diff_id, layer) in &mut layers {
            let path = self.index_path(*diff_id);
            layer.index = path.exists().then_some(path);
            layer.unpacked_bytes = match (&layer.index, layer.trees.len()) {
                (Some(index), trees @ 1..) => size_by_index(index).unwrap_or(0) * trees as u64,
                _ => 0,
            };
        }
        Ok(layers.into_values().collect())
    }

    /// Removes what `plan` says. Nobody builds meanwhile: `lock` is the store's exclusive one.
    ///
    /// Records go first, so that whatever happens in between, no record names what is not there.
    ///
    /// # Errors
    /// A file cannot be removed; what was removed until then is gone.
    pub fn prune(&self, plan: &PrunePlan, lock: &StoreLock) -> Result<(), BuildError> {
        let remove = |path: &PathBuf| match fs::remove_file(path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(io_error("remove", path, source))
            }
            _ => Ok(()),
        };
        plan.layers.iter().flat_map(|layer| &layer.records).try_for_each(remove)?;
        for (digest, _) in &plan.blobs {
            self.store.remove_blob(digest, lock)?;
        }
        for layer in &plan.layers {
            // Only what steps gave; that of a base image is small and was dear to make.
            let is_step = layer.instruction.is_some();
            layer.index.iter().filter(|_| is_step).try_for_each(remove)?;
            for tree in &layer.trees {
                self.remove_tree(tree).map_err(|source| io_error("remove", tree, source))?;
            }
        }
        for path in plan.others.iter().flat_map(|kept| &kept.paths) {
            match fs::symlink_metadata(path) {
                Ok(found) if found.is_dir() => {
                    self.remove_tree(path).map_err(|source| io_error("remove", path, source))?;
                }
                _ => remove(path)?,
            }
        }
        self.records.remove_locks();
        Ok(())
    }

    /// The blob of a layer in another compression goes with the layer, and so does the note that names it.
    fn add_variants(&self, layers: &mut BTreeMap<DiffId, CachedLayer>) -> Result<(), BuildError> {
        for (diff_id, path) in self.variants() {
            let Some(layer) = layers.get_mut(&diff_id) else { continue };
            let named =
                fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Descriptor>(&bytes).ok());
            layer.records.push(path);
            let Some(named) = named else { continue };
            let blob = self.store.blob_size(&named.digest)?.map(|size| (named.digest, size));
            layer.blobs.extend(blob.filter(|blob| !layer.blobs.contains(blob)));
        }
        Ok(())
    }

    fn add_records(&self, layers: &mut BTreeMap<DiffId, CachedLayer>) -> Result<(), BuildError> {
        let records = self.records.all().map_err(|source| io_error("read", self.root(), source))?;
        for kept in records {
            let record = kept.record;
            let size = self.store.blob_size(&record.descriptor.digest)?;
            let layer = layers.entry(record.diff_id).or_insert_with(|| unused(record.diff_id));
            if layer.instruction.is_none() || kept.used >= layer.used {
                layer.instruction = Some(record.instruction);
            }
            layer.used = layer.used.max(kept.used);
            layer.milliseconds = layer.milliseconds.max(record.milliseconds);
            layer.records.push(kept.path);
            let blob = size.map(|size| (record.descriptor.digest, size));
            layer.blobs.extend(blob.filter(|blob| !layer.blobs.contains(blob)));
        }
        Ok(())
    }

    /// A tree is named by its layer's diff id, or where the layer cannot be unpacked alone by its chain's, which
    /// then counts as a layer of its own without records.
    fn add_trees(&self, layers: &mut BTreeMap<DiffId, CachedLayer>) -> Result<(), BuildError> {
        let folders = fs::read_dir(self.root()).map_err(|source| io_error("read", self.root(), source))?;
        for folder in folders.flatten() {
            if !folder.file_name().to_string_lossy().starts_with("trees-") {
                continue;
            }
            let trees =
                fs::read_dir(folder.path()).map_err(|source| io_error("read", &folder.path(), source))?;
            for tree in trees.flatten() {
                let name = format!("sha256:{}", tree.file_name().to_string_lossy());
                let Ok(digest) = name.parse() else { continue };
                let layer = layers.entry(DiffId(digest)).or_insert_with(|| unused(DiffId(digest)));
                layer.used = layer.used.max(made(&tree.path()));
                layer.trees.push(tree.path());
            }
        }
        Ok(())
    }
}

fn unused(diff_id: DiffId) -> CachedLayer {
    CachedLayer {
        diff_id,
        instruction: None,
        milliseconds: 0,
        used: SystemTime::UNIX_EPOCH,
        blobs: Vec::new(),
        unpacked_bytes: 0,
        records: Vec::new(),
        trees: Vec::new(),
        index: None,
    }
}

/// When a tree got its name, as far as the file system says.
fn made(tree: &Path) -> SystemTime {
    use std::os::unix::fs::MetadataExt as _;
    let changed = fs::symlink_metadata(tree).map(|metadata| metadata.ctime()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(changed.max(0).cast_unsigned())
}

fn size_by_index(index: &Path) -> Option<u64> {
    LayerIndex::read_size(fs::File::open(index).ok()?).ok()
}
