//! `digest`: what a name points to right now.

use std::fmt;

use oci::{Digest, Platform};
use pipeline::content::Content;
use pipeline::place::Place;
use serde::Serialize;
use store::Company;

use super::side::NameSide;
use crate::error::Error;
use crate::session::Session;

/// Prints the digest an image has
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll digest local/debian:12
  $ plimsoll digest ghcr.io/acme/api:main --platform linux/arm64
  $ plimsoll digest ghcr.io/acme/api:main --remote")]
pub struct Arguments {
    /// The image
    #[arg(value_name = "REF")]
    image: Place,
    /// The digest of one platform's image instead of the index
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    platform: Option<Platform>,
    #[command(flatten)]
    side: NameSide,
}

#[derive(Debug, Serialize)]
struct Answer {
    image: String,
    digest: Digest,
}

impl Arguments {
    /// Prints the digest.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let places = session.places()?;
        let found = self.side.find(session, &places, &self.image, Company::Alone)?;
        let digest = match &self.platform {
            Some(platform) => {
                Content::open(&*found.store, &found.document, Some(platform))?.document().digest()
            }
            None => found.document.digest(),
        };
        session.ui.answer("digest", &Answer { image: found.name.to_string(), digest })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.digest)
    }
}
