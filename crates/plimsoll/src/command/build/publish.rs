//! `--push`: an image to the registries it is named for, straight from where its layers lie.

use std::sync::Arc;

use builder::{Built, Settle};
use oci::{Reference, Repository, Tag};
use store::{CopyEvent, CopyOptions, ImageStore as _, Top, copy_image};

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
}

impl Publish {
    /// Whether the image is pushed.
    pub fn is_asked_for(&self) -> bool {
        self.push
    }

    /// Checks that the names can be pushed to.
    pub fn check(&self, names: &[Reference]) -> Result<(), Error> {
        if !self.push {
            return Ok(());
        }
        if names.is_empty() {
            return Err(Error::usage("--push needs a name: -t REGISTRY/PATH:TAG"));
        }
        match names.iter().find(|name| name.repository().registry().is_local()) {
            Some(name) => Err(Error::usage(format!("--push: {name} names no registry to push to"))),
            None => Ok(()),
        }
    }

    /// Returns which layers a build has to bring here; all, where something else needs them too.
    pub fn settle(
        &self,
        workbench: &Workbench,
        names: &[Reference],
        needs_all: bool,
    ) -> Result<Settle, Error> {
        match names.first() {
            Some(name) if self.push && !needs_all => {
                let repository = name.repository().clone();
                let store = Arc::new(workbench.places().remote(&repository)?);
                Ok(Settle::Target { store, repository })
            }
            _ => Ok(Settle::Everything),
        }
    }

    /// Pushes the image and gives it its names there; here it gets them where all of it is here.
    pub fn push(
        &self,
        session: &Session,
        workbench: &Workbench,
        built: &Built,
        names: &[Reference],
    ) -> Result<(), Error> {
        let workspace = workbench.engine().workspace();
        let manifest = built.manifest.as_image();
        let mut links: Vec<Repository> =
            manifest.map(|manifest| workspace.origins(manifest)).unwrap_or_default();
        let options = CopyOptions { top: Top::LeftToTag, ..CopyOptions::default() };
        for name in names {
            let repository = name.repository();
            let local = workspace.lazy(repository);
            local.put_document(&built.manifest)?;
            let mut remote = workbench.places().remote(repository)?;
            for link in &links {
                remote = remote.mount_from(link);
            }
            let transfer = Transfer::new(&session.ui, name.to_string());
            let observe = |event: CopyEvent<'_>| transfer.observe(event);
            copy_image(&local, &remote, built.manifest.descriptor(), &options, &observe)?;
            remote.tag(&name.tag_or_latest().unwrap_or_else(Tag::latest), &built.manifest)?;
            links.push(repository.clone());
        }
        if !is_here(workbench, built)? {
            return Ok(());
        }
        for name in names {
            let local = workbench.places().local().repository(name.repository());
            local.tag(&name.tag_or_latest().unwrap_or_else(Tag::latest), &built.manifest)?;
        }
        Ok(())
    }
}

/// Whether every blob of the image is in the local store.
fn is_here(workbench: &Workbench, built: &Built) -> Result<bool, Error> {
    let Some(manifest) = built.manifest.as_image() else { return Ok(true) };
    for blob in manifest.blobs() {
        if workbench.places().local().blob_size(&blob.digest)? != Some(blob.size) {
            return Ok(false);
        }
    }
    Ok(true)
}
