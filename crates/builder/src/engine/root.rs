//! An image as a root file system for commands that test it or run in it.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use layer::{ApplyOptions, Devices, LayerIndex, Owners, StoredIndex, TarWriter, Tree, Whiteouts};
use oci::{Descriptor, Document, ImageConfig};
use store::ImageStore;

use super::EmbeddedEngine;
use super::contents::View;
use super::fill::{Fill, Sources};
use super::place::{Attributes, place};
use super::work::WorkFolder;
use super::workspace::{LayerRef, fetch_blob};
use crate::BuildError;
use crate::context::Choice;
use crate::sandbox::RootFs;

/// An image's layers, unpacked, with a writable folder on top that goes when this is dropped.
#[derive(Debug)]
pub struct ImageRoot<'a> {
    /// How to run in it.
    pub config: ImageConfig,
    rootfs: RootFs,
    _work: WorkFolder<'a>,
}

impl ImageRoot<'_> {
    /// Returns the root file system.
    pub fn rootfs(&self) -> &RootFs {
        &self.rootfs
    }

    /// Returns the folder that holds what commands changed.
    pub fn upper(&self) -> &Path {
        &self.rootfs.upper
    }
}

impl EmbeddedEngine {
    /// Returns the image of one manifest as a root file system, unpacking layers that no one
    /// unpacked before.
    ///
    /// # Errors
    /// `Store` where a blob is missing or corrupt, `Layer` where a layer cannot be unpacked.
    pub fn image_root(
        &self,
        store: &dyn ImageStore,
        manifest: &Document,
    ) -> Result<ImageRoot<'_>, BuildError> {
        let workspace = &self.workspace;
        let (config, layers) = self.layers_of(store, manifest)?;
        let lowers = workspace.tree_stack(&layers)?;
        let work = workspace.work_folder()?;
        let rootfs = RootFs {
            lowers,
            upper: work.create("upper")?,
            work: work.create("work")?,
            read_only: false,
            merged: None,
        };
        Ok(ImageRoot { config, rootfs, _work: work })
    }

    /// Returns what is in each layer of the image, lowest first, reading only layers that no one read
    /// before.
    ///
    /// # Errors
    /// As for [`Self::image_root`].
    pub fn layer_indexes(
        &self,
        store: &dyn ImageStore,
        manifest: &Document,
    ) -> Result<Vec<Arc<LayerIndex>>, BuildError> {
        let (_, layers) = self.layers_of(store, manifest)?;
        layers
            .iter()
            .map(|layer| self.workspace.with_index(layer, StoredIndex::whole).map(Arc::new))
            .collect()
    }

    /// Writes the files of an image as one tar, whatever layers they are in, with their owners and times.
    ///
    /// # Errors
    /// `Store` where a blob is missing or corrupt, `Layer` where a layer cannot be read.
    pub fn write_tree(
        &self,
        store: &dyn ImageStore,
        manifest: &Document,
        output: &mut dyn Write,
    ) -> Result<(), BuildError> {
        self.write_trees(store, &[("/".to_owned(), manifest)], output)
    }

    /// Does the same with several images, each into the absolute folder beside it.
    ///
    /// # Errors
    /// As for [`Self::write_tree`].
    pub fn write_trees(
        &self,
        store: &dyn ImageStore,
        images: &[(String, &Document)],
        output: &mut dyn Write,
    ) -> Result<(), BuildError> {
        let mut tar = TarWriter::new(output);
        for (folder, manifest) in images {
            self.append_tree(store, manifest, folder, &mut tar)?;
        }
        tar.finish().map_err(|error| BuildError::layer("end the tar", error)).map(drop)
    }

    fn append_tree(
        &self,
        store: &dyn ImageStore,
        manifest: &Document,
        folder: &str,
        tar: &mut TarWriter<&mut dyn Write>,
    ) -> Result<(), BuildError> {
        let workspace = &self.workspace;
        let (_, layers) = self.layers_of(store, manifest)?;
        let view = View::of(workspace, &layers)?;
        let failed = |reason: String| BuildError::layer("read the image", std::io::Error::other(reason));
        let everything = ["/".to_owned()];
        let groups = super::source::from_layers(&view, "the image", &everything, &Choice::literal());
        let (nothing, attributes) = (Tree::new(&[]), Attributes::default());
        let placed = place(&nothing, folder, &groups.map_err(failed)?, &attributes, workspace.root())
            .map_err(|error| error.or(failed))?;
        let sources = Sources { context: None, layers: &layers };
        Fill::new(workspace, sources).append(tar, &placed)
    }

    /// Writes the files of an image into a folder, as files of whoever runs this; what is there already stays
    /// or is replaced. Devices are left out.
    ///
    /// # Errors
    /// As for [`Self::write_tree`], and what the folder refuses.
    pub fn write_folder(
        &self,
        store: &dyn ImageStore,
        manifest: &Document,
        folder: &Path,
    ) -> Result<(), BuildError> {
        let failed = |error| super::workspace::io_error("write to", folder, error);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let (mut read, mut write) = std::io::pipe().map_err(failed)?;
        let options = ApplyOptions {
            whiteouts: Whiteouts::Remove,
            owners: Owners::Ignore,
            devices: Devices::Skip,
            lower: None,
        };
        std::thread::scope(|threads| {
            let written = threads.spawn(move || self.write_tree(store, manifest, &mut write));
            let applied = layer::apply(&mut read, folder, &options);
            // A writer must not wait for a reader that gave up.
            drop(read);
            let written = written.join().expect("writing returns its errors and does not panic");
            applied.map_err(|error| BuildError::layer(format!("write {}", folder.display()), error))?;
            written
        })
    }

    /// Brings the blobs of an image into the local store and returns its configuration and layers.
    fn layers_of(
        &self,
        store: &dyn ImageStore,
        manifest: &Document,
    ) -> Result<(ImageConfig, Vec<LayerRef>), BuildError> {
        let workspace = &self.workspace;
        let corrupt = |reason: String| {
            let what = format!("manifest {}", manifest.digest());
            BuildError::Store(store::StoreError::Corrupt { what, reason })
        };
        let image = manifest.as_image().ok_or_else(|| corrupt("it is an index".to_owned()))?;
        let is_elsewhere = |blob: &&Descriptor| workspace.elsewhere.origin(&blob.digest).is_some();
        workspace
            .elsewhere
            .fetch_all(&workspace.store, &image.layers.iter().filter(is_elsewhere).collect::<Vec<_>>())?;
        for blob in image.blobs() {
            fetch_blob(&workspace.store, store, blob)?;
        }
        let config = super::build::read_config(&workspace.store, &image.config)?;
        let config: ImageConfig = serde_json::from_slice(&config)
            .map_err(|error| corrupt(format!("its configuration: {error}")))?;
        let layer = |(diff_id, layer): (&oci::DiffId, &Descriptor)| LayerRef::new(*diff_id, layer.clone());
        let layers: Vec<LayerRef> = config.rootfs.diff_ids.iter().zip(&image.layers).map(layer).collect();
        Ok((config, layers))
    }
}
