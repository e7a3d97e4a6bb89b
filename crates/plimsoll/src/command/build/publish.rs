//! `--push`: an image to the registries it is named for, straight from where its layers lie.

use std::sync::Arc;

use builder::Settle;
use oci::{ImageManifest, Reference, Repository, Tag};
use store::{CopyEvent, CopyOptions, Foreign, ImageStore as _, Top, copy_image};

use super::one::unnamed;
use super::output::Made;
use crate::command::copy::{ForeignLayers, LeftOut};
use crate::error::Error;
use crate::session::Session;
use crate::ui::transfer::Transfer;
use crate::workbench::Workbench;

/// Whether and where the image is pushed.
#[derive(Debug, Default, clap::Args)]
pub struct Publish {
    /// Pushes the image to the names of -t; layers that the registry has are neither sent nor fetched
    #[arg(long)]
    push: bool,
    /// What of the image is not sent.
    #[command(flatten)]
    pub foreign: ForeignLayers,
}

impl Publish {
    /// Whether the flag was given.
    pub fn is_asked_for(&self) -> bool {
        self.push
    }
}

/// Checks that an image of these names can be pushed.
pub fn check(names: &[Reference]) -> Result<(), Error> {
    if *names == [unnamed()] {
        return Err(Error::usage("--push needs a name: -t REGISTRY/PATH:TAG"));
    }
    match names.iter().find(|name| name.repository().registry().is_local()) {
        Some(name) => Err(Error::usage(format!("--push: {name} names no registry to push to"))),
        None => Ok(()),
    }
}

/// Returns which layers a build that is pushed and nothing else has to bring here.
pub fn settle(workbench: &Workbench, names: &[Reference]) -> Result<Settle, Error> {
    let Some(name) = names.first() else { return Ok(Settle::Everything) };
    let repository = name.repository().clone();
    let store = Arc::new(workbench.places().remote(&repository)?);
    Ok(Settle::Target { store, repository })
}

/// Pushes the image and gives it its names there; says whether all of it is here too.
pub fn push(session: &Session, workbench: &Workbench, made: &Made, foreign: Foreign) -> Result<bool, Error> {
    let workspace = workbench.engine().workspace();
    let manifests = || made.children.iter().filter_map(|(_, built)| built.manifest.as_image());
    let mut links: Vec<Repository> = manifests().flat_map(|manifest| workspace.origins(manifest)).collect();
    let options = CopyOptions { top: Top::LeftToTag, foreign, ..CopyOptions::default() };
    for name in &made.names {
        let repository = name.repository();
        let local = workspace.lazy(repository);
        for (_, built) in &made.children {
            local.put_document(&built.manifest)?;
        }
        local.put_document(&made.image)?;
        let mut remote = workbench.places().remote(repository)?;
        for link in &links {
            remote = remote.mount_from(link);
        }
        let transfer = Transfer::new(&session.ui, name.to_string());
        let observe = |event: CopyEvent<'_>| transfer.observe(event);
        let copied = copy_image(&local, &remote, made.image.descriptor(), &options, &observe)?;
        drop(transfer);
        LeftOut::tell(session, &copied.left_out);
        remote.tag(&name.tag_or_latest().unwrap_or_else(Tag::latest), &made.image)?;
        links.push(repository.clone());
    }
    for blob in manifests().flat_map(ImageManifest::blobs) {
        if workbench.places().local().blob_size(&blob.digest)? != Some(blob.size) {
            return Ok(false);
        }
    }
    Ok(true)
}
