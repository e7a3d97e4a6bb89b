//! Where the engine keeps what it works with: the index and the unpacked tree of each layer, step
//! records, and folders of steps that run now.
//!
//! ```text
//! ROOT/indexes/<diff id>          what is in a layer, without its bytes
//! ROOT/trees-<mode>/<diff id>/    a layer unpacked in overlay form; made when a step reads it
//! ROOT/steps/<key>.json           which layer a step gave
//! ROOT/places/<place>             what the step at a place of a Dockerfile depended on when it last ran
//! ROOT/work/<random>/             a step or an unpacking that runs now
//! ```
//!
//! A tree or an index appears under its name by a rename when it is complete.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use layer::diff::Times;
use layer::observe::Tap;
use layer::{LayerWriter, Settings};
use oci::{Compression, Descriptor, DiffId, Digest};
use store::layout::LayoutStore;
use store::{Blob, Children, ImageStore, RepositoryOptions, StoreError};

use super::elsewhere::{Elsewhere, LazyRepository};
pub(crate) use super::layers::LayerRef;
use super::layers::UnfinishedLayer;
use super::views::Views;
use super::work::{LazySandbox, SandboxMaker, WorkFolder, WorkFolders};
use crate::BuildError;
use crate::cache::{Places, Records};
use crate::sandbox::{Mode, PackSettings, Sandbox, SandboxError};

/// Who has the blob of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The local store.
    Here,
    /// The cache of this name.
    Cache(String),
}

/// The engine's part of the state folder.
pub struct Workspace {
    root: PathBuf,
    pub(crate) store: LayoutStore,
    sandbox: Arc<LazySandbox>,
    work: WorkFolders,
    pub(crate) records: Records,
    pub(crate) places: Places,
    /// Whether layers are closed, as far as somebody asked.
    pub(super) closed: Mutex<HashMap<DiffId, bool>>,
    pub(super) views: Views,
    /// Layers that are known and not here.
    pub(super) elsewhere: Arc<Elsewhere>,
    pub(super) compression: Settings,
}

impl Workspace {
    /// Opens the folder, making it where it is not there, and clears what killed runs left.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(root: &Path, store: LayoutStore, make_sandbox: SandboxMaker) -> Result<Self, BuildError> {
        let indexes = root.join("indexes");
        fs::create_dir_all(&indexes).map_err(|source| io_error("create", &indexes, source))?;
        let steps = root.join("steps");
        let records = Records::open(&steps).map_err(|source| io_error("create", &steps, source))?;
        let sandbox = Arc::new(LazySandbox::new(make_sandbox));
        let work = WorkFolders::open(root.join("work"), Arc::clone(&sandbox))?;
        Ok(Self {
            root: root.to_owned(),
            store,
            sandbox,
            work,
            records,
            places: Places::new(root.join("places")),
            closed: Mutex::default(),
            views: Views::default(),
            elsewhere: Arc::default(),
            compression: Settings::new(Compression::Gzip),
        })
    }

    /// Returns the sandbox, made at the first call.
    ///
    /// # Errors
    /// The machine allows none; the message says which setting would.
    pub fn sandbox(&self) -> Result<Arc<Sandbox>, SandboxError> {
        self.sandbox.get()
    }

    /// Returns what makes the sandbox, to outlive the workspace.
    pub(super) fn lazy_sandbox(&self) -> Arc<LazySandbox> {
        Arc::clone(&self.sandbox)
    }

    /// Returns the sandbox for work on layers, where its absence is an error of the layer.
    pub(super) fn layer_sandbox(&self) -> Result<Arc<Sandbox>, BuildError> {
        self.sandbox().map_err(|error| BuildError::layer("unpack layers", error))
    }

    /// Returns the folder of unpacked layers.
    pub(super) fn trees(&self) -> Result<PathBuf, BuildError> {
        self.folder_of_kind("trees")
    }

    /// Returns the folder `name` for this kind of sandbox. Owners look different from each, so that each has
    /// its own.
    pub(crate) fn folder_of_kind(&self, name: &str) -> Result<PathBuf, BuildError> {
        let label = match self.layer_sandbox()?.mode() {
            Mode::Root => "root",
            Mode::NamespaceRoot { .. } => "namespace",
            Mode::UserSubordinate(_) => "subordinate",
            Mode::UserSingle => "single",
            Mode::Chroot => "chroot",
        };
        let folder = self.root.join(format!("{name}-{label}"));
        fs::create_dir_all(&folder).map_err(|source| io_error("create", &folder, source))?;
        Ok(folder)
    }

    /// Whether the layer's blob and index can both be had, so that a record that names it can be used, and who has
    /// the blob where it is not here. A blob that was damaged is set aside here and counts as missing.
    pub(crate) fn has_layer(&self, layer: &LayerRef) -> Result<Option<Holder>, BuildError> {
        let Descriptor { digest, size, .. } = layer.descriptor()?;
        let is_whole = match self.store.open_blob(digest) {
            Ok(blob) => blob.size() == *size,
            Err(StoreError::NotFound { .. } | StoreError::Corrupt { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        let holder = match self.elsewhere.origin(digest).and_then(|origin| origin.cache) {
            _ if is_whole => Holder::Here,
            Some(cache) if self.elsewhere.size(digest) == Some(*size) => Holder::Cache(cache),
            _ => return Ok(None),
        };
        Ok(self.has_index(layer.diff_id).then_some(holder))
    }

    /// Opens the blob of a layer, which is fetched where it is not here.
    pub(crate) fn open_layer(&self, layer: &LayerRef) -> Result<Blob, BuildError> {
        let descriptor = layer.descriptor()?;
        let digest = &descriptor.digest;
        match self.store.open_blob(digest) {
            Err(StoreError::NotFound { .. } | StoreError::Corrupt { .. })
                if self.elsewhere.origin(digest).is_some() =>
            {
                self.elsewhere.fetch(&self.store, descriptor)?;
                Ok(self.store.open_blob(digest)?)
            }
            opened => Ok(opened?),
        }
    }

    /// Brings layers here whose blobs are not, several at once.
    pub(crate) fn bring(&self, layers: &[&LayerRef]) -> Result<(), BuildError> {
        let mut missing: Vec<&Descriptor> = Vec::new();
        for layer in layers {
            let descriptor = layer.descriptor()?;
            if self.store.blob_size(&descriptor.digest)? != Some(descriptor.size)
                && !missing.contains(&descriptor)
            {
                missing.push(descriptor);
            }
        }
        Ok(self.elsewhere.fetch_all(&self.store, &missing)?)
    }

    /// Returns a repository of the local store in which layers that lie elsewhere count as present.
    pub fn lazy(&self, name: &oci::Repository) -> LazyRepository {
        let options = RepositoryOptions { children: Children::SparseLayers, ..RepositoryOptions::default() };
        LazyRepository::new(self.store.repository_with(name, options), Arc::clone(&self.elsewhere))
    }

    /// Returns the repositories from which a registry can link layers of an image that are not here.
    pub fn origins(&self, manifest: &oci::ImageManifest) -> Vec<oci::Repository> {
        self.elsewhere.repositories(&self.store, &manifest.layers.iter().collect::<Vec<_>>())
    }

    /// Makes a layer from the tar bytes that `fill` writes, and keeps its blob and index.
    pub(crate) fn write_layer<E>(
        &self,
        what: &str,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<LayerRef, BuildError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.begin_layer(what, (), fill)?.finish()
    }

    /// Does the same, shows every entry to `tap` on the way, and leaves it to the caller when the blob is finished.
    pub(crate) fn begin_layer<E>(
        &self,
        what: &str,
        tap: impl Tap,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<UnfinishedLayer, BuildError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let action = || format!("write the layer of {what}");
        let failed = |error| BuildError::layer(action(), error);
        let mut index = self.new_index()?;
        let writer = LayerWriter::with_tap(self.store.ingest()?, self.compression, (&mut index, tap));
        let mut writer = writer.map_err(failed)?.without_index();
        fill(&mut writer).map_err(|error| BuildError::layer(action(), error))?;
        let (of_tar, blob) = writer.seal().map_err(failed)?;
        self.keep_index(index, of_tar.diff_id, of_tar.size)?;
        Ok(UnfinishedLayer::new(of_tar.diff_id, blob, what))
    }

    /// Returns the folder that keeps digests of context files between runs.
    pub(crate) fn context_cache(&self) -> Result<PathBuf, BuildError> {
        let folder = self.root.join("contexts");
        fs::create_dir_all(&folder).map_err(|source| io_error("create", &folder, source))?;
        Ok(folder)
    }

    /// Makes a layer of what a step over the layers `below` changed.
    pub(crate) fn pack_upper(
        &self,
        upper: &Path,
        below: &[LayerRef],
        times: Times,
        what: &str,
        tap: Box<dyn Tap + '_>,
    ) -> Result<UnfinishedLayer, BuildError> {
        let sandbox = self.layer_sandbox()?;
        let lower = self.merged(below)?;
        let settings = PackSettings { times: Some(times), lower: Some(&lower), ..PackSettings::default() };
        self.begin_layer(what, tap, |tar| sandbox.pack_upper(upper, &settings, tar).map(drop))
    }

    /// Gives a folder in overlay form to a layer, where it has none yet. The folder is moved.
    pub(crate) fn adopt_tree(&self, layer: &LayerRef, folder: &Path) -> Result<PathBuf, BuildError> {
        let path = self.trees()?.join(layer.diff_id.0.hex());
        match fs::rename(folder, &path) {
            Ok(()) => Ok(path),
            Err(_) if path.is_dir() => Ok(path),
            Err(source) => Err(io_error("rename", folder, source)),
        }
    }

    /// Returns a new folder for a step, on the file system of the trees. It goes when dropped.
    pub(crate) fn work_folder(&self) -> Result<WorkFolder<'_>, BuildError> {
        self.work.make()
    }

    pub(super) fn check_diff_id(&self, layer: &LayerRef, found: DiffId) -> Result<(), BuildError> {
        if found == layer.diff_id {
            return Ok(());
        }
        Err(BuildError::Store(StoreError::Corrupt {
            what: format!("layer {}", layer.descriptor()?.digest),
            reason: format!("its uncompressed digest is {found}, the image says {}", layer.diff_id),
        }))
    }

    /// Returns the folder of all this.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Removes a folder with whatever owners its files have.
    pub(super) fn remove_tree(&self, path: &Path) -> io::Result<()> {
        self.sandbox
            .remove_tree(path)
            .then_some(())
            .ok_or_else(|| io::Error::other("some of it cannot be removed"))
    }
}

impl std::fmt::Debug for Workspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Workspace({})", self.root.display())
    }
}

/// Brings the blobs of a base image into the local store.
pub(crate) fn fetch_blob(
    store: &LayoutStore,
    source: &dyn ImageStore,
    descriptor: &Descriptor,
) -> Result<(), BuildError> {
    if store.blob_size(&descriptor.digest)? == Some(descriptor.size) {
        return Ok(());
    }
    let blob = source.open_blob(&descriptor.digest)?;
    store.put_blob(descriptor, blob)?;
    Ok(())
}

/// Returns the chain id of layers, or the digest of nothing for none: what a step sees below it.
pub(crate) fn chain(layers: &[LayerRef]) -> Digest {
    let diff_ids: Vec<DiffId> = layers.iter().map(|layer| layer.diff_id).collect();
    oci::digest::chain_id(&diff_ids).unwrap_or_else(|| Digest::of(b""))
}

pub(crate) fn io_error(action: &'static str, path: &Path, source: io::Error) -> BuildError {
    BuildError::Io { action, path: path.to_owned(), source }
}
