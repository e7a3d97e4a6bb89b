//! Which files a source of COPY or ADD means.
//!
//! | source | selects |
//! |---|---|
//! | a file | the file, under its own name |
//! | a folder | what it holds, not the folder itself |
//! | a link | what it leads to inside the tree, under the link's name |
//! | a pattern | each match in turn, as above; none is no error where the folder before it is there |
//! | anything that is not there | an error |
//!
//! Source paths start at the tree's root whether or not they start with `/`; `..` stops there. Links inside a selected folder stay links. `*`, `?` and `[...]` match inside one component; components before
//! the first pattern are followed through links, those after it are not. In a pattern a backslash takes the
//! meaning from the next character; in a component that is none it is a character like others.
//!
//! Source: the Dockerfile reference, "COPY"; behaviour of BuildKit's file operations.

use layer::LayerPath;

use super::ContextError;
use super::choice::Choice;
use super::tree::{Node, NodeKind, SourceTree, join, shown};
use crate::ignore::Glob;

/// As many links are followed for one path.
pub(super) const MAX_LINKS: usize = 255;

/// What one source, or one match of its pattern, selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The last component of the source; the name of a single file below a destination folder.
    pub name: Vec<u8>,
    /// Where it lies in the tree, links followed.
    pub path: LayerPath,
    /// Whether it is a folder, whose content is meant.
    pub is_folder: bool,
    /// Which of what the folder holds is meant, by their places in [`SourceTree::below`], ascending; all
    /// of it where this is `None`.
    pub(super) some: Option<Vec<u32>>,
}

/// One thing selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectedItem {
    /// The path below the selected folder; empty for a single file.
    pub relative: LayerPath,
    /// What it is.
    pub node: Node,
}

impl Selected {
    /// Returns where an item lies in the tree.
    pub fn path_of(&self, item: &SelectedItem) -> LayerPath {
        join(&self.path, &item.relative)
    }

    /// Returns the single file, with an empty relative path; or what the folder holds, folders before what
    /// they hold, names ascending. `tree` is what it was selected in.
    pub fn items<'a>(&'a self, tree: &'a dyn SourceTree) -> Box<dyn Iterator<Item = SelectedItem> + 'a> {
        if !self.is_folder {
            let node = tree.node(&self.path).into_iter();
            return Box::new(node.map(|node| SelectedItem { relative: LayerPath::new(), node }));
        }
        let mut chosen = self.chosen();
        let below = tree.below(&self.path).filter(move |_| chosen.takes_next());
        Box::new(below.map(|(relative, node)| SelectedItem { relative, node }))
    }

    /// Returns who says, one after the other, which of what the folder holds is meant.
    pub(super) fn chosen(&self) -> Chosen<'_> {
        Chosen { some: self.some.as_deref(), place: 0 }
    }
}

pub(super) struct Chosen<'a> {
    some: Option<&'a [u32]>,
    place: u32,
}

impl Chosen<'_> {
    pub fn takes_next(&mut self) -> bool {
        let Some(some) = &mut self.some else { return true };
        let is_chosen = some.first() == Some(&self.place);
        if is_chosen {
            *some = &some[1..];
        }
        self.place += 1;
        is_chosen
    }
}

/// Returns what `source` means in `tree`, in order.
///
/// # Errors
/// A source without wildcards that is not there, or leads nowhere; a pattern that is none.
pub fn select(tree: &dyn SourceTree, source: &str) -> Result<Vec<Selected>, ContextError> {
    select_some(tree, source, &Choice::default())
}

/// Returns what `source` means in `tree` with `--parents` and `--exclude`, in order.
///
/// # Errors
/// As for [`select()`].
pub fn select_some(
    tree: &dyn SourceTree,
    source: &str,
    choice: &Choice,
) -> Result<Vec<Selected>, ContextError> {
    if choice.parents {
        return super::parents::select(tree, source, choice);
    }
    let selection = Selection { tree, source };
    if choice.literal {
        return selection.selected(components(source).join("/").as_bytes()).map(|selected| vec![selected]);
    }
    let mut selected = selection.paths(source)?;
    if !choice.exclude.rules().is_empty() {
        selected.iter_mut().for_each(|one| choice.leave_out(tree, one));
    }
    Ok(selected)
}

/// Returns the components of a source path; `..` takes one away and never leads above the root.
pub(super) fn components(source: &str) -> Vec<&str> {
    let mut components = Vec::new();
    for component in source.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()),
            component => components.push(component),
        }
    }
    components
}

/// A source as it is asked for in a tree.
pub(super) struct Selection<'a> {
    pub tree: &'a dyn SourceTree,
    pub source: &'a str,
}

impl Selection<'_> {
    /// Returns what the path or pattern `wanted` means.
    pub fn paths(&self, wanted: &str) -> Result<Vec<Selected>, ContextError> {
        let components = components(wanted);
        match components.iter().position(|component| Glob::is_pattern(component)) {
            None => self.selected(components.join("/").as_bytes()).map(|selected| vec![selected]),
            Some(first) => {
                let matches = self.matches(&components[..first], &components[first..])?;
                matches.iter().map(|path| self.selected(path)).collect()
            }
        }
    }

    fn selected(&self, path: &[u8]) -> Result<Selected, ContextError> {
        let Followed::At(resolved, node) = self.follow(path)? else { return Err(self.not_found(path)) };
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
        let is_folder = node.kind == NodeKind::Directory;
        Ok(Selected { name, path: resolved, is_folder, some: None })
    }

    /// Returns the paths that match, ascending. The folder in front of the pattern must be there.
    fn matches(&self, folder: &[&str], pattern: &[&str]) -> Result<Vec<LayerPath>, ContextError> {
        let folder = folder.join("/").into_bytes();
        let mut found = match self.follow(&folder)? {
            Followed::At(path, node) if node.kind == NodeKind::Directory => vec![path],
            _ => return Err(self.not_found(&folder)),
        };
        for component in pattern {
            let glob = Glob::compile(component)
                .map_err(|reason| ContextError::BadPattern { source_path: self.source.to_owned(), reason })?;
            let matching = |folder: &LayerPath| {
                let children = self.tree.children(folder).into_iter();
                let names = children.map(|(name, _)| name).filter(|name| glob.matches(name));
                names.map(|name| join(folder, &name)).collect::<Vec<_>>()
            };
            found = found.iter().flat_map(matching).collect();
        }
        Ok(found)
    }

    /// Follows a path through links as a process whose root is the tree would.
    fn follow(&self, path: &[u8]) -> Result<Followed, ContextError> {
        let mut pending: Vec<Vec<u8>> = split(path).rev().map(<[u8]>::to_vec).collect();
        let mut resolved = LayerPath::new();
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == b".." {
                let parent = resolved.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                resolved.truncate(parent);
                continue;
            }
            let next = join(&resolved, &name);
            match self.tree.node(&next).map(|node| node.kind) {
                None => return Ok(Followed::Missing),
                Some(NodeKind::Symlink(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        let (source_path, place) = (self.source.to_owned(), self.tree.name());
                        return Err(ContextError::TooManyLinks { source_path, place });
                    }
                    if target.starts_with(b"/") {
                        resolved.clear();
                    }
                    pending.extend(split(&target).rev().map(<[u8]>::to_vec));
                }
                Some(_) => resolved = next,
            }
        }
        Ok(self.tree.node(&resolved).map_or(Followed::Missing, |node| Followed::At(resolved, node)))
    }

    pub fn not_found(&self, path: &[u8]) -> ContextError {
        let reason = self.reason(path).map(|reason| format!(": {reason}")).unwrap_or_default();
        ContextError::NotFound { source_path: self.source.to_owned(), place: self.tree.name(), reason }
    }

    /// Says what is known about a path that is not there: who leaves it out, where a link on the way
    /// leads, or which name is most like it.
    fn reason(&self, path: &[u8]) -> Option<String> {
        if let Some(reason) = self.tree.why_missing(path) {
            return Some(reason);
        }
        let mut folder = LayerPath::new();
        for name in split(path) {
            let next = join(&folder, name);
            match self.tree.node(&next).map(|node| node.kind) {
                Some(NodeKind::Symlink(target)) => {
                    return Some(format!(
                        "{} is a link to {}, which is not there",
                        shown(&next),
                        shown(&target)
                    ));
                }
                Some(_) => folder = next,
                None => return self.similar(&folder, name),
            }
        }
        None
    }

    fn similar(&self, folder: &[u8], name: &[u8]) -> Option<String> {
        let wanted = String::from_utf8_lossy(name).to_lowercase();
        let limit = (wanted.chars().count() / 3).clamp(1, 3);
        let names = self.tree.children(folder).into_iter().take(1000).map(|(name, _)| name);
        let distances = names.map(|name| {
            let lower = String::from_utf8_lossy(&name).to_lowercase();
            (strsim::damerau_levenshtein(&wanted, &lower), name)
        });
        let (_, nearest) = distances.filter(|(distance, _)| *distance <= limit).min()?;
        Some(format!("did you mean {}?", shown(&join(folder, &nearest))))
    }
}

enum Followed {
    At(LayerPath, Node),
    Missing,
}

fn split(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."))
}
