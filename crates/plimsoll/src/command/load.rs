//! `load`: the images of an archive into the local store.

use std::fmt;
use std::path::{Path, PathBuf};

use oci::{Digest, Reference};
use pipeline::archive::{self, Loaded};
use pipeline::place::Place;
use serde::Serialize;

use crate::error::Error;
use crate::session::Session;
use crate::ui::quantity;
use crate::ui::transfer::Transfer;

/// Loads the images of an archive into the local store
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Archives of docker save, podman, skopeo, buildx and save are read in place, compressed ones too.

Examples:
  $ plimsoll load api.tar
  $ plimsoll load oci-archive:image.tar --tag local/api:main"
)]
pub struct Arguments {
    /// The archive
    file: PathBuf,
    /// Name in the local store, where the archive has one image
    #[arg(short, long, value_name = "NAME:TAG")]
    tag: Option<Reference>,
}

#[derive(Debug, Serialize)]
pub struct Answer {
    images: Vec<Image>,
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct Image {
    name: Reference,
    digest: Digest,
    bytes_moved: u64,
}

impl Arguments {
    /// Loads the images.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        session.ui.answer("load", &load(session, &self.file()?, self.tag.as_ref())?)
    }

    /// Returns the file, whose transport may stand before it.
    fn file(&self) -> Result<PathBuf, Error> {
        let text = self.file.to_string_lossy();
        if !text.starts_with("docker-archive:") && !text.starts_with("oci-archive:") {
            return Ok(self.file.clone());
        }
        match text.parse::<Place>() {
            Ok(Place::Archive { file, image: None, .. }) => Ok(file),
            Ok(_) => Err(Error::Usage {
                message: "load takes all images of an archive".to_owned(),
                hint: Some(format!("take one with plimsoll copy {text} local/NAME:TAG")),
            }),
            Err(error) => Err(Error::usage(error.to_string())),
        }
    }
}

/// Loads an archive and returns what came of it.
pub fn load(session: &Session, file: &Path, name: Option<&Reference>) -> Result<Answer, Error> {
    std::fs::metadata(file).map_err(|source| Error::file("read", file, source))?;
    let places = session.places()?;
    if session.global.dry_run {
        let planned = archive::planned(&places, file, name)?;
        let image = |(name, digest)| Image { name, digest, bytes_moved: 0 };
        return Ok(Answer { images: planned.into_iter().map(image).collect(), dry_run: true });
    }
    let transfer = Transfer::new(&session.ui, file.display().to_string());
    let observe = |event: store::CopyEvent<'_>| transfer.observe(event);
    let loaded = archive::load(&places, file, name, &observe)?;
    Ok(Answer { images: loaded.iter().map(Image::from).collect(), dry_run: false })
}

impl From<&Loaded> for Image {
    fn from(loaded: &Loaded) -> Self {
        Self { name: loaded.name.clone(), digest: loaded.digest, bytes_moved: loaded.copied.bytes_moved }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Image { name, digest, bytes_moved } in &self.images {
            match self.dry_run {
                true => writeln!(f, "would load {name}, {digest}")?,
                false => writeln!(f, "{name} is {digest}, {} new", quantity::size(*bytes_moved))?,
            }
        }
        Ok(())
    }
}
