//! How layers that are made here are compressed, and the same layer once more in another compression.
//!
//! Steps are looked up by what they depend on, which the compression is not part of. A step whose result is known
//! in another compression than is asked for is not run again: its layer is compressed anew, once, and that blob is
//! found by the diff id from then on.
//!
//! ```text
//! ROOT/variants/<diff id>-<compression>   descriptor of the layer in that compression
//! ```

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use layer::Settings;
use oci::{Descriptor, DiffId};

use super::workspace::{Holder, LayerRef, Workspace, io_error};
use crate::BuildError;
use crate::cache::{CacheKey, StepRecord};

/// A layer that a record names.
pub(crate) struct KnownLayer {
    pub layer: LayerRef,
    pub holder: Holder,
    /// What is known of it, in the compression that is asked for.
    pub record: StepRecord,
}

impl Workspace {
    /// Returns the workspace with another compression for the layers it makes.
    #[must_use]
    pub fn with_compression(mut self, compression: Settings) -> Self {
        self.compression = compression;
        self
    }

    /// Returns the layer that a record names, in the compression of this workspace, and who has it; `None` where
    /// there is no record or the layer is not whole any more.
    pub(crate) fn known_layer(&self, key: &CacheKey) -> Result<Option<KnownLayer>, BuildError> {
        match self.records.get(key) {
            Some(record) => self.recorded_layer(record),
            None => Ok(None),
        }
    }

    /// Returns the layer of a record, as [`Self::known_layer`] does.
    pub(crate) fn recorded_layer(&self, record: StepRecord) -> Result<Option<KnownLayer>, BuildError> {
        let known = LayerRef::new(record.diff_id, record.descriptor.clone());
        let holder = self.has_layer(&known)?;
        if self.is_as_asked(&record) {
            return Ok(holder.map(|holder| KnownLayer { layer: known, holder, record }));
        }
        let compression = self.compression.to_string();
        if let Some(variant) = self.variant(record.diff_id)?
            && let Some(holder) = self.has_layer(&variant)?
        {
            let record = record.variant(variant.descriptor()?, compression);
            return Ok(Some(KnownLayer { layer: variant, holder, record }));
        }
        let Some(holder) = holder else { return Ok(None) };
        let layer = self.compress_again(&known)?;
        let record = record.variant(layer.descriptor()?, compression);
        Ok(Some(KnownLayer { layer, holder, record }))
    }

    fn is_as_asked(&self, record: &StepRecord) -> bool {
        let noted = match record.compression.as_str() {
            // Before it was noted there was no other.
            "" => "gzip:3",
            noted => noted,
        };
        noted == self.compression.to_string()
    }

    fn variant(&self, diff_id: DiffId) -> Result<Option<LayerRef>, BuildError> {
        let path = self.variant_path(diff_id);
        match fs::read(&path) {
            // A damaged note counts as none.
            Ok(bytes) => Ok(serde_json::from_slice::<Descriptor>(&bytes)
                .ok()
                .map(|descriptor| LayerRef::new(diff_id, descriptor))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io_error("read", &path, source)),
        }
    }

    fn compress_again(&self, layer: &LayerRef) -> Result<LayerRef, BuildError> {
        let blob = self.open_layer(layer)?;
        let mut tar =
            layer::decompress(blob).map_err(|error| BuildError::layer("compress a layer anew", error))?;
        let again = self.write_layer("a known step", |output| io::copy(&mut tar, output).map(drop))?;
        self.check_diff_id(layer, again.diff_id)?;
        let (path, descriptor) = (self.variant_path(layer.diff_id), again.descriptor()?);
        let folder = path.parent().expect("variants lie in a folder");
        let write = || -> io::Result<()> {
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&serde_json::to_vec(descriptor)?)?;
            file.persist(&path).map(drop).map_err(|error| error.error)
        };
        write().map_err(|source| io_error("write", &path, source))?;
        Ok(again)
    }

    fn variant_path(&self, diff_id: DiffId) -> PathBuf {
        let compression = self.compression.to_string().replace(':', "-");
        self.root().join("variants").join(format!("{}-{compression}", diff_id.0.hex()))
    }
}
