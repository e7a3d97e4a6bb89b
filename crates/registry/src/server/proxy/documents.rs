//! Manifests and tags of other registries.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use oci::{Digest, Document, Repository, Tag};
use store::{ImageStore as _, LayoutRepository, StoreError};

use super::{Mapped, Proxy, refusal};
use crate::protocol::{ErrorCode, ManifestName};
use crate::server::manifest;
use crate::server::refusal::Refusal;
use crate::server::routes::{Answer, Question, State};
use crate::server::shelf::{Shelved, shelve};
use crate::server::storage::StoredRepository;

/// Answers GET and HEAD of a manifest.
pub(super) async fn get(
    state: &State,
    question: &Question,
    proxy: &Arc<Proxy>,
    mapped: &Mapped,
    wanted: &ManifestName,
) -> Answer {
    let found = match wanted {
        ManifestName::Digest(digest) => by_digest(state, proxy, &mapped.upstream, digest).await?,
        ManifestName::Tag(tag) => by_tag(state, proxy, mapped, tag).await?,
    };
    proxy.view(&mapped.upstream).refresh_document(&found.digest);
    manifest::describe(question, wanted, found)
}

/// What has a digest is asked for once.
async fn by_digest(
    state: &State,
    proxy: &Proxy,
    upstream: &Repository,
    digest: &Digest,
) -> Result<Shelved, Refusal> {
    let view = proxy.view(upstream);
    let wanted = ManifestName::Digest(*digest);
    if let Some(found) = kept(state, &view, &wanted) {
        proxy.counts.hits.fetch_add(1, Relaxed);
        return Ok(found);
    }
    let _turn = proxy.turns.take(format!("{upstream}@{digest}")).await;
    if let Some(found) = kept(state, &view, &wanted) {
        proxy.counts.hits.fetch_add(1, Relaxed);
        return Ok(found);
    }
    let document = proxy.ask(upstream, |remote| remote.document(digest)).await;
    let document = document.map_err(|error| told(proxy, &format!("{upstream}@{digest}"), &error))?;
    proxy.counts.misses.fetch_add(1, Relaxed);
    Ok(keep(state, proxy, &view, None, &document))
}

/// A tag is asked for where it is not here, or was not looked up for a while.
async fn by_tag(state: &State, proxy: &Proxy, mapped: &Mapped, tag: &Tag) -> Result<Shelved, Refusal> {
    let upstream = &mapped.upstream;
    let view = proxy.view(upstream);
    let wanted = ManifestName::Tag(tag.clone());
    // What is said to stay is believed to.
    let stays = state.immutable.get().iter().any(|rule| rule.covers(&mapped.client, tag));
    let fresh = || match stays || proxy.is_fresh(upstream, tag) {
        true => kept(state, &view, &wanted),
        false => None,
    };
    if let Some(found) = fresh() {
        proxy.counts.hits.fetch_add(1, Relaxed);
        return Ok(found);
    }
    let _turn = proxy.turns.take(format!("{upstream}:{tag}")).await;
    if let Some(found) = fresh() {
        proxy.counts.hits.fetch_add(1, Relaxed);
        return Ok(found);
    }
    match look_up(state, proxy, &view, tag).await {
        Ok(found) => Ok(found),
        Err(error @ StoreError::NotFound { .. }) => {
            // Gone there, gone here. That it was not here is no matter.
            let _ = state.on_disk(|| view.untag(tag));
            Err(refusal(&error, ErrorCode::ManifestUnknown))
        }
        Err(error @ (StoreError::Unreachable { .. } | StoreError::Corrupt { .. })) => {
            let Some(found) = kept(state, &view, &wanted) else {
                return Err(told(proxy, &format!("{upstream}:{tag}"), &error));
            };
            proxy.counts.stale.fetch_add(1, Relaxed);
            proxy.report(format!("{upstream}:{tag}"), &error, true);
            Ok(found)
        }
        Err(error) => Err(refusal(&error, ErrorCode::ManifestUnknown)),
    }
}

/// Asks what the tag points to, and for that where it is not here.
async fn look_up(
    state: &State,
    proxy: &Proxy,
    view: &LayoutRepository,
    tag: &Tag,
) -> Result<Shelved, StoreError> {
    let upstream = view.name();
    let found = proxy.ask(upstream, |remote| remote.resolve(tag)).await?;
    let known = state.on_disk(|| view.resolve(tag)).ok();
    let document = state.on_disk(|| view.document(&found.digest));
    let shelved = match document {
        Ok(document) if known.is_some_and(|known| known.digest == found.digest) => {
            proxy.counts.hits.fetch_add(1, Relaxed);
            shelve(&document)
        }
        Ok(document) => keep(state, proxy, view, Some(tag), &document),
        Err(_) => {
            proxy.counts.misses.fetch_add(1, Relaxed);
            let document = proxy.ask(upstream, |remote| remote.document(&found.digest)).await?;
            keep(state, proxy, view, Some(tag), &document)
        }
    };
    proxy.note_verified(upstream, tag);
    Ok(shelved)
}

/// Returns what is here; what is damaged counts as not here and is fetched anew.
fn kept(state: &State, view: &LayoutRepository, wanted: &ManifestName) -> Option<Shelved> {
    let view = StoredRepository::Folder(view.clone());
    state.shelf.find(&view, wanted).or_else(|| state.on_disk(|| state.shelf.read(&view, wanted)).ok())
}

/// Keeps a manifest where there is room; the client gets it either way.
fn keep(
    state: &State,
    proxy: &Proxy,
    view: &LayoutRepository,
    tag: Option<&Tag>,
    document: &Document,
) -> Shelved {
    let size = document.descriptor().size;
    let put = || -> Result<(), StoreError> {
        let is_new = !view.has_manifest(&document.digest());
        if is_new
            && state.quotas.room(&StoredRepository::Folder(view.clone()))?.is_some_and(|room| room < size)
        {
            return Ok(());
        }
        let _lock = proxy.store.lock_shared()?;
        match tag {
            Some(tag) => view.tag(tag, document)?,
            None => view.put_document(document)?,
        }
        if is_new {
            state.quotas.add(view.name(), size);
        }
        Ok(())
    };
    if let Err(error) = state.on_disk(put) {
        proxy.report(format!("{}@{}", view.name(), document.digest()), &error, true);
    }
    shelve(document)
}

/// Tells of an error that leaves the client without an answer.
fn told(proxy: &Proxy, what: &str, error: &StoreError) -> Refusal {
    if matches!(error, StoreError::Unreachable { .. } | StoreError::Corrupt { .. }) {
        proxy.report(what, error, false);
    }
    refusal(error, ErrorCode::ManifestUnknown)
}
