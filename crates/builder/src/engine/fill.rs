//! Entries and their bytes to a layer.

use std::io::{self, Read, Write};
use std::path::Path;

use layer::{Kind, TarWriter};

use super::contents::LayerContents;
use super::items::Content;
use super::place::Placed;
use super::workspace::{LayerRef, Workspace};
use crate::BuildError;
use crate::context::Context;

/// Where the bytes of placed entries lie.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sources<'a> {
    pub context: Option<&'a Context>,
    pub layers: &'a [LayerRef],
}

/// Writes entries with their bytes into a tar.
pub(crate) struct Fill<'a> {
    workspace: &'a Workspace,
    sources: Sources<'a>,
    open: Option<(usize, LayerContents)>,
}

impl<'a> Fill<'a> {
    pub fn new(workspace: &'a Workspace, sources: Sources<'a>) -> Self {
        Self { workspace, sources, open: None }
    }

    /// Appends `placed`, in its order.
    pub fn append(
        &mut self,
        tar: &mut TarWriter<&mut dyn Write>,
        placed: &[Placed],
    ) -> Result<(), BuildError> {
        for placed in placed {
            let name = || format!("/{}", String::from_utf8_lossy(&placed.entry.path));
            self.append_one(tar, placed)
                .map_err(|error| BuildError::layer(format!("copy to {}", name()), error))?;
        }
        Ok(())
    }

    fn append_one(
        &mut self,
        tar: &mut TarWriter<&mut dyn Write>,
        placed: &Placed,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Kind::File { size, .. } = placed.entry.kind else {
            return Ok(tar.append(&placed.entry, &mut io::empty())?);
        };
        match &placed.content {
            None => tar.append(&placed.entry, &mut io::empty())?,
            Some(Content::Inline(bytes)) => tar.append(&placed.entry, &mut bytes.as_slice())?,
            Some(Content::Context(path)) => {
                let context = self.sources.context.expect("entries of a context come with it");
                tar.append(&placed.entry, &mut context.open_file(path)?)?;
            }
            Some(Content::File(path)) => tar.append(&placed.entry, &mut std::fs::File::open(path)?)?,
            Some(Content::Layer { layer, offset }) => {
                let mut file = self.contents(*layer, *offset)?.file(*offset, size)?;
                tar.append(&placed.entry, &mut file as &mut dyn Read)?;
            }
        }
        Ok(())
    }

    /// Returns the source layer, opened so that `offset` lies ahead.
    fn contents(&mut self, layer: usize, offset: u64) -> Result<&mut LayerContents, BuildError> {
        let usable =
            matches!(&self.open, Some((open, contents)) if *open == layer && contents.reaches(offset));
        if !usable {
            self.open = None;
        }
        match &mut self.open {
            Some((_, contents)) => Ok(contents),
            none => {
                let contents = LayerContents::open(self.workspace, &self.sources.layers[layer])?;
                Ok(&mut none.insert((layer, contents)).1)
            }
        }
    }
}

/// Makes a layer of entries whose bytes lie in `sources`.
pub(crate) fn write_layer(
    workspace: &Workspace,
    placed: &[Placed],
    sources: Sources<'_>,
    what: &str,
) -> Result<LayerRef, BuildError> {
    workspace.write_layer(what, |output| {
        let mut tar = TarWriter::new(output);
        Fill::new(workspace, sources).append(&mut tar, placed)?;
        tar.finish().map_err(|error| BuildError::layer("end the tar", error))?;
        Ok::<(), BuildError>(())
    })
}

/// Writes entries with their bytes into the existing folder `target`, with the owners they have.
pub(crate) fn unfold(
    workspace: &Workspace,
    placed: &[Placed],
    sources: Sources<'_>,
    target: &Path,
) -> Result<(), BuildError> {
    let action = || format!("write {}", target.display());
    let sandbox = workspace.sandbox().map_err(|error| BuildError::layer(action(), error))?;
    let (mut read, mut write) = io::pipe().map_err(|error| BuildError::layer(action(), error))?;
    std::thread::scope(|threads| {
        let written = threads.spawn(move || {
            let mut tar = TarWriter::new(&mut write as &mut dyn Write);
            Fill::new(workspace, sources).append(&mut tar, placed)?;
            tar.finish().map_err(|error| BuildError::layer("end the tar", error)).map(drop)
        });
        let applied = sandbox.apply_layer(&mut read, target, None);
        // A writer must not wait for a reader that gave up.
        drop(read);
        let written = written.join().expect("writing returns its errors and does not panic");
        applied.map_err(|error| BuildError::layer(action(), error))?;
        written
    })
}
