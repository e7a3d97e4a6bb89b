//! `COPY --parents`: the folders of a source are kept below the destination.
//!
//! | source | is |
//! |---|---|
//! | `a/b/c` | the pattern `a/b/c` in the whole tree |
//! | `a/./b/c` | the pattern `b/c` in the folder `a`: what stands before `/./` is not kept |
//!
//! The pattern is one of `.dockerignore`: `**` crosses folders, and a folder that matches brings all it
//! holds. No link on the way is followed, but in front of `/./`.
//!
//! Source: the Dockerfile reference, "COPY --parents"; behaviour of BuildKit's file operations.

use super::ContextError;
use super::choice::{Choice, chosen};
use super::select::{Selected, Selection, components};
use super::tree::{SourceTree, join};
use crate::ignore::{Glob, IgnoreFile};

/// Returns what `source` means in `tree`.
pub(super) fn select(
    tree: &dyn SourceTree,
    source: &str,
    choice: &Choice,
) -> Result<Vec<Selected>, ContextError> {
    let (folder, pattern) = source.split_once("/./").unwrap_or(("/", source));
    let components = components(pattern);
    let pattern = components.join("/");
    let patterns = if pattern.is_empty() { "**".to_owned() } else { pattern.clone() };
    let include = IgnoreFile::of_patterns(&[patterns], "--parents")
        .map_err(|error| ContextError::BadPattern { source_path: source.to_owned(), reason: error.reason })?;
    let selection = Selection { tree, source };
    let mut selected = selection.paths(folder)?;
    let is_literal = |text: &str| !text.split('/').any(Glob::is_pattern);
    if is_literal(source) {
        let wanted = |one: &Selected| join(&one.path, pattern.as_bytes());
        let is_there = |one: &Selected| one.is_folder && tree.node(&wanted(one)).is_some();
        if let Some(missing) = selected.iter().find(|one| !is_there(one)) {
            return Err(selection.not_found(&wanted(missing)));
        }
    }
    selected.retain(|one| one.is_folder);
    for one in &mut selected {
        one.some = Some(chosen(one.items(tree), Some(&include), &choice.exclude));
    }
    Ok(selected)
}
