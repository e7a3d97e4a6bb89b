//! What a build leaves besides the image in the local store: folders, archives, and files about it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use builder::Built;
use oci::Reference;
use pipeline::archive::{self, Parcel};
use pipeline::place::Place;
use serde_json::json;
use store::{ArchiveFormat, ArchiveOptions};

use crate::error::Error;
use crate::session::Session;
use crate::workbench::Workbench;

/// Where results go; the names are buildx's.
#[derive(Debug, Default, clap::Args)]
pub struct Results {
    /// Also writes the image: FOLDER, - for a tar, or type=local|tar|oci|docker,dest=PATH
    #[arg(short, long, value_name = "OUTPUT")]
    output: Vec<Output>,
    /// Writes the digest of the image to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Writes digest and names of the image to a file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Output {
    kind: Kind,
    /// `-` is standard output.
    destination: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A folder of the image's files.
    Local,
    /// A tar of the image's files.
    Tar,
    /// An archive of the image.
    Archive(ArchiveFormat),
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains('=') {
            let kind = if text == "-" { Kind::Tar } else { Kind::Local };
            return Ok(Self { kind, destination: text.into() });
        }
        let (mut kind, mut destination) = (None, None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("type", "local")) => kind = Some(Kind::Local),
                Some(("type", "tar")) => kind = Some(Kind::Tar),
                Some(("type", "oci")) => kind = Some(Kind::Archive(ArchiveFormat::OciArchive)),
                Some(("type", "docker")) => kind = Some(Kind::Archive(ArchiveFormat::DockerArchive)),
                Some(("type", other)) => {
                    return Err(format!("type={other} is not done here; it is local, tar, oci or docker"));
                }
                Some(("dest", path)) => destination = Some(PathBuf::from(path)),
                _ => return Err(format!("{field:?} is not known; an output has type and dest")),
            }
        }
        let kind = kind.ok_or("type is missing")?;
        let standard = (kind != Kind::Local).then(|| PathBuf::from("-"));
        let destination = destination.or(standard).ok_or("dest is missing")?;
        Ok(Self { kind, destination })
    }
}

impl Results {
    /// Whether anything was asked for.
    pub fn are_asked_for(&self) -> bool {
        !self.output.is_empty() || self.iidfile.is_some() || self.metadata_file.is_some()
    }

    /// Whether the image's files or archives are asked for.
    pub fn are_written(&self) -> bool {
        !self.output.is_empty()
    }

    /// Writes everything that was asked for.
    pub fn write(
        &self,
        session: &Session,
        workbench: &Workbench,
        built: &Built,
        names: &[Reference],
    ) -> Result<(), Error> {
        for output in &self.output {
            output.write(session, workbench, built, names)?;
        }
        let digest = built.manifest.digest();
        let folder = &session.environment.folder;
        if let Some(path) = &self.iidfile {
            put(&folder.join(path), digest.to_string().as_bytes())?;
        }
        if let Some(path) = &self.metadata_file {
            let config = built.manifest.as_image().map(|image| image.config.digest.to_string());
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let document = json!({
                "containerimage.digest": digest.to_string(),
                "containerimage.config.digest": config,
                "image.name": names.join(","),
            });
            put(&folder.join(path), format!("{document:#}\n").as_bytes())?;
        }
        Ok(())
    }
}

fn put(path: &Path, content: &[u8]) -> Result<(), Error> {
    std::fs::write(path, content).map_err(|source| Error::file("write", path, source))
}

impl Output {
    fn write(
        &self,
        session: &Session,
        workbench: &Workbench,
        built: &Built,
        names: &[Reference],
    ) -> Result<(), Error> {
        let store = workbench.places().local().repository(&repository(names));
        let engine = workbench.engine();
        let failed = |error| Error::Reported(session.ui.failure("the output cannot be written", &error));
        let path = session.environment.folder.join(&self.destination);
        let to_stdout = self.destination == Path::new("-");
        if to_stdout && session.environment.stdout_is_terminal {
            return Err(Error::usage("an archive is not for a terminal; name a file with dest=FILE"));
        }
        match self.kind {
            Kind::Local => engine.write_folder(&store, &built.manifest, &path).map_err(failed),
            Kind::Tar if to_stdout => {
                let mut out = session.ui.output();
                engine.write_tree(&store, &built.manifest, &mut out).map_err(failed)?;
                out.flush().map_err(|source| Error::file("write", Path::new("standard output"), source))
            }
            Kind::Tar => {
                let file = std::fs::File::create(&path);
                let mut file = file.map_err(|source| Error::file("write", &path, source))?;
                engine.write_tree(&store, &built.manifest, &mut file).map_err(failed)
            }
            Kind::Archive(format) => {
                let name = names.first().map_or_else(|| "local/build".to_owned(), ToString::to_string);
                let place: Place = name.parse().map_err(|_| Error::usage("the name is no place"))?;
                let parcel = Parcel::new(workbench.places().find(&place)?, None, names.to_vec())?;
                let options = ArchiveOptions::default();
                if to_stdout {
                    let mut out = session.ui.output();
                    archive::stream(&[parcel], format, &options, &mut out)?;
                    return out
                        .flush()
                        .map_err(|source| Error::file("write", Path::new("standard output"), source));
                }
                archive::save(&[parcel], format, &options, &path)?;
                Ok(())
            }
        }
    }
}

fn repository(names: &[Reference]) -> oci::Repository {
    match names.first() {
        Some(name) => name.repository().clone(),
        None => "local/build".parse().expect("a literal name of the grammar"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_folders_tars_and_archives() {
        let output = |text: &str| text.parse::<Output>();
        let is = |kind, destination: &str| Ok(Output { kind, destination: destination.into() });
        assert_eq!(output("out"), is(Kind::Local, "out"));
        assert_eq!(output("-"), is(Kind::Tar, "-"));
        assert_eq!(output("type=local,dest=a b"), is(Kind::Local, "a b"));
        assert_eq!(output("dest=x.tar,type=oci"), is(Kind::Archive(ArchiveFormat::OciArchive), "x.tar"));
        assert_eq!(output("type=docker"), is(Kind::Archive(ArchiveFormat::DockerArchive), "-"));
        assert!(output("type=registry").unwrap_err().contains("registry is not done"));
        assert!(output("type=local").unwrap_err().contains("dest"));
        assert!(output("type=tar,destination=x").unwrap_err().contains("not known"));
    }
}
