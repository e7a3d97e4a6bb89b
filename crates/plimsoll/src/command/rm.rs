//! `rm`: takes names and manifests out of the local store.

use std::fmt;

use oci::Reference;
use serde::Serialize;
use store::ImageStore;

use crate::error::Error;
use crate::session::Session;

/// Removes images from the local store
#[derive(Debug, clap::Args)]
#[command(
    after_help = "NAME:TAG removes the tag; NAME@DIGEST removes the manifest and the tags that point to it.

Examples:
  $ plimsoll rm local/api:old
  $ plimsoll rm --dry-run local/api@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)]
pub struct Arguments {
    /// The images
    #[arg(value_name = "REF", required = true)]
    images: Vec<Reference>,
}

#[derive(Debug, Serialize)]
struct Removed {
    removed: Vec<Reference>,
    dry_run: bool,
}

impl Arguments {
    /// Removes the images.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let local = session.store()?;
        for image in &self.images {
            let repository = local.repository(image.repository());
            match (image.digest(), image.tag_or_latest()) {
                (Some(digest), _) if session.global.dry_run => repository.document(&digest).map(|_| ())?,
                (Some(digest), _) => repository.delete_document(&digest)?,
                (None, Some(tag)) if session.global.dry_run => repository.resolve(&tag).map(|_| ())?,
                (None, Some(tag)) => repository.untag(&tag)?,
                (None, None) => unreachable!("without a digest the tag is latest"),
            }
        }
        session.ui.answer("rm", &Removed { removed: self.images.clone(), dry_run: session.global.dry_run })
    }
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.dry_run { "would remove" } else { "removed" };
        self.removed.iter().try_for_each(|image| writeln!(f, "{verb} {image}"))
    }
}
