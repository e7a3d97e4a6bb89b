//! Layers that need not travel: those that whoever gets the image can take from a registry.
//!
//! | asked, in this order | where it cannot be asked |
//! |---|---|
//! | the image's own repository | no thin archive is written |
//! | repositories that were named | likewise |
//! | the repository of the base image, as the image's label has it | its layers travel |
//!
//! Which of them has something that was left out stands in the ledger, so that `get` knows.

use std::collections::{BTreeMap, BTreeSet};

use oci::{Digest, Document, Reference, Repository, annotations};
use registry::client::RemoteRepository;
use store::{ArchiveStore, BlobStore, Fallback, ImageStore, StoreError};

use super::{HandoverError, images};
use crate::image::Image;
use crate::place::PlaceError;
use crate::tools::Tools;

/// What is left out of a thin archive.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// The layers.
    pub omit: BTreeSet<Digest>,
    /// The repositories that have them beside the image's own.
    pub from: Vec<Repository>,
}

/// Looks up which layers of an image lie elsewhere.
pub(super) fn look(
    local: &dyn ImageStore,
    document: &Document,
    own: &Repository,
    named: &[Repository],
    tools: &Tools<'_>,
) -> Result<Elsewhere, HandoverError> {
    let mut left = layers(local, document)?;
    let mut found = Elsewhere::default();
    let bases = bases(local, document);
    let asked = std::iter::once((own, true)).chain(named.iter().map(|name| (name, true)));
    for (name, is_wanted) in asked.chain(bases.iter().map(|base| (base, false))) {
        let there = match tools.remote(name).map_err(HandoverError::from) {
            Ok(remote) => has(&remote, &left).map_err(HandoverError::from),
            Err(error) => Err(error),
        };
        let there = match there {
            Ok(there) => there,
            Err(error) if is_wanted => return Err(error),
            Err(error) => {
                tracing::debug!(%error, %name, "the layers of the base image travel");
                continue;
            }
        };
        left.retain(|digest, _| !there.contains(digest));
        if !there.is_empty() && name != own {
            found.from.push(name.clone());
        }
        found.omit.extend(there);
    }
    Ok(found)
}

/// Returns the layers of an image with their sizes.
fn layers(store: &dyn ImageStore, document: &Document) -> Result<BTreeMap<Digest, u64>, StoreError> {
    let mut found = BTreeMap::new();
    for child in images(document) {
        let child = store.document(&child)?;
        let layers = child.as_image().map(|manifest| manifest.layers.as_slice()).unwrap_or_default();
        found.extend(layers.iter().map(|layer| (layer.digest, layer.size)));
    }
    Ok(found)
}

fn has(store: &dyn BlobStore, layers: &BTreeMap<Digest, u64>) -> Result<BTreeSet<Digest>, StoreError> {
    let mut found = BTreeSet::new();
    for (digest, size) in layers {
        if store.blob_size(digest)? == Some(*size) {
            found.insert(*digest);
        }
    }
    Ok(found)
}

/// Returns the repositories of the images that an image says it was built on. An image that cannot be read says nothing.
fn bases(store: &dyn ImageStore, document: &Document) -> BTreeSet<Repository> {
    let base = |digest: Digest| {
        let image = Image::open(store, &store.document(&digest).ok()?, None).ok()?;
        let labels = image.config.config.labels.as_ref();
        let name = labels.and_then(|labels| labels.get(annotations::BASE_NAME));
        let name = name.or_else(|| image.document().annotations().get(annotations::BASE_NAME))?;
        Some(name.parse::<Reference>().ok()?.repository().clone())
    };
    images(document).into_iter().filter_map(base).collect()
}

/// What of an image an archive leaves out, and who has it.
pub(super) struct Completion {
    /// Layers that nobody has who could be asked.
    pub missing: Vec<Digest>,
    /// Who could not be asked, and why.
    pub failed: Vec<(Repository, PlaceError)>,
    /// Who is read beside the archive.
    pub remotes: Vec<RemoteRepository>,
}

/// Looks up who has the layers of an image that an archive leaves out and the local store lacks; nobody is asked where
/// it leaves out nothing.
pub(super) fn complete(
    archive: &ArchiveStore,
    local: &dyn ImageStore,
    document: &Document,
    sources: &[Repository],
    tools: &Tools<'_>,
) -> Result<Completion, StoreError> {
    let mut left = layers(archive, document)?;
    for store in [archive as &dyn ImageStore, local] {
        let there = has(store, &left)?;
        left.retain(|digest, _| !there.contains(digest));
    }
    let mut completion = Completion { missing: Vec::new(), failed: Vec::new(), remotes: Vec::new() };
    for name in sources {
        if left.is_empty() {
            break;
        }
        let asked = tools.remote(name).and_then(|remote| Ok((has(&remote, &left)?, remote)));
        match asked {
            Ok((there, remote)) => {
                left.retain(|digest, _| !there.contains(digest));
                completion.remotes.push(remote);
            }
            Err(error) => completion.failed.push((name.clone(), error)),
        }
    }
    completion.missing = left.into_keys().collect();
    Ok(completion)
}

/// Has `act` read from `first`, and from the others in turn what is not there.
pub(super) fn with_all<R>(
    first: &dyn ImageStore,
    others: &[RemoteRepository],
    act: &dyn Fn(&dyn ImageStore) -> R,
) -> R {
    match others.split_first() {
        None => act(first),
        Some((then, others)) => with_all(&Fallback { first, then }, others, act),
    }
}
