//! `tag`: another name for a digest.

use std::fmt;

use oci::{Pinned, Reference, Tag};
use serde::Serialize;

use crate::error::Error;
use crate::session::Session;

/// Gives an image more tags in its repository
#[derive(Debug, clap::Args)]
#[command(after_help = "The image is named by its digest, so that what is tagged is what was tested.

Examples:
  $ plimsoll tag local/api@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 v1 latest
  $ plimsoll tag --dry-run local/api@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 v1")]
pub struct Arguments {
    /// The image, by digest
    #[arg(value_name = "NAME@DIGEST")]
    image: Pinned,
    /// The tags
    #[arg(required = true)]
    tags: Vec<Tag>,
}

#[derive(Debug, Serialize)]
struct Tagged {
    image: Pinned,
    tags: Vec<Reference>,
    dry_run: bool,
}

impl Arguments {
    /// Tags the image.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let places = session.places()?;
        let repository = self.image.repository();
        let store = places.repository(repository)?;
        let document = store.document(&self.image.digest())?;
        for tag in &self.tags {
            if !session.global.dry_run {
                store.tag(tag, &document)?;
            }
        }
        let tags = self.tags.iter().map(|tag| repository.clone().tagged(tag.clone())).collect();
        session.ui.answer("tag", &Tagged { image: self.image.clone(), tags, dry_run: session.global.dry_run })
    }
}

impl fmt::Display for Tagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for tag in &self.tags {
            writeln!(f, "{}{tag} -> {}", if self.dry_run { "would tag " } else { "" }, self.image.digest())?;
        }
        Ok(())
    }
}
