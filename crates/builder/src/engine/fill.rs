//! Entries and their bytes to a layer.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::path::Path;

use layer::{Entry, Kind, LayerPath, Tap, TarWriter};

use super::contents::LayerContents;
use super::items::Content;
use super::placed::{Placed, PlacedList};
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
        placed: &PlacedList,
    ) -> Result<(), BuildError> {
        for placed in placed.iter() {
            let placed = placed.map_err(list_failed)?;
            let name = || format!("/{}", String::from_utf8_lossy(&placed.entry.path));
            self.append_one(tar, &placed)
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

/// Makes a layer of entries whose bytes lie in `sources`. The inner error is the user's: a file of the context
/// changed since it was hashed, and the layer would stand under a key that it does not belong to.
pub(crate) fn write_layer(
    workspace: &Workspace,
    placed: &PlacedList,
    sources: Sources<'_>,
    what: &str,
) -> Result<Result<LayerRef, String>, BuildError> {
    let mut unchanged = Unchanged { expected: placed.iter(), changed: None };
    let unfinished = workspace.begin_layer(what, &mut unchanged, |output| {
        let mut tar = TarWriter::new(output);
        Fill::new(workspace, sources).append(&mut tar, placed)?;
        tar.finish().map_err(|error| BuildError::layer("end the tar", error))?;
        Ok::<(), BuildError>(())
    })?;
    match unchanged.changed {
        None => unfinished.finish().map(Ok),
        Some(path) => {
            let path = String::from_utf8_lossy(&path).into_owned();
            Ok(Err(format!("the source of /{path} changed while it was copied; run again")))
        }
    }
}

/// Holds what is written against what was to be written.
struct Unchanged<'a> {
    expected: Box<dyn Iterator<Item = io::Result<Cow<'a, Placed>>> + 'a>,
    /// The first path of which something else was written.
    changed: Option<LayerPath>,
}

impl Tap for Unchanged<'_> {
    fn end_entry(&mut self, entry: &Entry) {
        let digest = |kind: &Kind| match kind {
            Kind::File { digest, .. } => *digest,
            _ => None,
        };
        let expected = self.expected.next();
        let is_expected = expected.is_some_and(|expected| {
            let expected = expected.map(|placed| {
                placed.entry.path == entry.path && digest(&placed.entry.kind) == digest(&entry.kind)
            });
            expected.unwrap_or(false)
        });
        if !is_expected && self.changed.is_none() {
            self.changed = Some(entry.path.clone());
        }
    }
}

fn list_failed(error: io::Error) -> BuildError {
    BuildError::layer("read the list of what is copied", error)
}

/// Writes entries with their bytes into the existing folder `target`, with the owners they have.
pub(crate) fn unfold(
    workspace: &Workspace,
    placed: &PlacedList,
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use layer::Tree;
    use store::layout::LayoutStore;

    use super::*;
    use crate::context::Choice;
    use crate::engine::place::{Attributes, place};
    use crate::engine::source;
    use crate::sandbox::SandboxError;

    /// Copies a file whose content is `known content`, after something happened to it that was not seen.
    fn copied(change: impl FnOnce(&Path)) -> Result<LayerRef, String> {
        let folder = tempfile::tempdir().unwrap();
        let (root, app) = (folder.path().join("root"), folder.path().join("app"));
        fs::create_dir(&app).unwrap();
        fs::write(app.join("file"), "known content").unwrap();
        let store = LayoutStore::open(&folder.path().join("images")).unwrap();
        let no_sandbox = || Err(SandboxError::NeedsNamespaces { what: "nothing here".to_owned() });
        let workspace = Workspace::open(&root, store, Box::new(no_sandbox)).unwrap();
        let context = source::open_folder(&app, &[], &workspace).unwrap();
        let groups = source::from_context(&context, &[".".to_owned()], &Choice::default()).unwrap();
        let (nothing, attributes) = (Tree::new(&[]), Attributes::default());
        let placed = place(&nothing, "/", &groups, &attributes, workspace.root()).unwrap();
        change(&app.join("file"));
        let sources = Sources { context: Some(&context), layers: &[] };
        match write_layer(&workspace, &placed, sources, "COPY . /") {
            Ok(written) => written,
            Err(error) => {
                Err(std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(": "))
            }
        }
    }

    #[track_caller]
    fn check_refused(words: &str, change: impl FnOnce(&Path)) {
        let reason = copied(change).unwrap_err();
        assert!(reason.contains("/file") && reason.contains(words), "{reason}");
    }

    #[test]
    fn a_file_that_changed_after_it_was_hashed_is_never_in_a_layer() {
        copied(|_| ()).unwrap();
        check_refused("changed while it was copied", |file| fs::write(file, "other content").unwrap());
        check_refused("has more than", |file| fs::write(file, "known content and more").unwrap());
        check_refused("has less than", |file| fs::write(file, "known").unwrap());
        check_refused("No such file", |file| fs::remove_file(file).unwrap());
        check_refused("symbolic link", |file| {
            fs::remove_file(file).unwrap();
            std::os::unix::fs::symlink("/etc/hostname", file).unwrap();
        });
        check_refused("no file any more", |file| {
            fs::remove_file(file).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, file, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
        });
        check_refused("no file any more", |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        });
    }
}
