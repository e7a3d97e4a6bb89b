//! `pull`: images of registries into the local store.

use oci::{Platform, Reference};
use pipeline::copy;

use super::copy::Answer;
use crate::error::Error;
use crate::session::Session;
use crate::ui::transfer::Transfer;

/// Copies an image from its registry into the local store, under the same name
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Of an index the image of this machine's platform comes along; the index keeps its digest.

Examples:
  $ plimsoll pull debian:12
  $ plimsoll pull ghcr.io/acme/api:main --platform linux/amd64 --platform linux/arm64
  $ plimsoll pull ghcr.io/acme/api:main --all-platforms"
)]
pub struct Arguments {
    /// The image
    #[arg(value_name = "REF")]
    image: Reference,
    /// The platforms of an index that come along [default: this machine's]
    #[arg(long, value_name = "OS/ARCHITECTURE", conflicts_with = "all_platforms")]
    platform: Vec<Platform>,
    /// Takes an index with everything in it
    #[arg(long)]
    all_platforms: bool,
}

impl Arguments {
    /// Pulls the image.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        if self.image.repository().registry().is_local() {
            return Err(Error::usage(format!(
                "{} is in the local store already, if it is anywhere",
                self.image
            )));
        }
        let places = session.places()?;
        if session.global.dry_run {
            let image = places.find_remote(&self.image)?;
            return session.ui.answer("copy", &Answer::planned(&image, self.image.to_string()));
        }
        let transfer = Transfer::new(&session.ui, self.image.to_string());
        let observe = |event: store::CopyEvent<'_>| transfer.observe(event);
        let outcome = copy::pull(&places, &self.image, &self.platforms(), &observe)?;
        drop(transfer);
        session.ui.answer("copy", &Answer::new(self.image.to_string(), &outcome))
    }

    /// Returns the platforms to take; none means all.
    fn platforms(&self) -> Vec<Platform> {
        match (self.all_platforms, self.platform.is_empty()) {
            (true, _) => Vec::new(),
            (false, true) => vec![Platform::host()],
            (false, false) => self.platform.clone(),
        }
    }
}
