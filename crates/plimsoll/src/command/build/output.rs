//! What a build leaves besides the image in the local store: folders, archives, other places, and files about it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use oci::{Document, Platform, Reference};
use pipeline::archive::{self, Parcel};
use pipeline::copy::{self, Choice};
use pipeline::place::Located;
use pipeline::platforms::{self, Child};
use serde_json::json;
use store::{ArchiveFormat, ArchiveOptions, StoreError};

use super::destination::{Kind, Output};
use super::one::unnamed;
use crate::error::Error;
use crate::session::Session;
use crate::workbench::Workbench;

/// Where results go; the names are buildx's.
#[derive(Debug, Default, clap::Args)]
pub struct Results {
    /// Also writes the image: FOLDER, - for a tar, or type=local|tar|oci|docker|registry|cacheonly,dest=PATH
    #[arg(short, long, value_name = "OUTPUT")]
    output: Vec<Output>,
    /// Loads the image into the container daemon; of several platforms, this machine's
    #[arg(long)]
    load: bool,
    /// Writes the digest of the image to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Writes digest and names of the image to a file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
}

/// What was built.
pub struct Made {
    /// The manifest, or the index of several platforms.
    pub image: Document,
    /// The image of each platform.
    pub children: Vec<Child>,
    /// Its names in the local store; that of an image without names where none was given.
    pub names: Vec<Reference>,
    /// Whether somebody gave it these names.
    pub is_named: bool,
}

impl Made {
    /// Returns it as it lies in the local store.
    fn located(&self, workbench: &Workbench) -> Result<Located, Error> {
        let name = &self.names[0];
        let found = workbench.places().find_local(name)?;
        Ok(found.ok_or_else(|| StoreError::NotFound { what: format!("{name} in the local store") })?)
    }

    fn given_names(&self) -> &[Reference] {
        if self.is_named { &self.names } else { &[] }
    }
}

impl Results {
    /// Whether anything was asked for.
    pub fn are_asked_for(&self) -> bool {
        !self.output.is_empty() || self.load || self.iidfile.is_some() || self.metadata_file.is_some()
    }

    /// Refuses, before anything is built, what cannot be written in the end.
    pub fn refuse_impossible(&self, platforms: &[Platform]) -> Result<(), Error> {
        for output in &self.output {
            output.refuse_impossible(platforms)?;
        }
        Ok(())
    }

    /// Whether the image's files or archives are asked for.
    pub fn are_written(&self) -> bool {
        let is_elsewhere = |output: &Output| matches!(output.kind, Kind::Registry | Kind::Nothing);
        self.load || !self.output.iter().all(is_elsewhere)
    }

    /// Whether an output is the image in the registries of its names.
    pub fn pushes(&self) -> bool {
        self.output.iter().any(|output| output.kind == Kind::Registry)
    }

    /// Returns what the image is called: the tags, and the names in outputs.
    pub fn names(&self, tags: &[Reference]) -> Result<Vec<Reference>, Error> {
        let mut names = tags.to_vec();
        for name in self.output.iter().flat_map(|output| &output.names) {
            let name = name.parse().map_err(|error| Error::usage(format!("--output: {name}: {error}")))?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(if names.is_empty() { vec![unnamed()] } else { names })
    }

    /// Writes everything that was asked for.
    pub fn write(&self, session: &Session, workbench: &Workbench, made: &Made) -> Result<(), Error> {
        write(session, workbench, &self.output, made)?;
        let digest = made.image.digest();
        let folder = &session.environment.folder;
        if let Some(path) = &self.iidfile {
            put(&folder.join(path), digest.to_string().as_bytes())?;
        }
        if let Some(path) = &self.metadata_file {
            put(&folder.join(path), format!("{:#}\n", metadata(made)).as_bytes())?;
        }
        let is_loaded = self.output.iter().any(|output| output.kind == Kind::Daemon);
        if self.load && !is_loaded { load(session, workbench, made) } else { Ok(()) }
    }
}

/// Writes what outputs ask for, each of a kind; what is in a registry is not among it.
pub fn write(session: &Session, workbench: &Workbench, outputs: &[Output], made: &Made) -> Result<(), Error> {
    for output in outputs {
        output.write(session, workbench, made)?;
    }
    match outputs.iter().any(|output| output.kind == Kind::Daemon) {
        true => load(session, workbench, made),
        false => Ok(()),
    }
}

/// What the neighbour writes for `--metadata-file`; an index has no configuration.
fn metadata(made: &Made) -> serde_json::Value {
    let descriptor = made.image.descriptor();
    let names: Vec<String> = made.given_names().iter().map(ToString::to_string).collect();
    let mut document = json!({
        "containerimage.digest": descriptor.digest.to_string(),
        "containerimage.descriptor": {
            "mediaType": descriptor.media_type.to_string(),
            "digest": descriptor.digest.to_string(),
            "size": descriptor.size,
        },
        "image.name": names.join(","),
    });
    if let Some(image) = made.image.as_image() {
        document["containerimage.config.digest"] = image.config.digest.to_string().into();
    }
    document
}

fn load(session: &Session, workbench: &Workbench, made: &Made) -> Result<(), Error> {
    let image = made.located(workbench)?;
    let platform = match &made.children[..] {
        [(only, _)] => only.clone(),
        _ => {
            let host = Platform::host();
            if !made.children.iter().any(|(platform, _)| *platform == host) {
                let message = format!("the daemon takes one platform, and the image is not built for {host}");
                return Err(Error::usage(message));
            }
            session.ui.note(format!("the daemon gets the image for {host}; an index is not for it"));
            host
        }
    };
    for name in &made.names {
        copy::copy_to_daemon(workbench.places(), &image, name, Some(&platform))?;
    }
    Ok(())
}

fn put(path: &Path, content: &[u8]) -> Result<(), Error> {
    std::fs::write(path, content).map_err(|source| Error::file("write", path, source))
}

impl Output {
    fn write(&self, session: &Session, workbench: &Workbench, made: &Made) -> Result<(), Error> {
        let path = session.environment.folder.join(&self.destination);
        let to_stdout = self.destination == Path::new("-");
        if to_stdout && session.environment.stdout_is_terminal {
            return Err(Error::usage("an archive is not for a terminal; name a file with dest=FILE"));
        }
        match self.kind {
            Kind::Local => self.folders(session, workbench, made, &path),
            Kind::Tar => self.tar(session, workbench, made, &path),
            Kind::Archive(format) => archive(session, workbench, made, format, (!to_stdout).then_some(&path)),
            Kind::Layout => {
                let tag = made.given_names().first().and_then(Reference::tag_or_latest);
                let image = made.located(workbench)?;
                copy::copy_to_layout(&image, &path, tag.as_ref(), &Choice::default(), &|_| {})?;
                Ok(())
            }
            // These are for all outputs together, once.
            Kind::Registry | Kind::Daemon | Kind::Nothing => Ok(()),
        }
    }

    /// The images of the platforms with the folders they go to, below the destination.
    fn places<'a>(&self, made: &'a Made) -> Vec<(String, &'a Document)> {
        let apart = self.platform_split.unwrap_or(made.children.len() > 1);
        let place = |(platform, built): &'a Child| {
            let folder = if apart { platforms::folder_name(platform) } else { String::new() };
            (format!("/{folder}"), &built.manifest)
        };
        made.children.iter().map(place).collect()
    }

    fn folders(
        &self,
        session: &Session,
        workbench: &Workbench,
        made: &Made,
        path: &Path,
    ) -> Result<(), Error> {
        let store = workbench.places().local().repository(made.names[0].repository());
        for (folder, manifest) in self.places(made) {
            let path = path.join(folder.trim_start_matches('/'));
            workbench
                .engine()
                .write_folder(&store, manifest, &path)
                .map_err(|error| not_written(session, &error))?;
        }
        Ok(())
    }

    fn tar(&self, session: &Session, workbench: &Workbench, made: &Made, path: &Path) -> Result<(), Error> {
        let store = workbench.places().local().repository(made.names[0].repository());
        let write = |output: &mut dyn std::io::Write| {
            let written = workbench.engine().write_trees(&store, &self.places(made), output);
            written.map_err(|error| not_written(session, &error))
        };
        if self.destination == Path::new("-") {
            let mut out = session.ui.output();
            write(&mut out)?;
            return out.flush().map_err(|source| Error::file("write", Path::new("standard output"), source));
        }
        let file = std::fs::File::create(path);
        write(&mut file.map_err(|source| Error::file("write", path, source))?)
    }
}

fn not_written(session: &Session, error: &builder::BuildError) -> Error {
    Error::Reported(session.ui.failure("the output cannot be written", error))
}

/// Writes an archive of the image, of all platforms, to a file or to standard output.
fn archive(
    session: &Session,
    workbench: &Workbench,
    made: &Made,
    format: ArchiveFormat,
    path: Option<&PathBuf>,
) -> Result<(), Error> {
    let parcel = Parcel::new(made.located(workbench)?, None, made.given_names().to_vec())?;
    let options = ArchiveOptions::default();
    match path {
        Some(path) => archive::save(&[parcel], format, &options, path).map(drop)?,
        None => {
            let mut out = session.ui.output();
            archive::stream(&[parcel], format, &options, &mut out)?;
            out.flush().map_err(|source| Error::file("write", Path::new("standard output"), source))?;
        }
    }
    Ok(())
}
