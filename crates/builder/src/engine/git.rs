//! ADD of git repositories: the commit is found first, and fetched where the layer of it is not known.

use std::path::Path;

use super::items::{Content, Group, ItemKind, Items};
use super::source;
use super::stage::StageRun;
use crate::BuildError;
use crate::cache::KeyBuilder;
use crate::context::{Choice, Permissions};
use crate::dockerfile::Instruction;
use crate::git_source::{GitFetcher, GitSource};

/// A repository whose commit is known.
pub(crate) struct Repository {
    source: GitSource,
    commit: String,
    keeps_git_dir: bool,
}

impl Repository {
    /// Finds out which commit a source of ADD is.
    pub fn resolve(
        stage: &StageRun<'_>,
        at: &Instruction,
        text: &str,
        checksum: Option<&str>,
        keeps_git_dir: bool,
    ) -> Result<Self, BuildError> {
        let refuse = |reason: String| stage.refuse(at, format!("{text}: {reason}"));
        let parsed = GitSource::parse(text).ok_or_else(|| refuse("it is no git repository".to_owned()))?;
        let mut source = parsed.map_err(refuse)?;
        if let Some(checksum) = checksum {
            source.set_checksum(checksum).map_err(|reason| refuse(format!("--checksum: {reason}")))?;
        }
        let resolved = fetcher(stage, at, text)?.resolve(&source);
        let commit = resolved.map_err(|error| BuildError::layer(format!("find {text}"), error))?;
        let keeps_git_dir = keeps_git_dir || source.keep_git_dir == Some(true);
        Ok(Self { source, commit, keeps_git_dir })
    }

    /// Adds to a key what the files depend on.
    pub fn field(&self, key: KeyBuilder) -> KeyBuilder {
        let submodules = if self.source.without_submodules { "" } else { "yes" };
        key.field("repository", &self.source.remote)
            .field("commit", &self.commit)
            .field("folder", &self.source.folder)
            .field("submodules", submodules)
            .field("git dir", if self.keeps_git_dir { "yes" } else { "" })
    }
}

/// Writes the repository's files into `folder` and returns them as something to be placed.
pub(crate) fn fetch(
    stage: &StageRun<'_>,
    at: &Instruction,
    repository: &Repository,
    folder: &Path,
    choice: &Choice,
) -> Result<Vec<Group<'static>>, BuildError> {
    let Repository { source, commit, keeps_git_dir } = repository;
    let failed = |error| BuildError::layer(format!("fetch {commit} of {}", source.remote), error);
    fetcher(stage, at, &source.remote)?.checkout(source, commit, *keeps_git_dir, folder).map_err(failed)?;
    let permissions = Permissions::Portable;
    let context = source::open_scratch(folder, permissions, stage.build.workspace)?;
    let all = [format!("/{}", source.folder)];
    let selected = source::from_context(&context, &all, choice);
    let groups = selected.map_err(|reason| stage.refuse(at, format!("{}: {reason}", source.remote)))?;
    let listed = groups.iter().map(|group| {
        let items = group.items.iter().map(|item| {
            let mut item = item.into_owned();
            if let ItemKind::File { content, .. } = &mut item.kind
                && let Content::Context(path) = &*content
            {
                *content = Content::File(folder.join(super::contents::os_path(path)));
            }
            item
        });
        Group { name: group.name.clone(), is_folder: group.is_folder, items: Items::Listed(items.collect()) }
    });
    Ok(listed.collect())
}

fn fetcher<'a>(stage: &'a StageRun<'_>, at: &Instruction, text: &str) -> Result<&'a GitFetcher, BuildError> {
    let fetcher = stage.build.request.options.git.as_ref();
    fetcher.ok_or_else(|| stage.unsupported(at, format!("ADD of {text} without a network")))
}
