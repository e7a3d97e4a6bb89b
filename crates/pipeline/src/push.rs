//! Images to their registry: by digest and immutable tags before the suites, moving tags after them.
//!
//! A tag that moves is what the world follows, so it moves last, and for all services or for none.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use oci::{Descriptor, Digest, Document, ImageManifest, Repository, Tag};
use store::{CopyEvent, CopyOptions, ImageStore, StoreError, copy_image};

use crate::build::ServiceOutcome;
use crate::configuration::Name;
use crate::place::PlaceError;
use crate::plan::{Plan, PlannedService};
use crate::progress::Progress;
use crate::tools::Tools;

/// Why an image did not arrive.
#[derive(Debug, thiserror::Error)]
#[error("cannot push {service} to {repository}")]
pub struct PushError {
    /// The service.
    pub service: Name,
    /// Where it should have gone.
    pub repository: Repository,
    /// Why.
    #[source]
    pub source: PlaceError,
}

/// How many services are pushed at the same time; each moves several blobs at once.
const SERVICES_AT_ONCE: usize = 4;

/// Pushes every image there is and gives it its immutable tags, which go into the records.
/// Returns what went wrong, by service; the others arrived.
pub fn push(
    plan: &Plan,
    outcomes: &mut BTreeMap<Name, ServiceOutcome>,
    tools: &Tools<'_>,
) -> BTreeMap<Name, PushError> {
    let errors = Mutex::new(BTreeMap::new());
    let mut waiting: Vec<(&Name, &mut ServiceOutcome)> =
        outcomes.iter_mut().filter(|(_, outcome)| outcome.image.is_some()).collect();
    for group in waiting.chunks_mut(SERVICES_AT_ONCE) {
        std::thread::scope(|threads| {
            for (name, outcome) in group {
                let errors = &errors;
                threads.spawn(move || {
                    if let Err(error) = push_one(plan, name, outcome, tools) {
                        errors.lock().expect("no holder panics").insert((*name).clone(), error);
                    }
                });
            }
        });
    }
    errors.into_inner().expect("no holder panics")
}

fn push_one(
    plan: &Plan,
    name: &Name,
    outcome: &mut ServiceOutcome,
    tools: &Tools<'_>,
) -> Result<(), PushError> {
    let service = &plan.services[name];
    let failed = |source| PushError { service: name.clone(), repository: service.image.clone(), source };
    let image = &outcome.image.clone().expect("only images are pushed");
    let local = tools.lazy(&service.image);
    transfer(name, image, &local, &service.image, tools).map_err(failed)?;
    let remote = tools.remote(&service.image).map_err(failed)?;
    for tag in settled_tags(service) {
        match service.immutable.contains(tag) {
            true => remote.tag_immutable(tag, image),
            // It carries the commit: another image of the same commit takes its place.
            false => remote.tag(tag, image),
        }
        .and_then(|()| local.tag(tag, image))
        .map_err(|error| failed(error.into()))?;
        moved(name, tag, outcome, tools);
    }
    Ok(())
}

/// The tags that nobody follows: immutable ones and those that carry the commit.
fn settled_tags(service: &PlannedService) -> impl Iterator<Item = &Tag> {
    service.tags.iter().filter(|tag| !service.moving.contains(tag))
}

fn transfer(
    name: &Name,
    image: &Document,
    local: &dyn ImageStore,
    repository: &Repository,
    tools: &Tools<'_>,
) -> Result<(), PlaceError> {
    let mut remote = tools.remote(repository)?;
    for manifest in manifests(local, image)? {
        for link in tools.embedded.workspace().origins(&manifest) {
            remote = remote.mount_from(&link);
        }
    }
    let started = Instant::now();
    let done = std::sync::atomic::AtomicU64::new(0);
    let observe = |event: CopyEvent<'_>| match event {
        CopyEvent::Planned { bytes, .. } => (tools.observer)(Progress::PushStarted {
            service: name.clone(),
            target: repository.to_string(),
            total_bytes: bytes,
        }),
        CopyEvent::BlobDone { blob, .. } => {
            let before = done.fetch_add(blob.size, std::sync::atomic::Ordering::Relaxed);
            let done_bytes = before + blob.size;
            (tools.observer)(Progress::PushAdvanced { service: name.clone(), done_bytes });
        }
        CopyEvent::BlobStarted(_) | CopyEvent::BlobLeftOut(_) | CopyEvent::DocumentDone(_) => {}
    };
    let options = CopyOptions { foreign: tools.foreign, ..CopyOptions::default() };
    let copied = copy_image(local, &remote, image.descriptor(), &options, &observe)?;
    for layer in &copied.left_out {
        let at = layer.urls.first().map_or("nowhere that its manifest names", String::as_str);
        let message = format!(
            "{repository}: layer {} is not to be distributed and stays out, to be had at {at}",
            layer.digest
        );
        (tools.observer)(Progress::Note { message });
    }
    (tools.observer)(Progress::PushFinished {
        service: name.clone(),
        moved_bytes: copied.bytes_moved,
        seconds: started.elapsed().as_secs_f64(),
    });
    Ok(())
}

/// Returns the manifests of the platforms of an image.
fn manifests(store: &dyn ImageStore, image: &Document) -> Result<Vec<ImageManifest>, StoreError> {
    let Some(index) = image.as_index() else { return Ok(image.as_image().into_iter().cloned().collect()) };
    let child = |child: &Descriptor| Ok(store.document(&child.digest)?.as_image().cloned());
    index.manifests.iter().map(child).filter_map(Result::transpose).collect()
}

/// Moves the moving tags of all services to their images. On the first failure, tags that have
/// moved go back to where they were, so that no mixture of old and new is left.
///
/// # Errors
/// The tag that could not be moved.
pub fn move_tags(
    plan: &Plan,
    outcomes: &mut BTreeMap<Name, ServiceOutcome>,
    tools: &Tools<'_>,
) -> Result<(), PushError> {
    let mut undo: Vec<(Repository, Tag, Option<Digest>)> = Vec::new();
    for (name, outcome) in outcomes.iter_mut() {
        let Some(image) = outcome.image.clone() else { continue };
        let service = &plan.services[name];
        for tag in &service.moving {
            match move_tag(&service.image, tag, &image, tools) {
                Ok(before) => undo.push((service.image.clone(), tag.clone(), before)),
                Err(source) => {
                    put_back(&undo, tools);
                    let (service, repository) = (name.clone(), service.image.clone());
                    return Err(PushError { service, repository, source });
                }
            }
        }
    }
    for (name, outcome) in outcomes.iter_mut() {
        let Some(image) = outcome.image.clone() else { continue };
        let service = &plan.services[name];
        for tag in &service.moving {
            let source = tools.lazy(&service.image).tag(tag, &image);
            source.map_err(|source| PushError {
                service: name.clone(),
                repository: service.image.clone(),
                source: source.into(),
            })?;
            moved(name, tag, outcome, tools);
        }
    }
    Ok(())
}

/// Moves one tag and returns what it named before.
fn move_tag(
    repository: &Repository,
    tag: &Tag,
    image: &Document,
    tools: &Tools<'_>,
) -> Result<Option<Digest>, PlaceError> {
    let remote = tools.remote(repository)?;
    let before = match remote.resolve(tag) {
        Ok(descriptor) => Some(descriptor.digest),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    remote.tag(tag, image)?;
    Ok(before)
}

/// Points tags back to what they named before. A tag that did not exist stays: a registry need not
/// be able to delete one, and nobody followed it yet.
fn put_back(undo: &[(Repository, Tag, Option<Digest>)], tools: &Tools<'_>) {
    for (repository, tag, before) in undo.iter().rev() {
        let Some(before) = before else { continue };
        let restored = tools.remote(repository).and_then(|remote| {
            let document = remote.document(before)?;
            Ok(remote.tag(tag, &document)?)
        });
        if let Err(error) = restored {
            let message = format!("{repository}:{tag} could not be put back to {before}: {error}");
            (tools.observer)(Progress::Warning { message, place: None });
        }
    }
}

fn moved(name: &Name, tag: &Tag, outcome: &mut ServiceOutcome, tools: &Tools<'_>) {
    outcome.record.tags.moved.push(tag.clone());
    (tools.observer)(Progress::TagMoved { service: name.clone(), tag: tag.clone() });
}

/// Gives images their tags in the local store alone, for a run that does not push.
///
/// # Errors
/// The store fails, or an immutable tag names another image.
pub fn tag_locally(
    plan: &Plan,
    outcomes: &BTreeMap<Name, ServiceOutcome>,
    tools: &Tools<'_>,
) -> Result<(), PushError> {
    for (name, outcome) in outcomes {
        let Some(image) = &outcome.image else { continue };
        let service = &plan.services[name];
        let local = tools.local(&service.image);
        let tag = |tag: &Tag| match service.immutable.contains(tag) {
            true => local.tag_immutable(tag, image),
            false => local.tag(tag, image),
        };
        service.tags.iter().try_for_each(tag).map_err(|source| PushError {
            service: name.clone(),
            repository: service.image.clone(),
            source: source.into(),
        })?;
    }
    Ok(())
}
