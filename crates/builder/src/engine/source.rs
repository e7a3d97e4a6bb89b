//! What COPY and ADD select, from a context or from layers, as items that can be placed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use layer::{FollowLast, Kind, LayerPath};
use rustix::fs::{Mode, OFlags};
use store::with_causes;

use super::contents::View;
use super::items::{Content, Group, Item, ItemKind, Items, kind};
use super::workspace::{Workspace, io_error};
use crate::BuildError;
use crate::context::{
    Choice, Context, ContextOptions, LayerTree, NodeKind, Permissions, Selected, SelectedItem, SourceTree,
    select_some,
};
use crate::ignore::IgnoreFile;
use crate::request::BuildRequest;

/// How many files are hashed at the same time.
const HASHING_THREADS: usize = 4;

/// Opens the context of a build with the ignore file that belongs to its Dockerfile.
pub(crate) fn open_context(request: &BuildRequest, workspace: &Workspace) -> Result<Context, BuildError> {
    if request.options.transient_context {
        return open(&request.context, &ignore_of(request)?, Permissions::AsFound, None, workspace);
    }
    open_folder(&request.context, &ignores(request), workspace)
}

/// Returns what the context of a build leaves out.
pub(crate) fn ignore_of(request: &BuildRequest) -> Result<IgnoreFile, BuildError> {
    ignore_file(&ignores(request))
}

/// The files that say what the context leaves out; the first one that is there counts.
fn ignores(request: &BuildRequest) -> Vec<PathBuf> {
    let own = request.dockerfile.file_name().map(|name| {
        let mut name = name.to_owned();
        name.push(".dockerignore");
        request.dockerfile.with_file_name(name)
    });
    own.into_iter().chain([request.context.join(".dockerignore")]).collect()
}

/// Opens a folder as a context with the first of the ignore files that is there.
pub(crate) fn open_folder(
    folder: &Path,
    ignores: &[PathBuf],
    workspace: &Workspace,
) -> Result<Context, BuildError> {
    let ignore = ignore_file(ignores)?;
    let cache_folder = Some(workspace.context_cache()?);
    open(folder, &ignore, Permissions::AsFound, cache_folder, workspace)
}

/// Opens a folder of a step whole, keeping nothing of what is learnt about its files.
pub(crate) fn open_scratch(
    folder: &Path,
    permissions: Permissions,
    workspace: &Workspace,
) -> Result<Context, BuildError> {
    open(folder, &IgnoreFile::empty(), permissions, None, workspace)
}

fn open(
    folder: &Path,
    ignore: &IgnoreFile,
    permissions: Permissions,
    cache_folder: Option<PathBuf>,
    workspace: &Workspace,
) -> Result<Context, BuildError> {
    let clock = workspace.context_cache()?;
    let now = file_system_time(&clock).map_err(|error| io_error("write to", &clock, error))?;
    let options = ContextOptions { threads: HASHING_THREADS, now, cache_folder, permissions };
    Context::open(folder, ignore, options).map_err(|error| BuildError::layer("read the context", error))
}

/// The time by the clock that stamps files, which is what times of files are held against.
fn file_system_time(folder: &std::path::Path) -> std::io::Result<SystemTime> {
    tempfile::tempfile_in(folder)?.metadata()?.modified()
}

fn ignore_file(paths: &[PathBuf]) -> Result<IgnoreFile, BuildError> {
    for path in paths {
        match read_ignore_file(path) {
            Ok(bytes) => {
                let file = IgnoreFile::parse(&bytes, &path.display().to_string());
                return file.map_err(|error| BuildError::layer("use the ignore file", error));
            }
            // What the context is instead of a folder is said when it is opened.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(source) => return Err(io_error("read", path, source)),
        }
    }
    Ok(IgnoreFile::empty())
}

/// Reads a file without waiting for whoever may write into a pipe in its place.
fn read_ignore_file(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Selects from a context.
///
/// # Errors
/// A source that is not there, for people.
pub(crate) fn from_context<'a>(
    context: &'a Context,
    sources: &[String],
    choice: &Choice,
) -> Result<Vec<Group<'a>>, String> {
    let mut groups = Vec::new();
    for source in sources {
        for selected in select_some(context, source, choice).map_err(|error| with_causes(&error))? {
            context.know(&selected).map_err(|error| with_causes(&error))?;
            let (name, is_folder) = (selected.name.clone(), selected.is_folder);
            groups.push(Group { name, is_folder, items: Items::Selected(context, selected) });
        }
    }
    Ok(groups)
}

/// Selects from the layers of a stage or an image.
///
/// # Errors
/// A source that is not there, for people.
pub(crate) fn from_layers(
    view: &View,
    name: &str,
    sources: &[String],
    choice: &Choice,
) -> Result<Vec<Group<'static>>, String> {
    let tree = LayerTree { tree: &view.tree, name };
    let mut groups = Vec::new();
    for source in sources {
        for selected in select_some(&tree, source, choice).map_err(|error| with_causes(&error))? {
            let item = |item| layer_item(&tree, &selected, item);
            let items = Items::Listed(selected.items(&tree).map(item).collect::<Result<_, _>>()?);
            groups.push(Group { name: selected.name.clone(), is_folder: selected.is_folder, items });
        }
    }
    Ok(groups)
}

fn layer_item(tree: &LayerTree<'_>, selected: &Selected, item: SelectedItem) -> Result<Item, String> {
    let path = selected.path_of(&item);
    let (mut digest, mut content) = (None, None);
    if is_file(&item) {
        let digests = tree.digests(std::slice::from_ref(&path)).map_err(|error| with_causes(&error))?;
        digest = digests.first().copied();
        // What cannot be resolved has no content, which is an error below.
        let resolved = tree.tree.resolve(&path, FollowLast::No).ok();
        content = resolved.and_then(|resolved| resolved.node).and_then(|node| match node.content.kind {
            Kind::File { offset, .. } => Some(Content::Layer { layer: node.content_layer, offset }),
            _ => None,
        });
    }
    let node = item.node;
    let missing = || format!("{} has no content in its layer", String::from_utf8_lossy(&path));
    Ok(Item {
        kind: kind(&node.kind, digest, content).ok_or_else(missing)?,
        relative: item.relative,
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        mtime: Some(node.mtime),
        first_name: None,
        xattrs: node.xattrs,
    })
}

fn is_file(item: &SelectedItem) -> bool {
    matches!(item.node.kind, NodeKind::File { .. })
}

/// Returns what of a selection is part of a key: all but owners and times.
pub(crate) fn fields<'g>(groups: &'g [Group<'_>]) -> impl Iterator<Item = Vec<u8>> + 'g {
    groups.iter().flat_map(|group| {
        let head = [if group.is_folder { &b"folder "[..] } else { b"single " }, &group.name].concat();
        let mut names = HashMap::new();
        std::iter::once(head).chain(group.items.iter().map(move |item| {
            let first = item.first_name.and_then(|file| first_of(&mut names, file, &item));
            field(&item, first.as_deref())
        }))
    })
}

/// Returns the first name of a file that has several, where this is not the first.
fn first_of(names: &mut HashMap<u32, LayerPath>, file: u32, item: &Item) -> Option<LayerPath> {
    let first = names.entry(file).or_insert_with(|| item.relative.clone());
    (*first != item.relative).then(|| first.clone())
}

fn field(item: &Item, first_name: Option<&[u8]>) -> Vec<u8> {
    let what = match &item.kind {
        _ if let Some(first) = first_name => [b"name of ", first].concat(),
        ItemKind::Directory => "folder".to_owned().into_bytes(),
        ItemKind::File { size, digest, .. } => format!("file {size} {digest}").into_bytes(),
        ItemKind::Symlink(target) => [b"link ", &target[..]].concat(),
        ItemKind::Special(kind) => format!("{kind:?}").into_bytes(),
    };
    let mode = format!("{:o}", item.mode);
    // Lengths in front: a path may hold any byte but NUL.
    let lengths = format!("{} {} ", item.relative.len(), what.len());
    [lengths.as_bytes(), &item.relative, &what, mode.as_bytes()].concat()
}

/// Returns the path in what [`fields`] gave for an item, for people; `None` for what was named itself.
pub(crate) fn path_of_field(field: &str) -> Option<String> {
    let parts = field.split_once(' ').and_then(|(length, rest)| Some((length, rest.split_once(' ')?.1)));
    let path = parts.and_then(|(length, rest)| rest.get(..length.parse().ok()?));
    path.filter(|path| !path.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;
    use crate::context::tests::{folder, open};

    fn key(folder: &TempDir, source: &str) -> Vec<Vec<u8>> {
        let context = open(folder, "");
        let choice = Choice::new(false, &[]).unwrap();
        let groups = from_context(&context, &[source.to_owned()], &choice).unwrap();
        fields(&groups).collect()
    }

    #[test]
    fn equal_selections_are_equal_fields() {
        let (one, two) = (folder("d/a=1 d/l->a x=1"), folder("d/l->a d/a=1"));
        fs::hard_link(one.path().join("d/a"), one.path().join("y")).unwrap();
        let file = fs::File::options().write(true).open(two.path().join("d/a")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(key(&one, "d"), key(&two, "d"), "times do not count, nor names elsewhere");
    }

    #[test]
    fn whatever_shows_in_the_layer_is_in_the_fields() {
        let base = folder("d/a=1 d/b=1 d/c=1 d/l->a");
        let mut seen = vec![key(&base, "d"), key(&base, "d/a")];
        for files in [
            "d/a=2 d/b=1 d/c=1 d/l->a",
            "d/a=1 d/b=1 d/c=1 d/l->b",
            "d/a=1 d/b=1 d/d=1 d/l->a",
            "d/a=1 d/b=1 d/c=1",
            "d/a=1 d/b=1 d/c=1 d/l=a",
            "d/a=1 d/b=1 d/c=1 d/l->a d/e/f=1",
            "d/a=1 d/b~d/a d/c=1 d/l->a",
            "d/a=1 d/b=1 d/c~d/a d/l->a",
            "d/a=1 d/b=1 d/c~d/b d/l->a",
            "d/a=1 d/b~d/a d/c~d/a d/l->a",
        ] {
            seen.push(key(&folder(files), "d"));
        }
        fs::set_permissions(base.path().join("d/a"), fs::Permissions::from_mode(0o600)).unwrap();
        seen.push(key(&base, "d"));
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}
