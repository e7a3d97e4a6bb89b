//! `copy`: an image from one place to another, its digest unchanged.

use std::fmt;

use oci::{Digest, Platform, Reference};
use pipeline::copy::{self, Outcome};
use pipeline::place::{Located, Place};
use serde::Serialize;

use crate::error::Error;
use crate::session::Session;
use crate::ui::quantity;
use crate::ui::transfer::Transfer;

/// Copies an image from one place to another; blobs that are there do not move
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll copy local/api:main ghcr.io/acme/api:main
  $ plimsoll copy debian:12 localhost:5000/debian:12 --platform linux/arm64
  $ plimsoll copy --dry-run ghcr.io/acme/api:main registry.example.com/api:main")]
pub struct Arguments {
    /// The image
    #[arg(value_name = "SRC")]
    source: Place,
    /// Where it goes
    #[arg(value_name = "DST")]
    destination: Place,
    /// Copies the image of one platform alone, under its own digest
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    platform: Option<Platform>,
}

/// What a copy did; `push` and `pull` answer the same.
#[derive(Debug, Serialize)]
pub struct Answer {
    source: String,
    image: Reference,
    digest: Digest,
    blobs_moved: u64,
    blobs_present: u64,
    blobs_mounted: u64,
    bytes_moved: u64,
    dry_run: bool,
}

impl Arguments {
    /// Copies the image.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let Place::Name(destination) = &self.destination else {
            return Err(Error::usage(format!(
                "{} cannot be written to; name a repository",
                self.destination
            )));
        };
        let places = session.places()?;
        let image = places.find(&self.source)?;
        if session.global.dry_run {
            return session.ui.answer("copy", &Answer::planned(&image, destination));
        }
        let transfer = Transfer::new(&session.ui, destination.to_string());
        let observe = |event: store::CopyEvent<'_>| transfer.observe(event);
        let outcome = copy::copy(&places, &image, destination, self.platform.as_ref(), &observe)?;
        drop(transfer);
        session.ui.answer("copy", &Answer::new(image.name.to_string(), &outcome))
    }
}

impl Answer {
    /// Returns what was done.
    pub fn new(source: String, outcome: &Outcome) -> Self {
        Self {
            source,
            image: outcome.destination.clone(),
            digest: outcome.digest,
            blobs_moved: outcome.copied.blobs_moved,
            blobs_present: outcome.copied.blobs_present,
            blobs_mounted: outcome.copied.blobs_mounted,
            bytes_moved: outcome.copied.bytes_moved,
            dry_run: false,
        }
    }

    /// Returns what would be done.
    pub fn planned(image: &Located, destination: &Reference) -> Self {
        Self {
            source: image.name.to_string(),
            image: destination.clone(),
            digest: image.document.digest(),
            blobs_moved: 0,
            blobs_present: 0,
            blobs_mounted: 0,
            bytes_moved: 0,
            dry_run: true,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dry_run {
            return writeln!(f, "would copy {} to {}", self.digest, self.image);
        }
        let there = self.blobs_present + self.blobs_mounted;
        let moved = quantity::size(self.bytes_moved);
        writeln!(
            f,
            "{} is {}: {} blobs copied, {moved}; {there} were there",
            self.image, self.digest, self.blobs_moved
        )
    }
}
