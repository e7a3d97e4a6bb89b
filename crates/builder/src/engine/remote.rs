//! ADD of URLs: the file is fetched, held against its checksum, and placed like one of the context.
//!
//! | of a URL | is |
//! |---|---|
//! | name | the last part of its path, `__unnamed__` where there is none |
//! | mode | 0600 |
//! | owner | root |
//! | time | what `Last-Modified` says |
//!
//! With `--checksum` nothing is fetched where the layer is known; without it the file is fetched each time,
//! because only its content can tell whether the layer still fits.
//!
//! Source: the Dockerfile reference, "ADD"; behaviour of BuildKit.

use std::fs::File;

use layer::{Hashed, LayerPath};
use oci::Digest;

use super::items::{Content, Group, Item, ItemKind, Items};
use super::stage::StageRun;
use super::work::WorkFolder;
use crate::BuildError;
use crate::dockerfile::Instruction;
use crate::git_source::GitSource;

/// What a source of ADD is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceKind {
    Local,
    Url,
    Git,
}

/// Tells what a source of ADD is by how it is written.
pub(crate) fn kind_of(source: &str) -> SourceKind {
    match () {
        () if GitSource::parse(source).is_some() => SourceKind::Git,
        () if ["http://", "https://"].iter().any(|scheme| source.starts_with(scheme)) => SourceKind::Url,
        () => SourceKind::Local,
    }
}

/// Fetches a URL into a file of the step and returns it as something to be placed.
pub(crate) fn fetch(
    stage: &StageRun<'_>,
    at: &Instruction,
    url: &str,
    work: &WorkFolder<'_>,
    number: usize,
) -> Result<Group<'static>, BuildError> {
    let Some(fetcher) = &stage.build.request.options.fetch else {
        return Err(stage.unsupported(at, format!("ADD of {url} without a network")));
    };
    let path = work.path().join(format!("fetched-{number}"));
    let file = File::create(&path).map_err(|error| super::workspace::io_error("write", &path, error))?;
    let mut hashed = Hashed::new(file);
    let modified =
        fetcher.fetch(url, &mut hashed).map_err(|error| BuildError::layer(format!("fetch {url}"), error))?;
    let (_, digest, size) = hashed.finish();
    let kind = ItemKind::File { size, digest, content: Content::File(path) };
    let item = Item {
        relative: LayerPath::new(),
        kind,
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: modified,
        first_name: None,
        xattrs: std::collections::BTreeMap::new(),
    };
    Ok(Group { name: name_of(url).into(), is_folder: false, items: Items::Listed(vec![item]) })
}

/// Holds a fetched file against the digest that it must have.
pub(crate) fn check(group: &Group<'_>, url: &str, expected: Digest) -> Result<(), String> {
    match group.single().map(|item| item.kind) {
        Some(ItemKind::File { digest, .. }) if digest != expected => {
            Err(format!("{url} is {digest} and not {expected}, as --checksum says"))
        }
        _ => Ok(()),
    }
}

fn name_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    match rest.rsplit_once('/') {
        Some((_, name)) if !name.is_empty() => name,
        _ => "__unnamed__",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        assert_eq!(kind_of("a/b"), SourceKind::Local);
        assert_eq!(kind_of("https://host/file.tar.gz?x=1"), SourceKind::Url);
        assert_eq!(kind_of("https://host/repo.git#main:sub"), SourceKind::Git);
        assert_eq!(kind_of("git@host:repo"), SourceKind::Git);
        assert_eq!(kind_of("httpd.conf"), SourceKind::Local);
    }

    #[test]
    fn files_are_named_by_the_path() {
        assert_eq!(name_of("https://host/a/b.txt?c=/d"), "b.txt");
        assert_eq!(name_of("https://host/a/"), "a");
        assert_eq!(name_of("https://host/"), "__unnamed__");
        assert_eq!(name_of("https://host"), "__unnamed__");
    }
}
