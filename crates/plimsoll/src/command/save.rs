//! `save`: images into one file that Docker, Podman, skopeo and containerd load.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use oci::{Digest, Platform, Reference};
use pipeline::archive::{self, OldReaders, Parcel};
use pipeline::place::Place;
use serde::Serialize;
use store::{ArchiveFormat, ArchiveOptions};

use crate::error::Error;
use crate::session::Session;
use crate::ui::quantity;

/// Writes images into one file that docker load, podman and skopeo accept
#[derive(Debug, clap::Args)]
#[command(after_help = "An image keeps the name it is given by; by digest alone it is called NAME:local.

Examples:
  $ plimsoll save local/api:main -o api.tar
  $ plimsoll save local/api:main local/web:main -o shop.tar --archive oci-archive
  $ plimsoll save local/api:main --tag api:local -o - | docker load")]
pub struct Arguments {
    /// The images
    #[arg(value_name = "REF", required = true)]
    images: Vec<Place>,
    /// The file; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Form of the file
    #[arg(long, value_name = "FORM", default_value = "docker-archive")]
    archive: Form,
    /// Saves the image of one platform alone
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    platform: Option<Platform>,
    /// Name in the file, where there is one image
    #[arg(short, long, value_name = "NAME:TAG")]
    tag: Vec<Reference>,
    /// Adds gzip copies of zstd layers for Docker before 23
    #[arg(long)]
    old_readers: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// An OCI layout with Docker's list beside it
    DockerArchive,
    /// The OCI layout alone
    OciArchive,
}

#[derive(Debug, Serialize)]
struct Answer {
    file: PathBuf,
    images: Vec<Image>,
    /// Content of the members, in bytes.
    size: u64,
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct Image {
    names: Vec<Reference>,
    digest: Digest,
}

impl Arguments {
    /// Writes the file.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        if self.images.len() > 1 && !self.tag.is_empty() {
            return Err(Error::usage("--tag names one image, and several were given"));
        }
        let places = session.places()?;
        let mut parcels = Vec::new();
        for image in &self.images {
            parcels.push(Parcel::new(places.find(image)?, self.platform.as_ref(), self.tag.clone())?);
        }
        let to_stdout = self.output == Path::new("-");
        let size = if session.global.dry_run { 0 } else { self.write(session, &parcels, to_stdout)? };
        if to_stdout && !session.global.dry_run {
            return Ok(());
        }
        session.ui.answer("save", &self.answer(&parcels, size, session.global.dry_run))
    }

    fn write(&self, session: &Session, parcels: &[Parcel], to_stdout: bool) -> Result<u64, Error> {
        let format = match self.archive {
            Form::DockerArchive => ArchiveFormat::DockerArchive,
            Form::OciArchive => ArchiveFormat::OciArchive,
        };
        let options = self.options(session)?;
        if !to_stdout {
            return Ok(archive::save(parcels, format, &options, &self.output)?.bytes);
        }
        if session.environment.stdout_is_terminal {
            return Err(Error::usage("an archive is not for a terminal; name a file with -o FILE"));
        }
        let mut out = session.ui.output();
        let saved = archive::stream(parcels, format, &options, &mut out)?;
        out.flush().map_err(|source| Error::file("write", Path::new("standard output"), source))?;
        Ok(saved.bytes)
    }

    fn options(&self, session: &Session) -> Result<ArchiveOptions, Error> {
        let old_readers = if self.old_readers {
            OldReaders::GzipTwins { spool: session.scratch()? }
        } else {
            OldReaders::Ignore
        };
        let platform = self.platform.clone().unwrap_or_else(Platform::host);
        Ok(ArchiveOptions { platform, old_readers, ..ArchiveOptions::default() })
    }

    fn answer(&self, parcels: &[Parcel], size: u64, dry_run: bool) -> Answer {
        let image = |parcel: &Parcel| Image { names: parcel.names().to_vec(), digest: parcel.digest() };
        Answer { file: self.output.clone(), images: parcels.iter().map(image).collect(), size, dry_run }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for image in &self.images {
            let names: Vec<String> = image.names.iter().map(Reference::to_string).collect();
            writeln!(
                f,
                "{} as {}",
                image.digest,
                if names.is_empty() { "no name".to_owned() } else { names.join(", ") }
            )?;
        }
        match self.dry_run {
            true => writeln!(f, "would write {}", self.file.display()),
            false => writeln!(f, "wrote {}, {}", self.file.display(), quantity::size(self.size)),
        }
    }
}
