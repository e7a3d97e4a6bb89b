//! `load`: the images of an archive into the local store.

use std::fmt;
use std::path::{Path, PathBuf};

use containerd::Namespace;
use oci::{Digest, Reference};
use pipeline::archive::{self, Loaded};
use pipeline::copy::{self, Choice};
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
  $ plimsoll load oci-archive:image.tar --tag local/api:main
  $ plimsoll load api.tar --daemon
  $ plimsoll load api.tar --containerd=k8s.io"
)]
pub struct Arguments {
    /// The archive
    file: PathBuf,
    /// Name in the local store, where the archive has one image
    #[arg(short, long, value_name = "NAME:TAG")]
    tag: Option<Reference>,
    /// Loads them into the container daemon too: the image of this machine's platform, and of that
    /// only the layers that the daemon lacks
    #[arg(long)]
    daemon: bool,
    /// Loads them into containerd too, with all their platforms; in the namespace that is given, else
    /// in that of $CONTAINERD_NAMESPACE, else in its usual one
    #[arg(long, value_name = "NAMESPACE", num_args = 0..=1, require_equals = true)]
    containerd: Option<Option<Namespace>>,
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
    /// What the container daemon was sent, in bytes; absent where it was not to get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_to_daemon: Option<u64>,
    /// The same of containerd.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_to_containerd: Option<u64>,
}

impl Arguments {
    /// Loads the images.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        let mut answer = load(session, &self.file()?, self.tag.as_ref())?;
        if self.daemon && !session.global.dry_run {
            into_daemon(session, &mut answer)?;
        }
        if let Some(namespace) = self.containerd.as_ref().filter(|_| !session.global.dry_run) {
            into_containerd(session, namespace.as_ref(), &mut answer)?;
        }
        session.ui.answer("load", &answer)
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
        let image = |(name, digest)| Image {
            name,
            digest,
            bytes_moved: 0,
            bytes_to_daemon: None,
            bytes_to_containerd: None,
        };
        return Ok(Answer { images: planned.into_iter().map(image).collect(), dry_run: true });
    }
    let transfer = Transfer::new(&session.ui, file.display().to_string());
    let observe = |event: store::CopyEvent<'_>| transfer.observe(event);
    let loaded = archive::load(&places, file, name, &observe)?;
    Ok(Answer { images: loaded.iter().map(Image::from).collect(), dry_run: false })
}

/// Brings what was loaded into the container daemon, under the names it has.
fn into_daemon(session: &Session, answer: &mut Answer) -> Result<(), Error> {
    let places = session.places()?;
    for image in &mut answer.images {
        let found = places.find(&Place::Name(image.name.clone()))?;
        let (_, loaded) = copy::copy_to_daemon(&places, &found, &image.name, None)?;
        image.bytes_to_daemon = Some(loaded.bytes_sent);
    }
    Ok(())
}

/// Brings what was loaded into containerd, under the names it has.
fn into_containerd(
    session: &Session,
    namespace: Option<&Namespace>,
    answer: &mut Answer,
) -> Result<(), Error> {
    let places = session.places()?;
    for image in &mut answer.images {
        let found = places.find(&Place::Name(image.name.clone()))?;
        let transfer = Transfer::new(&session.ui, format!("{} in containerd", image.name));
        let observe = |event: store::CopyEvent<'_>| transfer.observe(event);
        let choice = Choice::default();
        let (_, copied) =
            copy::copy_to_containerd(&places, &found, namespace, &image.name, &choice, &observe)?;
        image.bytes_to_containerd = Some(copied.bytes_moved);
    }
    Ok(())
}

impl From<&Loaded> for Image {
    fn from(loaded: &Loaded) -> Self {
        let Loaded { name, digest, copied } = loaded.clone();
        let bytes_moved = copied.bytes_moved;
        Self { name, digest, bytes_moved, bytes_to_daemon: None, bytes_to_containerd: None }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Image { name, digest, bytes_moved, bytes_to_daemon, bytes_to_containerd } in &self.images {
            match self.dry_run {
                true => writeln!(f, "would load {name}, {digest}")?,
                false => writeln!(f, "{name} is {digest}, {} new", quantity::size(*bytes_moved))?,
            }
            if let Some(sent) = bytes_to_daemon {
                writeln!(f, "{name} is in the container daemon, {} sent", quantity::size(*sent))?;
            }
            if let Some(sent) = bytes_to_containerd {
                writeln!(f, "{name} is in containerd, {} sent", quantity::size(*sent))?;
            }
        }
        Ok(())
    }
}
