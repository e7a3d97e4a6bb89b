//! Bytes of single files out of layer blobs, without unpacking anything.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use layer::{FollowLast, Kind, Tree};

use super::workspace::{LayerRef, Workspace};
use crate::BuildError;

/// Files larger than this are not read as text.
const MAX_TEXT_BYTES: u64 = 4 << 20;

/// Reads files of one layer in the order of their offsets, in one pass over the blob.
pub(crate) struct LayerContents {
    tar: Box<dyn Read + Send>,
    position: u64,
}

impl LayerContents {
    /// Opens the layer.
    pub fn open(workspace: &Workspace, layer: &LayerRef) -> Result<Self, BuildError> {
        let blob = workspace.open_layer(layer)?;
        let digest = layer.descriptor()?.digest;
        let tar = layer::decompress(blob)
            .map_err(|error| BuildError::layer(format!("read the layer {digest}"), error))?;
        Ok(Self { tar, position: 0 })
    }

    /// Whether the bytes at `offset` were not passed yet.
    pub fn reaches(&self, offset: u64) -> bool {
        offset >= self.position
    }

    /// Returns a reader of the `size` bytes at `offset`, which must not lie before what was read.
    pub fn file(&mut self, offset: u64, size: u64) -> io::Result<impl Read + '_> {
        let skip = offset.checked_sub(self.position).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "files of a layer are read in their order")
        })?;
        let skipped = io::copy(&mut (&mut self.tar).take(skip), &mut io::sink())?;
        if skipped != skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position = offset + size;
        Ok((&mut self.tar).take(size))
    }
}

/// Returns a path of a layer as one of the system.
pub(crate) fn os_path(path: &[u8]) -> PathBuf {
    std::ffi::OsStr::from_bytes(path).into()
}

/// The layers of an image with their merged view.
#[derive(Clone)]
pub(crate) struct View {
    pub layers: Vec<LayerRef>,
    pub tree: Arc<Tree>,
}

impl View {
    /// Returns the view of `layers`, reading indexes only.
    pub fn of(workspace: &Workspace, layers: &[LayerRef]) -> Result<Self, BuildError> {
        Ok(Self { layers: layers.to_vec(), tree: workspace.merged(layers)? })
    }

    /// Returns the content of a text file such as `/etc/passwd`; `None` where there is none.
    pub fn text(&self, workspace: &Workspace, path: &str) -> Result<Option<String>, BuildError> {
        let Ok(resolved) = self.tree.resolve(path.as_bytes(), FollowLast::Yes) else { return Ok(None) };
        let Some(node) = resolved.node else { return Ok(None) };
        let Kind::File { size, offset, .. } = node.content.kind else { return Ok(None) };
        if size > MAX_TEXT_BYTES {
            return Ok(None);
        }
        let layer = &self.layers[node.content_layer];
        let mut contents = LayerContents::open(workspace, layer)?;
        let mut bytes = Vec::new();
        contents
            .file(offset, size)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|error| BuildError::layer(format!("read {path} in the image"), error))?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}
