//! What of a selection is meant: `--parents` and `--exclude` of COPY and ADD.
//!
//! | in a selected folder | is there |
//! |---|---|
//! | something that no pattern leaves out | yes |
//! | a folder that is left out | no, unless something in it is taken back in by `!` |
//! | a single file, or one that a pattern of the source matches | yes: patterns are for what folders hold |
//!
//! Patterns are those of `.dockerignore`, held against paths below the selected folder.
//!
//! Source: the Dockerfile reference, "COPY --exclude"; behaviour of BuildKit's file operations.

use layer::LayerPath;

use super::select::{Selected, SelectedItem};
use super::tree::{NodeKind, SourceTree};
use crate::ignore::{IgnoreError, IgnoreFile, Inherited};

/// `--parents` and `--exclude` of a COPY or ADD.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Whether the folders of a source are kept below the destination.
    pub parents: bool,
    /// What is left out.
    pub exclude: IgnoreFile,
    /// Whether a source is a path and no pattern.
    pub literal: bool,
}

impl Choice {
    /// Reads the values of `--exclude`.
    ///
    /// # Errors
    /// A value that is no pattern.
    pub fn new(parents: bool, exclude: &[String]) -> Result<Self, IgnoreError> {
        let exclude = IgnoreFile::of_patterns(exclude, "--exclude")?;
        Ok(Self { parents, exclude, literal: false })
    }

    /// Takes sources as paths, whatever characters they hold.
    pub fn literal() -> Self {
        Self { literal: true, ..Self::default() }
    }

    /// Takes out of a selection what is not meant.
    pub(super) fn leave_out(&self, tree: &dyn SourceTree, selected: &mut Selected) {
        if selected.is_folder {
            selected.some = Some(chosen(selected.items(tree), None, &self.exclude));
        }
    }
}

/// A folder on the way, and what was found about it.
struct Above {
    waiting: Option<u32>,
    included: Inherited,
    excluded: Inherited,
    path: LayerPath,
}

/// Returns the places of the items that `include` matches, all where it is `None`, and `exclude` does not, with
/// the folders above them. Items come with folders before what they hold.
pub(super) fn chosen(
    items: impl Iterator<Item = SelectedItem>,
    include: Option<&IgnoreFile>,
    exclude: &IgnoreFile,
) -> Vec<u32> {
    let mut chosen = Vec::new();
    let mut above: Vec<Above> = Vec::new();
    for (place, item) in (0..).zip(items) {
        while above.last().is_some_and(|folder| !is_below(&item.relative, &folder.path)) {
            above.pop();
        }
        let nothing = Inherited::default();
        let (in_above, out_above) =
            above.last().map_or((&nothing, &nothing), |folder| (&folder.included, &folder.excluded));
        let included = include.map(|include| include.verdict(&item.relative, in_above));
        let excluded = exclude.verdict(&item.relative, out_above);
        let is_meant =
            included.as_ref().is_none_or(|verdict| verdict.is_excluded()) && !excluded.is_excluded();
        if is_meant {
            chosen.extend(above.iter_mut().filter_map(|folder| folder.waiting.take()));
            chosen.push(place);
        }
        if item.node.kind == NodeKind::Directory {
            let included = included.map(|verdict| verdict.inherited).unwrap_or_default();
            let waiting = (!is_meant).then_some(place);
            above.push(Above { waiting, included, excluded: excluded.inherited, path: item.relative });
        }
    }
    chosen
}

fn is_below(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use layer::{Entry, Kind, LayerIndex, Tree};
    use oci::{DiffId, Digest};

    use super::*;
    use crate::context::{LayerTree, select_some};

    /// `a/` is a folder, anything else a file.
    fn tree(paths: &str) -> Tree {
        let entry = |path: &str| Entry {
            path: path.trim_end_matches('/').as_bytes().to_vec(),
            kind: match path.ends_with('/') {
                true => Kind::Directory,
                false => Kind::File { size: 0, digest: None, offset: 0 },
            },
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: BTreeMap::new(),
        };
        let entries = paths.split_whitespace().map(entry).collect();
        Tree::new(&[Arc::new(LayerIndex { diff_id: DiffId(Digest::of(b"")), size: 0, entries })])
    }

    #[track_caller]
    fn check(paths: &str, source: &str, parents: bool, exclude: &[&str], expected: &str) {
        let tree = tree(paths);
        let exclude: Vec<String> = exclude.iter().map(|one| (*one).to_owned()).collect();
        let choice = Choice::new(parents, &exclude).unwrap();
        let tree = LayerTree { tree: &tree, name: "it" };
        let selected = select_some(&tree, source, &choice);
        let found = match selected {
            Ok(selected) => {
                let items = selected.iter().flat_map(|one| one.items(&tree));
                let paths = items.map(|item| String::from_utf8_lossy(&item.relative).into_owned());
                paths.collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{source} without {exclude:?}");
    }

    const TREE: &str = "a/ a/b/ a/b/c a/b/d.o a/e a/f/ a/f/g.o x";

    #[test]
    fn patterns_leave_out_what_folders_hold() {
        check(TREE, "a", false, &["*.o"], "b b/c b/d.o e f f/g.o");
        check(TREE, "a", false, &["**/*.o"], "b b/c e f");
        check(TREE, "a", false, &["b"], "e f f/g.o");
        check(TREE, "a", false, &["b", "!b/c"], "b b/c e f f/g.o");
        check(TREE, "a", false, &["*"], "");
        check(TREE, "x", false, &["x"], "");
    }

    #[test]
    fn parents_are_kept_below_the_pivot() {
        check(TREE, "a/b/c", true, &[], "a a/b a/b/c");
        check(TREE, "a/./b/c", true, &[], "b b/c");
        check(TREE, "a/b/./c", true, &[], "c");
        check(TREE, "**/*.o", true, &[], "a a/b a/b/d.o a/f a/f/g.o");
        check(TREE, "a/./**/*.o", true, &["f"], "b b/d.o");
        check(TREE, "a/*/./*.o", true, &[], "d.o g.o");
        check(TREE, "a/f", true, &[], "a a/f a/f/g.o");
        check(TREE, "*/nothing", true, &[], "");
        check(TREE, "a/nothing", true, &[], "a/nothing is not in it");
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_makes_it_panic(source: String, exclude: Vec<String>, parents: bool) {
            let tree = tree(TREE);
            if let Ok(choice) = Choice::new(parents, &exclude) {
                let _ = select_some(&LayerTree { tree: &tree, name: "it" }, &source, &choice);
            }
        }
    }
}
