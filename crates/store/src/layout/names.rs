//! Where the facts about a repository lie, and reading them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use oci::{Descriptor, Digest, Registry, Repository, Tag};

use crate::StoreError;

/// How many folders deep a repository may lie; a name has at most 255 characters.
const MAX_DEPTH: usize = 128;

/// The folder of one repository. Path components never start with `_`, so the three folders for
/// facts cannot be mistaken for parts of a name.
#[derive(Clone)]
pub(super) struct RepositoryFolder {
    path: PathBuf,
}

impl RepositoryFolder {
    pub fn new(repositories: &Path, repository: &Repository) -> Self {
        Self { path: repositories.join(repository.registry().as_str()).join(repository.path()) }
    }

    pub fn tag(&self, tag: &Tag) -> PathBuf {
        self.path.join("_tags").join(tag.as_str())
    }

    pub fn manifest(&self, digest: &Digest) -> PathBuf {
        self.path.join("_manifests").join(file_name(digest))
    }

    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.path.join("_blobs").join(file_name(digest))
    }

    /// Returns all tags in ascending order.
    pub fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        let mut tags: Vec<Tag> =
            file_names(&self.path.join("_tags"))?.iter().filter_map(|name| name.parse().ok()).collect();
        tags.sort();
        Ok(tags)
    }

    /// Returns the digests of all manifests, in ascending order.
    pub fn manifests(&self) -> Result<Vec<Digest>, StoreError> {
        digests(&self.path.join("_manifests"))
    }

    /// Returns the digests of all blobs that were put or mounted here, in ascending order.
    pub fn blobs(&self) -> Result<Vec<Digest>, StoreError> {
        digests(&self.path.join("_blobs"))
    }
}

fn digests(folder: &Path) -> Result<Vec<Digest>, StoreError> {
    let parse = |name: &String| name.replacen('-', ":", 1).parse().ok();
    let mut digests: Vec<Digest> = file_names(folder)?.iter().filter_map(parse).collect();
    digests.sort();
    Ok(digests)
}

/// Reads a file that holds a descriptor; `None` where there is none.
pub(super) fn read_descriptor(path: &Path) -> Result<Option<Descriptor>, StoreError> {
    let what = || path.display().to_string();
    match fs::read(path) {
        Ok(raw) => serde_json::from_slice(&raw).map(Some).map_err(|error| {
            let reason = format!("it is not a descriptor ({error}); remove it and tag again");
            StoreError::Corrupt { what: what(), reason }
        }),
        Err(error) if is_absent(&error) => Ok(None),
        Err(source) => Err(StoreError::io("read", what(), source)),
    }
}

/// Removes a file; `false` where there was none.
pub(super) fn remove(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(source) => Err(StoreError::io("remove", path.display().to_string(), source)),
    }
}

/// Returns the repositories below `root`, in ascending order.
pub(super) fn repositories(root: &Path) -> Result<Vec<Repository>, StoreError> {
    let mut found = Vec::new();
    for registry in file_names(root)? {
        if let Ok(name) = registry.parse::<Registry>() {
            let mut add = |path: &str, _: &Path, names: &[String]| {
                if names.iter().any(|name| name == "_tags" || name == "_manifests") {
                    found.extend(Repository::new(name.clone(), path).ok());
                }
            };
            walk(&root.join(&registry), "", 0, &mut add)?;
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the repositories of one registry that hold blobs, in ascending order.
pub(super) fn with_blobs(root: &Path, registry: &Registry) -> Result<Vec<Repository>, StoreError> {
    let mut found = Vec::new();
    let mut add = |path: &str, _: &Path, names: &[String]| {
        if names.iter().any(|name| name == "_blobs") {
            found.extend(Repository::new(registry.clone(), path).ok());
        }
    };
    walk(&root.join(registry.as_str()), "", 0, &mut add)?;
    found.sort();
    Ok(found)
}

/// Returns the folders of all repositories, also of those that have nothing but blobs.
pub(super) fn folders(root: &Path) -> Result<Vec<RepositoryFolder>, StoreError> {
    let mut found = Vec::new();
    for registry in file_names(root)? {
        let mut add = |_: &str, folder: &Path, names: &[String]| {
            if names.iter().any(|name| name.starts_with('_')) {
                found.push(RepositoryFolder { path: folder.to_owned() });
            }
        };
        walk(&root.join(&registry), "", 0, &mut add)?;
    }
    Ok(found)
}

/// Shows every folder that may be a repository: its name, where it is, and what is in it.
fn walk(
    folder: &Path,
    path: &str,
    depth: usize,
    see: &mut impl FnMut(&str, &Path, &[String]),
) -> Result<(), StoreError> {
    let names = file_names(folder)?;
    see(path, folder, &names);
    for name in names.iter().filter(|name| !name.starts_with('_') && depth < MAX_DEPTH) {
        let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        walk(&folder.join(name), &below, depth + 1, see)?;
    }
    Ok(())
}

/// Returns the blobs that were put into any repository below `root` after `since`.
pub(super) fn marked_blobs(root: &Path, since: SystemTime) -> Result<HashSet<Digest>, StoreError> {
    let mut found = HashSet::new();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for name in file_names(&folder)? {
            let path = folder.join(&name);
            if name == "_blobs" {
                add_marked(&path, since, &mut found)?;
            } else if !name.starts_with('_') && depth < MAX_DEPTH {
                folders.push((path, depth + 1));
            }
        }
    }
    Ok(found)
}

fn add_marked(folder: &Path, since: SystemTime, found: &mut HashSet<Digest>) -> Result<(), StoreError> {
    for name in file_names(folder)? {
        let modified = fs::metadata(folder.join(&name)).and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|modified| modified >= since) {
            found.extend(name.replacen('-', ":", 1).parse::<Digest>());
        }
    }
    Ok(())
}

pub(super) fn file_names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let failed = |source| StoreError::io("read", folder.display().to_string(), source);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(names)
}

fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().as_str(), digest.hex())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
