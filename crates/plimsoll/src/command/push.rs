//! `push`: images of the local store to the registries they are named for.

use oci::Reference;
use pipeline::copy::{self, Choice};
use store::StoreError;

use super::copy::{Answer, ForeignLayers};
use crate::error::Error;
use crate::session::Session;
use crate::ui::transfer::Transfer;

/// Copies images of the local store to the registries they are named for
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll push ghcr.io/acme/api:main
  $ plimsoll push localhost:5000/api:main --insecure-registry localhost:5000")]
pub struct Arguments {
    /// The images
    #[arg(value_name = "REF", required = true)]
    images: Vec<Reference>,
    #[command(flatten)]
    foreign: ForeignLayers,
}

impl Arguments {
    /// Pushes the images, one after the other.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let places = session.places()?;
        let choice = Choice { foreign: self.foreign.choice(), ..Choice::default() };
        for reference in &self.images {
            check_has_registry(reference)?;
            let image = places.find_local(reference)?.ok_or_else(|| StoreError::NotFound {
                what: format!("{reference} in the local store at {}", places.local().root().display()),
            })?;
            if session.global.dry_run {
                session.ui.answer("copy", &Answer::planned(&image, reference.to_string()))?;
                continue;
            }
            let transfer = Transfer::new(&session.ui, reference.to_string());
            let observe = |event: store::CopyEvent<'_>| transfer.observe(event);
            let outcome = copy::copy(&places, &image, reference, &choice, &observe)?;
            drop(transfer);
            session.ui.answer("copy", &Answer::new(reference.to_string(), &outcome))?;
        }
        Ok(())
    }
}

fn check_has_registry(reference: &Reference) -> Result<(), Error> {
    if !reference.repository().registry().is_local() {
        return Ok(());
    }
    Err(Error::Usage {
        message: format!("{reference} names no registry to push to"),
        hint: Some(format!("name one: plimsoll copy {reference} REGISTRY/PATH:TAG")),
    })
}
