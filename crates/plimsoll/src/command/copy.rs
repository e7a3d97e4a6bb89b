//! `copy`: an image from one place to another, its digest unchanged.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use oci::{Descriptor, Digest, MediaType, Platform, Reference};
use pipeline::archive::{self, Parcel, Saved};
use pipeline::copy::repository::{Side, Wish};
use pipeline::copy::{self, Choice, CopyObserver, Outcome};
use pipeline::daemon::Loaded;
use pipeline::place::{Located, Place, Places, Selector};
use serde::Serialize;
use store::{ArchiveFormat, ArchiveOptions, ArchivedName, Company, Copied, Foreign};

use super::migrate;
use super::side::NameSide;
use crate::error::Error;
use crate::session::Session;
use crate::ui::quantity;
use crate::ui::transfer::Transfer;

/// Copies an image from one place to another; blobs that are there do not move
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ plimsoll copy local/api:main ghcr.io/acme/api:main
  $ plimsoll copy debian:12 localhost:5000/debian:12 --platform linux/arm64
  $ plimsoll copy local/api:main docker-archive:api.tar:api:local
  $ plimsoll copy local/api:main oci:images:api
  $ plimsoll copy local/api:main dir:api
  $ plimsoll copy local/api:main docker-daemon:api:local
  $ plimsoll copy local/api:main containerd:k8s.io//api:local
  $ plimsoll copy ghcr.io/acme/api:1.2 registry.example.com/api:1.2 --referrers
  $ plimsoll copy example.com/windows:1 registry.example.com/windows:1 --allow-nondistributable
  $ plimsoll copy ghcr.io/acme/api:1.2 oci-archive:api.tar --referrers
  $ plimsoll copy --all-tags ghcr.io/acme/api registry.example.com/api
  $ plimsoll copy --all-tags containerd:k8s.io//ghcr.io/acme/api oci:images
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
    /// Takes along what refers to the image: signatures, SBOMs, provenance, and what refers to those
    #[arg(long, conflicts_with = "platform")]
    referrers: bool,
    /// Copies all tags of a repository
    #[arg(long, conflicts_with = "platform")]
    all_tags: bool,
    #[command(flatten)]
    side: NameSide,
    #[command(flatten)]
    foreign: ForeignLayers,
}

/// What becomes of layers that are not to be distributed.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct ForeignLayers {
    /// Pushes Docker's foreign and the OCI's non-distributable layers too; without it, only what manifests say of them
    #[arg(long, visible_alias = "allow-nondistributable-artifacts")]
    allow_nondistributable: bool,
}

impl ForeignLayers {
    /// Returns what a copy to a registry does with them.
    pub fn choice(self) -> Foreign {
        if self.allow_nondistributable { Foreign::Copied } else { Foreign::LeftOut }
    }
}

/// What a copy did; `push` and `pull` answer the same.
#[derive(Debug, Serialize)]
pub struct Answer {
    source: String,
    destination: String,
    digest: Digest,
    blobs_moved: u64,
    blobs_present: u64,
    blobs_mounted: u64,
    bytes_moved: u64,
    referrers: u64,
    /// Blobs that were not copied: they are not to be distributed, or are only where their manifest says.
    left_out: Vec<LeftOut>,
    dry_run: bool,
}

/// A blob that was not copied.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    digest: Digest,
    media_type: MediaType,
    size: u64,
    urls: Vec<String>,
}

impl LeftOut {
    /// Returns what is told of each blob.
    pub fn all(blobs: &[Descriptor]) -> Vec<Self> {
        let one = |blob: &Descriptor| Self {
            digest: blob.digest,
            media_type: blob.media_type.clone(),
            size: blob.size,
            urls: blob.urls.clone(),
        };
        blobs.iter().map(one).collect()
    }

    /// Tells people of blobs that were not copied, beside the results.
    pub fn tell(session: &Session, blobs: &[Descriptor]) {
        struct Listed(Vec<LeftOut>);
        impl fmt::Display for Listed {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                LeftOut::list(&self.0, f)
            }
        }
        let text = Listed(Self::all(blobs)).to_string();
        text.lines().for_each(|line| session.ui.note(line));
    }

    /// Tells people of blobs that were not copied.
    pub fn list(blobs: &[Self], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for blob in blobs {
            let place = blob.urls.first().map_or("nowhere that its manifest names", String::as_str);
            let size = quantity::size(blob.size);
            writeln!(f, "left out: {} ({}, {size}), to be had at {place}", blob.digest, blob.media_type)?;
        }
        let is_foreign = blobs.iter().any(|blob| blob.media_type.is_nondistributable());
        if is_foreign { writeln!(f, "--allow-nondistributable pushes such layers too") } else { Ok(()) }
    }
}

impl Arguments {
    /// Copies the image.
    pub fn run(&self, session: &Session) -> Result<(), Error> {
        if self.all_tags {
            let (source, destination) = (Side::of(&self.source)?, Side::of(&self.destination)?);
            let company = self.company();
            let (only, except, rename) = (Vec::new(), Vec::new(), Vec::new());
            let known = BTreeSet::new();
            let foreign = self.foreign.choice();
            let wish = Wish { source, destination, only, except, rename, company, known, foreign };
            return migrate::carry_out(session, &wish, None);
        }
        self.check()?;
        let places = session.places()?;
        let image = self.side.find(session, &places, &self.source, self.company())?;
        let planned = Answer::planned(&image, self.destination.to_string());
        if session.global.dry_run {
            return session.ui.answer("copy", &planned);
        }
        let transfer = Transfer::new(&session.ui, self.destination.to_string());
        let observe = |event: store::CopyEvent<'_>| transfer.observe(event);
        let (digest, copied) = self.carry(&places, image, &observe)?;
        drop(transfer);
        session.ui.answer("copy", &planned.done(digest, &copied))
    }

    fn company(&self) -> Company {
        if self.referrers { Company::Referrers } else { Company::Alone }
    }

    fn choice(&self) -> Choice {
        Choice { platform: self.platform.clone(), company: self.company(), foreign: self.foreign.choice() }
    }

    /// Finds out whether the destination can be what it is to be, before anything is asked of it.
    fn check(&self) -> Result<(), Error> {
        let destination = &self.destination;
        match destination {
            // Losing signatures in silence would be worse than stopping.
            Place::Daemon(_) | Place::Archive { format: ArchiveFormat::DockerArchive, .. }
                if self.referrers =>
            {
                Err(Error::usage(format!(
                    "{destination} cannot hold referrers: copy to a registry, oci:DIR or oci-archive:FILE, or leave \
                     --referrers out"
                )))
            }
            Place::Layout { image: Some(Selector::Digest(_)), .. } => {
                Err(Error::usage("an image gets its digest from its content; write oci:DIR or oci:DIR:TAG"))
            }
            Place::Name(name) => refuse_official(name),
            Place::Archive { image: Some(name), .. } if name.reference().is_none() => {
                Err(Error::usage(format!("{name} is no name to write into an archive; write NAME:TAG")))
            }
            _ => Ok(()),
        }
    }

    /// Copies the image and returns its digest there.
    fn carry(
        &self,
        places: &Places,
        image: Located,
        observe: CopyObserver<'_>,
    ) -> Result<(Digest, Copied), Error> {
        let choice = self.choice();
        match &self.destination {
            Place::Name(name) => {
                let outcome = copy::copy(places, &image, name, &choice, observe)?;
                Ok((outcome.digest, outcome.copied))
            }
            Place::Layout { folder, image: selector } => {
                let tag = selector.as_ref().and_then(Selector::tag);
                Ok(copy::copy_to_layout(&image, folder, tag, &choice, observe)?)
            }
            Place::Folder(folder) => Ok(copy::copy_to_folder(&image, folder, &choice, observe)?),
            Place::Archive { format, file, image: name } => {
                let names = name.iter().filter_map(ArchivedName::reference).cloned().collect();
                self.archive(image, *format, file, names)
            }
            Place::Daemon(name) => {
                let (digest, loaded) = copy::copy_to_daemon(places, &image, name, self.platform.as_ref())?;
                Ok((digest, sent_to_daemon(&loaded)))
            }
            Place::Containerd { namespace, name } => {
                Ok(copy::copy_to_containerd(places, &image, namespace.as_ref(), name, &choice, observe)?)
            }
        }
    }

    fn archive(
        &self,
        image: Located,
        format: ArchiveFormat,
        file: &Path,
        names: Vec<Reference>,
    ) -> Result<(Digest, Copied), Error> {
        let parcel = Parcel::new(image, self.platform.as_ref(), names)?;
        let digest = parcel.digest();
        let options = ArchiveOptions { company: self.company(), ..ArchiveOptions::default() };
        let saved = archive::save(&[parcel], format, &options, file)?;
        let Saved { members, bytes, referrers } = saved;
        Ok((digest, Copied { blobs_moved: members, bytes_moved: bytes, referrers, ..Copied::default() }))
    }
}

/// Refuses to write among Docker's own images, which is what a name without a slash means: it was meant as a file or a
/// folder, or its registry was forgotten.
///
/// # Errors
/// A usage error that says how to write those.
pub fn refuse_official(name: &Reference) -> Result<(), Error> {
    let repository = name.repository();
    let is_official = repository.registry().is_docker_hub() && repository.path().starts_with("library/");
    if !is_official {
        return Ok(());
    }
    let word = repository.familiar();
    Err(Error::Usage {
        message: format!("{name} is one of Docker's own images, to which nobody else can write"),
        hint: Some(format!(
            "a registry is written REGISTRY/PATH:TAG, a file or folder oci-archive:{word}, oci:{word} or dir:{word}"
        )),
    })
}

fn sent_to_daemon(loaded: &Loaded) -> Copied {
    Copied {
        bytes_moved: loaded.bytes_sent,
        blobs_moved: u64::from(loaded.bytes_sent > 0),
        blobs_present: loaded.layers_spared as u64,
        ..Copied::default()
    }
}

impl Answer {
    /// Returns what was done.
    pub fn new(source: String, outcome: &Outcome) -> Self {
        let destination = outcome.destination.to_string();
        Self { source, destination, ..Self::nothing(outcome.digest) }.done(outcome.digest, &outcome.copied)
    }

    fn done(self, digest: Digest, copied: &Copied) -> Self {
        Self {
            digest,
            blobs_moved: copied.blobs_moved,
            blobs_present: copied.blobs_present,
            blobs_mounted: copied.blobs_mounted,
            bytes_moved: copied.bytes_moved,
            referrers: copied.referrers,
            left_out: LeftOut::all(&copied.left_out),
            dry_run: false,
            ..self
        }
    }

    /// Returns what would be done.
    pub fn planned(image: &Located, destination: String) -> Self {
        Self { source: image.name.to_string(), destination, ..Self::nothing(image.document.digest()) }
    }

    fn nothing(digest: Digest) -> Self {
        Self {
            source: String::new(),
            destination: String::new(),
            digest,
            blobs_moved: 0,
            blobs_present: 0,
            blobs_mounted: 0,
            bytes_moved: 0,
            referrers: 0,
            left_out: Vec::new(),
            dry_run: true,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dry_run {
            return writeln!(f, "would copy {} to {}", self.digest, self.destination);
        }
        let there = quantity::count(self.blobs_present + self.blobs_mounted, "was", "were");
        let moved = quantity::size(self.bytes_moved);
        writeln!(
            f,
            "{} is {}: {} copied, {moved}; {there} there{}",
            self.destination,
            self.digest,
            quantity::count(self.blobs_moved, "blob", "blobs"),
            match self.referrers {
                0 => String::new(),
                referrers => format!("; {}", quantity::count(referrers, "referrer", "referrers")),
            }
        )?;
        LeftOut::list(&self.left_out, f)
    }
}
